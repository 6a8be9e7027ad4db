//! A statement that carries a traceparent becomes a span of that trace; others become nothing.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use integration::{Cluster, Config, Stage, until};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";
const PATIENCE: Duration = Duration::from_secs(60);

/// A collector on this machine. Returns its port, and what it is sent.
fn collector() -> (u16, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let (sender, sent) = mpsc::channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (mut request, mut some) = (Vec::new(), [0; 4096]);
            loop {
                let read = stream.read(&mut some).unwrap_or(0);
                request.extend_from_slice(&some[..read]);
                let text = String::from_utf8_lossy(&request);
                let length =
                    text.to_ascii_lowercase().split_once("content-length: ").and_then(|(_, rest)| {
                        rest.split_once("\r\n").and_then(|(length, _)| length.parse::<usize>().ok())
                    });
                let body = text.split_once("\r\n\r\n").map_or(0, |(_, body)| body.len());
                if read == 0 || length.is_some_and(|length| body >= length) {
                    break;
                }
            }
            sender.send(String::from_utf8_lossy(&request).into_owned()).ok();
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}").ok();
        }
    });
    (port, sent)
}

#[test]
fn statements_join_the_trace_of_their_application() {
    let (port, sent) = collector();
    let extra = format!("\n[general.traces]\nendpoint = \"127.0.0.1:{port}\"\nservice_name = \"shop-db\"\n");
    let stage =
        Stage::over(Cluster::start(1), |config| Config { extra, ..config.text("consistency", "eventual") });
    let mut session = stage.proxy.session();
    session.query("SELECT 1 AS untraced").ok();
    session.query(&format!("SELECT 1 /*traceparent='00-{TRACE}-aaaaaaaaaaaaaaaa-00'*/")).ok();
    session.query(&format!("SELECT 'canary' /*traceparent='00-{TRACE}-{SPAN}-01'*/")).ok();
    session.query(&format!("/*traceparent='00-{TRACE}-{SPAN}-01'*/ CREATE TABLE made (id int)")).ok();
    let mut all = String::new();
    until("two spans", PATIENCE, || {
        all += &sent.try_recv().unwrap_or_default();
        (all.matches("\"spanId\"").count() >= 2).then_some(())
    });
    assert!(all.starts_with("POST /v1/traces HTTP/1.1"), "{all}");
    assert_eq!(all.matches("\"spanId\"").count(), 2, "{all}");
    let replica = stage.cluster.replicas[0].address();
    for part in
        [TRACE, SPAN, "shop-db", "\"replica\"", "\"primary\"", "\"read\"", "\"ddl\"", replica.as_str()]
    {
        assert!(all.contains(part), "{part} is not in {all}");
    }
    assert!(!all.contains("canary") && !all.contains("made"), "a span holds a statement's text: {all}");
    until("they are counted", PATIENCE, || {
        (stage.proxy.metrics().sum("splitpool_spans_total", &[("outcome", "sent")]) == 2.0).then_some(())
    });
}

#[test]
fn a_collector_that_is_gone_costs_only_its_spans() {
    let extra = "\n[general.traces]\nendpoint = \"127.0.0.1:1\"\n".to_owned();
    let stage = Stage::over(Cluster::start(0), |config| Config { extra, ..config });
    let mut session = stage.proxy.session();
    for _ in 0..100 {
        session.query(&format!("SELECT 1 /*traceparent='00-{TRACE}-{SPAN}-01'*/")).ok();
    }
    until("they are counted", PATIENCE, || {
        (stage.proxy.metrics().sum("splitpool_spans_total", &[("outcome", "dropped")]) == 100.0).then_some(())
    });
    assert_eq!(stage.proxy.log().matches("traces are dropped").count(), 1);
}
