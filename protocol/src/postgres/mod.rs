//! The PostgreSQL frontend/backend protocol, versions 3.0 and 3.2.
//!
//! Our own framing faces the network; pgwire's decoders do not. Section names in this
//! folder refer to the chapter "Frontend/Backend Protocol" of PostgreSQL's manual.

mod by_name;
mod commands;
mod dial;
#[cfg(test)]
mod fixtures;
mod frame;
mod intake;
mod login;
mod memory;
mod messages;
mod own;
mod replies;
mod reports;
mod requests;
mod rows;
mod scram;
mod served;
mod startup;
mod statements;
mod tracker;

use crate::codec::Codec;
use crate::handshake::{AuthMethod, CancelBy, Credential, Verifier};
use crate::own::Errand;
use crate::tracker::Refusal;
use crate::{Head, ProtocolError, Settings};

pub use dial::PgDial;
pub use login::PgLogin;
pub(crate) use login::is_stored_for;
pub use memory::PgMemory;
pub use own::PgOwnReply;
pub use served::PgServed;
pub use startup::CancelKey;
pub use statements::Registry;
pub use tracker::PgTracker;

/// The PostgreSQL protocol.
#[derive(Debug)]
pub struct Postgres;

impl crate::Protocol for Postgres {
    const NAME: &'static str = "postgres";
    type Login = PgLogin;
    type Dial = PgDial;
    type Tracker = PgTracker;
    type Memory = PgMemory;
    type Registry = Registry;
    type CancelKey = CancelKey;
    type OwnReply = PgOwnReply;
    type Served = PgServed;
    /// It becomes a standby by a restart.
    const TURNS_READ_ONLY: bool = false;

    fn head(bytes: &[u8]) -> Result<Option<Head>, ProtocolError> {
        frame::head(bytes)
    }

    fn encode_errand(errand: &Errand<'_>, _memory: &PgMemory, out: &mut Vec<u8>) -> PgOwnReply {
        own::encode(errand, out);
        PgOwnReply::default()
    }

    fn verifier(method: AuthMethod, known: Credential, user: &str, mock_secret: &[u8; 32]) -> Verifier {
        let stretched = match &known {
            Credential::Password(password) if method == AuthMethod::Scram => {
                Some(scram::stretch(password, scram::ITERATIONS, scram::salt(mock_secret, user)))
            }
            _ => None,
        };
        Verifier { method, credential: known, stretched }
    }

    fn cancel(key: &CancelKey) -> CancelBy {
        CancelBy::Request(startup::cancel_request(key))
    }

    fn encode_note(process: i32, channel: &str, payload: &str, out: &mut Vec<u8>) {
        messages::notification(process, channel, payload, out);
    }

    fn encode_notice(message: &str, out: &mut Vec<u8>) {
        messages::notice(message, out);
    }

    fn codec(_: u64) -> Option<Box<dyn Codec>> {
        None
    }

    fn new_cancel_key(random: [u8; 36], long: bool, owner: u16) -> CancelKey {
        startup::new_key(random, long, owner)
    }

    fn cancel_owner(key: &CancelKey) -> u16 {
        (key.pid() >> 16) as u16
    }

    fn connection_number(key: &CancelKey) -> u32 {
        key.pid()
    }

    fn numbered(_number: u32) -> Option<CancelKey> {
        None
    }

    /// Read-only transaction; then feature not on a standby, recovery in progress, conflict with
    /// recovery, and the ends of a backend that is being stopped.
    fn refusal(code: &[u8; 5]) -> Refusal {
        match code {
            b"25006" => Refusal::Write,
            b"0A000" | b"55000" | b"40001" | b"57P01" | b"57P02" | b"57P03" => Refusal::Elsewhere,
            _ => Refusal::None,
        }
    }

    fn reads_strictly(settings: &Settings) -> bool {
        settings.value("default_transaction_isolation") == Some("serializable")
    }
}
