//! The configuration's words in the words of the crates that obey it.

use crate::config::{self, ClusterConfig, General};
use pool::net::{BackendTls, KeepAlive, TlsMode, backend_tls};
use pool::{ClusterSettings, Consistency, EndpointSettings, Engine, Fallback, ProbeUser, RoleSetting};
use protocol::handshake::AuthMethod;
use std::time::Duration;

/// How clients prove who they are.
pub fn auth_method(method: config::AuthMethod) -> AuthMethod {
    match method {
        config::AuthMethod::ScramSha256 => AuthMethod::Scram,
        config::AuthMethod::Md5 => AuthMethod::Md5,
        config::AuthMethod::Trust => AuthMethod::Trust,
    }
}

pub(super) fn consistency(consistency: config::Consistency) -> Consistency {
    match consistency {
        config::Consistency::Eventual => Consistency::Eventual,
        config::Consistency::Bounded => Consistency::Bounded,
        config::Consistency::Session => Consistency::Session,
        config::Consistency::Token => Consistency::Token,
        config::Consistency::Strong => Consistency::Strong,
    }
}

/// How connections notice that the other side vanished.
pub fn keepalive(general: &General) -> KeepAlive {
    KeepAlive {
        idle: general.tcp_keepalive.unwrap_or(Duration::ZERO),
        user_timeout: general.tcp_user_timeout.unwrap_or(Duration::ZERO),
        ..KeepAlive::default()
    }
}

/// A cluster, for the pool.
///
/// # Errors
/// Keys and certificates that cannot be used, as a sentence.
pub fn cluster_settings(config: &ClusterConfig, general: &General) -> Result<ClusterSettings, String> {
    let endpoint = |endpoint: &config::EndpointConfig| EndpointSettings {
        address: endpoint.address.clone(),
        role: match endpoint.role {
            config::Role::Primary => RoleSetting::Primary,
            config::Role::Replica => RoleSetting::Replica,
            config::Role::Auto => RoleSetting::Auto,
        },
        weight: endpoint.weight,
    };
    Ok(ClusterSettings {
        name: config.name.clone(),
        engine: match config.engine {
            config::Engine::Postgres => Engine::Postgres,
            config::Engine::Mysql => Engine::Mysql,
        },
        endpoints: config.endpoints.iter().map(endpoint).collect(),
        max_lag: config.max_lag,
        causal_wait: config.causal_wait,
        fallback: match config.fallback {
            config::Fallback::Primary => Fallback::Primary,
            config::Fallback::Error => Fallback::Error,
            config::Fallback::Stale => Fallback::Stale,
        },
        probe_interval: config.probe_interval,
        probe_timeout: config.probe_timeout,
        connect_timeout: config.connect_timeout,
        max_concurrent_logins: config.max_concurrent_logins,
        return_after: config.return_after,
        slow_start: config.slow_start,
        tls: tls(config)?,
        keepalive: keepalive(general),
        probe: ProbeUser {
            user: config.probe.user.clone(),
            password: config.probe.password.clone(),
            database: config.probe.dbname.clone(),
        },
    })
}

fn tls(config: &ClusterConfig) -> Result<BackendTls, String> {
    let mode = match config.tls.mode {
        config::BackendTlsMode::Off => TlsMode::Off,
        config::BackendTlsMode::Prefer => TlsMode::Prefer,
        config::BackendTlsMode::Require => TlsMode::Require,
        config::BackendTlsMode::VerifyCa => TlsMode::VerifyCa,
        config::BackendTlsMode::VerifyFull => TlsMode::VerifyFull,
    };
    let pair = config.tls.identity.as_ref().map(|pair| (pair.cert.as_path(), pair.key.as_path()));
    backend_tls(mode, config.tls.ca.as_deref(), pair)
        .map_err(|error| format!("clusters.{}.tls: {error}", config.name))
}
