//! Tells the supervisor that started us (systemd, or whoever sets `NOTIFY_SOCKET`) how we are.
//!
//! Without one, nothing happens. That it does not hear us is no reason to stop serving.

use sd_notify::NotifyState;
use std::time::Duration;

/// We serve.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// We read our configuration again; `ready` follows.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now, NotifyState::Status("reloading")]),
        Err(error) => tracing::warn!(%error, "the supervisor is not told of a reload"),
    }
}

/// We let our clients end.
pub fn stopping(clients: usize) {
    tell(&[NotifyState::Stopping, NotifyState::Status(&format!("stopping, {clients} clients"))]);
}

/// Shows for as long as the process lives that its tasks get their turn, if the supervisor wants
/// to be shown (`WatchdogSec=`).
pub async fn watchdog() {
    let Some(patience) = sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero()) else { return };
    let mut every = tokio::time::interval((patience / 2).max(Duration::from_millis(1)));
    loop {
        every.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the supervisor cannot be told how we are");
    }
}
