//! Endpoints that DNS or Patroni name are served, and a bad answer takes none away.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use integration::config::Endpoint;
use integration::{Cluster, Config, Proxy, Server, holds, until};

const PATIENCE: Duration = Duration::from_secs(60);

/// What a server answers, changed while it runs.
struct Answer<T>(Arc<Mutex<T>>);

impl<T: Clone + Send + 'static> Answer<T> {
    fn new(first: T) -> Self {
        Self(Arc::new(Mutex::new(first)))
    }

    fn set(&self, next: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = next;
    }

    fn reader(&self) -> impl Fn() -> T + Send + 'static {
        let shared = Arc::clone(&self.0);
        move || shared.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The records of one name.
#[derive(Clone)]
enum Records {
    /// Addresses.
    A(Vec<Ipv4Addr>),
    /// Priority, weight and port, all on this machine.
    Srv(Vec<(u16, u16, u16)>),
    /// The name does not exist.
    Nothing,
    /// The server fails.
    Failure,
}

/// A DNS server that has one answer for every name. Returns its address.
fn dns(records: impl Fn() -> Records + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let at = socket.local_addr().expect("it is bound");
    thread::spawn(move || {
        let mut query = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            if let Some(reply) = reply(&query[..length], &records()) {
                socket.send_to(&reply, from).ok();
            }
        }
    });
    at
}

/// RFC 1035, section 4: header, the question again, the answers with a pointer to its name.
fn reply(query: &[u8], records: &Records) -> Option<Vec<u8>> {
    let mut end = 12;
    while *query.get(end)? != 0 {
        end += usize::from(query[end]) + 1;
    }
    let question = query.get(12..end + 5)?;
    let kind = u16::from_be_bytes([question[question.len() - 4], question[question.len() - 3]]);
    let mut answers: Vec<(u16, Vec<u8>)> = Vec::new();
    let mut code = 0;
    match records {
        Records::A(ips) if kind == 1 => answers.extend(ips.iter().map(|ip| (1, ip.octets().to_vec()))),
        Records::Srv(targets) if kind == 33 => {
            for (priority, weight, port) in targets {
                let mut data = priority.to_be_bytes().to_vec();
                data.extend(weight.to_be_bytes());
                data.extend(port.to_be_bytes());
                data.extend(b"\x09localhost\0");
                answers.push((33, data));
            }
        }
        Records::Nothing => code = 3,
        Records::Failure => code = 2,
        _ => {}
    }
    let mut out = query.get(..2)?.to_vec();
    out.extend([0x85, 0x80 | code]);
    out.extend([0, 1, 0, u8::try_from(answers.len()).ok()?, 0, 0, 0, 0]);
    out.extend(question);
    for (kind, data) in answers {
        out.extend([0xc0, 12]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1]);
        // Lives for a second: the next look is due then, whatever the interval.
        out.extend(1_u32.to_be_bytes());
        out.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        out.extend(data);
    }
    Some(out)
}

/// A REST API that answers everything with one status and body. Returns its address.
fn patroni(answer: impl Fn() -> (u16, String) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 2048];
            let read = stream.read(&mut request).unwrap_or(0);
            let (status, body) =
                if request[..read].starts_with(b"GET /cluster ") { answer() } else { (404, String::new()) };
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
            .ok();
        }
    });
    at
}

fn proxy(cluster: &Cluster, discovery: &str, interval: &str) -> Proxy {
    let extra = format!("\n[clusters.main.discovery]\n{discovery}\ninterval = \"{interval}\"\n");
    Proxy::start(Config {
        endpoints: Vec::new(),
        extra,
        ..Config::of(cluster).text("consistency", "eventual")
    })
}

/// The ports of the endpoints that take part.
fn endpoints(proxy: &Proxy) -> Vec<u16> {
    let samples = proxy.metrics();
    let port = |address: &str| address.rsplit(':').next().and_then(|port| port.parse().ok());
    let mut ports: Vec<u16> = samples
        .of("splitpool_endpoint_up", &[])
        .filter_map(|sample| port(&sample.labels["endpoint"]))
        .collect();
    ports.sort_unstable();
    ports
}

fn ports<'a>(servers: impl IntoIterator<Item = &'a Server>) -> Vec<u16> {
    let mut ports: Vec<u16> = servers.into_iter().map(Server::port).collect();
    ports.sort_unstable();
    ports
}

/// Waits until the endpoints are these, and reads and writes work on them.
fn await_endpoints(proxy: &Proxy, wanted: &[u16]) {
    holds("the endpoints", PATIENCE, wanted.to_vec(), || endpoints(proxy));
    until("writes are served", PATIENCE, || {
        let reply = proxy.try_session().ok()?.try_query("BEGIN; SELECT 1; COMMIT").ok()?;
        reply.error.is_none().then_some(())
    });
}

/// Waits for a bad answer to be noticed, and sees that it changed nothing.
fn await_stale(proxy: &Proxy, outcome: &str, wanted: &[u16]) {
    until("the answer is counted", PATIENCE, || {
        let samples = proxy.metrics();
        let counted = samples.sum("splitpool_discoveries_total", &[("outcome", outcome)]);
        (counted > 1.0 && samples.sum("splitpool_discovery_stale", &[]) == 1.0).then_some(())
    });
    assert_eq!(endpoints(proxy), wanted);
    assert!(proxy.log().contains("those of the last good answer stay"), "{}", proxy.log());
    proxy.session().query("BEGIN; SELECT 1; COMMIT").ok();
}

#[test]
fn srv_records_come_go_and_fail() {
    let cluster = Cluster::start(2);
    let targets =
        |servers: &[&Server]| Records::Srv(servers.iter().map(|server| (0, 10, server.port())).collect());
    let all: Vec<&Server> = cluster.servers().collect();
    let answer = Answer::new(targets(&all[..2]));
    let nameserver = dns(answer.reader());
    let proxy = proxy(&cluster, &format!("srv = \"_pg._tcp.db.test\"\nnameserver = \"{nameserver}\""), "1h");
    await_endpoints(&proxy, &ports(all[..2].iter().copied()));
    // The record lives for a second, so the next answer is seen long before the hour is over.
    answer.set(targets(&all));
    await_endpoints(&proxy, &ports(all.iter().copied()));
    proxy.await_reads_on(&ports(&cluster.replicas));
    answer.set(targets(&all[..2]));
    await_endpoints(&proxy, &ports(all[..2].iter().copied()));
    // One in reserve is probed and takes no reads until the records call it up.
    let in_reserve = |priority: u16| {
        let others = all.iter().take(2).map(|server| (10, 10, server.port()));
        Records::Srv(others.chain([(priority, 10, all[2].port())]).collect())
    };
    answer.set(in_reserve(20));
    await_endpoints(&proxy, &ports(all.iter().copied()));
    let endpoint = format!("localhost:{}", all[2].port());
    let labels = [("endpoint", endpoint.as_str()), ("reason", "no_weight")];
    until("it is in reserve", PATIENCE, || {
        (proxy.metrics().of("splitpool_endpoint_eligible", &labels).count() == 1).then_some(())
    });
    let mut session = proxy.session();
    for _ in 0..20 {
        assert_ne!(session.value("SELECT inet_server_port()"), all[2].port().to_string());
    }
    answer.set(in_reserve(10));
    proxy.await_reads_on(&ports(&cluster.replicas));
}

#[test]
fn a_name_that_vanishes_or_a_server_that_fails_takes_no_endpoint_away() {
    let cluster = Cluster::start(0);
    let wanted = ports(cluster.servers());
    let answer = Answer::new(Records::A(vec![Ipv4Addr::LOCALHOST]));
    let nameserver = dns(answer.reader());
    let name = format!("dns = \"db.test:{}\"\nnameserver = \"{nameserver}\"", cluster.primary.port());
    let proxy = proxy(&cluster, &name, "1s");
    await_endpoints(&proxy, &wanted);
    answer.set(Records::Nothing);
    await_stale(&proxy, "failed", &wanted);
    answer.set(Records::A(vec![Ipv4Addr::LOCALHOST]));
    holds("whether endpoints are stale", PATIENCE, 0.0, || {
        proxy.metrics().sum("splitpool_discovery_stale", &[])
    });
    answer.set(Records::Failure);
    await_stale(&proxy, "failed", &wanted);
}

#[test]
fn patroni_names_members_and_our_probe_their_roles() {
    let cluster = Cluster::start(1);
    let members = |servers: &[&Server]| {
        // Patroni calls everybody the leader: only the probe knows better.
        let member = |server: &&Server| {
            format!(
                "{{\"name\": \"m\", \"role\": \"leader\", \"host\": \"127.0.0.1\", \"port\": {}}}",
                server.port()
            )
        };
        let list: Vec<_> = servers.iter().map(member).collect();
        (200, format!("{{\"members\": [{}]}}", list.join(",")))
    };
    let all: Vec<&Server> = cluster.servers().collect();
    let answer = Answer::new(members(&all));
    let api = patroni(answer.reader());
    // The first API is not there, as one of a cluster may be.
    let proxy = proxy(&cluster, &format!("patroni = \"127.0.0.1:1, {api}\""), "1s");
    await_endpoints(&proxy, &ports(all.iter().copied()));
    proxy.await_reads_on(&[cluster.replicas[0].port()]);
    let primary = proxy.session().query("BEGIN; SELECT inet_server_port(); COMMIT").ok().value().to_owned();
    assert_eq!(primary, cluster.primary.port().to_string());
    answer.set((200, "{\"members\": []}".to_owned()));
    await_stale(&proxy, "empty", &ports(all.iter().copied()));
    answer.set((503, "starting".to_owned()));
    await_stale(&proxy, "failed", &ports(all.iter().copied()));
    answer.set(members(&all[..1]));
    await_endpoints(&proxy, &ports(all[..1].iter().copied()));
}

#[test]
fn a_reload_keeps_what_was_found_and_the_file_adds_to_it() {
    let cluster = Cluster::start(1);
    let answer = Answer::new(Records::Srv(vec![(0, 0, cluster.primary.port())]));
    let nameserver = dns(answer.reader());
    let mut proxy = proxy(&cluster, &format!("srv = \"a.test\"\nnameserver = \"{nameserver}\""), "1s");
    await_endpoints(&proxy, &[cluster.primary.port()]);
    answer.set(Records::Failure);
    await_stale(&proxy, "failed", &[cluster.primary.port()]);
    let mut config = proxy.config().clone().text("max_lag", "4s");
    config.endpoints.push(Endpoint::auto(cluster.replicas[0].address()));
    proxy.rewrite(config);
    await_endpoints(&proxy, &ports(cluster.servers()));
    proxy.await_reads_on(&[cluster.replicas[0].port()]);
}
