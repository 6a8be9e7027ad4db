//! A statement's part in a trace: begun when it is judged, told where it ran, ended with it.

use super::Session;
use protocol::Protocol;
use protocol::tracker::Tracker;
use router::Reason;

impl<P: Protocol> Session<P> {
    /// Begins a span if the request, `len` bytes of the inbox, asks for that.
    pub(super) fn open_trace(&mut self, len: usize) {
        let Some(tracer) = &self.service.tracer else { return };
        let bytes = self.client.inbox.get(..len).unwrap_or_default();
        let mut found = None;
        self.tracker.texts(bytes, &mut |text| found = found.take().or_else(|| tracer.open(text)));
        self.trace = found;
    }

    /// It runs on the backend that is leased now.
    pub(super) fn trace_route(&mut self, on_primary: bool, reason: Reason) {
        let endpoint = self.lease.as_ref().map(|lease| lease.endpoint().address.to_string());
        if let Some(open) = &mut self.trace {
            let target = if on_primary { "primary" } else { "replica" };
            open.route = Some((target, reason.as_str(), endpoint.unwrap_or_default()));
        }
    }

    /// It is over.
    pub(super) fn close_trace(&mut self, failed: bool) {
        if let (Some(open), Some(tracer)) = (self.trace.take(), &self.service.tracer) {
            tracer.close(*open, &self.database, failed);
        }
    }
}
