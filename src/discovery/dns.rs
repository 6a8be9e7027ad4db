//! Asks the DNS. Decides nothing but how records become endpoints.

use super::{Found, candidate, in_order};
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::{Resolver, TokioResolver};
use pool::EndpointSettings;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The weight that the heaviest of several targets gets.
const WEIGHT_MAX: u32 = 100;

/// Every address that `host` stands for is an endpoint, at `port`.
///
/// # Errors
/// What the DNS says, as a sentence.
pub(super) async fn addresses(host: &str, port: u16, server: Option<SocketAddr>) -> Result<Found, String> {
    let found = resolver(server)?.lookup_ip(host).await.map_err(|error| format!("{host}: {error}"))?;
    let endpoints = in_order(found.iter().map(|ip| candidate(ip.to_string(), port, 1)));
    Ok(Found { endpoints, valid: Some(left(found.valid_until())) })
}

/// Every target of the SRV records of `name` is an endpoint, with the weight that they give. Those of
/// a higher priority number than the lowest are in reserve: they are probed and may be the
/// primary, and take no reads.
///
/// # Errors
/// What the DNS says, as a sentence.
pub(super) async fn services(name: &str, server: Option<SocketAddr>) -> Result<Found, String> {
    let found = resolver(server)?.srv_lookup(name).await.map_err(|error| format!("{name}: {error}"))?;
    let targets: Vec<_> = found
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(srv) => Some(Target {
                host: srv.target.to_utf8(),
                port: srv.port,
                priority: srv.priority,
                weight: srv.weight,
            }),
            _ => None,
        })
        .collect();
    Ok(Found { endpoints: weighted(targets), valid: Some(left(found.valid_until())) })
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

/// What one SRV record says.
struct Target {
    host: String,
    port: u16,
    priority: u16,
    weight: u16,
}

/// Weights of 0 to 65535 become shares of at most `WEIGHT_MAX`; who has any keeps some. Without
/// any weight all are equal. Only weights of the first priority count. A target of "." says that
/// there is no service.
fn weighted(mut targets: Vec<Target>) -> Vec<EndpointSettings> {
    targets.retain(|target| target.host != ".");
    let first = targets.iter().map(|target| target.priority).min();
    let is_first = |target: &Target| Some(target.priority) == first;
    let weights = targets.iter().filter(|target| is_first(target)).map(|target| u32::from(target.weight));
    let heaviest = weights.max().unwrap_or(0);
    let share = |weight: u32| match (weight, heaviest) {
        (_, 0) => 1,
        (0, _) => 0,
        (weight, heaviest) if heaviest <= WEIGHT_MAX => weight,
        (weight, heaviest) => (weight * WEIGHT_MAX / heaviest).max(1),
    };
    in_order(targets.iter().map(|target| {
        let weight = if is_first(target) { share(target.weight.into()) } else { 0 };
        candidate(target.host.trim_end_matches('.').to_owned(), target.port, weight)
    }))
}

/// A resolver that remembers nothing: how long an answer holds is for the caller to obey.
fn resolver(server: Option<SocketAddr>) -> Result<TokioResolver, String> {
    let builder = match server {
        None => Resolver::builder_tokio().map_err(|error| error.to_string())?,
        Some(at) => {
            let mut config = NameServerConfig::udp_and_tcp(at.ip());
            config.connections.iter_mut().for_each(|connection| connection.port = at.port());
            let config = ResolverConfig::from_parts(None, Vec::new(), vec![config]);
            Resolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
    };
    let mut builder = builder;
    let options = builder.options_mut();
    options.cache_size = 0;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.timeout = Duration::from_secs(1);
    builder.build().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::{Target, weighted};

    fn target(host: &str, port: u16, priority: u16, weight: u16) -> Target {
        Target { host: host.to_owned(), port, priority, weight }
    }

    /// The weights that targets of these priorities and weights get.
    fn of(targets: &[(u16, u16)]) -> Vec<u32> {
        let targets = targets.iter().zip(1..);
        let targets = targets.map(|((priority, weight), port)| target("db.", port, *priority, *weight));
        weighted(targets.collect()).iter().map(|endpoint| endpoint.weight).collect()
    }

    #[test]
    fn weights_are_shares() {
        assert_eq!(of(&[(0, 0), (0, 0)]), [1, 1]);
        assert_eq!(of(&[(7, 10), (7, 0), (7, 60)]), [10, 0, 60]);
        assert_eq!(of(&[(0, 65_535), (0, 1), (0, 0)]), [100, 1, 0]);
        assert!(weighted(vec![target(".", 0, 0, 0)]).is_empty());
    }

    #[test]
    fn what_is_in_reserve_takes_no_reads() {
        assert_eq!(of(&[(1, 0), (0, 0), (1, 100)]), [0, 1, 0]);
        assert_eq!(of(&[(20, 60_000), (10, 1)]), [0, 1], "its weight does not count for the others");
        assert_eq!(weighted(vec![target(".", 0, 0, 0), target("db.", 1, 1, 0)])[0].weight, 1);
    }
}
