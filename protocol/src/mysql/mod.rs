//! The client/server protocol of MySQL (from 5.7 on) and MariaDB (from 10.2 on).
//!
//! Section names in this folder refer to the page "Client/Server Protocol" of MySQL's source
//! documentation. A client is served by backends that agreed on the same abilities, so replies
//! are never translated: only the changes of state that a client did not ask for are taken out.

mod alone;
mod attributes;
mod collations;
mod columns;
mod command;
mod compress;
mod count;
mod diagnosis;
mod dial;
mod edwards;
mod flags;
mod frame;
mod hello;
mod intake;
mod known;
mod last;
mod login;
mod memory;
mod messages;
mod named;
mod narrowed;
mod own;
mod proof;
mod replies;
mod requests;
mod rows;
mod served;
mod statements;
mod tracker;
mod written;

use crate::codec::Codec;
use crate::handshake::{AuthMethod, CancelBy, Credential, Verifier};
use crate::own::Errand;
use crate::tracker::Refusal;
use crate::{Head, ProtocolError, Settings};

pub use dial::MyDial;
pub use login::MyLogin;
pub use memory::MyMemory;
pub use own::MyOwnReply;
pub use served::MyServed;
pub use statements::Registry;
pub use tracker::MyTracker;

/// The MySQL protocol.
#[derive(Debug)]
pub struct MySql;

/// The number of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CancelKey(pub u32);

impl crate::Protocol for MySql {
    const NAME: &'static str = "mysql";
    type Login = MyLogin;
    type Dial = MyDial;
    type Tracker = MyTracker;
    type Memory = MyMemory;
    type Registry = Registry;
    type CancelKey = CancelKey;
    type OwnReply = MyOwnReply;
    type Served = MyServed;
    const TURNS_READ_ONLY: bool = true;

    fn head(bytes: &[u8]) -> Result<Option<Head>, ProtocolError> {
        frame::head(bytes)
    }

    fn encode_errand(errand: &Errand<'_>, memory: &MyMemory, out: &mut Vec<u8>) -> MyOwnReply {
        own::encode(errand, memory, out)
    }

    fn verifier(method: AuthMethod, known: Credential, _user: &str, _mock_secret: &[u8; 32]) -> Verifier {
        // Its proofs rest on plain hashes: there is nothing to stretch.
        Verifier { method, credential: known, stretched: None }
    }

    fn cancel(key: &CancelKey) -> CancelBy {
        let mut request = Vec::new();
        own::query(&format!("KILL QUERY {}", key.0), false, &mut request);
        CancelBy::SignedIn(request)
    }

    fn encode_note(_: i32, _: &str, _: &str, _: &mut Vec<u8>) {}

    fn encode_notice(_: &str, _: &mut Vec<u8>) {}

    fn codec(abilities: u64) -> Option<Box<dyn Codec>> {
        Some(Box::new(compress::Compression::agreed(abilities)?))
    }

    fn new_cancel_key(random: [u8; 36], _long: bool, _owner: u16) -> CancelKey {
        let [a, b, c, d, ..] = random;
        CancelKey(u32::from_le_bytes([a, b, c, d]))
    }

    fn cancel_owner(_: &CancelKey) -> u16 {
        // Numbers are the client's to see: they name nobody.
        0
    }

    fn connection_number(key: &CancelKey) -> u32 {
        key.0
    }

    fn numbered(number: u32) -> Option<CancelKey> {
        // The numbers of databases are small: those are left to the database.
        (number >= login::FIRST_NUMBER).then_some(CancelKey(number))
    }

    /// A read-only transaction; the options --read-only and super_read_only (and others, of which the number does not
    /// tell), a read-only engine;
    /// then the ends of a backend that is being stopped.
    fn refusal(code: &[u8; 5]) -> Refusal {
        match code {
            b"01792" => Refusal::Write,
            b"01290" | b"01836" => Refusal::ReadOnlyServer,
            b"01053" | b"01077" | b"01927" => Refusal::Elsewhere,
            _ => Refusal::None,
        }
    }

    fn reads_strictly(settings: &Settings) -> bool {
        let is = |name: &str, value: &str| settings.value(name) == Some(value);
        is("autocommit", "0")
            || is("tx_isolation", "'SERIALIZABLE")
            || is("transaction_isolation", "'SERIALIZABLE")
    }
}
