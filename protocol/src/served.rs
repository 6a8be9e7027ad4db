//! A client whose statements Splitpool itself answers, in whichever protocol it speaks.
//!
//! Whoever owns the socket feeds what came, runs the texts that come out, and hands the answers
//! back. Invariant of whoever implements it: while a text is being run nothing more is read, so
//! answers go out in the order of the questions.

use crate::Fault;
use crate::answer::{Answer, Columns};

/// What a client wants next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Send `out`, then read more.
    More,
    /// Run this text, then call `ran`.
    Run(String),
    /// The client says goodbye.
    Bye,
}

/// The columns that a statement will have, or what is wrong with it. `None` for no rows.
pub type Describe<'a> = &'a dyn Fn(&str) -> Result<Option<Columns>, Fault>;

/// See the file's head.
pub trait Served: Send {
    /// A client that has signed in and agreed on these `abilities`, as in a `Greeting`.
    fn new(abilities: u64) -> Self;

    /// Judges `input`, all that came and was not consumed yet. Returns how much was consumed.
    ///
    /// # Errors
    /// What ends the connection.
    fn feed(
        &mut self,
        input: &[u8],
        describe: Describe<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(usize, Step), Fault> {
        let mut consumed = 0;
        while let Some((len, step)) =
            self.message(input.get(consumed..).unwrap_or_default(), describe, out)?
        {
            consumed += len;
            if step != Step::More {
                return Ok((consumed, step));
            }
        }
        Ok((consumed, Step::More))
    }

    /// Judges the message that `input` begins with. Returns its length and what follows from it; `None` if it is cut,
    /// or a text is being run.
    ///
    /// # Errors
    /// What ends the connection; what does not is told in `out`.
    fn message(
        &mut self,
        input: &[u8],
        describe: Describe<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Option<(usize, Step)>, Fault>;

    /// Appends what came of the text that was run: answers, and what the next one failed with.
    fn ran(&mut self, answers: Vec<Answer>, fault: Option<&Fault>, out: &mut Vec<u8>);

    /// Appends `fault`, which ends the connection.
    fn refuse(&mut self, fault: &Fault, out: &mut Vec<u8>);
}
