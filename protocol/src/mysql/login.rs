//! We play the database: a client names itself and proves who it is.
//!
//! "Connection Phase". The greeting carries the version, the default way to sign in and the
//! abilities of the databases behind us, as they were announced when Splitpool signed in there.
//! The fast way of either plugin proves a password that the configuration has; where that way
//! fails, `caching_sha2_password` asks for the password itself, as databases do.
//! Invariants: a client that must use TLS and does not is refused before its proof is looked
//! at; a password is asked for where nobody can listen, or sealed with our public key, and is
//! not taken in any other way; a user that is not known fails like one whose password is
//! wrong. The sequence numbers go on through the handshake and are kept here.

use super::CancelKey;
use super::flags::{capability as cap, mark, status};
use super::frame::{self, HEADER};
use super::hello::{Answer, COLLATION, Hello, TLS_REQUEST};
use super::known::is_password;
use super::memory::{AUTOCOMMIT, is_on};
use super::messages::{self, Done, printable};
use super::proof::{self, NONCE, Plugin};
use crate::fault::{Cause, Fault};
use crate::handshake::{AuthMethod, Credential, Greeting, Login, LoginStep, LoginTerms, Verifier};
use crate::{Reported, Secret};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes of a message of the handshake; connection attributes may take 64 KiB with others.
const MESSAGE_MAX: usize = 16 * 1024;

/// Bytes of a user's name that a fault repeats: MariaDB's names have 80 characters at most.
const NAME_MAX: usize = 80;

/// The first number that clients are given. A database counts from 1, so that its own numbers
/// and ours are not mistaken for each other.
pub const FIRST_NUMBER: u32 = 1 << 31;

/// The bits of a number that go over the wire.
const NUMBER: u64 = (FIRST_NUMBER - 1) as u64;

/// What is announced while no database has been signed in to.
const VERSION: &str = "8.0.0-splitpool";

/// By which a client asks for our public key.
const KEY_REQUEST: u8 = 2;
/// What `caching_sha2_password` says of the fast way: it has worked.
const FAST_DONE: u8 = 3;
/// It has not: the password itself is wanted.
const FULL_WANTED: u8 = 4;

type Step = LoginStep<CancelKey>;

/// A client that signs in to MySQL or MariaDB.
pub struct MyLogin {
    terms: Arc<LoginTerms>,
    greeting: Greeting,
    thread: u32,
    nonce: [u8; NONCE],
    offered: u64,
    announced_plugin: Plugin,
    /// What both sides agreed on, once the client has said.
    agreed: u64,
    plugin: Option<Plugin>,
    /// It named another plugin of those that came with `caching_sha2_password`.
    knows_sha2: bool,
    proof: Vec<u8>,
    sequence: u8,
    tls: bool,
    /// Nobody can listen.
    private: bool,
    /// The nonce of its greeting, if it has signed in before and wants to be another.
    greeted: Option<[u8; NONCE]>,
    phase: Phase,
}

enum Phase {
    /// Waits for the answer to the greeting, or for a request for TLS.
    Answer,
    /// Waits for the command by which a client becomes another.
    Change,
    /// Waits for `tls_started`.
    Tls,
    /// Waits for `credential`.
    Named,
    /// Waits for the proof by the plugin that was switched to. What is known of the user.
    Switched(Option<Credential>),
    /// Waits for the password, or for a request for our public key; `true` once that was answered.
    Full(Option<Credential>, bool),
    /// Signed in or refused.
    Over,
}

impl Login for MyLogin {
    type CancelKey = CancelKey;

    fn new(terms: Arc<LoginTerms>) -> Self {
        let number = terms.next_number.fetch_add(1, Ordering::Relaxed);
        let announced = |name: &str| terms.announced.value(name);
        let plugin = announced("default_authentication_plugin").map(str::as_bytes);
        let abilities = announced("capabilities").and_then(|text| text.parse().ok());
        let abilities: u64 = abilities.unwrap_or(cap::FLAVOUR_OF_ALL);
        let tls = if terms.tls_offered { cap::SSL } else { 0 };
        Self {
            greeting: Greeting::default(),
            thread: FIRST_NUMBER | (number & NUMBER) as u32,
            nonce: proof::nonce(&terms.mock_secret, number),
            offered: cap::OURS | (abilities & cap::FLAVOUR) | tls,
            announced_plugin: plugin.and_then(Plugin::named).unwrap_or(Plugin::Sha2),
            agreed: 0,
            plugin: None,
            knows_sha2: false,
            proof: Vec::new(),
            sequence: 0,
            tls: false,
            private: false,
            greeted: None,
            phase: Phase::Answer,
            terms,
        }
    }

    fn again(terms: Arc<LoginTerms>, abilities: u64, key: &CancelKey) -> Option<Self> {
        // The last number given that has these bits, so a nonce need not be kept for as long as a session lasts.
        let now = terms.next_number.load(Ordering::Relaxed);
        let since = now.wrapping_sub(1).wrapping_sub(key.0.into()) & NUMBER;
        let greeted = Some(proof::nonce(&terms.mock_secret, now.wrapping_sub(1).wrapping_sub(since)));
        let login = Self::new(terms);
        Some(Self {
            thread: key.0,
            offered: abilities,
            agreed: abilities,
            greeted,
            phase: Phase::Change,
            ..login
        })
    }

    fn start(&mut self, out: &mut Vec<u8>) {
        if matches!(self.phase, Phase::Change) {
            return;
        }
        let hello = Hello {
            version: self.terms.announced.value("version").unwrap_or(VERSION).as_bytes().to_vec(),
            thread: self.thread,
            nonce: self.nonce,
            capabilities: self.offered,
            collation: COLLATION,
            plugin: self.announced_plugin.name().as_bytes().to_vec(),
        };
        let at = self.begin(out);
        hello.put(out);
        frame::end(out, at);
    }

    fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(usize, Step), Fault> {
        if matches!(self.phase, Phase::Tls | Phase::Named) {
            return Ok((0, LoginStep::More));
        }
        if input.len() < HEADER {
            return Ok((0, LoginStep::More));
        }
        // An empty proof is a packet without a payload, so the header must be judged alone.
        let length = input.first_chunk::<3>().map_or(0, |&[a, b, c]| u32::from_le_bytes([a, b, c, 0]));
        let length = length as usize;
        if length > MESSAGE_MAX {
            return Err(violation("a message of the handshake is too long"));
        }
        let Some(payload) = input.get(HEADER..HEADER + length) else { return Ok((0, LoginStep::More)) };
        if frame::sequence(input) != self.sequence {
            return Err(violation("packets are out of order"));
        }
        self.sequence = self.sequence.wrapping_add(1);
        let step = match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Answer => self.answer(payload)?,
            Phase::Change => {
                let answer = Answer::read_change(payload, self.agreed);
                self.named(answer.ok_or_else(|| violation("malformed change of the user"))?)?
            }
            Phase::Switched(known) => {
                self.proof = proof_of(payload);
                self.check(known, out)?
            }
            Phase::Full(known, false) if payload == [KEY_REQUEST] && !self.private => {
                self.tell_key(out)?;
                self.phase = Phase::Full(known, true);
                LoginStep::More
            }
            Phase::Full(known, _) => self.told(known.as_ref(), payload)?,
            Phase::Tls | Phase::Named | Phase::Over => {
                return Err(violation("a message came after the end of the handshake"));
            }
        };
        Ok((HEADER + length, step))
    }

    fn in_private(&mut self) {
        self.private = true;
    }

    fn tls_started(&mut self, _certificate: Option<&[u8]>) {
        if matches!(self.phase, Phase::Tls) {
            (self.tls, self.private) = (true, true);
            self.phase = Phase::Answer;
        }
    }

    fn credential(&mut self, known: Option<&Verifier>, out: &mut Vec<u8>) -> Result<Step, Fault> {
        if !matches!(self.phase, Phase::Named) {
            self.phase = Phase::Over;
            return Err(Fault::fatal(Cause::Internal, "a credential was given to a client that has no name"));
        }
        self.phase = Phase::Over;
        let known = match known {
            None if self.terms.method == AuthMethod::Trust => return Err(self.no_entry()),
            None => None,
            Some(Verifier { credential: Credential::Trust, .. }) => return Ok(LoginStep::Done),
            Some(verifier) => Some(verifier.credential.clone()),
        };
        let plugin = match &known {
            // Of a hash that is not its own the other plugin can make nothing.
            Some(Credential::Verifier(stored)) if proof::stored_native(stored.expose()).is_none() => {
                Plugin::Sha2
            }
            _ => self.plugin.unwrap_or(match self.announced_plugin {
                // It was offered one and came with neither: the other is what is left.
                Plugin::Sha2 if !self.knows_sha2 => Plugin::Native,
                _ => Plugin::Sha2,
            }),
        };
        // A nonce belongs to the plugin that is announced with it: some clients use it for no other,
        // and come without a proof.
        let has_nonce = plugin == self.announced_plugin || !self.proof.is_empty();
        let chosen = self.plugin == Some(plugin);
        match self.greeted {
            None if chosen && has_nonce => return self.check(known, out),
            // MariaDB's C connector proves itself by the nonce of the greeting, whatever it is told later.
            Some(nonce)
                if chosen && plugin == Plugin::Native && self.proves(known.as_ref(), plugin, &nonce) =>
            {
                return Ok(LoginStep::Done);
            }
            _ => {}
        }
        self.plugin = Some(plugin);
        let at = self.begin(out);
        out.push(mark::EOF);
        out.extend_from_slice(plugin.name().as_bytes());
        out.push(0);
        out.extend_from_slice(&self.nonce);
        out.push(0);
        frame::end(out, at);
        self.phase = Phase::Switched(known);
        Ok(LoginStep::More)
    }

    fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    fn key(&self) -> Option<CancelKey> {
        Some(CancelKey(self.thread))
    }

    fn welcome(&mut self, reported: &Reported, _key: &CancelKey, out: &mut Vec<u8>) {
        let autocommit = reported.value(AUTOCOMMIT).is_none_or(is_on);
        let status = if autocommit { status::AUTOCOMMIT } else { 0 };
        let done = Done { status, ..Done::default() };
        messages::put_ok(out, self.sequence, mark::OK, &done);
        self.sequence = self.sequence.wrapping_add(1);
    }

    fn refuse(&mut self, fault: &Fault, out: &mut Vec<u8>) {
        messages::fault(fault, self.sequence, self.agreed != 0, out);
        self.sequence = self.sequence.wrapping_add(1);
    }
}

impl MyLogin {
    fn begin(&mut self, out: &mut Vec<u8>) -> usize {
        let at = frame::begin(out, self.sequence);
        self.sequence = self.sequence.wrapping_add(1);
        at
    }

    fn answer(&mut self, payload: &[u8]) -> Result<Step, Fault> {
        let answer = Answer::read(payload).ok_or_else(|| violation("malformed answer to the greeting"))?;
        if answer.capabilities & cap::PROTOCOL_41 == 0 {
            return Err(violation("the protocol of MySQL 4.0 is not supported"));
        }
        self.agreed = answer.capabilities & self.offered;
        if payload.len() == TLS_REQUEST {
            if self.agreed & cap::SSL == 0 || self.tls {
                return Err(violation("TLS was asked for that is not offered, or twice"));
            }
            self.phase = Phase::Tls;
            // No answer is due: the handshake may have come with the request.
            return Ok(LoginStep::DirectTls { alpn: None });
        }
        if self.terms.tls_required && !self.tls {
            return Err(Fault::fatal(
                Cause::NotAllowed,
                "Connections using insecure transport are prohibited",
            )
            .code("3159/HY000"));
        }
        self.named(answer)
    }

    /// The client has said who it is.
    fn named(&mut self, answer: Answer) -> Result<Step, Fault> {
        let text = |bytes: Vec<u8>, what| String::from_utf8(bytes).map_err(|_| violation(what));
        self.greeting.user = text(answer.user, "a user's name is not UTF-8")?;
        self.greeting.database = text(answer.database, "a database's name is not UTF-8")?;
        let many = self.agreed & cap::MULTI_STATEMENTS != 0;
        self.greeting.settings = vec![
            (super::own::COLLATION_ID.to_owned(), answer.collation.to_string()),
            (super::own::MULTI_STATEMENTS.to_owned(), u8::from(many).to_string()),
        ];
        // Several statements have several results.
        let implied = if many { cap::MULTI_RESULTS } else { 0 };
        self.greeting.flavour = (self.agreed | implied) & self.offered & cap::FLAVOUR;
        self.greeting.abilities = self.agreed | implied;
        self.plugin = match Plugin::named(&answer.plugin) {
            // A client that names none signs in the way that was usual when none could be named.
            None if answer.plugin.is_empty() => Some(Plugin::Native),
            plugin => plugin,
        };
        // Newer clients may have no other.
        self.knows_sha2 = answer.plugin == b"sha256_password";
        self.proof = proof_of(&answer.proof);
        self.phase = Phase::Named;
        Ok(LoginStep::Identify)
    }

    /// Whether the proof was made of the user's password and this nonce.
    fn proves(&self, known: Option<&Credential>, plugin: Plugin, nonce: &[u8; NONCE]) -> bool {
        let double = match known {
            Some(Credential::Password(password)) if !password.expose().is_empty() => {
                Some(plugin.double_hash(password))
            }
            Some(Credential::Verifier(stored)) if plugin == Plugin::Native => {
                proof::stored_native(stored.expose())
            }
            // As for PostgreSQL an empty password signs nobody in.
            _ => None,
        };
        // Nobody's hash is all zeros: checking against it takes as long and fails.
        let mock = [0; 32];
        let width = if plugin == Plugin::Native { 20 } else { 32 };
        let against = double.as_deref().or(mock.get(..width)).unwrap_or_default();
        plugin.is_right(against, nonce, &self.proof) && double.is_some()
    }

    /// Judges the proof of the fast way.
    fn check(&mut self, known: Option<Credential>, out: &mut Vec<u8>) -> Result<Step, Fault> {
        let Some(plugin) = self.plugin else { return Err(self.no_entry()) };
        let right = self.proves(known.as_ref(), plugin, &self.nonce);
        let verdict = match (plugin, right) {
            (Plugin::Native, true) => return Ok(LoginStep::Done),
            (Plugin::Native, false) => return Err(self.no_entry()),
            // OK follows.
            (Plugin::Sha2, true) => FAST_DONE,
            (Plugin::Sha2, false) if self.proof.is_empty() => return Err(self.no_entry()),
            (Plugin::Sha2, false) if !self.private && self.terms.key_pair.is_none() => {
                return Err(self.no_entry());
            }
            // For users of all kinds alike, so that none is told from another.
            (Plugin::Sha2, false) => FULL_WANTED,
        };
        let at = self.begin(out);
        out.extend_from_slice(&[mark::MORE_DATA, verdict]);
        frame::end(out, at);
        if right {
            return Ok(LoginStep::Done);
        }
        self.phase = Phase::Full(known, false);
        Ok(LoginStep::More)
    }

    fn tell_key(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        let terms = Arc::clone(&self.terms);
        let Some(key_pair) = &terms.key_pair else { return Err(self.no_entry()) };
        let at = self.begin(out);
        out.push(mark::MORE_DATA);
        out.extend_from_slice(key_pair.public().as_bytes());
        frame::end(out, at);
        Ok(())
    }

    /// The client has told its password: in clear where nobody can listen, sealed elsewhere.
    fn told(&mut self, known: Option<&Credential>, payload: &[u8]) -> Result<Step, Fault> {
        let given = match &self.terms.key_pair {
            _ if self.private => proof::told(payload),
            Some(key_pair) => {
                key_pair.open(payload).and_then(|hidden| proof::uncovered(&hidden, &self.nonce))
            }
            None => None,
        };
        let right =
            |given: &Secret| known.is_some_and(|known| is_password(known, &self.greeting.user, given));
        if given.as_ref().is_some_and(right) { Ok(LoginStep::Done) } else { Err(self.no_entry()) }
    }

    fn no_entry(&mut self) -> Fault {
        self.phase = Phase::Over;
        let user = printable(self.greeting.user.as_bytes(), NAME_MAX);
        let used = if self.proof.is_empty() { "NO" } else { "YES" };
        Fault::fatal(
            Cause::WrongPassword,
            format!("Access denied for user '{user}' (using password: {used})"),
        )
    }
}

/// The proof that a client sent. Without a password some send a zero byte in its place, and wait for the verdict.
fn proof_of(sent: &[u8]) -> Vec<u8> {
    if sent == [0] { Vec::new() } else { sent.to_vec() }
}

fn violation(text: &'static str) -> Fault {
    Fault::fatal(Cause::ProtocolViolation, text).code("1043/08S01")
}
