//! One listening connection a database, for all sessions that listen there.
//!
//! A session tells its hub which channels it listens on and gets a mailbox; the hub keeps one connection to the
//! primary, listens on whatever anybody wants, and puts each notification into the mailboxes of those who do, in
//! the order of the database. When the connection is lost the hub connects and listens again, and says in each
//! mailbox that something may be missing.
//!
//! It does not know when a session may be told: that is for the session to decide.

mod keeper;
mod mailbox;

pub use mailbox::{Mailbox, Note};

use parking_lot::Mutex;
use pool::Cluster;
use protocol::Protocol;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Instant;
use tokio::sync::{Notify, watch};

/// Hubs of one cluster; more only if sessions listen in them all.
const HUBS_MAX: usize = 256;

/// See the file's head.
pub struct Hub {
    state: Mutex<State>,
    work: Notify,
    /// Changes when more channels are listened on.
    heard: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    wanted: HashMap<Arc<str>, Vec<Weak<Mailbox>>>,
    heard: HashSet<Arc<str>>,
}

impl Hub {
    fn new() -> Self {
        Self { state: Mutex::default(), work: Notify::new(), heard: watch::Sender::new(0) }
    }

    /// Makes `channels` all that this mailbox hears. Returns once the database has confirmed them, or false if it
    /// has not by `deadline`; then the mailbox hears nothing.
    pub async fn listen(&self, mailbox: &Arc<Mailbox>, channels: &[Box<str>], deadline: Instant) -> bool {
        let mut heard = self.heard.subscribe();
        self.want(mailbox, channels);
        loop {
            let _ = heard.borrow_and_update();
            if channels.iter().all(|channel| self.state.lock().heard.contains(&**channel)) {
                return true;
            }
            if tokio::time::timeout_at(deadline.into(), heard.changed()).await.is_err() {
                self.want(mailbox, &[]);
                return false;
            }
        }
    }

    fn want(&self, mailbox: &Arc<Mailbox>, channels: &[Box<str>]) {
        let mut state = self.state.lock();
        let own = Arc::as_ptr(mailbox);
        state.wanted.retain(|channel, who| {
            who.retain(|one| one.strong_count() > 0);
            let wants = channels.iter().any(|wanted| **wanted == **channel);
            if !wants {
                who.retain(|one| one.as_ptr() != own);
            }
            !who.is_empty()
        });
        for channel in channels {
            let who = state.wanted.entry(Arc::from(&**channel)).or_default();
            if !who.iter().any(|one| one.as_ptr() == own) {
                who.push(Arc::downgrade(mailbox));
            }
        }
        drop(state);
        self.work.notify_one();
    }

    fn deliver(&self, note: &Note) {
        let state = self.state.lock();
        for mailbox in state.wanted.get(&note.channel).into_iter().flatten().filter_map(Weak::upgrade) {
            mailbox.put(note);
        }
    }

    /// The connection was lost: whatever is said from now on may be missed.
    fn lose(&self) {
        let mut state = self.state.lock();
        state.heard.clear();
        for mailbox in state.wanted.values().flatten().filter_map(Weak::upgrade) {
            mailbox.miss();
        }
    }

    /// What must be said to the database, if anything, and what is listened on then.
    fn next(&self) -> Option<(String, HashSet<Arc<str>>)> {
        let mut state = self.state.lock();
        state.wanted.retain(|_, who| {
            who.retain(|one| one.strong_count() > 0);
            !who.is_empty()
        });
        let wanted: HashSet<Arc<str>> = state.wanted.keys().cloned().collect();
        let mut text = String::new();
        for channel in state.heard.difference(&wanted) {
            text.push_str(&format!("UNLISTEN {};", quoted(channel)));
        }
        for channel in wanted.difference(&state.heard) {
            text.push_str(&format!("LISTEN {};", quoted(channel)));
        }
        (!text.is_empty()).then_some((text, wanted))
    }

    /// The database has confirmed that these are listened on.
    fn confirm(&self, heard: HashSet<Arc<str>>) {
        self.state.lock().heard = heard;
        self.heard.send_modify(|count| *count += 1);
    }

    fn is_idle(&self) -> bool {
        self.state.lock().wanted.is_empty()
    }
}

/// A channel's name as the database takes it.
pub fn quoted(channel: &str) -> String {
    format!("\"{}\"", channel.replace('"', "\"\""))
}

/// The hubs of a cluster.
pub struct Hubs {
    hubs: Mutex<HashMap<String, Arc<Hub>>>,
    keep: Box<dyn Fn(String, Weak<Hub>) + Send + Sync>,
}

impl Hubs {
    /// No hub yet; each connects once somebody listens.
    pub fn new<P: Protocol>(cluster: &Arc<Cluster<P>>) -> Self {
        let cluster = Arc::downgrade(cluster);
        let keep = Box::new(move |database, hub| {
            tokio::spawn(keeper::keep(cluster.clone(), database, hub));
        });
        Self { hubs: Mutex::default(), keep }
    }

    /// The hub of a database.
    pub fn hub(&self, database: &str) -> Arc<Hub> {
        let mut hubs = self.hubs.lock();
        if let Some(hub) = hubs.get(database) {
            return Arc::clone(hub);
        }
        if hubs.len() >= HUBS_MAX {
            hubs.retain(|_, hub| Arc::strong_count(hub) > 1);
        }
        let hub = Arc::new(Hub::new());
        hubs.insert(database.to_owned(), Arc::clone(&hub));
        (self.keep)(database.to_owned(), Arc::downgrade(&hub));
        hub
    }
}

#[cfg(test)]
mod tests {
    use super::mailbox::tests::{note, take};
    use super::*;

    #[test]
    fn who_wants_what() {
        let hub = Hub::new();
        let (one, two) = (Arc::new(Mailbox::default()), Arc::new(Mailbox::default()));
        hub.want(&one, &["c".into(), "d".into()]);
        hub.want(&two, &["c".into()]);
        assert_eq!(hub.next().map(|(_, wanted)| wanted.len()), Some(2));
        hub.deliver(&note("1"));
        assert!(take(&one).is_some() && take(&two).is_some());
        hub.want(&one, &["d".into()]);
        hub.deliver(&note("2"));
        assert!(take(&one).is_none() && take(&two).is_some());
        drop(two);
        drop(one);
        assert_eq!(hub.next().map(|(_, wanted)| wanted.len()), None);
        assert!(hub.is_idle());
    }
}
