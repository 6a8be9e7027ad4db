//! We play the client: we sign in to a PostgreSQL backend.
//!
//! "Message Flow", section Start-up. Asks for protocol 3.0 and sends nothing but user and
//! database: a pooled connection begins in the state that the database gives everybody, and
//! 3.0 is what every server and every proxy in between accepts (3.2 would bring longer cancel
//! keys, which are taken if they come). Invariants: no byte of a password leaves before TLS is
//! up where TLS is required, a password in clear never leaves without TLS; a server that began
//! SCRAM must end it with its own proof. Nothing is reserved for a length before it is checked.
//! SCRAM stretches the password where `feed` is called: some milliseconds at 4096 iterations,
//! at most some hundred.

use super::memory::PgMemory;
use super::startup::CancelKey;
use super::{frame, messages, scram};
use crate::handshake::{Blame, Dial, DialError, DialStep, DialTerms, DialTls};
use crate::{Head, Secret};
use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use postgres_protocol::message::frontend;
use std::io;

/// Bytes of the body of an error, a notice, or anything not named below.
const BODY_MAX: usize = 1 << 20;
/// Bytes of the body of an authentication request.
const REQUEST_MAX: usize = 8 << 10;
/// Bytes of the body of a ParameterStatus.
const STATUS_MAX: usize = 8 << 10;
/// How many values may be reported.
const REPORTED_MAX: usize = 256;
/// How many messages a sign-in may take.
const MESSAGES_MAX: u32 = 1024;
/// The most key stretching a server may ask for; postgres-protocol refuses more as well.
const ITERATIONS_MAX: u64 = 100_000;

/// A sign-in to PostgreSQL.
pub struct PgDial {
    terms: DialTerms,
    phase: Phase,
    tls: bool,
    /// What `tls-server-end-point` binds to, if the certificate allows it.
    end_point: Option<Vec<u8>>,
    messages: u32,
    key: Option<CancelKey>,
    reported: Vec<(String, String)>,
}

enum Phase {
    /// Nothing was sent.
    Fresh,
    /// SSLRequest was sent.
    TlsAsked,
    /// Waits for `tls_started`.
    TlsStarting,
    /// StartupMessage was sent.
    Named,
    /// A password was sent.
    PasswordSent,
    /// SASLInitialResponse was sent.
    ScramFirst(Box<ScramSha256>),
    /// The proof was sent.
    ScramLast(Box<ScramSha256>),
    /// The server has proven itself.
    ScramProven,
    /// AuthenticationOk came.
    Settling,
    /// Signed in or failed.
    Over,
}

impl Dial for PgDial {
    type Memory = PgMemory;

    fn new(terms: DialTerms) -> Self {
        Self {
            terms,
            phase: Phase::Fresh,
            tls: false,
            end_point: None,
            messages: 0,
            key: None,
            reported: Vec::new(),
        }
    }

    fn start(&mut self, out: &mut Vec<u8>) {
        match self.terms.tls {
            DialTls::Off => self.name(out),
            DialTls::Prefer | DialTls::Require => {
                self.phase = Phase::TlsAsked;
                append(out, |buffer| {
                    frontend::ssl_request(buffer);
                    Ok(())
                });
            }
        }
    }

    fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(usize, DialStep<PgMemory>), DialError> {
        let mut consumed = 0;
        loop {
            let (len, step) = self.message(input.get(consumed..).unwrap_or_default(), out)?;
            consumed += len;
            if len == 0 || !matches!(step, DialStep::More) {
                return Ok((consumed, step));
            }
        }
    }

    fn tls_started(&mut self, certificate: Option<&[u8]>, out: &mut Vec<u8>) {
        if matches!(self.phase, Phase::TlsStarting) {
            self.tls = true;
            self.end_point = certificate.and_then(scram::end_point);
            self.name(out);
        }
    }
}

impl PgDial {
    /// Sends StartupMessage. A name that cannot be sent ends the dial at the next `feed`.
    fn name(&mut self, out: &mut Vec<u8>) {
        let parameters = [("user", self.terms.user.as_str()), ("database", self.terms.database.as_str())];
        let sent = append(out, |buffer| frontend::startup_message(parameters, buffer));
        self.phase = if sent { Phase::Named } else { Phase::Over };
    }

    /// Judges one message. Whatever fails stays failed.
    fn message(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(usize, DialStep<PgMemory>), DialError> {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Over => Err(DialError::Nonsense("a message came after the end of the handshake")),
            Phase::TlsAsked => self.tls_answer(input, out),
            waits @ (Phase::Fresh | Phase::TlsStarting) => {
                self.phase = waits;
                Ok((0, DialStep::More))
            }
            waits => {
                let Some((head, body)) = whole(input)? else {
                    self.phase = waits;
                    return Ok((0, DialStep::More));
                };
                self.messages += 1;
                if self.messages > MESSAGES_MAX {
                    return Err(DialError::Nonsense("too many messages before the end of the handshake"));
                }
                Ok((head.len(), self.judge(waits, head.tag, body, out)?))
            }
        }
    }

    /// One byte answers SSLRequest. Whatever else comes in clear is not worth believing, so not
    /// even an error's text is passed on.
    fn tls_answer(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(usize, DialStep<PgMemory>), DialError> {
        match (input, self.terms.tls) {
            ([], _) => {
                self.phase = Phase::TlsAsked;
                Ok((0, DialStep::More))
            }
            ([b'S'], _) => {
                self.phase = Phase::TlsStarting;
                Ok((1, DialStep::UpgradeTls))
            }
            ([b'N'], DialTls::Require) => Err(DialError::Insufficient("the database does not offer TLS")),
            ([b'N'], _) => {
                self.name(out);
                Ok((1, DialStep::More))
            }
            ([b'S' | b'N', ..], _) => {
                Err(DialError::Nonsense("unencrypted data after the answer to SSLRequest"))
            }
            ([b'E', ..], _) => Err(DialError::Nonsense("an error instead of an answer to SSLRequest")),
            _ => Err(DialError::Nonsense("not an answer to SSLRequest")),
        }
    }

    fn judge(
        &mut self,
        waits: Phase,
        tag: u8,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<DialStep<PgMemory>, DialError> {
        match (tag, waits) {
            (b'E', _) => {
                let fields = messages::error_fields(body);
                let blame = blame(&fields.code);
                return Err(DialError::Refused { code: fields.code, message: fields.message, blame });
            }
            (b'N', waits) => self.phase = waits,
            (b'R', waits) => self.phase = self.request(waits, body, out)?,
            (b'v', Phase::Named) => {
                negotiated(body)?;
                self.phase = Phase::Named;
            }
            (b'S', Phase::Settling) => {
                self.status(body)?;
                self.phase = Phase::Settling;
            }
            (b'K', Phase::Settling) => {
                let key = body.split_first_chunk::<4>();
                let key = key.and_then(|(pid, secret)| CancelKey::new(u32::from_be_bytes(*pid), secret));
                self.key = Some(key.ok_or(DialError::Nonsense("malformed BackendKeyData"))?);
                self.phase = Phase::Settling;
            }
            (b'Z', Phase::Settling) if body == b"I" => {
                // A proxy may give no key: this one cancels nothing.
                let key = self.key.take().or_else(|| CancelKey::new(0, &[0; 4]));
                let key = key.ok_or(DialError::Nonsense("no BackendKeyData"))?;
                return Ok(DialStep::Done(PgMemory::signed_in(key, std::mem::take(&mut self.reported))));
            }
            _ => return Err(DialError::Nonsense("unexpected message during sign-in")),
        }
        Ok(DialStep::More)
    }

    /// Answers an authentication request.
    fn request(&self, waits: Phase, body: &[u8], out: &mut Vec<u8>) -> Result<Phase, DialError> {
        let Some((code, data)) = body.split_first_chunk::<4>() else {
            return Err(DialError::Nonsense("malformed authentication request"));
        };
        match (u32::from_be_bytes(*code), waits) {
            (0, Phase::Named | Phase::PasswordSent | Phase::ScramProven) if data.is_empty() => {
                Ok(Phase::Settling)
            }
            (3, Phase::Named) if !self.tls => {
                Err(DialError::Insufficient("the database asks for the password in clear, without TLS"))
            }
            (3, Phase::Named) if data.is_empty() => {
                let password = self.password()?;
                self.send_password(password.expose().as_bytes(), out)
            }
            (5, Phase::Named) => {
                let salt =
                    data.try_into().map_err(|_| DialError::Nonsense("malformed authentication request"))?;
                let password = self.password()?;
                let hash = md5_hash(self.terms.user.as_bytes(), password.expose().as_bytes(), salt);
                self.send_password(hash.as_bytes(), out)
            }
            (10, Phase::Named) => self.scram_begin(data, out),
            (11, Phase::ScramFirst(mut exchange)) => {
                bounded(data)?;
                exchange.update(data).map_err(|_| DialError::Nonsense("malformed SCRAM message"))?;
                append(out, |buffer| frontend::sasl_response(exchange.message(), buffer));
                Ok(Phase::ScramLast(exchange))
            }
            (12, Phase::ScramLast(mut exchange)) => {
                let proven = exchange.finish(data);
                proven.map_err(|_| DialError::Nonsense("the database does not know the password itself"))?;
                Ok(Phase::ScramProven)
            }
            (2 | 6..=9, Phase::Named) => {
                Err(DialError::Insufficient("the database asks for a way to sign in that is not supported"))
            }
            _ => Err(DialError::Nonsense("unexpected authentication request")),
        }
    }

    fn password(&self) -> Result<&Secret, DialError> {
        let known = self.terms.password.as_ref();
        known.ok_or(DialError::Insufficient("the database asks for a password and none is configured"))
    }

    fn send_password(&self, password: &[u8], out: &mut Vec<u8>) -> Result<Phase, DialError> {
        let sent = append(out, |buffer| frontend::password_message(password, buffer));
        let unfit = DialError::Insufficient("the password holds a zero byte");
        sent.then_some(Phase::PasswordSent).ok_or(unfit)
    }

    /// Chooses among the mechanisms that are offered. "y" says that we could bind and the server
    /// cannot, which a server that can takes for the downgrade that it would be.
    fn scram_begin(&self, offered: &[u8], out: &mut Vec<u8>) -> Result<Phase, DialError> {
        let offers = |name: &str| offered.split(|byte| *byte == 0).any(|have| have == name.as_bytes());
        let (mechanism, binding) = match &self.end_point {
            Some(hash) if offers(scram::PLUS) => {
                (scram::PLUS, ChannelBinding::tls_server_end_point(hash.clone()))
            }
            Some(_) => (scram::PLAIN, ChannelBinding::unrequested()),
            None => (scram::PLAIN, ChannelBinding::unsupported()),
        };
        if !offers(mechanism) {
            return Err(DialError::Insufficient("the database offers no SASL mechanism that is supported"));
        }
        let exchange = Box::new(ScramSha256::new(self.password()?.expose().as_bytes(), binding));
        append(out, |buffer| frontend::sasl_initial_response(mechanism, exchange.message(), buffer));
        Ok(Phase::ScramFirst(exchange))
    }

    /// Notes a ParameterStatus. A value that is not UTF-8 could not be told to clients as it is,
    /// so it is left out.
    fn status(&mut self, body: &[u8]) -> Result<(), DialError> {
        let pair = frame::split_text(body).and_then(|(name, rest)| Some((name, rest.strip_suffix(b"\0")?)));
        let Some((name, value)) = pair.filter(|(name, value)| !name.is_empty() && !value.contains(&0)) else {
            return Err(DialError::Nonsense("malformed ParameterStatus"));
        };
        let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) else {
            return Ok(());
        };
        let full = self.reported.len() >= REPORTED_MAX;
        match self.reported.iter_mut().find(|(have, _)| have == name) {
            Some((_, place)) => value.clone_into(place),
            None if full => return Err(DialError::Nonsense("too many values are reported")),
            None => self.reported.push((name.to_owned(), value.to_owned())),
        }
        Ok(())
    }
}

/// Starting up, stopping and full are the endpoint's affairs.
fn blame(code: &str) -> Blame {
    match code {
        _ if code.starts_with("57P0") => Blame::Down,
        "53300" => Blame::Endpoint,
        _ if code.starts_with("08") => Blame::Endpoint,
        _ => Blame::Identity,
    }
}

/// The frame at the start of `input`, or `None` if it is cut.
fn whole(input: &[u8]) -> Result<Option<(Head, &[u8])>, DialError> {
    let head = frame::head(input).map_err(|_| DialError::Nonsense("invalid message length"))?;
    let Some(head) = head else { return Ok(None) };
    let max = match head.tag {
        b'R' => REQUEST_MAX,
        b'S' => STATUS_MAX,
        b'E' | b'N' => BODY_MAX,
        b'K' | b'Z' | b'v' => REQUEST_MAX,
        _ => return Err(DialError::Nonsense("unexpected message during sign-in")),
    };
    if head.body > max {
        return Err(DialError::Nonsense("a message is too long"));
    }
    Ok(input.get(head.header..head.len()).map(|body| (head, body)))
}

/// Holds server-first-message to bounds before the password is stretched.
fn bounded(server_first: &[u8]) -> Result<(), DialError> {
    let malformed = DialError::Nonsense("malformed SCRAM message");
    let Ok(text) = std::str::from_utf8(server_first) else { return Err(malformed) };
    let Some((_, iterations)) = text.rsplit_once(",i=") else { return Err(malformed) };
    match iterations.parse::<u64>() {
        Ok(1..=ITERATIONS_MAX) => Ok(()),
        Ok(0) | Err(_) => Err(malformed),
        Ok(_) => Err(DialError::Insufficient("the database asks for too much key stretching")),
    }
}

/// NegotiateProtocolVersion: we asked for 3.0 without options, so nothing can be left to deny.
fn negotiated(body: &[u8]) -> Result<(), DialError> {
    match body.split_first_chunk::<4>() {
        Some((version, [0, 0, 0, 0])) if matches!(u32::from_be_bytes(*version), 0 | 0x3_0000) => Ok(()),
        _ => Err(DialError::Nonsense("a protocol version that was not asked for")),
    }
}

/// Appends a message of postgres-protocol's. Returns whether it could be encoded.
fn append(out: &mut Vec<u8>, encode: impl FnOnce(&mut BytesMut) -> io::Result<()>) -> bool {
    let mut buffer = BytesMut::new();
    let encoded = encode(&mut buffer).is_ok();
    if encoded {
        out.extend_from_slice(&buffer);
    }
    encoded
}

#[cfg(test)]
mod tests;
