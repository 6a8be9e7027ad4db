//! Waits for what a session's fence is in words that others understand.

use super::{Access, Scene, Sight, ask_for_samples};
use crate::endpoint::EndpointId;
use crate::error::LeaseError;
use crate::freshness::{Demand, Freshness};
use crate::token::Token;
use protocol::Protocol;
use std::time::Instant;
use tokio::time::timeout_at;

impl<P: Protocol> Access<P> {
    /// What `freshness` stands for, in words that other sessions understand, also those of other processes. Waits,
    /// until `deadline`, for the sample that tells. `None` if the session has seen nothing.
    ///
    /// # Errors
    /// If there is no primary, or if it does not answer in time.
    pub async fn token(
        &self,
        freshness: &mut Freshness,
        deadline: Instant,
    ) -> Result<Option<Token>, LeaseError> {
        let mut pulse = self.outlook.pulse.subscribe();
        while !self.outlook.is_shut() {
            let _ = pulse.borrow_and_update();
            let (lanes, now) = (self.lanes.load_full(), Instant::now());
            let sight = Sight::new(&self.outlook, &lanes, now);
            let reign = self.outlook.incarnation(&mut freshness.reign);
            let demand = if freshness.is_blank() { Demand::Anything } else { sight.demand(freshness) };
            let wanted = match demand {
                Demand::Anything => return Ok(None),
                Demand::Floor(position) => {
                    let token = reign.and_then(|reign| self.outlook.token(reign, position));
                    if token.is_some() {
                        return Ok(token);
                    }
                    None
                }
                Demand::Stick { on, .. } | Demand::Sample(on) => place(&sight, on),
                // What the session has seen is the primary's from now on, as if it had read there.
                Demand::PrimaryOnly => {
                    if let Some(primary) = sight.primary() {
                        freshness.used_primary(sight.id(primary), None, Instant::now());
                    }
                    None
                }
            };
            let which = wanted.map_or(0, |at| 1 << at);
            ask_for_samples(&self.outlook, &lanes, which, true, None);
            if timeout_at(deadline.into(), pulse.changed()).await.is_err() {
                let primary = self.outlook.board().primary;
                return Err(
                    primary.map_or_else(LeaseError::NoPrimary, |_| LeaseError::Unreachable("primary"))
                );
            }
        }
        Err(LeaseError::Shutdown)
    }
}

/// Where an endpoint is found.
fn place<P: Protocol>(sight: &Sight<'_, P>, id: EndpointId) -> Option<usize> {
    (0..sight.len()).find(|at| sight.id(*at) == id)
}
