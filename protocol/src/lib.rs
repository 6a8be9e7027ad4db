//! Bytes and their meaning, for both databases. No tokio, no clock, no SQL, no hosts.
//!
//! The two databases have no useful common message set, but a pooler asks both the
//! same few questions: where does this frame end, what does the client want, is the
//! reply over, what is the transaction's state? So this crate shares *verdicts* (the
//! traits and small enums at this level) and keeps *messages* in one folder a database.
//!
//! A trait item may exist here only if both databases can answer it honestly.

pub mod answer;
pub mod codec;
pub mod fault;
pub mod frame;
pub mod gtid;
pub mod handshake;
pub mod held;
pub mod key_pair;
pub mod mysql;
pub mod own;
pub mod postgres;
pub mod proxied;
pub mod reported;
pub mod secret;
pub mod served;
pub mod settings;
pub mod tracker;

pub use fault::{Fault, Severity};
pub use frame::{Head, ProtocolError};
pub use gtid::Gtid;
pub use held::Held;
pub use reported::Reported;
pub use secret::Secret;
pub use settings::Settings;

use codec::Codec;
use handshake::{AuthMethod, Credential, Dial, Login, Verifier};
use own::{Errand, OwnReply};
use served::Served;
use tracker::{Memory, Refusal, Tracker};

/// One database's wire protocol: a family of types that the shared core is generic over.
pub trait Protocol: Sized + Send + Sync + 'static {
    /// The protocol's name in logs and metrics.
    const NAME: &'static str;
    /// We play the database towards a client that signs in.
    type Login: Login<CancelKey = Self::CancelKey>;
    /// We play the client towards a backend that we sign in to.
    type Dial: Dial<Memory = Self::Memory>;
    /// Judges both directions of one session.
    type Tracker: Tracker<Memory = Self::Memory, Registry = Self::Registry>;
    /// What one backend connection holds between leases: settings, prepared statements.
    type Memory: Memory<CancelKey = Self::CancelKey>;
    /// What all sessions of a process share, such as the texts of prepared statements.
    type Registry: Default + Send + Sync + 'static;
    /// Names one connection to whoever wants to cancel what runs on it.
    type CancelKey: Clone + Send + Sync + Eq + std::hash::Hash + 'static;
    /// Reads the reply to something Splitpool itself asked a backend.
    type OwnReply: OwnReply;
    /// Answers a client whose statements Splitpool runs itself.
    type Served: Served;

    /// Whether a primary may be told to take no more writes while its connections stay open.
    const TURNS_READ_ONLY: bool;

    /// The header of the frame at the start of `bytes`, or `None` if it is cut.
    fn head(bytes: &[u8]) -> Result<Option<Head>, ProtocolError>;

    /// Appends a request of Splitpool's own to the idle backend that `memory` belongs to.
    /// Returns what reads the reply.
    fn encode_errand(errand: &Errand<'_>, memory: &Self::Memory, out: &mut Vec<u8>) -> Self::OwnReply;

    /// Makes what is known of `user` ready for checking proofs by `method`. May stretch a
    /// password, which takes milliseconds: once a user, not once a sign-in.
    fn verifier(method: AuthMethod, known: Credential, user: &str, mock_secret: &[u8; 32]) -> Verifier;

    /// How to cancel what runs under `key`.
    fn cancel(key: &Self::CancelKey) -> handshake::CancelBy;

    /// Appends what somebody said on a channel that the client listens on. A database without channels appends
    /// nothing.
    fn encode_note(process: i32, channel: &str, payload: &str, out: &mut Vec<u8>);

    /// Appends a remark that is not part of any reply. A database without such remarks appends nothing.
    fn encode_notice(message: &str, out: &mut Vec<u8>);

    /// What stands between the socket of a client of these abilities and its messages, from the end of its sign-in
    /// on. `None` if they go as they are.
    fn codec(abilities: u64) -> Option<Box<dyn Codec>>;

    /// A new key for a client, from `random` bytes; long if the client understands it. It names the process
    /// `owner`, 1 to 32767, or none if that is 0.
    fn new_cancel_key(random: [u8; 36], long: bool, owner: u16) -> Self::CancelKey;

    /// The process that a key names, if its deployment gives processes numbers.
    fn cancel_owner(key: &Self::CancelKey) -> u16;

    /// The number that a database, or a client of ours, knows the connection of this key by.
    fn connection_number(key: &Self::CancelKey) -> u32;

    /// The key of the connection that clients know by this number, where statements name
    /// connections by the numbers that clients were given.
    fn numbered(number: u32) -> Option<Self::CancelKey>;

    /// What an error of a replica with this code (as in `Verdict::Failed`) tells.
    fn refusal(code: &[u8; 5]) -> Refusal;

    /// Whether by these settings even a plain read must run where writes do, because it opens
    /// a transaction or takes locks.
    fn reads_strictly(settings: &Settings) -> bool;
}
