//! Enumerations that are spelled in the configuration.
//!
//! One table per type serves reading, printing and "expected one of". It does not
//! report mistakes: `values.rs` does.

/// A closed set of words that a key may hold.
pub trait Choice: Copy + PartialEq + 'static {
    /// Every value with the word that stands for it.
    const WORDS: &'static [(&'static str, Self)];

    /// The word that stands for this value.
    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, value)| *value == self).map_or("", |(word, _)| word)
    }
}

/// Declares an enumeration together with the words that stand for its values.
macro_rules! choice {
    ($(#[$outer:meta])* pub enum $name:ident { $($(#[$inner:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$inner])* $variant,)+ }

        impl $crate::config::choice::Choice for $name {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$variant),)+];
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str($crate::config::choice::Choice::word(*self))
            }
        }
    };
}

pub(crate) use choice;
