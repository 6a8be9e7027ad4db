//! What has been asked and what is still owed, in both directions of one session.
//!
//! A tracker never waits and never owns a buffer of the data path: it judges headers
//! in place, and bodies only where a decision hangs on them.

use crate::handshake::Greeting;
use crate::own::Inspection;
use crate::{Fault, Gtid, Head, Held, ProtocolError, Reported, Settings};
use std::sync::Arc;

/// Where a session stands in its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TxnStatus {
    /// Outside a transaction.
    #[default]
    Idle,
    /// Inside one.
    Open,
    /// Inside one that has failed: only its end is accepted.
    Failed,
}

/// What the bytes of a client amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intake {
    /// Nothing yet: more bytes are needed.
    More,
    /// `len` bytes are ready to be sent; `rest` more bytes of the last frame follow and are
    /// sent on as they come. `rest` is 0 unless the frame is too large to be gathered.
    Ready {
        /// Bytes at the front of the inbox.
        len: usize,
        /// Bytes of the last frame that are still to come.
        rest: usize,
        /// Whether these bytes are all of a request, so that its route can be decided by them.
        whole: bool,
    },
    /// `len` bytes at the front mean nothing any more (COPY data after an error).
    Drop(usize),
    /// The client says goodbye.
    Terminate,
    /// The client wants to sign in anew on its connection; the bytes at the front of the inbox say as whom.
    SignIn {
        /// What was agreed on with it, see `Greeting::abilities`.
        abilities: u64,
    },
}

/// What to do with a frame of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the client's.
    Relay,
    /// It answers something that we slipped in.
    Swallow,
    /// It is the client's and says that a statement failed, with this code.
    Failed([u8; 5]),
    /// The same, but the client is told what is behind it instead: names of ours are not shown.
    Reworded([u8; 5]),
}

/// What an error of a replica tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The statement failed, and would fail elsewhere.
    None,
    /// Another backend may run it.
    Elsewhere,
    /// It is a write, and will be one the next time.
    Write,
    /// The same, and the server takes none from anybody: it is no primary, or will soon be none.
    ReadOnlyServer,
}

/// How quotes in a session's texts are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quoting {
    /// Whether quoting and encoding follow rules that a lexer knows.
    pub trusted: bool,
    /// Whether double quotes hold names where they would usually hold texts (MySQL's ANSI_QUOTES).
    pub names_in_double_quotes: bool,
    /// Whether a backslash in a text may hide a quote, where it usually does (not with MySQL's
    /// NO_BACKSLASH_ESCAPES).
    pub backslash_escapes: bool,
}

impl Quoting {
    /// As each database does it by itself.
    pub const USUAL: Self = Self { trusted: true, names_in_double_quotes: false, backslash_escapes: true };
}

/// What replies amounted to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Rows returned or changed, as the database counts them.
    pub rows: u64,
    /// Statements that ran to their end; none if the client only prepared some.
    pub results: u32,
    /// The first error's code, as in `Verdict::Failed`.
    pub error: Option<[u8; 5]>,
}

/// What one backend connection holds between leases.
pub trait Memory: Send + 'static {
    /// Names the connection to whoever wants to cancel what runs on it.
    type CancelKey;
    /// The key that the database gave.
    fn cancel_key(&self) -> &Self::CancelKey;
    /// The settings that sessions have left on it; empty on a fresh connection.
    fn settings(&self) -> &Settings;
    /// Says what the settings are now.
    fn set_settings(&mut self, settings: Settings);
    /// Of what an inspection of this backend found, that by which the session differs from a
    /// fresh connection.
    fn difference(&mut self, found: Inspection) -> Inspection;
    /// Whether the client hears notifications in another way: those of this connection are not for it.
    fn deafen(&mut self, deaf: bool);
    /// See `deafen`.
    fn is_deaf(&self) -> bool;
    /// An errand has run on it: forgets what that replaced.
    fn ran_errand(&mut self);
    /// `Errand::ResetSettings` has run: forgets what that wiped out.
    fn settings_reset(&mut self);
    /// Whether `Errand::DiscardSequences` leaves all else as it is, an open transaction too. It returns the connection to a
    /// fresh state where it does not.
    fn discards_sequences_alone(&self) -> bool;
    /// Forgets all that a return to a fresh state wipes out.
    fn wiped(&mut self);
    /// The values that the database reports: those of the sign-in, and what it has reported since.
    fn reported(&self) -> &Reported;
    /// The database reported these values while an errand of ours ran.
    fn note_reported(&mut self, reported: &[(String, String)]);
    /// The schema in which a name without one is looked up; empty if that is not one schema. `None` if names do not
    /// matter, because the database itself lists what a session has left.
    fn place(&self) -> Option<&str>;
    /// What statements may have left since this was last asked, of which the database has said no more than that
    /// there is something. Asking clears it.
    fn take_doubt(&mut self) -> Held;
}

/// Judges both directions of one session.
pub trait Tracker: Send + 'static {
    /// What a backend holds.
    type Memory;
    /// What all sessions share.
    type Registry;

    /// The tracker of a session that has just signed in as its `greeting` says; `reported` is
    /// what its client was told.
    fn new(registry: Arc<Self::Registry>, greeting: &Greeting, reported: Reported) -> Self;

    /// Judges `inbox`, which begins with the first byte that was not sent on or dropped.
    /// Requests longer than `gather_max` bytes are not gathered but streamed.
    fn intake(&mut self, inbox: &[u8], gather_max: usize) -> Result<Intake, Fault>;

    /// Shows `visit` the text of every statement that `request` runs or prepares.
    fn texts(&self, request: &[u8], visit: &mut dyn FnMut(&[u8]));

    /// Answers a request that needs no backend, or returns false.
    fn answer(&mut self, request: &[u8], out: &mut Vec<u8>) -> bool;

    /// Translates `request` for the backend that `memory` belongs to, and appends it to
    /// `out`. Replies that are due without the backend are appended to `client`.
    fn forward(
        &mut self,
        request: &[u8],
        rest: usize,
        memory: &mut Self::Memory,
        out: &mut Vec<u8>,
        client: &mut Vec<u8>,
    ) -> Result<(), Fault>;

    /// How many bytes of the body of a backend's frame must be seen to judge it. At most 8 KiB.
    fn needs(&self, head: Head) -> usize;

    /// Judges a backend's frame of which `seen`, at least `needs(head)` bytes of the body, is
    /// here. Replies that are due behind it are appended to `after`.
    fn on_backend(
        &mut self,
        head: Head,
        seen: &[u8],
        memory: &mut Self::Memory,
        after: &mut Vec<u8>,
    ) -> Result<Verdict, ProtocolError>;

    /// Appends to `out`, for the backend, what had to wait for a reply. Replies that are due
    /// without the backend are appended to `client`.
    fn resume(
        &mut self,
        memory: &mut Self::Memory,
        out: &mut Vec<u8>,
        client: &mut Vec<u8>,
    ) -> Result<(), ProtocolError>;

    /// Whether something waits for a reply before it may be sent: nothing else goes to the
    /// backend meanwhile.
    fn is_stalled(&self) -> bool;

    /// From now to the end of this reply nothing is for the client: the request will be sent again.
    fn mute(&mut self);

    /// The backend is gone, the reply was muted, or the request was refused before it was sent:
    /// forgets what is owed and gathered, so that the request may be forwarded once more.
    /// Returns whether the client waits for the end of a reply.
    fn rewind(&mut self) -> bool;

    /// Whether nothing is owed and no request is half sent.
    fn is_over(&self) -> bool;

    /// Whether more of what the client sends belongs to the request under way.
    fn is_open(&self) -> bool;

    /// Whether a statement has been sent whose transaction's end was not seen: if the backend
    /// is lost now, nobody knows whether it took effect.
    fn txn(&self) -> TxnStatus;

    /// Whether the database has said that the state of the session changed in a way that must
    /// be looked at, whatever the statement looked like. Asking clears it.
    fn is_touched(&mut self) -> bool;

    /// An errand has found whether the backend is outside a transaction.
    fn note_idle(&mut self, idle: bool);

    /// Whether `request` asks for nothing but a return to the state of a fresh connection.
    fn is_reset(&self, request: &[u8]) -> bool;

    /// The session has returned to the state of a fresh connection, as the request asked that
    /// has been taken from the inbox: forgets what it had and appends the answer.
    fn reset(&mut self, out: &mut Vec<u8>);

    /// Whether `request` is one text to be run, and nothing else.
    fn is_query(&self, request: &[u8]) -> bool;

    /// Appends the answer to a request for which `is_query` holds, that was carried out without a backend, as the
    /// command of this name, or could not be, and that has been taken from the inbox. The session goes on.
    fn carried_out(&mut self, outcome: Result<&str, &Fault>, out: &mut Vec<u8>);

    /// Appends `fault` as the client expects it here. `ready` says that the session goes on:
    /// the client must send its next request.
    fn fault(&mut self, fault: &Fault, ready: bool, out: &mut Vec<u8>);

    /// What keeps this session on its backend, as far as the messages alone tell.
    fn held(&self) -> Held;

    /// Whether `request` may fail only because a statement's preparation is out of date. See `take_stale`.
    fn may_be_stale(&self, request: &[u8]) -> bool;

    /// Whether the request just failed only because a statement's preparation is out of date, so that it will
    /// succeed if it is forwarded once more. Asking clears it.
    fn take_stale(&mut self) -> bool;

    /// The open transaction has failed: appends what makes the client send its next request.
    fn fail(&mut self, out: &mut Vec<u8>);

    /// The session has changed the schema: what was prepared before may be out of date.
    fn schema_changed(&self);

    /// Whether `request` runs anything, rather than only prepares it.
    fn runs(&self, request: &[u8]) -> bool;

    /// Whether the client itself returned its session to the state of a fresh one. Asking clears it.
    fn take_discarded(&mut self) -> bool;

    /// What the replies to the client's statements amounted to since this was last asked.
    fn take_tally(&mut self) -> Tally;

    /// The last transaction of the session's own that the reply to its last command told, if whoever has that
    /// transaction, and those before it, has all that the reply showed. Where a database tells none there is none.
    fn written(&self) -> Option<&Gtid>;

    /// How quotes in the session's texts are to be read.
    fn quoting(&self) -> Quoting;

    /// Whether the client knows all that the database reports on the backend that `memory` belongs to.
    fn knows(&self, memory: &Self::Memory) -> bool;

    /// Whether a text that was judged by this session's `quoting` means the same there, or was judged strictly enough.
    fn reads_as(&self, memory: &Self::Memory) -> bool;

    /// Appends to `out` what the client does not know of it. Returns whether there was anything.
    fn heed(&mut self, memory: &mut Self::Memory, out: &mut Vec<u8>) -> bool;
}
