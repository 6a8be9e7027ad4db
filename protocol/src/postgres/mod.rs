//! The PostgreSQL frontend/backend protocol, versions 3.0 and 3.2.
//!
//! Our own framing faces the network; pgwire's decoders do not. Section names in this
//! folder refer to the chapter "Frontend/Backend Protocol" of PostgreSQL's manual.

mod commands;
mod dial;
mod frame;
mod intake;
mod login;
mod memory;
mod messages;
mod own;
mod replies;
mod requests;
mod scram;
mod startup;
mod statements;
mod tracker;

use crate::handshake::{AuthMethod, CancelBy, Credential, Verifier};
use crate::own::Errand;
use crate::{Fault, Head, ProtocolError};

pub use dial::PgDial;
pub use login::PgLogin;
pub use memory::PgMemory;
pub use own::PgOwnReply;
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

    fn head(bytes: &[u8]) -> Result<Option<Head>, ProtocolError> {
        frame::head(bytes)
    }

    fn encode_fault(fault: &Fault, ready: bool, out: &mut Vec<u8>) {
        messages::fault(fault, out);
        if ready {
            messages::ready(out, b'I');
        }
    }

    fn encode_welcome(reported: &[(String, String)], key: &CancelKey, out: &mut Vec<u8>) {
        messages::welcome(reported, key, out);
    }

    fn encode_errand(errand: &Errand<'_>, out: &mut Vec<u8>) {
        own::encode(errand, out);
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

    fn new_cancel_key(random: [u8; 36], long: bool) -> CancelKey {
        startup::new_key(random, long)
    }
}
