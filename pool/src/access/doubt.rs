//! Has an endpoint looked at again when it says of itself what the last probe did not see.

use super::Access;
use crate::endpoint::EndpointId;
use crate::topology::Role;
use protocol::Protocol;
use std::time::Instant;
use tokio::time::timeout_at;

impl<P: Protocol> Access<P> {
    /// A primary refused a write as read-only: has it probed at once. Returns when a probe that began after this has
    /// told what it is, or when it is no primary any more; at the latest at the deadline.
    pub async fn look_again(&self, id: EndpointId, deadline: Instant) {
        let mut pulse = self.outlook.pulse.subscribe();
        let lanes = self.lanes.load_full();
        let Some(lane) = lanes.lanes.iter().find(|lane| lane.door.endpoint.id == id) else { return };
        let endpoint = &lane.door.endpoint;
        let began = self.outlook.clock.ticks(Instant::now());
        loop {
            let _ = pulse.borrow_and_update();
            let told = endpoint.role() != Role::Primary || endpoint.is_sampled_since(began);
            if told || endpoint.is_removed() || self.outlook.is_shut() {
                return;
            }
            endpoint.probe_wanted.notify_one();
            if timeout_at(deadline.into(), pulse.changed()).await.is_err() {
                return;
            }
        }
    }
}
