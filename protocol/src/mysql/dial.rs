//! We play the client: we sign in to a MySQL or MariaDB backend.
//!
//! "Connection Phase". Asks for what the clients of the backend have agreed on, no more and no
//! less, and for session tracking, without which nobody could tell what a session leaves behind.
//! Invariants: no byte of a user's name or a proof leaves before TLS is up where TLS is
//! required; a password in clear leaves only inside TLS, or sealed with the database's key; the
//! database cannot make us read a file of ours. The last step switches the trackers on.

use super::edwards;
use super::flags::{capability as cap, mark};
use super::frame::{self, HEADER, Reader};
use super::hello::{Answer, COLLATION, Hello};
use super::memory::MyMemory;
use super::messages;
use super::own;
use super::proof::{NONCE, Plugin, hidden};
use crate::Secret;
use crate::handshake::{Blame, Dial, DialError, DialStep, DialTerms, DialTls};
use crate::key_pair::seal;

/// Bytes of one message of the sign-in.
const MESSAGE_MAX: usize = 32 * 1024;

/// We, as a client that signs in.
pub struct MyDial {
    terms: DialTerms,
    hello: Option<Hello>,
    nonce: [u8; NONCE],
    sequence: u8,
    tls: bool,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waits for the greeting.
    Greeting,
    /// Waits for `tls_started`.
    Tls,
    /// Waits for a verdict on our proof, or for further questions.
    Proof(Option<Plugin>),
    /// Waits for the database's public key.
    Key,
    /// Waits for the verdict; no more questions.
    Verdict,
    /// Waits for the answer to the trackers' being switched on.
    Trackers,
    /// Signed in or refused.
    Over,
}

impl Dial for MyDial {
    type Memory = MyMemory;

    fn new(terms: DialTerms) -> Self {
        Self { terms, hello: None, nonce: [0; NONCE], sequence: 0, tls: false, phase: Phase::Greeting }
    }

    fn start(&mut self, _out: &mut Vec<u8>) {}

    fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(usize, DialStep<MyMemory>), DialError> {
        let mut used = 0;
        loop {
            let rest = input.get(used..).unwrap_or_default();
            let head = frame::head(rest).map_err(|error| DialError::Nonsense(error.0))?;
            let Some(head) = head else { return Ok((used, DialStep::More)) };
            if head.body > MESSAGE_MAX {
                return Err(DialError::Nonsense("a message of the sign-in is too long"));
            }
            let Some(payload) = rest.get(HEADER..head.len()) else { return Ok((used, DialStep::More)) };
            if self.phase != Phase::Greeting && frame::sequence(rest) != self.sequence {
                return Err(DialError::Nonsense("packets are out of order"));
            }
            self.sequence = frame::sequence(rest).wrapping_add(1);
            used += head.len();
            let step = self.judge(head.tag, payload, out)?;
            if !matches!(step, DialStep::More) {
                return Ok((used, step));
            }
        }
    }

    fn tls_started(&mut self, _certificate: Option<&[u8]>, out: &mut Vec<u8>) {
        if self.phase == Phase::Tls {
            self.tls = true;
            self.name(out);
        }
    }
}

impl MyDial {
    fn judge(&mut self, tag: u8, payload: &[u8], out: &mut Vec<u8>) -> Result<DialStep<MyMemory>, DialError> {
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        if tag == mark::ERROR && !payload.is_empty() {
            return Err(refused(payload));
        }
        match (phase, tag) {
            (Phase::Greeting, _) => self.greeted(payload, out),
            (Phase::Proof(_) | Phase::Verdict, mark::OK) => {
                let is_mariadb = self.hello.as_ref().is_some_and(Hello::is_mariadb);
                let attributes = self.capabilities() & cap::QUERY_ATTRIBUTES != 0;
                own::query(own::track(is_mariadb), attributes, out);
                (self.sequence, self.phase) = (1, Phase::Trackers);
                Ok(DialStep::More)
            }
            (Phase::Proof(_), mark::EOF) => self.switched(payload, out),
            (Phase::Proof(plugin), mark::MORE_DATA) => self.asked(plugin, payload, out),
            (Phase::Key, mark::MORE_DATA) => {
                let hidden = hidden(self.password()?, &self.nonce);
                let sealed = seal(&hidden, payload.get(1..).unwrap_or_default());
                let sealed = sealed.ok_or(DialError::Nonsense("the database's public key is of no use"))?;
                self.say(&sealed, out);
                self.phase = Phase::Verdict;
                Ok(DialStep::More)
            }
            (Phase::Trackers, mark::OK) => {
                let hello = self.hello.take().ok_or(DialError::Nonsense("no greeting"))?;
                Ok(DialStep::Done(MyMemory::signed_in(&hello, self.capabilities(), &self.terms.database)))
            }
            _ => Err(DialError::Nonsense("an unexpected message during the sign-in")),
        }
    }

    fn greeted(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<DialStep<MyMemory>, DialError> {
        let hello = Hello::read(payload).ok_or(DialError::Nonsense("malformed greeting"))?;
        self.nonce = hello.nonce;
        let needed = cap::PROTOCOL_41
            | cap::SECURE_CONNECTION
            | cap::PLUGIN_AUTH
            | cap::PLUGIN_AUTH_LENENC
            | cap::SESSION_TRACK
            | (self.terms.flavour & cap::FLAVOUR);
        if hello.capabilities & needed != needed {
            return Err(DialError::Insufficient("the database lacks abilities that its clients need"));
        }
        let offers_tls = hello.capabilities & cap::SSL != 0;
        self.hello = Some(hello);
        match (self.terms.tls, offers_tls) {
            (DialTls::Require, false) => Err(DialError::Insufficient("the database does not offer TLS")),
            (DialTls::Off, _) | (DialTls::Prefer, false) => {
                self.name(out);
                Ok(DialStep::More)
            }
            (DialTls::Prefer | DialTls::Require, true) => {
                let mut front = Vec::new();
                self.answer(cap::SSL).put_front(&mut front);
                self.say(&front, out);
                self.phase = Phase::Tls;
                Ok(DialStep::UpgradeTls)
            }
        }
    }

    /// What we ask for.
    fn capabilities(&self) -> u64 {
        let database = if self.terms.database.is_empty() { 0 } else { cap::CONNECT_WITH_DB };
        cap::LONG_PASSWORD
            | cap::LONG_FLAG
            | cap::PROTOCOL_41
            | cap::TRANSACTIONS
            | cap::SECURE_CONNECTION
            | cap::PLUGIN_AUTH
            | cap::PLUGIN_AUTH_LENENC
            | cap::SESSION_TRACK
            | (self.terms.flavour & cap::FLAVOUR)
            | database
    }

    fn answer(&self, more: u64) -> Answer {
        let capabilities = self.capabilities() | more;
        // Sessions bring a collation of their own.
        Answer { capabilities, collation: COLLATION.into(), ..Answer::default() }
    }

    /// Says who we are, with a proof by the way that the database prefers.
    fn name(&mut self, out: &mut Vec<u8>) {
        let preferred = self.hello.as_ref().and_then(|hello| Plugin::named(&hello.plugin));
        let plugin = preferred.unwrap_or(Plugin::Native);
        let answer = Answer {
            user: self.terms.user.as_bytes().to_vec(),
            proof: self
                .terms
                .password
                .as_ref()
                .map(|password| plugin.prove(password, &self.nonce))
                .unwrap_or_default(),
            database: self.terms.database.as_bytes().to_vec(),
            plugin: plugin.name().as_bytes().to_vec(),
            ..self.answer(if self.tls { cap::SSL } else { 0 })
        };
        let mut payload = Vec::new();
        answer.put(&mut payload);
        self.say(&payload, out);
        self.phase = Phase::Proof(Some(plugin));
    }

    /// The database wants another plugin, and gives another nonce.
    fn switched(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<DialStep<MyMemory>, DialError> {
        let mut reader = Reader(payload);
        reader.byte();
        let name = reader
            .zero_text()
            .ok_or(DialError::Insufficient("the database asks for passwords of MySQL 4.0"))?;
        let plugin = Plugin::named(name);
        for (place, byte) in self.nonce.iter_mut().zip(reader.0) {
            *place = *byte;
        }
        match (plugin, name) {
            (Some(plugin), _) => {
                let password = self.terms.password.clone();
                let proof = password.map(|password| plugin.prove(&password, &self.nonce));
                self.say(&proof.unwrap_or_default(), out);
                self.phase = Phase::Proof(Some(plugin));
            }
            (None, b"mysql_clear_password" | b"sha256_password") if self.tls => {
                self.say_password(out)?;
                self.phase = Phase::Verdict;
            }
            (None, b"client_ed25519") => {
                let nonce = reader.0.get(..edwards::NONCE);
                let nonce = nonce.ok_or(DialError::Nonsense("a nonce is too short"))?;
                let signature = edwards::sign(self.password()?, nonce);
                self.say(&signature, out);
                self.phase = Phase::Verdict;
            }
            (None, b"sha256_password") => {
                self.say(&[1], out);
                self.phase = Phase::Key;
            }
            (None, b"mysql_clear_password") => {
                return Err(DialError::Insufficient(
                    "the database asks for the password in clear, without TLS",
                ));
            }
            _ => {
                return Err(DialError::Insufficient(
                    "the database asks for a way to sign in that is not supported",
                ));
            }
        }
        Ok(DialStep::More)
    }

    /// `caching_sha2_password` has more to say: the fast way worked, or the password is needed.
    fn asked(
        &mut self,
        plugin: Option<Plugin>,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<DialStep<MyMemory>, DialError> {
        match (plugin, payload) {
            (Some(Plugin::Sha2), [mark::MORE_DATA, 3]) => self.phase = Phase::Verdict,
            (Some(Plugin::Sha2), [mark::MORE_DATA, 4]) if self.tls => {
                self.say_password(out)?;
                self.phase = Phase::Verdict;
            }
            (Some(Plugin::Sha2), [mark::MORE_DATA, 4]) => {
                self.say(&[2], out);
                self.phase = Phase::Key;
            }
            _ => return Err(DialError::Nonsense("an unexpected question during the sign-in")),
        }
        Ok(DialStep::More)
    }

    fn password(&self) -> Result<&Secret, DialError> {
        let known = self.terms.password.as_ref();
        known.ok_or(DialError::Insufficient("the database asks for a password and none is configured"))
    }

    fn say_password(&mut self, out: &mut Vec<u8>) -> Result<(), DialError> {
        let mut clear = zeroize::Zeroizing::new(self.password()?.expose().as_bytes().to_vec());
        clear.push(0);
        self.say(&clear, out);
        Ok(())
    }

    fn say(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        self.sequence = frame::put(out, self.sequence, payload);
    }
}

fn refused(payload: &[u8]) -> DialError {
    let fields = messages::read_error(payload);
    let blame = match fields.errno {
        // Starting, stopping.
        1053 | 1077 | 1079 | 1927 => Blame::Down,
        // Too many connections, of all or of this user; out of memory or of files; blocked host.
        1040 | 1041 | 1129 | 1130 | 1135 | 1203 | 1226 => Blame::Endpoint,
        _ => Blame::Identity,
    };
    DialError::Refused { code: fields.code(), message: fields.message, blame }
}
