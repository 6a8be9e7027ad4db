//! The backends that are open, for operators: each is entered when it is signed in and leaves
//! when it is closed. Nothing is written here while backends work.

use crate::endpoint::Endpoint;
use crate::net::Stream;
use crate::settings::Identity;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::SystemTime;

/// What is known of one open backend.
#[derive(Debug)]
pub struct Card {
    /// Its number; no other backend of the process has it.
    pub id: u32,
    /// Where it is.
    pub endpoint: Arc<Endpoint>,
    /// The database it is signed in to.
    pub database: String,
    /// The user it is signed in as.
    pub user: String,
    /// When it was signed in.
    pub since: SystemTime,
    /// The other side's address; `None` on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// This side's address, likewise.
    pub local: Option<SocketAddr>,
    /// Whether it is encrypted.
    pub tls: bool,
    /// The number that the database knows it by.
    pub number: u32,
    roster: Weak<Roster>,
}

/// All open backends of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Roster(Mutex<BTreeMap<u32, Weak<Card>>>);

impl Roster {
    /// Enters a backend that has just signed in as `identity`; it leaves when its card is dropped. `number` is
    /// the database's for it.
    pub fn enter(
        self: &Arc<Self>,
        endpoint: Arc<Endpoint>,
        identity: &Identity,
        stream: &Stream,
        number: u32,
    ) -> Arc<Card> {
        // Numbers of one process, so that no two clusters give the same.
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let card = Arc::new(Card {
            id: NEXT.fetch_add(1, Relaxed),
            endpoint,
            database: identity.database.clone(),
            user: identity.user.clone(),
            since: SystemTime::now(),
            peer: stream.peer(),
            local: stream.local(),
            tls: stream.is_tls(),
            number,
            roster: Arc::downgrade(self),
        });
        self.0.lock().insert(card.id, Arc::downgrade(&card));
        card
    }

    /// Everyone, by number.
    pub fn all(&self) -> Vec<Arc<Card>> {
        // Cards are dropped outside the lock: dropping the last of one takes it.
        let known: Vec<Weak<Card>> = self.0.lock().values().cloned().collect();
        known.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        if let Some(roster) = self.roster.upgrade() {
            roster.0.lock().remove(&self.id);
        }
    }
}
