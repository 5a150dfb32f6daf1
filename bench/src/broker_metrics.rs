//! Reads a broker's `/metrics` page (Prometheus text format).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// A page larger than this is cut, which is an error.
const LARGEST_PAGE: u64 = 16 << 20;

const PATIENCE: Duration = Duration::from_secs(5);

/// One sample of the page.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    /// Labels as they stand between the braces.
    labels: String,
    pub(crate) value: f64,
}

impl Sample {
    /// The value of a label. Values with quotes in them are not looked for.
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.labels.split(',').find_map(|label| {
            let (key, value) = label.split_once('=')?;
            (key.trim() == name).then(|| value.trim().trim_matches('"'))
        })
    }
}

/// All samples of a broker's page.
#[derive(Debug)]
pub(crate) struct Samples(Vec<Sample>);

impl Samples {
    pub(crate) fn fetch(address: SocketAddr) -> Result<Self> {
        let page = get(address, "/metrics").with_context(|| format!("http://{address}/metrics"))?;
        Ok(Self::parse(&page))
    }

    fn parse(page: &str) -> Self {
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        Self(lines.filter_map(sample).collect())
    }

    /// The sum over all labels.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.named(name).map(|sample| sample.value).sum()
    }

    /// Sums by shard, in the order of the shards.
    pub(crate) fn by_shard(&self, name: &str) -> Vec<f64> {
        let mut sums = Vec::new();
        for sample in self.named(name) {
            let shard = sample
                .label("shard")
                .and_then(|shard| shard.parse::<u16>().ok());
            let Some(shard) = shard.map(usize::from) else {
                continue;
            };
            if sums.len() <= shard {
                sums.resize(shard + 1, 0.0);
            }
            sums[shard] += sample.value;
        }
        sums
    }

    fn named(&self, name: &str) -> impl Iterator<Item = &Sample> {
        self.0.iter().filter(move |sample| sample.name == name)
    }
}

/// `name{label="value",...} number`; comments and other lines give nothing.
fn sample(line: &str) -> Option<Sample> {
    let (series, value) = match line.rsplit_once('}') {
        Some((series, value)) => (series, value),
        None => line.split_once(' ')?,
    };
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    Some(Sample {
        name: name.trim().to_owned(),
        labels: labels.to_owned(),
        value: value.split_whitespace().next()?.parse().ok()?,
    })
}

/// HTTP/1.0: the reply ends with the connection, so no framing is to be read.
fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut socket = TcpStream::connect_timeout(&address, PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes())?;
    let mut reply = String::new();
    let read = socket.take(LARGEST_PAGE).read_to_string(&mut reply)?;
    ensure!(
        (read as u64) < LARGEST_PAGE,
        "the page is larger than {LARGEST_PAGE} bytes"
    );
    let (head, body) = reply
        .split_once("\r\n\r\n")
        .context("the reply is no HTTP message")?;
    let status = head.lines().next().unwrap_or_default();
    ensure!(
        status.split(' ').nth(1) == Some("200"),
        "the broker answered {status}"
    );
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::net::TcpListener;
    use std::thread;

    use super::*;

    const PAGE: &str = "# HELP hops Requests that went over the mesh.\n# TYPE hops counter\n\
        hops_total{shard=\"0\"} 3\nhops_total{shard=\"1\"} 4\n\
        bytes_total{shard=\"1\",topic=\"a\"} 10\nbytes_total{topic=\"b\",shard=\"1\"} 5\n\
        bytes_total{shard=\"0\"} 7\nup 1\nsaid{text=\"a b} c\"} 2\n# EOF\n";

    #[test]
    fn samples_are_summed_over_labels_and_by_shard() {
        let samples = Samples::parse(PAGE);
        assert_eq!(samples.sum("hops_total"), 7.0);
        assert_eq!(samples.by_shard("bytes_total"), [7.0, 15.0]);
        assert_eq!(samples.sum("up"), 1.0);
        assert_eq!(samples.sum("said"), 2.0);
        assert_eq!(samples.sum("absent"), 0.0);
    }

    fn serve(reply: String) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let read = socket.read(&mut request).unwrap();
            assert!(request[..read].starts_with(b"GET /metrics HTTP/1.0\r\n"));
            socket.write_all(reply.as_bytes()).unwrap();
        });
        address
    }

    #[test]
    fn the_page_is_fetched_over_http() {
        let address = serve(format!(
            "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n{PAGE}"
        ));
        assert_eq!(Samples::fetch(address).unwrap().sum("hops_total"), 7.0);
    }

    #[test]
    fn an_error_of_the_broker_is_told() {
        let address = serve("HTTP/1.0 503 Service Unavailable\r\n\r\nstarting".into());
        let error = format!("{:#}", Samples::fetch(address).unwrap_err());
        assert!(error.contains("503 Service Unavailable"), "{error}");
    }
}
