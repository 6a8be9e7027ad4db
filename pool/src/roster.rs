//! The backends that are open, for operators: each is entered when it is signed in and leaves
//! when it is closed. Nothing is written here while backends work.

use crate::endpoint::Endpoint;
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

/// What the roster is told of a backend.
#[derive(Debug)]
pub(crate) struct Entry {
    pub endpoint: Arc<Endpoint>,
    pub database: String,
    pub user: String,
    pub peer: Option<SocketAddr>,
    pub local: Option<SocketAddr>,
    pub tls: bool,
    pub number: u32,
}

/// All open backends of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Roster(Mutex<BTreeMap<u32, Weak<Card>>>);

impl Roster {
    /// Enters a backend, which leaves when its card is dropped.
    pub fn enter(self: &Arc<Self>, entry: Entry) -> Arc<Card> {
        // Numbers of one process, so that no two clusters give the same.
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let card = Arc::new(Card {
            id: NEXT.fetch_add(1, Relaxed),
            endpoint: entry.endpoint,
            database: entry.database,
            user: entry.user,
            since: SystemTime::now(),
            peer: entry.peer,
            local: entry.local,
            tls: entry.tls,
            number: entry.number,
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
