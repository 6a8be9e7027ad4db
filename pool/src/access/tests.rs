//! Sessions on a cluster whose databases write, replay, restart and fail over as chance will have it.
//!
//! All is decided by the real deciders, with invented time. What must hold whatever happens:
//! - no read that asks for it shows less than its session saw before;
//! - who stays on a replica is served there at once;
//! - once samples of all, and then of the primary, began after a session's last use, any replica that was sampled
//!   with all that the primary had serves it at once;
//! - when all is quiet, every read goes to a replica at once.

use crate::{Consistency, Landed, Want};
use databases::Kind;
use world::{Errand, SESSIONS, World};

mod databases;
mod world;

fn live(kind: Kind, seed: u64) {
    let mut world = World::new(kind, seed);
    for _ in 0..world.rng.usize(1..800) {
        world.step();
    }
    world.calm_down();
    for who in 0..SESSIONS {
        for turn in 0..3 {
            world.tick();
            let errand = Errand::Waits { want: Want::Replica, consistency: Consistency::Session, ends: None };
            world.sessions[who].errand = errand;
            world.choose(who);
            let Errand::Runs { landed, .. } = world.sessions[who].errand else {
                panic!(
                    "seed {}: it waits though all is quiet: {:?}",
                    world.seed, world.sessions[who].freshness
                )
            };
            // What was seen under another primary is seen again on this one first.
            assert!(landed == Landed::Replica || turn == 0, "seed {}: {landed:?}", world.seed);
            world.go_on(who);
            world.go_on(who);
            (0..2).for_each(|_| world.sample_all());
        }
    }
}

/// The same lives each time, unless told otherwise: `SPLITPOOL_SEED=7 SPLITPOOL_SEEDS=1000` lives other ones.
fn lives(kind: Kind) {
    let told = |name| std::env::var(name).ok().and_then(|told| told.parse::<u64>().ok());
    let first = told("SPLITPOOL_SEED").unwrap_or(0);
    for seed in first..first + told("SPLITPOOL_SEEDS").unwrap_or(40) {
        live(kind, seed);
    }
}

#[tokio::test]
async fn of_positions_in_a_log() {
    lives(Kind::Log);
}

#[tokio::test]
async fn of_sets_of_transactions() {
    lives(Kind::MySql);
}

#[tokio::test]
async fn of_domains() {
    lives(Kind::MariaDb);
}
