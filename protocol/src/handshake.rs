//! The two handshakes of a connection, as state machines that never wait.
//!
//! The caller owns the socket: it hands over the bytes that came and sends those that
//! were appended to `out`. Bytes that a machine did not consume stay with the caller.
//! A machine that asked for TLS must be fed only bytes from inside it: the caller
//! refuses a peer that sent anything in clear behind its request for TLS.

use crate::key_pair::KeyPair;
use crate::{Fault, Reported, Secret};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// How a client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuthMethod {
    /// SCRAM-SHA-256 (PostgreSQL), caching_sha2_password (MySQL).
    #[default]
    Scram,
    /// A salted MD5 of the password (PostgreSQL); for old drivers.
    Md5,
    /// No proof at all.
    Trust,
}

/// What the configuration knows of a user: enough to check a proof.
#[derive(Debug, Clone)]
pub enum Credential {
    /// The password itself.
    Password(Secret),
    /// A stored verifier, in the form the database keeps it.
    Verifier(Secret),
    /// No proof is asked for.
    Trust,
}

/// What a client must meet to sign in. Shared by all logins of a listener.
#[derive(Debug, Clone)]
pub struct LoginTerms {
    /// Whether TLS can be offered.
    pub tls_offered: bool,
    /// Whether a client without TLS is refused.
    pub tls_required: bool,
    /// The method for users that do not say otherwise, and for unknown users.
    pub method: AuthMethod,
    /// Seeds what an unknown user is shown, so that it looks like a known one, and nonces of numbered connections. The same
    /// for as long as the process lives.
    pub mock_secret: Arc<[u8; 32]>,
    /// What databases reported when Splitpool signed in to them, for a protocol in which the
    /// database speaks first.
    pub announced: Reported,
    /// Opens passwords that clients without TLS seal, for a protocol in which they do. `None` where nobody's password
    /// must be told: what cannot be checked otherwise is wrong then.
    pub key_pair: Option<Arc<KeyPair>>,
    /// The number of the next connection, for a protocol that tells it before the sign-in.
    pub next_number: Arc<AtomicU64>,
}

/// What a client asked for when it signed in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Greeting {
    /// The user's name.
    pub user: String,
    /// The database's name.
    pub database: String,
    /// Session values the client asked for, by lower-case name.
    pub settings: Vec<(String, String)>,
    /// Whether the client understands long cancel keys.
    pub long_keys: bool,
    /// What was agreed on with the client, as bits of the protocol; 0 where it knows none.
    pub abilities: u64,
    /// What of it a backend must have agreed on as well to serve this client.
    pub flavour: u64,
}

/// What a login wants next.
#[derive(Debug)]
pub enum LoginStep<K> {
    /// Send `out`, then read more.
    More,
    /// Send `out`, then shake hands for TLS, then call `tls_started`. Input that was not
    /// consumed came in clear and must end the connection, never be taken into TLS.
    UpgradeTls,
    /// The client began TLS without waiting for an answer: what it sent and was not consumed is the
    /// start of the handshake. Refuse it unless it agrees on the application protocol (ALPN),
    /// then call `tls_started`.
    DirectTls {
        /// The application protocol's name, where TLS was not asked for in another way.
        alpn: Option<&'static [u8]>,
    },
    /// The client named itself: call `credential` with what is known of it.
    Identify,
    /// This connection only wants something cancelled.
    Cancel(K),
    /// The client has proven itself; `greeting` says what it wants.
    Done,
}

/// We play the database: a client signs in.
pub trait Login: Send {
    /// What a client may ask to be cancelled by.
    type CancelKey;

    /// A login that has not seen a byte.
    fn new(terms: Arc<LoginTerms>) -> Self;
    /// A login on a connection that has signed in before and has these `abilities` and this `key`; what comes next
    /// is the client's wish to be somebody else. `None` where the protocol knows no such wish.
    fn again(terms: Arc<LoginTerms>, abilities: u64, key: &Self::CancelKey) -> Option<Self>
    where
        Self: Sized;
    /// Appends what the database says first, if it does.
    fn start(&mut self, out: &mut Vec<u8>);
    /// Judges `input`, all that came and was not consumed yet. Returns how much was consumed.
    fn feed(&mut self, input: &[u8], out: &mut Vec<u8>)
    -> Result<(usize, LoginStep<Self::CancelKey>), Fault>;
    /// Nobody can listen to this connection: it is inside TLS, or stays on this machine.
    fn in_private(&mut self);
    /// TLS is up. The certificate (DER) that we showed, for channel binding.
    fn tls_started(&mut self, certificate: Option<&[u8]>);
    /// Answers `LoginStep::Identify`. `None` is an unknown user, which must not show.
    fn credential(
        &mut self,
        known: Option<&Verifier>,
        out: &mut Vec<u8>,
    ) -> Result<LoginStep<Self::CancelKey>, Fault>;
    /// Who signs in and what for. Complete once `Identify` was returned.
    fn greeting(&self) -> &Greeting;
    /// The key that the client was told before it signed in, if this protocol has it so.
    fn key(&self) -> Option<Self::CancelKey>;
    /// Appends what a client is told once it has signed in: the values that the database
    /// reports, the key to cancel with, and that it may begin.
    fn welcome(&mut self, reported: &Reported, key: &Self::CancelKey, out: &mut Vec<u8>);
    /// Appends `fault`, which ends the connection.
    fn refuse(&mut self, fault: &Fault, out: &mut Vec<u8>);
}

/// A credential made ready for checking: whatever is slow was done once.
#[derive(Debug, Clone)]
pub struct Verifier {
    /// The method this user proves itself by.
    pub method: AuthMethod,
    /// What the proof is checked against.
    pub credential: Credential,
    /// The salted password in the database's stored form, kept so that a sign-in costs no key stretching.
    pub stretched: Option<Secret>,
}

/// How a backend connection may use TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DialTls {
    /// Never.
    #[default]
    Off,
    /// If the database offers it.
    Prefer,
    /// Or not at all; no byte of a credential before it is up.
    Require,
}

/// What we sign in to a backend with.
#[derive(Debug, Clone)]
pub struct DialTerms {
    /// The user.
    pub user: String,
    /// The password, if there is one.
    pub password: Option<Secret>,
    /// The database.
    pub database: String,
    /// Whether TLS is asked for.
    pub tls: DialTls,
    /// What a `Greeting` says of it: the client that the backend is to serve.
    pub flavour: u64,
}

/// What a dial wants next.
#[derive(Debug)]
pub enum DialStep<M> {
    /// Send `out`, then read more.
    More,
    /// Shake hands for TLS, then call `tls_started`.
    UpgradeTls,
    /// Signed in.
    Done(M),
}

/// What a refusal tells of the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// It is starting or stopping: it serves nobody.
    Down,
    /// It is full, or cannot serve for another reason of its own: others may.
    Endpoint,
    /// Who signs in is refused, and would be elsewhere.
    Identity,
}

/// Why a backend could not be signed in to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// The database said no, with its own code and message.
    #[error("the database refused the connection: {message} ({code})")]
    Refused {
        /// SQLSTATE (PostgreSQL), errno and SQLSTATE with a slash between them (MySQL).
        code: String,
        /// The database's sentence.
        message: String,
        /// Whom that concerns.
        blame: Blame,
    },
    /// The database does not offer what we insist on.
    #[error("{0}")]
    Insufficient(&'static str),
    /// The database broke its protocol.
    #[error("the database broke its protocol: {0}")]
    Nonsense(&'static str),
}

/// We play the client: we sign in to a database.
pub trait Dial: Send + 'static {
    /// What the signed-in connection holds.
    type Memory;

    /// A dial that has not sent a byte.
    fn new(terms: DialTerms) -> Self;
    /// Appends what we say first, if we do.
    fn start(&mut self, out: &mut Vec<u8>);
    /// Judges `input`, all that came and was not consumed yet. Returns how much was consumed.
    fn feed(&mut self, input: &[u8], out: &mut Vec<u8>)
    -> Result<(usize, DialStep<Self::Memory>), DialError>;
    /// TLS is up: appends what follows. The certificate (DER) the database showed, for channel binding.
    fn tls_started(&mut self, certificate: Option<&[u8]>, out: &mut Vec<u8>);
}

/// How a database takes a request to cancel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CancelBy {
    /// These bytes on a new connection, without signing in; the database closes it when done.
    Request(Vec<u8>),
    /// These bytes on a signed-in connection, of the user whose statement it is; the first
    /// frame that comes back says that it is done.
    SignedIn(Vec<u8>),
}
