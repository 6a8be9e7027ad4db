//! The lag that is shown against the delay that is there: a replica that applies everything two seconds late, under a
//! trickle of writes.
//!
//! Each write is known by when it was sent and when it was answered, on one clock with the figures that are read. A
//! replica that lacks a write is behind at least since that write was answered, whatever the machine is busy with.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use integration::console::{console, row, table};
use integration::{PATIENCE, Raise, Server, Stage, Wire, until};

const DELAY: Duration = Duration::from_secs(2);

/// The lag of an endpoint in the metrics, in seconds, if it is known.
fn shown(stage: &Stage, server: &Server) -> Option<f64> {
    let address = server.address();
    let metrics = stage.proxy.metrics();
    let labels = [("endpoint", address.as_str())];
    metrics.of("splitpool_endpoint_lag_seconds", &labels).next().map(|sample| sample.value)
}

/// The same on the console, by each command that shows it.
fn on_console(operator: &mut Wire, server: &Server) -> Option<Vec<f64>> {
    let commands = ["SHOW LAG", "SHOW REPLICAS"].into_iter();
    let lag = |command| {
        let rows = table(operator, command);
        let lag = row(&rows, "endpoint", &server.address())["lag_ms"].parse::<f64>().ok();
        lag.map(|millis| millis / 1000.0)
    };
    commands.map(lag).collect()
}

/// The newest write that a replica has, by number; the first is 0.
fn newest(admin: &mut Wire) -> usize {
    admin.value("SELECT max(n) FROM beat").parse().expect("a number")
}

#[test]
fn what_is_shown_is_the_delay_that_is_there() {
    let stage = Stage::new(2, |config| config.text("consistency", "eventual").text("max_lag", "1h"));
    stage.cluster.prepare("CREATE TABLE beat (n int); INSERT INTO beat VALUES (0)");
    let [late, prompt] = [&stage.cluster.replicas[0], &stage.cluster.replicas[1]];
    late.set("recovery_min_apply_delay", &format!("{}ms", DELAY.as_millis()));
    // When each write was sent, and when it was answered.
    let beats = Mutex::new(vec![(Instant::now(), Instant::now())]);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = stage.proxy.session();
            for n in 1.. {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let sent = Instant::now();
                writer.query(&format!("INSERT INTO beat VALUES ({n})")).ok();
                beats.lock().expect("nobody panics with it").push((sent, Instant::now()));
                thread::sleep(Duration::from_millis(20));
            }
        });
        let _end = Raise(&over);
        let (mut admin, mut prompts) = (late.admin(), prompt.admin());
        let mut operator = console(&stage.proxy, "app");
        let (mut bites, mut close, mut apart) = (0, 0, 0);
        until("figures that tell", PATIENCE * 2, || {
            let begun = Instant::now();
            let mut figures = vec![shown(&stage, late)?];
            figures.extend(on_console(&mut operator, late)?);
            let least = figures.iter().copied().fold(f64::MAX, f64::min);
            let most = figures.iter().copied().fold(0.0, f64::max);
            let has = newest(&mut admin);
            // The first one that it lacks even now.
            let lacks = beats.lock().expect("nobody panics with it").get(has + 1).map(|beat| beat.1);
            let behind = lacks.map_or(Duration::ZERO, |answered| begun.saturating_duration_since(answered));
            assert!(
                least >= behind.as_secs_f64() - 0.002,
                "{figures:?} s are shown, it is {behind:?} behind"
            );
            bites += u32::from(behind > DELAY * 3 / 4);
            // Nothing is delayed for longer, but for what the machine adds.
            close += u32::from(least >= 1.5 && most < 3.0);
            assert!(most < 60.0, "{figures:?}");
            apart += u32::from(least >= 1.5 && shown(&stage, prompt)? < 1.0);
            (bites >= 20 && close >= 20 && apart >= 20).then_some(())
        });
        assert!(newest(&mut prompts) > 0);
    });
    // What is there is there: nobody writes, and nothing is shown for it.
    until("no lag", PATIENCE, || {
        let mut figures = on_console(&mut console(&stage.proxy, "app"), late)?;
        figures.push(shown(&stage, late)?);
        figures.iter().all(|figure| *figure < 1.0).then_some(())
    });
}
