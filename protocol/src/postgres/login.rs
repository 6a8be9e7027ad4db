//! We play the database: a client names itself and proves who it is.
//!
//! "Message Flow", section Start-up. Invariants: nothing is asked before a client has named
//! itself, and no second name is heard afterwards; a client that must use TLS and does not is
//! refused before it sends a proof; a user that is not known goes through the same messages as
//! one that is, and then fails. ParameterStatus, BackendKeyData and ReadyForQuery are not sent
//! here, because only the caller knows what a backend reports.

use super::scram::{self, Channel, ScramError, Stored};
use super::startup::{self, CancelKey, Hello, Packet};
use super::{frame, messages};
use crate::fault::{Cause, Fault};
use crate::handshake::{AuthMethod, Credential, Greeting, Login, LoginStep, LoginTerms, Verifier};
use crate::{Reported, Secret};
use pgwire::messages::startup::{Authentication, NegotiateProtocolVersion};
use postgres_protocol::password;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bytes of the body of a PasswordMessage or SASL response, as in PostgreSQL.
const PROOF_MAX: usize = 1024;

/// Bytes of a user's name that a fault repeats: PostgreSQL's names are no longer.
const NAME_MAX: usize = 63;

/// The application protocol that a client which begins TLS by itself must name (ALPN).
const ALPN: &[u8] = b"postgresql";

type Step = LoginStep<CancelKey>;

/// A client that signs in to PostgreSQL.
pub struct PgLogin {
    terms: Arc<LoginTerms>,
    greeting: Greeting,
    channel: Channel,
    asked_tls: bool,
    asked_gss: bool,
    tls: bool,
    phase: Phase,
}

enum Phase {
    /// Waits for a packet without a type.
    Startup,
    /// Waits for `tls_started`.
    Tls,
    /// Waits for `credential`.
    Named,
    /// Waits for PasswordMessage.
    Md5(Md5),
    /// Waits for SASLInitialResponse.
    ScramFirst(scram::Exchange),
    /// Waits for SASLResponse.
    ScramLast(scram::Pending),
    /// Signed in or refused.
    Over,
}

/// The password message that is right, unless none is.
struct Md5 {
    expected: Zeroizing<String>,
    doomed: bool,
}

/// How a user proves itself. `None` where no proof can be right.
enum Proof {
    Nothing,
    Md5(Option<Zeroizing<String>>),
    Scram(Option<Stored>),
}

impl Login for PgLogin {
    type CancelKey = CancelKey;

    fn again(_: Arc<LoginTerms>, _: u64, _: &CancelKey) -> Option<Self> {
        None
    }

    fn new(terms: Arc<LoginTerms>) -> Self {
        Self {
            terms,
            greeting: Greeting::default(),
            channel: Channel::default(),
            asked_tls: false,
            asked_gss: false,
            tls: false,
            phase: Phase::Startup,
        }
    }

    fn start(&mut self, _out: &mut Vec<u8>) {}

    fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(usize, Step), Fault> {
        let mut consumed = 0;
        loop {
            let (len, step) = self.message(input.get(consumed..).unwrap_or_default(), out)?;
            consumed += len;
            if len == 0 || !matches!(step, LoginStep::More) {
                return Ok((consumed, step));
            }
        }
    }

    // Nothing that depends on it is ever asked.
    fn in_private(&mut self) {}

    fn tls_started(&mut self, certificate: Option<&[u8]>) {
        if matches!(self.phase, Phase::Tls) {
            self.tls = true;
            self.channel = Channel::tls(certificate);
            self.phase = Phase::Startup;
        }
    }

    fn credential(&mut self, known: Option<&Verifier>, out: &mut Vec<u8>) -> Result<Step, Fault> {
        if !matches!(self.phase, Phase::Named) {
            self.phase = Phase::Over;
            return Err(Fault::fatal(Cause::Internal, "a credential was given to a client that has no name"));
        }
        let proof = match known {
            Some(verifier) => self.proof_of(verifier),
            None => match self.terms.method {
                AuthMethod::Scram => Proof::Scram(None),
                AuthMethod::Md5 => Proof::Md5(None),
                // Nothing hides who is known where nothing is asked.
                AuthMethod::Trust => return Err(self.no_entry()),
            },
        };
        let user = &self.greeting.user;
        match proof {
            Proof::Nothing => {
                self.phase = Phase::Over;
                messages::push(&Authentication::Ok, out);
                return Ok(LoginStep::Done);
            }
            Proof::Md5(stored) => {
                let mut salt = [0; 4];
                aws_lc_rs::rand::fill(&mut salt)
                    .map_err(|_| Fault::fatal(Cause::Internal, "no randomness for a salt"))?;
                let doomed = stored.is_none();
                let stored = stored.unwrap_or_else(|| mock_md5(&self.terms.mock_secret, user));
                messages::push(&Authentication::MD5Password(salt.to_vec()), out);
                self.phase = Phase::Md5(Md5 { expected: salted_md5(&stored, salt), doomed });
            }
            Proof::Scram(stored) => {
                let offered = self.channel.mechanisms().iter().map(|name| (*name).to_owned()).collect();
                messages::push(&Authentication::SASL(offered), out);
                self.phase = Phase::ScramFirst(self.channel.exchange(stored, &self.terms.mock_secret, user));
            }
        }
        Ok(LoginStep::More)
    }

    fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    fn key(&self) -> Option<CancelKey> {
        None
    }

    fn welcome(&mut self, reported: &Reported, key: &CancelKey, out: &mut Vec<u8>) {
        messages::welcome(reported, key, out);
    }

    fn refuse(&mut self, fault: &Fault, out: &mut Vec<u8>) {
        messages::fault(fault, out);
    }
}

impl PgLogin {
    /// Judges one message. Whatever is refused stays refused.
    fn message(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(usize, Step), Fault> {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Startup => self.startup(input, out),
            Phase::Over => Err(violation("a message came after the end of the handshake")),
            waits @ (Phase::Tls | Phase::Named) => {
                self.phase = waits;
                Ok((0, LoginStep::More))
            }
            waits => match proof_message(input)? {
                Some((len, body)) => Ok((len, self.proof(waits, body, out)?)),
                None => {
                    self.phase = waits;
                    Ok((0, LoginStep::More))
                }
            },
        }
    }

    fn startup(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(usize, Step), Fault> {
        let Some((len, packet)) = startup::packet(input)? else {
            self.phase = Phase::Startup;
            return Ok((0, LoginStep::More));
        };
        let alone = len == input.len();
        let step = match packet {
            Packet::Tls if self.asked_tls || self.tls => return Err(violation("TLS was asked for twice")),
            Packet::Tls if !alone => return Err(violation("received unencrypted data after SSL request")),
            Packet::Tls => {
                self.asked_tls = true;
                out.push(if self.terms.tls_offered { b'S' } else { b'N' });
                if self.terms.tls_offered { LoginStep::UpgradeTls } else { LoginStep::More }
            }
            Packet::Gss if self.asked_gss || self.tls => {
                return Err(violation("GSSAPI encryption was asked for twice, or inside TLS"));
            }
            Packet::Gss if !alone => {
                return Err(violation("received unencrypted data after GSSAPI encryption request"));
            }
            Packet::Gss => {
                self.asked_gss = true;
                out.push(b'N');
                LoginStep::More
            }
            Packet::DirectTls if self.tls || self.asked_tls || self.asked_gss => {
                return Err(violation("invalid length of startup packet"));
            }
            Packet::DirectTls if !self.terms.tls_offered => {
                return Err(Fault::fatal(Cause::NotSupported, "TLS is not offered"));
            }
            Packet::DirectTls => LoginStep::DirectTls { alpn: Some(ALPN) },
            Packet::Cancel(key) => return Ok((len, LoginStep::Cancel(key))),
            Packet::Hello(hello) => return self.named(hello, out).map(|step| (len, step)),
        };
        self.phase = match step {
            LoginStep::More => Phase::Startup,
            _ => Phase::Tls,
        };
        Ok((len, step))
    }

    fn named(&mut self, hello: Hello, out: &mut Vec<u8>) -> Result<Step, Fault> {
        if let Some((version, unknown)) = hello.negotiate {
            messages::push(&NegotiateProtocolVersion::new(version.cast_signed(), unknown), out);
        }
        self.greeting = hello.greeting;
        if self.terms.tls_required && !self.tls {
            return Err(Fault::fatal(Cause::NotAllowed, "TLS is required")
                .hint("Connect with sslmode=require or stricter."));
        }
        self.phase = Phase::Named;
        Ok(LoginStep::Identify)
    }

    fn proof(&mut self, waits: Phase, body: &[u8], out: &mut Vec<u8>) -> Result<Step, Fault> {
        match waits {
            Phase::ScramFirst(exchange) => {
                let (mechanism, message) =
                    initial_response(body).ok_or_else(|| violation("malformed SASL response"))?;
                let (reply, pending) =
                    exchange.first(mechanism, message).map_err(|error| self.failed(error))?;
                messages::push(&Authentication::SASLContinue(reply.into()), out);
                self.phase = Phase::ScramLast(pending);
                return Ok(LoginStep::More);
            }
            Phase::ScramLast(pending) => {
                let reply = pending.last(body).map_err(|error| self.failed(error))?;
                messages::push(&Authentication::SASLFinal(reply.into()), out);
            }
            Phase::Md5(md5) => {
                let given =
                    body.strip_suffix(b"\0").ok_or_else(|| violation("malformed password message"))?;
                let right = bool::from(md5.expected.as_bytes().ct_eq(given));
                if !right || md5.doomed {
                    return Err(self.no_entry());
                }
            }
            _ => return Err(violation("a proof came that was not asked for")),
        }
        messages::push(&Authentication::Ok, out);
        Ok(LoginStep::Done)
    }

    /// What to ask a known user for. A stored hash decides the method that it was made for; one
    /// that fits no method is a user without a valid password.
    fn proof_of(&self, verifier: &Verifier) -> Proof {
        let user = &self.greeting.user;
        match (&verifier.credential, verifier.method) {
            (Credential::Trust, _) | (_, AuthMethod::Trust) => Proof::Nothing,
            (Credential::Verifier(hash), AuthMethod::Md5) if is_md5(hash.expose()) => {
                Proof::Md5(Some(Zeroizing::new(hash.expose().to_owned())))
            }
            (Credential::Verifier(hash), _) => Proof::Scram(Stored::read(hash.expose())),
            // As in PostgreSQL an empty password signs nobody in.
            (Credential::Password(password), AuthMethod::Md5) => {
                let usable = !password.expose().is_empty();
                Proof::Md5(usable.then(|| Zeroizing::new(password::md5(password.expose().as_bytes(), user))))
            }
            (Credential::Password(password), AuthMethod::Scram) if password.expose().is_empty() => {
                Proof::Scram(None)
            }
            (Credential::Password(password), AuthMethod::Scram) => match &verifier.stretched {
                Some(stretched) => Proof::Scram(Stored::read(stretched.expose())),
                None => {
                    let salt = scram::salt(&self.terms.mock_secret, user);
                    Proof::Scram(Stored::read(scram::stretch(password, scram::ITERATIONS, salt).expose()))
                }
            },
        }
    }

    fn failed(&mut self, error: ScramError) -> Fault {
        match error {
            ScramError::Malformed => violation("malformed SCRAM message"),
            ScramError::WrongProof => self.no_entry(),
        }
    }

    fn no_entry(&mut self) -> Fault {
        self.phase = Phase::Over;
        let user = messages::printable(self.greeting.user.as_bytes(), NAME_MAX);
        Fault::fatal(Cause::WrongPassword, format!("password authentication failed for user \"{user}\""))
    }
}

/// The PasswordMessage, SASLInitialResponse or SASLResponse at the start of `input`: its length
/// and body. Anything else is refused by its first byte: above all a second StartupMessage.
fn proof_message(input: &[u8]) -> Result<Option<(usize, &[u8])>, Fault> {
    if input.first().is_some_and(|tag| *tag != b'p') {
        return Err(violation("expected a password or SASL response"));
    }
    let Some(head) = frame::head(input)? else { return Ok(None) };
    if head.body > PROOF_MAX {
        return Err(violation("password or SASL response is too long"));
    }
    Ok(input.get(head.header..head.len()).map(|body| (head.len(), body)))
}

/// Mechanism and message of a SASLInitialResponse.
fn initial_response(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mechanism, rest) = frame::split_text(body)?;
    let (length, message) = rest.split_first_chunk::<4>()?;
    (u32::from_be_bytes(*length) as usize == message.len()).then_some((mechanism, message))
}

/// Whether this is `md5` and 32 digits, as PostgreSQL stores it.
fn is_md5(hash: &str) -> bool {
    let digits = hash.strip_prefix("md5").filter(|digits| digits.len() == 32);
    digits.is_some_and(|digits| digits.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')))
}

/// Whether `stored`, in either form that PostgreSQL stores, was made of the password `given` of `user`.
pub fn is_stored_for(stored: &Secret, user: &str, given: &Secret) -> bool {
    if is_md5(stored.expose()) {
        let again = Zeroizing::new(password::md5(given.expose().as_bytes(), user));
        return stored.expose().as_bytes().ct_eq(again.as_bytes()).into();
    }
    Stored::read(stored.expose()).is_some_and(|stored| stored.is_of(given))
}

/// What a client that knows the stored hash answers to `salt`.
fn salted_md5(stored: &str, salt: [u8; 4]) -> Zeroizing<String> {
    let mut context = md5::Context::new();
    context.consume(stored.strip_prefix("md5").unwrap_or(stored));
    context.consume(salt);
    Zeroizing::new(format!("md5{:x}", context.finalize()))
}

fn mock_md5(mock_secret: &[u8; 32], user: &str) -> Zeroizing<String> {
    Zeroizing::new(password::md5(&scram::mock(mock_secret, "md5", user), user))
}

fn violation(text: &'static str) -> Fault {
    Fault::fatal(Cause::ProtocolViolation, text)
}

#[cfg(test)]
mod tests;
