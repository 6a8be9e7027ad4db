//! Listeners share one connection, hear everything in order, and keep no backend.

use std::time::Duration;

use integration::{Cluster, Linked, PATIENCE, Stage, Wire, holds, until};

fn stage() -> Stage {
    Stage::new(1, |config| config.raw("pool_size", "2").text("query_wait_timeout", "30s"))
}

/// The next notification's channel and payload.
#[track_caller]
fn heard(wire: &mut Wire) -> (String, String) {
    wire.patience(PATIENCE);
    let message = wire.read_to(b'A').expect("a notification comes");
    let text = String::from_utf8_lossy(&message.body[4..]).into_owned();
    let mut parts = text.split('\0').map(str::to_owned);
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

fn is_silent(wire: &mut Wire) -> bool {
    wire.patience(Duration::from_millis(400));
    let silent = wire.read().is_err();
    wire.patience(PATIENCE);
    silent
}

fn pair(channel: &str, payload: &str) -> (String, String) {
    (channel.to_owned(), payload.to_owned())
}

#[track_caller]
fn await_unpinned(stage: &Stage) {
    holds("pinned sessions", PATIENCE, 0, || {
        stage.proxy.metrics().sum("splitpool_pinned_sessions", &[]) as usize
    });
}

#[test]
fn many_listeners_hear_in_order_and_keep_no_backend() {
    let stage = stage();
    let mut listeners: Vec<Wire> = (0..6)
        .map(|_| {
            let mut wire = stage.proxy.session();
            wire.query("LISTEN news").ok();
            wire
        })
        .collect();
    listeners[0].execute("LISTEN \"Mixed Case\"", &[]).ok();
    await_unpinned(&stage);
    let mut speaker = stage.proxy.session();
    for n in 0..20 {
        speaker.query(&format!("NOTIFY news, 'number {n}'")).ok();
    }
    speaker.query("SELECT pg_notify('Mixed Case', 'mixed')").ok();
    for wire in &mut listeners {
        for n in 0..20 {
            assert_eq!(heard(wire), pair("news", &format!("number {n}")));
        }
    }
    assert_eq!(heard(&mut listeners[0]), pair("Mixed Case", "mixed"));
    // They are clients like any others meanwhile.
    for wire in &mut listeners {
        assert_eq!(wire.value("SELECT 1"), "1");
        assert_eq!(wire.query("BEGIN; SELECT 2; COMMIT").value(), "2");
        assert!(is_silent(wire), "a notification is heard twice");
    }
    assert!(stage.count("query LIKE 'LISTEN%'") <= 1, "one connection listens");
}

#[test]
fn transactions_decide_what_is_listened_on() {
    let stage = stage();
    let mut wire = stage.proxy.session();
    let mut speaker = stage.proxy.session();
    let channels = |wire: &mut Wire| {
        let seen =
            wire.query("SELECT string_agg(c, ',' ORDER BY c) FROM pg_listening_channels() AS l(c)").ok();
        seen.rows[0][0].clone().unwrap_or_default()
    };
    for sql in ["LISTEN a", "BEGIN", "LISTEN b", "ROLLBACK", "BEGIN", "LISTEN c", "COMMIT"] {
        wire.query(sql).ok();
    }
    assert_eq!(channels(&mut wire), "a,c");
    assert_eq!(wire.query("LISTEN").code(), "42601");
    for sql in ["BEGIN", "UNLISTEN a", "ROLLBACK"] {
        wire.query(sql).ok();
    }
    assert_eq!(channels(&mut wire), "a,c");
    await_unpinned(&stage);
    for channel in ["a", "b", "c"] {
        speaker.query(&format!("NOTIFY {channel}, 'x'")).ok();
    }
    assert_eq!((heard(&mut wire), heard(&mut wire)), (pair("a", "x"), pair("c", "x")));
    // In a transaction nothing is heard before its end.
    wire.query("BEGIN").ok();
    speaker.query("NOTIFY a, 'later'").ok();
    assert!(is_silent(&mut wire));
    wire.send(&integration::frame::query("COMMIT")).unwrap();
    assert_eq!(heard(&mut wire), pair("a", "later"));
    wire.query("UNLISTEN a").ok();
    speaker.query("NOTIFY a, 'gone'").ok();
    speaker.query("NOTIFY c, 'here'").ok();
    assert_eq!(heard(&mut wire), pair("c", "here"));
    wire.query("DISCARD ALL").ok();
    assert_eq!(channels(&mut wire), "");
    speaker.query("NOTIFY c, 'gone'").ok();
    assert!(is_silent(&mut wire));
    // What one listens on is nothing to the next.
    wire.query("LISTEN mine").ok();
    assert_eq!(channels(&mut speaker), "");
    speaker.query("NOTIFY mine, 'to one'").ok();
    assert_eq!(heard(&mut wire), pair("mine", "to one"));
    assert!(is_silent(&mut speaker));
}

#[test]
fn a_listener_that_is_pinned_hears_once() {
    let stage = stage();
    let mut wire = stage.proxy.session();
    let mut speaker = stage.proxy.session();
    wire.query("LISTEN a").ok();
    wire.query("CREATE TEMP TABLE keep (n int)").ok();
    wire.query("LISTEN b").ok();
    for n in 0..5 {
        speaker.query(&format!("NOTIFY a, '{n}'; NOTIFY b, '{n}'")).ok();
    }
    for n in 0..5 {
        assert_eq!(heard(&mut wire), pair("a", &n.to_string()));
        assert_eq!(heard(&mut wire), pair("b", &n.to_string()));
    }
    assert!(is_silent(&mut wire));
    wire.query("DROP TABLE keep").ok();
    await_unpinned(&stage);
    speaker.query("NOTIFY b, 'after'").ok();
    assert_eq!(heard(&mut wire), pair("b", "after"));
}

#[test]
fn a_lost_connection_is_made_again_and_said_so() {
    let stage = stage();
    let mut wire = stage.proxy.session();
    wire.query("LISTEN a").ok();
    await_unpinned(&stage);
    let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND pid <> pg_backend_pid()";
    assert_eq!(stage.cluster.primary.value(ended), "1");
    wire.patience(PATIENCE);
    let notice = wire.read_to(b'N').expect("the client is warned");
    assert!(String::from_utf8_lossy(&notice.body).contains("may be missing"));
    let mut speaker = stage.proxy.session();
    let mut n = 0;
    until("notifications come again", PATIENCE, || {
        n += 1;
        speaker.query(&format!("NOTIFY a, '{n}'")).ok();
        wire.patience(Duration::from_millis(300));
        wire.read_to(b'A').ok()
    });
    assert_eq!(wire.value("SELECT 1"), "1");
}

#[test]
fn the_operator_may_have_listeners_keep_their_backend() {
    let stage = Stage::new(0, |config| config.raw("share_listeners", "false"));
    let mut wire = stage.proxy.session();
    wire.query("LISTEN a").ok();
    holds("sessions pinned for listening", PATIENCE, 1, || {
        stage.proxy.metrics().sum("splitpool_pinned_sessions", &[("reason", "listen")]) as usize
    });
    stage.proxy.session().query("NOTIFY a, 'x'").ok();
    assert_eq!(heard(&mut wire), pair("a", "x"));
}

#[test]
fn a_notification_that_comes_in_pieces_is_heard_whole() {
    let cluster = Cluster::start(0);
    // The session keeps its backend, and hears what that says while nothing is asked.
    let Linked { proxy, link, cluster } =
        &Linked::over(cluster, |config| config.raw("share_listeners", "false"));
    proxy.await_cluster(cluster);
    let mut wire = proxy.session();
    wire.query("LISTEN pieces").ok();
    link.drip(700, Duration::from_millis(2));
    for n in 0..5 {
        let payload = n.to_string().repeat(7900);
        cluster.primary.sql(&format!("NOTIFY pieces, '{payload}'")).ok();
        assert_eq!(heard(&mut wire), pair("pieces", &payload));
    }
    // Its own comes ahead of or behind the reply, which is over before the notification is.
    for n in 5..9 {
        let payload = n.to_string().repeat(7900);
        wire.send(&integration::frame::query(&format!("NOTIFY pieces, '{payload}'"))).expect("it is open");
        assert_eq!(heard(&mut wire), pair("pieces", &payload));
        if n % 2 == 0 {
            assert_eq!(wire.reply().expect("an answer").code(), "");
        }
    }
}
