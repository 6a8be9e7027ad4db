//! Watches one endpoint: probes it at a pace, at once when somebody saw a connection die, and
//! on demand while sessions wait for its position. A replica that lacks a transaction for which
//! sessions wait is asked to answer as soon as it has it.
//!
//! One question is under way at a time and serves all who wait. Reports go to the outlook;
//! nothing is judged here. The task ends when it is dropped.

use crate::backoff::Backoff;
use crate::board::Report;
use crate::dial::Route;
use crate::endpoint::Endpoint;
use crate::outlook::Outlook;
use crate::probe::Control;
use crate::settings::{ClusterSettings, Engine, ProbeUser};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::{sleep_until, timeout};

/// The least time between two questions, however many wait: a tokio timer's grain.
const SAMPLE_GAP: Duration = Duration::from_millis(1);

/// A replica is waited for this long at most before it is asked again: who comes meanwhile waits as long.
const AWAIT_MAX: Duration = Duration::from_millis(20);

/// The least time between two connects, however often a connection is seen to die.
const RECONNECT_GAP: Duration = Duration::from_millis(100);

/// The pause between connects grows from `RECONNECT_GAP` to this.
const RECONNECT_MAX: Duration = Duration::from_secs(5);

/// What a probe task is told. A change restarts the task.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    pub engine: Engine,
    pub route: Route,
    pub user: ProbeUser,
    pub pace: Duration,
    pub timeout: Duration,
}

impl From<&ClusterSettings> for Plan {
    fn from(settings: &ClusterSettings) -> Self {
        Self {
            engine: settings.engine,
            route: Route {
                tls: settings.tls.clone(),
                keepalive: settings.keepalive,
                timeout: settings.connect_timeout,
            },
            user: settings.probe.clone(),
            pace: settings.pace(),
            timeout: settings.probe_timeout,
        }
    }
}

/// A task that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Task(tokio::task::AbortHandle);

impl Task {
    pub fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work).abort_handle())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Watches for ever.
pub(crate) async fn watch(outlook: Arc<Outlook>, endpoint: Arc<Endpoint>, plan: Plan) {
    let mut backoff = Backoff::new(RECONNECT_GAP, RECONNECT_MAX);
    loop {
        let began = Instant::now();
        let opening = Control::open(plan.engine, &endpoint.address, &plan.route, &plan.user);
        let report = match timeout(plan.route.timeout, Box::pin(opening)).await {
            Ok(Ok(control)) => Box::pin(follow(&outlook, &endpoint, &plan, control, &mut backoff)).await,
            Ok(Err(error)) => failure(&error),
            Err(_) => Report::Silent,
        };
        outlook.report(endpoint.id, report, Instant::now());
        let pause = backoff.next(fastrand::f64());
        tokio::select! {
            () = sleep_until((Instant::now() + pause).into()) => {}
            () = endpoint.probe_wanted.notified() => sleep_until((began + RECONNECT_GAP).into()).await,
        }
    }
}

fn failure(error: &io::Error) -> Report {
    if error.kind() == io::ErrorKind::TimedOut { Report::Silent } else { Report::Failed(error.to_string()) }
}

/// Asks over one connection until it fails; says how it failed.
async fn follow(
    outlook: &Outlook,
    endpoint: &Endpoint,
    plan: &Plan,
    mut control: Control,
    backoff: &mut Backoff,
) -> Report {
    // Endpoints of one cluster are not asked in step, nor are the proxies of one fleet.
    let mut due = Instant::now() + plan.pace.mul_f64(fastrand::f64());
    let most = AWAIT_MAX.min(plan.timeout / 4);
    let mut awaited = None;
    loop {
        let began = Instant::now();
        match timeout(plan.timeout, control.sample(awaited.take(), most)).await {
            Ok(Ok(sample)) => outlook.report(endpoint.id, Report::Sample(sample), Instant::now()),
            Ok(Err(error)) => return failure(&error),
            Err(_) => return Report::Silent,
        }
        backoff.reset();
        while due <= began {
            due += plan.pace;
        }
        tokio::select! {
            () = sleep_until(due.into()) => {}
            () = endpoint.probe_wanted.notified() => sleep_until((began + SAMPLE_GAP).into()).await,
            () = endpoint.sample_wanted.notified() => {
                awaited = endpoint.take_awaited().filter(|_| control.awaits());
                // Such an answer comes no sooner than it is of use.
                if awaited.is_none() {
                    sleep_until((began + SAMPLE_GAP).into()).await;
                }
            }
            error = control.closed() => return Report::Failed(error.to_string()),
        }
    }
}
