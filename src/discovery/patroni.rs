//! Asks Patroni's REST API who is in its cluster (`GET /cluster`).
//!
//! Roles and lag that it tells are not used: our own probe knows them, and knows them now. Its
//! tags are, as they are the operator's word.

use super::{Found, candidate, in_order};
use crate::config::WebAddress;
use crate::web::{self, Question};
use hyper::Method;
use hyper::body::Bytes;
use pool::EndpointSettings;
use serde::Deserialize;

#[derive(Deserialize)]
struct Answer {
    members: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    host: Option<String>,
    port: Option<u16>,
    #[serde(default)]
    tags: Tags,
}

#[derive(Deserialize, Default)]
struct Tags {
    #[serde(default)]
    noloadbalance: bool,
}

/// The members, as the first of `apis` tells that answers with any.
///
/// # Errors
/// Why none does, as a sentence.
pub(super) async fn members(apis: &[WebAddress]) -> Result<Found, String> {
    let mut why = Vec::new();
    let mut empty = None;
    for api in apis {
        let (method, body) = (Method::GET, Bytes::new());
        let asked = web::ask(Question { whom: api, method, path: "/cluster", body }).await;
        match asked.and_then(|body| read(&body)) {
            Ok(endpoints) if endpoints.is_empty() => empty = Some(Found { endpoints, valid: None }),
            Ok(endpoints) => return Ok(Found { endpoints, valid: None }),
            Err(error) => why.push(format!("{api}: {error}")),
        }
    }
    empty.ok_or_else(|| why.join("; "))
}

fn read(body: &[u8]) -> Result<Vec<EndpointSettings>, String> {
    let answer: Answer = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let endpoint = |member: Member| {
        let (host, port) = (member.host?, member.port?);
        let is_sound = !host.is_empty() && port != 0;
        is_sound.then(|| candidate(host, port, u32::from(!member.tags.noloadbalance)))
    };
    Ok(in_order(answer.members.into_iter().filter_map(endpoint)))
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn members_with_an_address_are_endpoints() {
        let body = br#"{"members": [
            {"name": "a", "role": "leader", "state": "running", "api_url": "http://10.0.0.1:8008/patroni",
             "host": "10.0.0.1", "port": 5432, "timeline": 3},
            {"name": "b", "role": "replica", "state": "streaming", "host": "10.0.0.2", "port": 5432,
             "timeline": 3, "lag": 0, "tags": {"noloadbalance": true, "clonefrom": true}},
            {"name": "c", "role": "replica", "state": "start failed", "lag": "unknown"}
        ], "scope": "batman"}"#;
        let seen: Vec<_> = read(body)
            .expect("it is one of Patroni's")
            .into_iter()
            .map(|endpoint| (endpoint.address.to_string(), endpoint.weight))
            .collect();
        assert_eq!(seen, [("10.0.0.1:5432".to_owned(), 1), ("10.0.0.2:5432".to_owned(), 0)]);
        assert!(read(br#"{"members": []}"#).expect("it is sound").is_empty());
        for wrong in [&b""[..], b"{}", b"[]", br#"{"members": 1}"#, br#"{"members": [{"port": 70000}]}"#] {
            assert!(read(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
    }
}
