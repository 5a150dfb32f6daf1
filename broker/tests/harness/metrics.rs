//! One reading of `/metrics` or `/health`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// What `/health` answers.
#[derive(Debug)]
pub(crate) struct Health {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Health {
    pub(crate) fn read(http: SocketAddr) -> Self {
        let (status, body) = get(http, "/health");
        Self { status, body }
    }
}

fn get(http: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(http).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// Prometheus text, queried by name and label.
pub(crate) struct Metrics(String);

impl Metrics {
    pub(crate) fn read(http: SocketAddr) -> Self {
        let (status, text) = get(http, "/metrics");
        assert_eq!(status, 200, "{text}");
        Self(text)
    }

    /// The sum of a metric over all label sets that contain `label`, such as `shard="1"`.
    pub(crate) fn sum(&self, name: &str, label: &str) -> f64 {
        let mut found = false;
        let sum = self
            .0
            .lines()
            .filter_map(|line| {
                let (series, value) = line.rsplit_once(' ')?;
                let labels = series.strip_prefix(name)?;
                let is_name = labels.is_empty() || labels.starts_with('{');
                (is_name && labels.contains(label)).then(|| value.parse::<f64>().unwrap())
            })
            .inspect(|_| found = true)
            .sum();
        assert!(found, "no metric {name} with {label:?} in\n{}", self.0);
        sum
    }

    /// As [`Metrics::sum`]; a label set that was never counted is not there and counts nothing.
    pub(crate) fn sum_or_zero(&self, name: &str, label: &str) -> f64 {
        match self.0.contains(label) {
            true => self.sum(name, label),
            false => 0.0,
        }
    }

    pub(crate) fn total(&self, name: &str) -> f64 {
        self.sum(name, "")
    }
}
