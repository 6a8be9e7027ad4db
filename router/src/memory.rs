//! What the router remembers: plans by text, verdicts by shape, and fingerprints that replicas refused. All are
//! bounded.
//!
//! A plan is found by its whole text or shape, so that two texts of one hash cannot share a route. Seeds are
//! drawn per process.

use std::sync::atomic::{AtomicBool, Ordering};

use foldhash::quality::RandomState;
use quick_cache::sync::{Cache, DefaultLifecycle};

use crate::shape::Shape;
use crate::{Dialect, Effects, Hint, Kind, Plan, fingerprint, mysql};

/// Texts above this length are planned each time.
pub(crate) const CACHED_TEXT_MAX: usize = 4096;
/// Fingerprints kept of what replicas refused.
const LEARNED_MAX: usize = 8192;
/// What an entry takes beside its text and names, in bytes.
const ENTRY_OVERHEAD: u64 = 256;

#[derive(Clone)]
struct Weight;

impl quick_cache::Weighter<Box<[u8]>, Plan> for Weight {
    fn weight(&self, text: &Box<[u8]>, plan: &Plan) -> u64 {
        let names = plan.detail.as_ref().map_or(0, |detail| {
            detail.functions.len() + detail.relations.len() + detail.operators.len() + detail.settings.len()
        });
        text.len() as u64 + ENTRY_OVERHEAD + names as u64 * 64
    }
}

impl quick_cache::Weighter<Box<[u8]>, u64> for Weight {
    fn weight(&self, text: &Box<[u8]>, _: &u64) -> u64 {
        text.len() as u64 + ENTRY_OVERHEAD / 4
    }
}

/// Plans by text and shape, and refused fingerprints.
pub(crate) struct Memory {
    plans: Cache<Box<[u8]>, Plan, Weight, RandomState>,
    /// Final plans of texts that differ in literals only: no names to look up, nothing learned against them.
    shapes: Cache<Box<[u8]>, Plan, Weight, RandomState>,
    /// The digests of texts that differ in literals only.
    digests: Cache<Box<[u8]>, u64, Weight, RandomState>,
    /// Whether anybody asks for digests.
    wants_digests: AtomicBool,
    learned: Cache<u64, (), quick_cache::UnitWeighter, RandomState>,
    has_learned: AtomicBool,
    seed: RandomState,
}

impl Memory {
    pub(crate) fn new(bytes: usize) -> Self {
        let items = (bytes / 1024).max(16);
        let plans = || {
            let half = bytes as u64 / 2;
            Cache::with(items, half, Weight, RandomState::default(), DefaultLifecycle::default())
        };
        let learned = Cache::with(
            LEARNED_MAX,
            LEARNED_MAX as u64,
            quick_cache::UnitWeighter,
            RandomState::default(),
            DefaultLifecycle::default(),
        );
        Self {
            plans: plans(),
            shapes: plans(),
            digests: Cache::with(
                items,
                bytes as u64 / 4,
                Weight,
                RandomState::default(),
                DefaultLifecycle::default(),
            ),
            wants_digests: AtomicBool::new(false),
            learned,
            has_learned: AtomicBool::new(false),
            seed: RandomState::default(),
        }
    }

    pub(crate) fn plan(&self, text: &[u8]) -> Option<Plan> {
        if text.len() > CACHED_TEXT_MAX { None } else { self.plans.get(text) }
    }

    pub(crate) fn keep(&self, text: &[u8], plan: &Plan) {
        if text.len() <= CACHED_TEXT_MAX {
            self.plans.insert(text.into(), plan.clone());
        }
    }

    /// The final plan of all texts of this shape.
    pub(crate) fn shape(&self, shape: &Shape) -> Option<Plan> {
        self.shapes.get(shape.bytes())
    }

    /// Keeps the final plan of a text for all texts of its shape, unless it may have looked into literals:
    /// names and settings can stand in strings, hints in comments.
    pub(crate) fn keep_shape(&self, shape: &Shape, plan: Plan) {
        let plain = matches!(plan.kind, Kind::Read | Kind::Write | Kind::Commit | Kind::Rollback)
            || matches!(plan.kind, Kind::Begin { .. });
        if plain && plan.detail.is_none() && plan.effects == Effects::empty() && plan.hint == Hint::default()
        {
            self.shapes.insert(shape.bytes().into(), plan);
        }
    }

    /// The number of the digest of all texts of this shape.
    pub(crate) fn digest(&self, shape: &Shape) -> Option<u64> {
        self.digests.get(shape.bytes())
    }

    pub(crate) fn keep_digest(&self, shape: &Shape, digest: u64) {
        self.digests.insert(shape.bytes().into(), digest);
    }

    /// Whether plans are to be kept together with digests.
    pub(crate) fn wants_digests(&self) -> bool {
        self.wants_digests.load(Ordering::Relaxed)
    }

    /// From now on they are.
    pub(crate) fn want_digests(&self) {
        if !self.wants_digests.swap(true, Ordering::Relaxed) {
            self.shapes.clear();
        }
    }

    pub(crate) fn learn(&self, dialect: Dialect, text: &[u8]) {
        self.learned.insert(self.fingerprint(dialect, text), ());
        self.has_learned.store(true, Ordering::Release);
        // Whichever shape it has is settled anew.
        self.shapes.clear();
    }

    /// Whether a replica refused a text like this one. Nearly free as long as none ever did.
    pub(crate) fn is_learned(&self, dialect: Dialect, text: &[u8]) -> bool {
        self.has_learned.load(Ordering::Acquire)
            && self.learned.get(&self.fingerprint(dialect, text)).is_some()
    }

    fn fingerprint(&self, dialect: Dialect, text: &[u8]) -> u64 {
        match dialect {
            Dialect::Postgres => fingerprint::of(text, &self.seed),
            Dialect::Mysql => mysql::fingerprint(text, &self.seed),
        }
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").field("plans", &self.plans.len()).finish_non_exhaustive()
    }
}
