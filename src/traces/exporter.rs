//! Sends spans to a collector, in batches. What it does not take is dropped and counted.

use super::Span;
use crate::config::WebAddress;
use crate::metrics::Metrics;
use crate::web::{self, Question};
use hyper::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// Spans that are sent together at most.
const BATCH_MAX: usize = 512;

/// How long the first of a batch waits for others.
const GATHER: Duration = Duration::from_millis(500);

/// How long the collector may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sends until there is no tracer any more.
pub(super) async fn run(
    collector: WebAddress,
    service: String,
    mut spans: mpsc::Receiver<Span>,
    metrics: Arc<Metrics>,
) {
    let mut is_well = true;
    let mut batch = Vec::new();
    while spans.recv_many(&mut batch, BATCH_MAX).await > 0 {
        if batch.len() < BATCH_MAX {
            tokio::time::sleep(GATHER).await;
            while batch.len() < BATCH_MAX
                && let Ok(span) = spans.try_recv()
            {
                batch.push(span);
            }
        }
        let body = export(&service, &batch).to_string().into();
        let question = Question { whom: &collector, method: Method::POST, path: "/v1/traces", body };
        let sent = tokio::time::timeout(PATIENCE, Box::pin(web::ask(question))).await;
        match sent.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
            Ok(_) => {
                metrics.spans("sent", batch.len());
                is_well = true;
            }
            Err(why) => {
                metrics.spans("dropped", batch.len());
                if is_well {
                    tracing::warn!(why, "traces are dropped: the collector does not take them");
                }
                is_well = false;
            }
        }
        batch.clear();
    }
}

/// `ExportTraceServiceRequest` of OTLP 1.x, in its JSON form.
fn export(service: &str, spans: &[Span]) -> Value {
    json!({ "resourceSpans": [{
        "resource": { "attributes": [text("service.name", service)] },
        "scopeSpans": [{
            "scope": { "name": "splitpool", "version": env!("CARGO_PKG_VERSION") },
            "spans": spans.iter().map(show).collect::<Vec<_>>(),
        }],
    }] })
}

fn show(span: &Span) -> Value {
    let mut attributes = vec![text("db.namespace", &span.database)];
    if let Some((target, reason, endpoint)) = &span.open.route {
        attributes.push(text("splitpool.target", target));
        attributes.push(text("splitpool.reason", reason));
        attributes.push(text("server.address", endpoint));
    }
    json!({
        "traceId": hex(&span.open.parent.trace),
        "spanId": hex(&span.own),
        "parentSpanId": hex(&span.open.parent.span),
        "name": "splitpool",
        // A client: of the database.
        "kind": 3,
        "startTimeUnixNano": nanoseconds(span.open.begun),
        "endTimeUnixNano": nanoseconds(span.ended),
        "attributes": attributes,
        "status": { "code": if span.failed { 2 } else { 0 } },
    })
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn nanoseconds(at: SystemTime) -> String {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
