//! The HTTP address: `/metrics`, `/live`, `/ready`, the dashboard on `/`, which asks
//! `/api/status`, and `/reload` and `/shutdown` for those who may change something.
//!
//! `/live` says that this process turns, never anything about a database. `/ready` says that
//! clients can be served: that no shutdown is under way and some cluster has a primary or a
//! replica to offer.

use crate::config::Live;
use crate::dashboard::{Dashboard, PAGE};
use crate::exposition;
use crate::metrics::Metrics;
use crate::service::Latches;
use crate::site::Site;
use crate::sockets::send_elsewhere;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use pool::View;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

mod control;

pub use control::Control;

/// What a scraper asks for that knows the newer format.
const OPEN_METRICS: &str = "application/openmetrics-text";

/// Requests that are served at a time.
const CONNECTIONS_MAX: usize = 64;

/// What the answers are made of.
pub struct Facts {
    /// One for each database that is served.
    pub sites: Vec<Arc<dyn Site>>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// Which databases are paused or disabled.
    pub latches: Arc<Latches>,
    /// Whether a shutdown is under way.
    pub stopping: watch::Receiver<bool>,
    /// The configuration in force.
    pub live: Arc<Live>,
    /// What the dashboard remembers.
    pub dashboard: Arc<Dashboard>,
    /// Whom to ask to change something.
    pub control: mpsc::Sender<Control>,
}

impl Facts {
    /// How all clusters stand.
    pub fn views(&self) -> Vec<View> {
        self.sites.iter().flat_map(|site| site.views()).collect()
    }

    /// How many clients there are.
    pub fn clients(&self) -> usize {
        self.sites.iter().map(|site| site.clients()).sum()
    }
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
        let Ok((tcp, peer)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let facts = Arc::clone(&facts);
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let facts = Arc::clone(&facts);
                async move { Ok::<_, Infallible>(answer(&request, peer.ip(), &facts).await) }
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

async fn answer(request: &Request<Incoming>, peer: IpAddr, facts: &Facts) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let changes = matches!(path, "/reload" | "/shutdown");
    let is_right = match *request.method() {
        Method::GET | Method::HEAD => !changes,
        Method::POST => changes,
        _ => false,
    };
    if !is_right {
        return reply(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n".to_owned());
    }
    if changes {
        let live = facts.live.current();
        if !control::may(request, peer, live.listen.http_token.as_ref()) {
            return reply(StatusCode::FORBIDDEN, "only from this machine, or with the token\n".to_owned());
        }
        return if path == "/reload" { reload(facts).await } else { shutdown(facts) };
    }
    match path {
        "/" => typed("text/html; charset=utf-8", PAGE.to_owned()),
        "/api/status" => typed("application/json", facts.dashboard.status(facts).to_string()),
        "/live" => reply(StatusCode::OK, "live\n".to_owned()),
        "/ready" => ready(facts),
        "/metrics" => metrics(request, facts),
        _ => reply(StatusCode::NOT_FOUND, "not found\n".to_owned()),
    }
}

/// Everything that is counted, as Prometheus asks for it; the older format for whoever does not say.
fn metrics(request: &Request<Incoming>, facts: &Facts) -> Response<Full<Bytes>> {
    let rest = exposition::text(&facts.live.peek(), &facts.latches, &facts.metrics, &facts.views());
    let text = facts.metrics.text(facts.clients(), &rest);
    let accepted = request.headers().get_all(header::ACCEPT).iter();
    let open = accepted.filter_map(|value| value.to_str().ok()).any(|value| value.contains(OPEN_METRICS));
    if open {
        typed("application/openmetrics-text; version=1.0.0; charset=utf-8", text)
    } else {
        typed("text/plain; version=0.0.4; charset=utf-8", exposition::classic(&text))
    }
}

async fn reload(facts: &Facts) -> Response<Full<Bytes>> {
    let (sender, outcome) = oneshot::channel();
    let busy = || reply(StatusCode::SERVICE_UNAVAILABLE, "busy or shutting down\n".to_owned());
    if facts.control.try_send(Control::Reload(sender)).is_err() {
        return busy();
    }
    match tokio::time::timeout(RELOAD_MAX, outcome).await {
        Ok(Ok(Ok(text))) => reply(StatusCode::OK, text + "\n"),
        Ok(Ok(Err(mistakes))) => reply(StatusCode::UNPROCESSABLE_ENTITY, mistakes + "\n"),
        _ => busy(),
    }
}

fn shutdown(facts: &Facts) -> Response<Full<Bytes>> {
    match facts.control.try_send(Control::Shutdown) {
        Ok(()) => reply(StatusCode::ACCEPTED, "shutting down\n".to_owned()),
        Err(_) => reply(StatusCode::SERVICE_UNAVAILABLE, "busy or shutting down\n".to_owned()),
    }
}

/// A page of some other type than plain text, which loads nothing from elsewhere.
fn typed(kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = reply(StatusCode::OK, text);
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    response.headers_mut().extend(headers.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}

/// What the dashboard may load: what is in it, and what it asks us.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
     connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'";

/// How long a reload may take.
const RELOAD_MAX: Duration = Duration::from_secs(10);

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
    let serving = views.any(|view| view.endpoints.iter().any(|endpoint| exposition::is_up(endpoint.role)));
    if serving {
        reply(StatusCode::OK, "ready\n".to_owned())
    } else {
        reply(StatusCode::SERVICE_UNAVAILABLE, "no endpoint of any cluster answers\n".to_owned())
    }
}
