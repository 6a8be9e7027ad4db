//! Values that a database reports of a session by itself, as a set that sessions and backends share.
//!
//! A set never changes: who notes a change has another one. So whether a session knows what its backend reports is
//! one comparison of addresses, and only sets that differ are looked into. Two that turn out to be equal become one,
//! the same one for everybody who compares.

use std::sync::Arc;

/// How many values are kept, and how long one may be, in bytes: the rest is not noted.
const NAMES_MAX: usize = 256;
const VALUE_MAX: usize = 8192;

/// Names and values, in the order in which the database reported them. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct Reported(Arc<Vec<(String, String)>>);

impl Reported {
    /// What was reported at a sign-in.
    pub fn new(pairs: Vec<(String, String)>) -> Self {
        Self(Arc::new(pairs))
    }

    /// Whether both are one set: then they are equal. Otherwise they may still be.
    #[inline]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The value of this name.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.iter().find(|(have, _)| *have == name).map(|(_, value)| value)
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Takes note of one more value, of at most 8 KiB. Returns whether it was another one before.
    pub fn note(&mut self, name: &str, value: &str) -> bool {
        let place = self.0.iter().position(|(have, _)| have == name);
        let known = place.and_then(|at| self.0.get(at)).is_some_and(|(_, have)| have == value);
        let has_room = place.is_some() || self.0.len() < NAMES_MAX;
        // What is not noted leaves the set as it is: others have it too.
        if known || !has_room || value.len() > VALUE_MAX {
            return false;
        }
        let pairs = Arc::make_mut(&mut self.0);
        match place.and_then(|at| pairs.get_mut(at)) {
            Some((_, have)) => value.clone_into(have),
            None => pairs.push((name.to_owned(), value.to_owned())),
        }
        true
    }

    /// Makes one set of two that are equal. Returns whether they are.
    pub fn unite(&mut self, other: &mut Self) -> bool {
        if self.is(other) {
            return true;
        }
        if self != other {
            return false;
        }
        // Any order will do in which all agree: so nobody takes turns with a third.
        if Arc::as_ptr(&self.0) < Arc::as_ptr(&other.0) {
            other.clone_from(self);
        } else {
            self.clone_from(other);
        }
        true
    }
}

impl PartialEq for Reported {
    fn eq(&self, other: &Self) -> bool {
        self.is(other) || self.0 == other.0
    }
}

impl Eq for Reported {}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pairs: &[(&str, &str)]) -> Reported {
        Reported::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn what_is_too_much_leaves_the_set_as_it_is() {
        let mut full = Reported::default();
        assert!((0..NAMES_MAX).all(|n| full.note(&n.to_string(), "a")));
        let same = full.clone();
        assert!(
            !full.note("one more", "a")
                && !full.note("0", "a")
                && !full.note("0", &"a".repeat(VALUE_MAX + 1))
        );
        assert!(full.is(&same), "it is shared");
        assert!(full.note("0", "b") && !full.is(&same));
    }

    #[test]
    fn a_change_makes_another_set() {
        let mut one = set(&[("TimeZone", "UTC"), ("DateStyle", "ISO")]);
        let two = one.clone();
        assert!(one.is(&two) && !one.note("TimeZone", "UTC") && one.is(&two));
        assert!(one.note("TimeZone", "Asia/Tokyo") && !one.is(&two));
        assert_eq!((one.value("TimeZone"), two.value("TimeZone")), (Some("Asia/Tokyo"), Some("UTC")));
        assert!(one.note("search_path", "s") && one.iter().count() == 3);
    }

    #[test]
    fn equal_sets_become_one_for_all() {
        let mut sets: Vec<Reported> = (0..6).map(|_| set(&[("TimeZone", "UTC")])).collect();
        for _ in 0..sets.len() {
            for at in 1..sets.len() {
                let (front, back) = sets.split_at_mut(at);
                assert!(front[at - 1].unite(&mut back[0]));
            }
        }
        assert!(sets.windows(2).all(|pair| pair[0].is(&pair[1])));
        let mut other = set(&[("TimeZone", "Asia/Tokyo")]);
        assert!(!other.unite(&mut sets[0]) && !other.is(&sets[0]));
    }

    #[test]
    fn it_grows_within_bounds() {
        let mut set = Reported::default();
        for n in 0..2 * NAMES_MAX {
            set.note(&format!("app.{n}"), "x");
        }
        assert_eq!(set.iter().count(), NAMES_MAX);
        assert!(!set.note("app.1", &"x".repeat(VALUE_MAX + 1)));
        assert_eq!(set.value("app.1"), Some("x"));
    }
}
