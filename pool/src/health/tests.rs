use super::{Bounds, Health, Why};
use crate::lag::Lag;
use std::time::{Duration, Instant};

const BOUNDS: Bounds = Bounds { max_lag: Duration::from_millis(1000), return_after: 3 };

/// What happens to an endpoint, one letter each: `g` a good probe without lag, a digit a good probe
/// with that many tenths of a second of lag plus one, `x` 1.1 s of lag, `u` unknown lag, `s` silence, `f` refused.
fn after(story: &str) -> Health {
    let now = Instant::now();
    let mut health = Health::default();
    for event in story.chars() {
        let lag = match event {
            's' => {
                health.silent();
                continue;
            }
            'f' => {
                health.failed();
                continue;
            }
            'g' => Lag::Known(Duration::ZERO),
            'x' => Lag::Known(Duration::from_millis(1100)),
            'u' => Lag::Unknown,
            tenths => Lag::Known(Duration::from_millis(100) * tenths.to_digit(10).expect("a digit")),
        };
        health.answered();
        health.measured(lag, BOUNDS, now);
    }
    health
}

#[test]
fn leaves_fast_and_returns_slowly() {
    let cases = [
        ("", Some(Why::NotProbed), "unknown is not good"),
        ("g", None, "the first good probe is enough"),
        ("9", None, "within the bound"),
        ("u", Some(Why::LagUnknown), "unknown lag is not zero lag"),
        ("ug", None, "a new endpoint waits for nothing once its lag is known"),
        ("x", Some(Why::Lagging), ""),
        ("gx", Some(Why::Lagging), "too far behind is out at once"),
        ("gxg", Some(Why::Returning), "and returns with damping"),
        ("gxggg", None, "after three good probes"),
        ("gx999", Some(Why::Lagging), "just below the bound is not good enough to return"),
        ("gxgg9g", Some(Why::Returning), "and breaks the row"),
        ("gxggxgg", Some(Why::Returning), "so does another excess"),
        ("gs", None, "one silence may be an accident"),
        ("gsgs", None, "if they do not come in a row"),
        ("gss", Some(Why::Silent), ""),
        ("gssggg", None, ""),
        ("gf", Some(Why::Unreachable), "a refusal is no accident"),
        ("gfgg", Some(Why::Returning), ""),
        ("gfggg", None, ""),
        ("f", Some(Why::Unreachable), ""),
        ("fg", None, "whatever never served has nothing to prove"),
        ("gu", Some(Why::LagUnknown), "lag that becomes unknown is out"),
    ];
    for (story, expected, name) in cases {
        assert_eq!(after(story).why_not(), expected, "{story:?} {name}");
    }
}

#[test]
fn answers_are_told_from_fitness() {
    for (story, expected) in
        [("", false), ("x", true), ("gs", true), ("gss", false), ("gf", false), ("gfg", true)]
    {
        assert_eq!(after(story).is_answering(), expected, "{story:?}");
    }
    assert!(after("g").returned_at().is_none(), "an endpoint that was never out starts at full strength");
    assert!(after("gfggg").returned_at().is_some(), "one that returned starts slowly");
}
