//! Fences that go from one session to another, also of another process.

use super::leases::World;
use crate::settings::Consistency;
use crate::{EndpointId, Freshness, Landed, LeaseError, Need, Token, Want};
use std::time::{Duration, Instant};

const PRIMARY: EndpointId = EndpointId(1);

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// The token of a session that has just written, as the primary stands at `position` of `timeline`.
async fn written(world: &World, timeline: u32, position: u64) -> Token {
    let mut writer = Freshness::default();
    writer.used_primary(PRIMARY, None, Instant::now());
    world.primary(1, timeline, position);
    world.access.token(&mut writer, soon()).await.expect("there is a primary").expect("it has seen something")
}

async fn lands(world: &World, session: &mut Freshness) -> (u32, Landed) {
    let need = Need {
        want: Want::Replica,
        consistency: Consistency::Token,
        max_lag: None,
        freshness: session,
        exclude: None,
        now: Instant::now(),
        deadline: soon(),
    };
    let leased = world.access.lease(need).await.expect("a lease");
    let id = leased.lease.endpoint().id.0;
    leased.lease.release();
    (id, leased.landed)
}

fn told(token: Token) -> Freshness {
    let mut session = Freshness::default();
    session.tell(Some(token), Instant::now());
    session
}

#[tokio::test]
async fn another_process_heeds_a_token() {
    let (one, other) = (World::healthy(2).await, World::healthy(2).await);
    let token = written(&one, 1, 300).await;
    let token = Token::read(&token.to_string()).expect("it is read as it is written");
    other.primary(1, 1, 400);
    assert_eq!(lands(&other, &mut Freshness::default()).await, (2, Landed::Replica), "who was told nothing");
    let mut session = told(token.clone());
    assert_eq!(lands(&other, &mut session).await, (1, Landed::PrimaryForFence), "the replica stands at 100");
    other.replica(2, 299);
    assert_eq!(lands(&other, &mut session).await, (1, Landed::PrimaryForFence), "one byte short");
    other.replica(2, 300);
    assert_eq!(lands(&other, &mut session).await, (2, Landed::Replica));
    assert_eq!(lands(&other, &mut told(token)).await, (2, Landed::Replica));
}

#[tokio::test]
async fn a_token_that_no_sample_bears_out_is_the_primarys() {
    let world = World::healthy(2).await;
    let token = written(&world, 1, 300).await.to_string();
    world.replica(2, 300);
    assert_eq!(lands(&world, &mut told(Token::read(&token).expect("ours"))).await, (2, Landed::Replica));
    let others = [
        // Of another cluster, of a timeline that is over, of one that is yet to come, of another make.
        token.replacen("pg.0", "pg.1", 1),
        token.replace(".1.", ".0."),
        token.replace(".1.", ".2."),
        "mariadb.0-0-7".to_owned(),
        "mysql.".to_owned(),
    ];
    for text in others {
        let mut session = told(Token::read(&text).expect("a token"));
        assert_eq!(lands(&world, &mut session).await.1, Landed::PrimaryForFence, "{text}");
        // What is read there is what the session has seen.
        session.used_primary(PRIMARY, None, Instant::now());
        world.primary(1, 1, 300);
        assert_eq!(lands(&world, &mut session).await, (2, Landed::Replica), "{text}");
    }
    // Ahead of the primary: believed only once a sample that began later bears it out.
    let mut session = told(Token::read(&token.replace(".12c", ".fff")).expect("a token"));
    world.primary(1, 1, 300);
    assert_eq!(lands(&world, &mut session).await.1, Landed::PrimaryForFence);
    let mut unproven = Freshness::default();
    unproven.tell(None, Instant::now());
    assert_eq!(lands(&world, &mut unproven).await.1, Landed::PrimaryForFence);
}

#[tokio::test]
async fn a_token_covers_what_was_read_and_told() {
    let world = World::healthy(3).await;
    assert_eq!(world.access.token(&mut Freshness::default(), soon()).await.expect("no wait"), None);
    let mut reader = Freshness::default();
    reader.used_replica(EndpointId(2), |_| false, Instant::now());
    world.primary(1, 1, 500);
    world.replays_on(2, 450);
    let seen = world.access.token(&mut reader, soon()).await.expect("sampled").expect("it has read");
    assert!(seen.to_string().ends_with(&format!(".{:x}", 450)), "{seen}");
    // Handed on, it is what it was; with a later one it is the later.
    let mut session = told(seen.clone());
    let handed_on = world.access.token(&mut session, soon()).await.expect("sampled");
    assert_eq!(handed_on, Some(seen));
    session.tell(Some(written(&world, 1, 600).await), Instant::now());
    let both = world.access.token(&mut session, soon()).await.expect("sampled").expect("it was told");
    assert!(both.to_string().ends_with(&format!(".{:x}", 600)), "{both}");
    // Two that were not looked at yet: what the primary has covers both.
    session.forget();
    for position in [10, 20] {
        session
            .tell(Token::read(&both.to_string().replace(".258", &format!(".{position:x}"))), Instant::now());
    }
    let begun = Instant::now();
    let token = async { world.access.token(&mut session, soon()).await.expect("sampled").expect("told") };
    let sample = async {
        // The question comes before the answer.
        while begun.elapsed() < Duration::from_millis(5) {
            tokio::task::yield_now().await;
        }
        world.primary(1, 1, 700);
    };
    let (token, ()) = tokio::join!(token, sample);
    assert!(token.to_string().ends_with(&format!(".{:x}", 700)), "{token}");
}

#[tokio::test]
async fn without_a_primary_there_is_no_token() {
    let world = World::healthy(2).await;
    let mut writer = Freshness::default();
    writer.used_primary(PRIMARY, None, Instant::now());
    let end = Instant::now() + Duration::from_millis(20);
    let silent = world.access.token(&mut writer, end).await;
    assert!(matches!(silent, Err(LeaseError::Unreachable("primary"))), "{silent:?}");
    world.fails(1);
    let gone = world.access.token(&mut writer, Instant::now() + Duration::from_millis(20)).await;
    assert!(matches!(gone, Err(LeaseError::NoPrimary(_))), "{gone:?}");
}
