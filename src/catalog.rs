//! What is known of the functions in the databases, so that calls of them can be routed.
//!
//! One reader a database, on a connection of its own, away from the data path. Until a
//! catalog is read, and from the moment a change of it was seen until it is read again, every
//! function that is not built in counts as one that writes.
//!
//! Invariant: what was read before a change ended is never taken for what is there after it.

use crate::config::ClusterConfig;
use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use pool::Cluster;
use protocol::Protocol;
use router::Catalog;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Notify;

mod keeper;
mod mysql;
mod postgres;
mod sources;

/// Catalogs of one cluster that are kept up to date at a time; more only if sessions use them all.
const CATALOGS_MAX: usize = 256;

/// Who holds a catalog that no session uses: the list of all, and its reader.
const UNUSED: usize = 2;

/// The catalog of one database.
pub struct Slot {
    current: ArcSwap<Catalog>,
    /// Held by whoever changes `current`.
    doubts: Mutex<Doubts>,
    wanted: Notify,
    wondered: Notify,
}

/// How many changes were seen, and how many of them that may have redefined functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Doubts {
    all: u64,
    redefining: u64,
}

impl Slot {
    fn new() -> Self {
        Self {
            current: ArcSwap::from_pointee(Catalog::unknown()),
            doubts: Mutex::default(),
            wanted: Notify::new(),
            wondered: Notify::new(),
        }
    }

    /// What is known now.
    pub fn current(&self) -> Guard<Arc<Catalog>> {
        self.current.load()
    }

    /// Somebody called what is not known: it may have been made elsewhere.
    pub fn wonder(&self) {
        self.wondered.notify_one();
    }

    /// Something is being created, altered or dropped, or has just been, perhaps functions (`redefines`): until it is
    /// read again little is known.
    pub fn doubt(&self, redefines: bool) {
        let mut doubts = self.doubts.lock();
        doubts.all += 1;
        doubts.redefining += u64::from(redefines);
        let known = self.current.load();
        if known.is_settled() || redefines && known.is_loaded() {
            self.current.store(Arc::new(known.doubted(redefines)));
        }
        drop(doubts);
        self.wanted.notify_one();
    }

    /// Where the changes stand: to be noted before reading begins.
    fn doubts(&self) -> Doubts {
        *self.doubts.lock()
    }

    /// What was read since the changes stood at `begun`. What has changed meanwhile stays in doubt.
    fn learn(&self, begun: Doubts, read: Catalog) {
        let doubts = self.doubts.lock();
        let known = match *doubts == begun {
            true => read,
            false => read.doubted(doubts.redefining != begun.redefining),
        };
        self.current.store(Arc::new(known));
    }

    /// Returns when something has changed since the changes stood at `begun`. For one to wait.
    async fn doubted_since(&self, begun: Doubts) {
        while self.doubts() == begun {
            self.wanted.notified().await;
        }
    }
}

/// The catalogs of a cluster.
pub struct Catalogs {
    slots: Mutex<HashMap<String, Arc<Slot>>>,
    keep: Box<dyn Fn(String, Arc<Slot>) + Send + Sync>,
}

impl Catalogs {
    /// No catalog yet; each is read once somebody asks for it.
    pub fn new<P: Protocol>(cluster: Arc<Cluster<P>>, config: &ClusterConfig) -> Self {
        let (engine, refresh) = (config.engine, config.catalog_refresh);
        let keep = Box::new(move |database, slot| {
            let (cluster, slot) = (Arc::downgrade(&cluster), Arc::downgrade(&slot));
            tokio::spawn(keeper::keep(cluster, engine, database, slot, refresh));
        });
        Self { slots: Mutex::default(), keep }
    }

    /// The catalog of a database.
    pub fn slot(&self, database: &str) -> Arc<Slot> {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get(database) {
            return Arc::clone(slot);
        }
        if slots.len() >= CATALOGS_MAX {
            slots.retain(|_, slot| Arc::strong_count(slot) > UNUSED);
        }
        let slot = Arc::new(Slot::new());
        slots.insert(database.to_owned(), Arc::clone(&slot));
        (self.keep)(database.to_owned(), Arc::clone(&slot));
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use router::{CatalogBuilder, FunctionKind, Volatility};

    fn read() -> Catalog {
        let mut catalog = CatalogBuilder::new();
        catalog.add_function("public", "f", Volatility::Stable, FunctionKind::Function, false);
        catalog.build()
    }

    #[test]
    fn what_changes_while_it_is_read_stays_in_doubt() {
        let slot = Slot::new();
        let begun = slot.doubts();
        slot.doubt(true);
        slot.learn(begun, read());
        assert!(!slot.current().is_loaded());
        let begun = slot.doubts();
        slot.doubt(false);
        slot.learn(begun, read());
        assert!(slot.current().is_loaded() && !slot.current().is_settled());
        slot.learn(slot.doubts(), read());
        assert!(slot.current().is_settled());
        slot.doubt(false);
        slot.doubt(true);
        assert!(!slot.current().is_loaded());
    }
}
