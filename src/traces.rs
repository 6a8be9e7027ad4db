//! Traces of statements, for whoever asks for them: OpenTelemetry (OTLP over HTTP, as JSON).
//!
//! A statement is traced if its text has the `traceparent` of a sampled trace in a comment: the
//! span becomes a child of the application's own. Others cost nothing, and nothing at all is done
//! unless an endpoint is configured. A session never waits: what the exporter cannot take is
//! dropped and counted. Spans hold names, never a statement's text.

mod exporter;
mod parent;

pub use parent::Parent;

use crate::config::Traces as Config;
use crate::metrics::Metrics;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::mpsc;

/// Spans that wait for the exporter.
const WAITING_MAX: usize = 4096;

/// Where spans go.
pub struct Tracer {
    config: Config,
    sender: mpsc::Sender<Span>,
    metrics: Arc<Metrics>,
}

/// A statement that is under way.
#[derive(Debug)]
pub struct Open {
    parent: Parent,
    begun: SystemTime,
    /// `primary` or `replica`, with the reason and the endpoint; none if it got nowhere.
    pub route: Option<(&'static str, &'static str, String)>,
}

/// A statement that is over.
#[derive(Debug)]
pub(crate) struct Span {
    open: Open,
    own: [u8; 8],
    ended: SystemTime,
    database: String,
    failed: bool,
}

impl Tracer {
    /// Starts an exporter, which ends when the tracer is dropped. `None` if none is configured.
    pub fn start(config: &Config, before: Option<&Arc<Self>>, metrics: &Arc<Metrics>) -> Option<Arc<Self>> {
        let collector = config.endpoint.clone()?;
        if let Some(same) = before.filter(|before| before.config == *config) {
            return Some(Arc::clone(same));
        }
        let (sender, spans) = mpsc::channel(WAITING_MAX);
        tokio::spawn(exporter::run(collector, config.service_name.clone(), spans, Arc::clone(metrics)));
        Some(Arc::new(Self { config: config.clone(), sender, metrics: Arc::clone(metrics) }))
    }

    /// Begins to trace a statement, if its text asks for that.
    pub fn open(&self, text: &[u8]) -> Option<Box<Open>> {
        let parent = Parent::in_comment(text)?;
        Some(Box::new(Open { parent, begun: SystemTime::now(), route: None }))
    }

    /// The statement is over.
    pub fn close(&self, open: Open, database: &str, failed: bool) {
        let Some(own) = crate::random::bytes() else { return };
        let span = Span { open, own, ended: SystemTime::now(), database: database.to_owned(), failed };
        if self.sender.try_send(span).is_err() {
            self.metrics.spans("dropped", 1);
        }
    }
}
