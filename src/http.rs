//! The HTTP address: `/metrics`, `/live`, `/ready`.
//!
//! `/live` says that this process turns, never anything about a database. `/ready` says that
//! clients can be served: that no shutdown is under way and some cluster has a primary or a
//! replica to offer.

use crate::metrics::Metrics;
use crate::sockets::send_elsewhere;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use pool::View;
use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

/// Requests that are served at a time.
const CONNECTIONS_MAX: usize = 64;

/// Clusters of one database and their clients.
pub trait Site: Send + Sync {
    /// How the clusters stand.
    fn views(&self) -> Vec<View>;
    /// How many clients there are.
    fn clients(&self) -> usize;
    /// Tells every client's session to end as soon as it may.
    fn stop_all(&self);
}

/// What the answers are made of.
pub struct Facts {
    /// One for each database that is served.
    pub sites: Vec<Arc<dyn Site>>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// Whether a shutdown is under way.
    pub stopping: watch::Receiver<bool>,
}

/// Serves until the process ends. From a `shared` address the next process answers as soon as
/// this one stops.
pub async fn run(listener: TcpListener, shared: bool, facts: Arc<Facts>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut stopping = facts.stopping.clone();
    let leave = async {
        let _ = stopping.wait_for(|stopping| *stopping).await;
        if shared && let Err(error) = send_elsewhere(&listener) {
            tracing::warn!(%error, "new connections cannot be sent to the other process");
        }
        std::future::pending::<Infallible>().await
    };
    tokio::pin!(leave);
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            never = &mut leave => match never {},
        };
        let Ok((tcp, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let facts = Arc::clone(&facts);
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let answer = answer(&request, &facts);
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10))
                .serve_connection(TokioIo::new(tcp), answer);
            let _ = connection.await;
            drop(place);
        });
    }
}

fn answer(request: &Request<Incoming>, facts: &Facts) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return reply(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n".to_owned());
    }
    match request.uri().path() {
        "/live" => reply(StatusCode::OK, "live\n".to_owned()),
        "/ready" => ready(facts),
        "/metrics" => {
            let text =
                facts.metrics.text(facts.sites.iter().map(|site| site.clients()).sum(), &endpoints(facts));
            let mut response = reply(StatusCode::OK, text);
            let kind = hyper::header::HeaderValue::from_static(
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            );
            response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
            response
        }
        _ => reply(StatusCode::NOT_FOUND, "not found\n".to_owned()),
    }
}

fn reply(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}

fn ready(facts: &Facts) -> Response<Full<Bytes>> {
    if *facts.stopping.borrow() {
        return reply(StatusCode::SERVICE_UNAVAILABLE, "shutting down\n".to_owned());
    }
    let mut views = facts.sites.iter().flat_map(|site| site.views());
    let serving = views.any(|view| view.endpoints.iter().any(|endpoint| is_up(endpoint.role)));
    if serving {
        reply(StatusCode::OK, "ready\n".to_owned())
    } else {
        reply(StatusCode::SERVICE_UNAVAILABLE, "no endpoint of any cluster answers\n".to_owned())
    }
}

/// What the clusters know of their endpoints, as lines for Prometheus.
fn endpoints(facts: &Facts) -> String {
    let mut series: Vec<(&str, &str, &str, Vec<String>)> = vec![
        ("endpoint_up", "gauge", "Whether the endpoint answers its probes", Vec::new()),
        ("endpoint_role", "gauge", "1 for the role that the endpoint has", Vec::new()),
        ("endpoint_eligible", "gauge", "Whether the endpoint takes reads, or why not", Vec::new()),
        ("endpoint_lag_seconds", "gauge", "Age of what the replica has replayed; NaN if unknown", Vec::new()),
        ("endpoint_lag_bytes", "gauge", "Bytes that the replica has yet to replay", Vec::new()),
        (
            "endpoint_lag_transactions",
            "gauge",
            "Transactions of the primary that the replica lacks",
            Vec::new(),
        ),
        ("endpoint_errant_transactions", "gauge", "Transactions that the primary lacks", Vec::new()),
        (
            "endpoint_seconds_behind",
            "gauge",
            "What the replica says of its own lag; nothing follows it",
            Vec::new(),
        ),
        ("endpoint_probe_age_seconds", "gauge", "Time since the last good probe", Vec::new()),
        ("endpoint_leases", "gauge", "Backends that are lent now", Vec::new()),
        ("endpoint_statements_total", "counter", "Statements that the endpoint served", Vec::new()),
        ("endpoint_logins_total", "counter", "Backends that were signed in", Vec::new()),
        ("endpoint_login_failures_total", "counter", "Backends that could not be signed in", Vec::new()),
        ("endpoint_lost_total", "counter", "Backends that were lost", Vec::new()),
    ];
    for view in facts.sites.iter().flat_map(|site| site.views()) {
        for seen in &view.endpoints {
            let address = seen.endpoint.address.to_string();
            let labels = format!("cluster=\"{}\",endpoint=\"{}\"", escape(&view.name), escape(&address));
            let seconds = |age: Option<Duration>| {
                age.map_or("NaN".to_owned(), |age| format!("{:.6}", age.as_secs_f64()))
            };
            let number = |number: Option<u64>| number.map_or("NaN".to_owned(), |number| number.to_string());
            let counted = |counter: &AtomicU64| format!("{{{labels}}} {}", counter.load(Ordering::Relaxed));
            let reason = seen.why_not.map_or("eligible", pool::Why::name);
            let counters = &seen.endpoint.counters;
            let values = [
                format!("{{{labels}}} {}", u8::from(is_up(seen.role))),
                format!("{{{labels},role=\"{}\"}} 1", seen.role.name()),
                format!("{{{labels},reason=\"{reason}\"}} {}", u8::from(seen.why_not.is_none())),
                format!("{{{labels}}} {}", seconds(seen.lag)),
                format!("{{{labels}}} {}", number(seen.lag_bytes)),
                format!("{{{labels}}} {}", number(seen.lag_transactions)),
                format!("{{{labels}}} {}", seen.errant_transactions),
                format!("{{{labels}}} {}", number(seen.seconds_behind)),
                format!("{{{labels}}} {}", seconds(seen.probe_age)),
                format!("{{{labels}}} {}", seen.endpoint.in_flight()),
                counted(&counters.statements),
                counted(&counters.logins),
                counted(&counters.login_failures),
                counted(&counters.lost),
            ];
            for (series, value) in series.iter_mut().zip(values) {
                series.3.push(value);
            }
        }
    }
    let mut text = String::new();
    for (name, kind, help, values) in series {
        let family = name.strip_suffix("_total").unwrap_or(name);
        let _ = writeln!(text, "# HELP splitpool_{family} {help}.\n# TYPE splitpool_{family} {kind}");
        for value in values {
            let _ = writeln!(text, "splitpool_{name}{value}");
        }
    }
    text
}

fn is_up(role: pool::Role) -> bool {
    matches!(role, pool::Role::Primary | pool::Role::Replica)
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
