//! Requests that change something, and who may make them.
//!
//! Whoever is on this machine may, and whoever has the token. A page in a browser on this machine
//! may not: what it sends says where it comes from (`Origin`).

use hyper::Request;
use hyper::header::{AUTHORIZATION, ORIGIN};
use protocol::Secret;
use std::net::IpAddr;
use subtle::ConstantTimeEq;
use tokio::sync::oneshot;

/// What is asked for.
#[derive(Debug)]
pub enum Control {
    /// Read the configuration again; what came of that is answered.
    Reload(oneshot::Sender<Result<String, String>>),
    /// Let every client end, then exit.
    Shutdown,
}

/// Whether a request from `peer` may change something.
pub(super) fn may<B>(request: &Request<B>, peer: IpAddr, token: Option<&Secret>) -> bool {
    let header = |name| request.headers().get(name).map(hyper::header::HeaderValue::as_bytes);
    if let (Some(token), Some(given)) = (token, header(AUTHORIZATION)) {
        let given = given.strip_prefix(b"Bearer ").unwrap_or_default();
        return bool::from(given.ct_eq(token.expose().as_bytes()));
    }
    peer.to_canonical().is_loopback() && header(AUTHORIZATION).is_none() && header(ORIGIN).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_change_something() {
        let asked = |headers: &[(&str, &str)], peer: &str, token: Option<&str>| {
            let mut request = Request::post("/reload");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let token = token.map(|token| Secret::new(token.to_owned()));
            let request = request.body(()).expect("a request");
            may(&request, peer.parse().expect("an address"), token.as_ref())
        };
        assert!(asked(&[], "127.0.0.1", None));
        assert!(asked(&[], "127.5.0.1", Some("t")));
        assert!(asked(&[], "::ffff:127.0.0.1", None));
        assert!(!asked(&[], "10.0.0.1", None));
        assert!(!asked(&[], "10.0.0.1", Some("t")));
        assert!(!asked(&[("Origin", "https://evil.example")], "127.0.0.1", None));
        assert!(asked(&[("Authorization", "Bearer t")], "10.0.0.1", Some("t")));
        for wrong in ["Bearer u", "Bearer ", "Bearer tt", "t", "Basic dDp0"] {
            assert!(!asked(&[("Authorization", wrong)], "10.0.0.1", Some("t")), "{wrong}");
            assert!(!asked(&[("Authorization", wrong)], "127.0.0.1", Some("t")), "{wrong}");
        }
        assert!(!asked(&[("Authorization", "Bearer ")], "10.0.0.1", None));
    }
}
