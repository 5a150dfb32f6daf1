#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;

use super::*;
use crate::metrics::ShardMetrics;
use crate::runtime::remote;

fn snapshot(shard: ShardId, failure: Option<&str>) -> ShardSnapshot {
    let mut snapshot = ShardMetrics::default().snapshot(shard);
    snapshot.failure = failure.map(str::to_owned);
    snapshot
}

fn start(
    shards: usize,
    answer: impl Fn(ShardId) -> Option<ShardSnapshot> + Send + Sync + 'static,
) -> Control {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    Control::start(listener, shards, move |shard| {
        let (reply, receiver) = remote::channel();
        reply.send(answer(shard)?).unwrap();
        Some(receiver)
    })
    .unwrap()
}

fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[test]
fn metrics_of_every_shard_are_served() {
    let control = start(2, |shard| Some(snapshot(shard, None)));
    let (status, body) = get(control.address(), "/metrics");
    assert_eq!(status, "HTTP/1.1 200 OK");
    for shard in 0..2 {
        let line = format!("corelog_produce_requests_total{{shard=\"{shard}\"}} 0");
        assert!(body.contains(&line), "{body}");
        let line = format!("corelog_shard_up{{shard=\"{shard}\"}} 1");
        assert!(body.contains(&line), "{body}");
    }
    let (status, _) = get(control.address(), "/nothing");
    assert_eq!(status, "HTTP/1.1 404 Not Found");
    control.stop();
}

#[test]
fn health_names_what_is_wrong() {
    let control = start(2, |shard| Some(snapshot(shard, None)));
    let (status, body) = get(control.address(), "/health");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert_eq!(body, "{\"status\":\"ok\"}\n");
    control.stop();

    let control = start(3, |shard| match shard.get() {
        0 => None,
        1 => Some(snapshot(shard, Some("write failed"))),
        _ => Some(snapshot(shard, None)),
    });
    let (status, body) = get(control.address(), "/health");
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert_eq!(
        body,
        "{\"status\":\"failed\",\"reasons\":[\"shard 0 does not answer\",\"shard 1: the log \
         directory refuses writes: write failed\"]}\n"
    );
    let (status, body) = get(control.address(), "/metrics");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(body.contains("corelog_shard_up{shard=\"0\"} 0"), "{body}");
    control.stop();
}

#[test]
fn a_broker_that_does_not_serve_every_partition_is_degraded_and_answers_ok() {
    let control = start(1, |shard| {
        let mut snapshot = snapshot(shard, None);
        snapshot.unusable_partitions = 2;
        Some(snapshot)
    });
    let (status, body) = get(control.address(), "/health");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert_eq!(
        body,
        "{\"status\":\"degraded\",\"reasons\":[\"shard 0: 2 partitions are not served; the log \
         says why\"]}\n"
    );
    control.stop();
}

#[test]
fn a_shard_that_hangs_does_not_hang_the_request() {
    let held = Mutex::new(Vec::new());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let control = Control::start(listener, 1, move |_| {
        let (reply, receiver) = remote::channel();
        held.lock().unwrap().push(reply);
        Some(receiver)
    })
    .unwrap();
    let (status, body) = get(control.address(), "/health");
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert!(body.contains("shard 0 does not answer"), "{body}");
    control.stop();
}

#[test]
fn a_stop_does_not_wait_for_a_silent_connection() {
    let control = start(1, |shard| Some(snapshot(shard, None)));
    let address = control.address();
    let mut silent = TcpStream::connect(address).unwrap();
    silent.write_all(b"GET /metr").unwrap();
    // The silent connection was accepted before this one was answered.
    let (status, _) = get(address, "/health");
    assert_eq!(status, "HTTP/1.1 200 OK");
    control.stop();
    assert!(TcpStream::connect(address).is_err(), "nobody listens");
}
