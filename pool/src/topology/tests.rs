use super::{Candidate, NoPrimary, Past, Role, Seen, elect, role};
use crate::endpoint::EndpointId;
use crate::settings::RoleSetting;

/// Endpoints in words: `auto`, `primary` or `replica`, then what was seen: `P3` writes on timeline 3,
/// `R` replays, `-` does not answer, `?` was never asked; `@2` says it is of cluster 2, not 1.
fn candidates(text: &str) -> Vec<Candidate> {
    let parse = |(at, word): (usize, &str)| {
        let (setting, state) = word.split_once(':').expect("setting:state");
        let (state, identity) =
            state.split_once('@').map_or((state, 1), |(s, i)| (s, i.parse().expect("a number")));
        let seen = |recovering, timeline| {
            Some(Seen { recovering, follows: false, timeline, identity: Some(identity) })
        };
        Candidate {
            id: EndpointId(at as u32 + 1),
            setting: match setting {
                "auto" => RoleSetting::Auto,
                "primary" => RoleSetting::Primary,
                _ => RoleSetting::Replica,
            },
            reported: state != "?",
            seen: match state {
                "-" | "?" => None,
                "R" => seen(true, None),
                writes => seen(false, writes.strip_prefix('P').and_then(|timeline| timeline.parse().ok())),
            },
        }
    };
    text.split(' ').enumerate().map(parse).collect()
}

/// The outcomes of a story of states: the last one counts.
fn check(story: &[&str], primary: Result<u32, NoPrimary>, roles: &[Role], name: &str) {
    let mut past = Past::default();
    for (step, text) in story.iter().enumerate() {
        let candidates = candidates(text);
        let election = elect(&candidates, past, false);
        past = election.past;
        if step + 1 == story.len() {
            assert_eq!(election.primary, primary.map(EndpointId), "{name}: {story:?}");
            let found: Vec<_> = candidates.iter().map(|candidate| role(candidate, &election)).collect();
            assert_eq!(found, roles, "{name}: {story:?}");
        }
    }
}

#[test]
fn elections() {
    use NoPrimary::{AllReplicas, AllSilent, Lost, Misplaced as NotAllowed, NotProbed, StaleTimeline, Two};
    use Role::{Misplaced, Primary, Replica, Rival, Stranger, Unknown};
    let healthy = "auto:P1 auto:R auto:R";
    check(&[healthy], Ok(1), &[Primary, Replica, Replica], "a healthy cluster");
    check(
        &["auto:P1 auto:? auto:R"],
        Err(NotProbed),
        &[Unknown, Unknown, Replica],
        "nobody is elected unheard",
    );
    check(&["auto:P1 auto:- auto:R"], Ok(1), &[Primary, Unknown, Replica], "but silence is an answer");
    check(&["auto:R auto:R"], Err(AllReplicas), &[Replica, Replica], "");
    check(&["auto:- auto:-"], Err(AllSilent), &[Unknown, Unknown], "");
    check(&["auto:?"], Err(NotProbed), &[Unknown], "");
    check(&[healthy, "auto:- auto:R auto:R"], Err(Lost), &[Unknown, Replica, Replica], "a lost primary");
    check(&[healthy, "auto:- auto:R auto:R", healthy], Ok(1), &[Primary, Replica, Replica], "that returns");
    check(&[healthy, "auto:- auto:P2 auto:R"], Ok(2), &[Unknown, Primary, Replica], "a failover");
    let failed_over = "auto:- auto:P2 auto:R";
    check(
        &[healthy, failed_over, "auto:P1 auto:P2 auto:R"],
        Ok(2),
        &[Rival, Primary, Replica],
        "the old one returns",
    );
    check(
        &[healthy, failed_over, "auto:P1 auto:- auto:R"],
        Err(StaleTimeline),
        &[Rival, Unknown, Replica],
        "alone",
    );
    check(
        &[healthy, failed_over, "auto:R auto:P2 auto:R"],
        Ok(2),
        &[Replica, Primary, Replica],
        "as a replica",
    );
    check(&["auto:P1 auto:P1"], Err(Two), &[Rival, Rival], "two equal primaries stop writes");
    check(&["auto:P1 auto:P2"], Ok(2), &[Rival, Primary], "the higher timeline wins");
    check(&[healthy, "auto:P1 auto:P1 auto:R"], Err(Two), &[Rival, Rival, Replica], "also later");
    check(
        &[healthy, "auto:- auto:P1 auto:R"],
        Err(StaleTimeline),
        &[Unknown, Rival, Replica],
        "no new timeline",
    );
    check(
        &[healthy, "auto:P1 auto:P1 auto:R", healthy],
        Ok(1),
        &[Primary, Replica, Replica],
        "and it recovers",
    );
    check(
        &["primary:R replica:R"],
        Err(AllReplicas),
        &[Misplaced, Replica],
        "a configured primary that recovers",
    );
    check(&["primary:P1 replica:P1"], Ok(1), &[Primary, Misplaced], "a configured replica that writes");
    check(&["auto:- replica:P1"], Err(NotAllowed), &[Unknown, Misplaced], "is never the primary");
    check(&["auto:P1 auto:R auto:R@2"], Ok(1), &[Primary, Replica, Stranger], "a replica of another cluster");
    check(
        &["auto:P1 auto:R", "auto:- auto:P9@2"],
        Err(NotAllowed),
        &[Unknown, Stranger],
        "a primary of another",
    );
    check(&["auto:P1"], Ok(1), &[Primary], "one endpoint");
}
