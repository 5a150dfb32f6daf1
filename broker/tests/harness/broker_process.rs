//! One broker process.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Deserialize;

use super::connection::Connection;
use super::metrics::{Health, Metrics};

/// Far beyond what a stop takes: its bounds add up to ten seconds with the default settings.
const STOP_PATIENCE: Duration = Duration::from_secs(40);

/// The broker built with the tests, or the one that `CORELOG_TEST_BROKER` names: a release build,
/// which then need not be built for the tests as well.
fn binary() -> PathBuf {
    match std::env::var_os("CORELOG_TEST_BROKER") {
        Some(path) => path.into(),
        None => env!("CARGO_BIN_EXE_corelog-broker").into(),
    }
}

/// A running broker. Dropped, it is killed.
pub(crate) struct BrokerProcess {
    child: Child,
    ports: Ports,
    /// Reads on, so that the broker never blocks on a full pipe.
    output: Vec<JoinHandle<String>>,
}

/// A broker that ended instead of starting.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: ExitStatus,
    pub(crate) errors: String,
}

/// `ports.json`.
#[derive(Deserialize)]
struct Ports {
    native: SocketAddr,
    kafka: SocketAddr,
    http: SocketAddr,
}

impl BrokerProcess {
    /// Starts a broker with this many cores on `data_dir` and waits until it serves.
    pub(crate) fn start(data_dir: &Path, cores: usize) -> Self {
        Self::try_start(data_dir, cores, &[])
            .unwrap_or_else(|refused| panic!("the broker did not start: {refused:?}"))
    }

    /// Starts a broker with these settings, spelled as in its configuration file.
    pub(crate) fn start_with(folder: &Path, cores: usize, settings: &str) -> Self {
        let file = folder.join("settings.toml");
        std::fs::write(&file, settings).unwrap();
        let file = file.to_str().expect("test folders have plain names");
        Self::try_start(&folder.join("data"), cores, &["--config", file])
            .unwrap_or_else(|refused| panic!("the broker did not start: {refused:?}"))
    }

    /// Starts a broker with further options, or tells why it would not. An option such as
    /// `CORELOG_BROKER_ID=4` goes into its environment.
    pub(crate) fn try_start(
        data_dir: &Path,
        cores: usize,
        options: &[&str],
    ) -> Result<Self, Refused> {
        let (environment, arguments): (Vec<&str>, Vec<&str>) = options
            .iter()
            .partition(|option| option.starts_with("CORELOG_"));
        let mut command = Command::new(binary());
        command.arg("--data-dir").arg(data_dir);
        for address in ["--listen", "--kafka-listen", "--http-listen"] {
            if !arguments.contains(&address) {
                command.args([address, "127.0.0.1:0"]);
            }
        }
        let mut child = command
            .args(["--cores", &cores.to_string()])
            .args(arguments)
            .envs(environment.iter().filter_map(|set| set.split_once('=')))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the broker's binary is built with the tests");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let stderr = child.stderr.take().expect("piped");
        let errors = std::thread::spawn(move || read_all(stderr));
        let mut first_line = String::new();
        stdout.read_line(&mut first_line).unwrap();
        if first_line.is_empty() {
            let status = child.wait().unwrap();
            let errors = errors.join().expect("reading does not panic");
            return Err(Refused { status, errors });
        }
        let ports = std::fs::read(data_dir.join("ports.json")).unwrap();
        Ok(Self {
            child,
            ports: serde_json::from_slice(&ports).unwrap(),
            output: vec![errors, std::thread::spawn(move || read_all(stdout))],
        })
    }

    pub(crate) fn native(&self) -> SocketAddr {
        self.ports.native
    }

    /// Where Kafka's clients connect first.
    pub(crate) fn kafka(&self) -> SocketAddr {
        self.ports.kafka
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Memory that the process holds.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("proc(5)");
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kilobytes * 1024
    }

    /// A connection served by whichever shard accepted it.
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.native(), None)
    }

    /// A connection served by this shard.
    pub(crate) fn connect_to_shard(&self, shard: u16) -> Connection {
        Connection::open(self.native(), Some(shard))
    }

    pub(crate) fn metrics(&self) -> Metrics {
        Metrics::read(self.ports.http)
    }

    pub(crate) fn health(&self) -> Health {
        Health::read(self.ports.http)
    }

    /// Asks for a clean stop (SIGTERM) and waits for the end. A broker that does not come to it is
    /// killed, which its status tells.
    pub(crate) fn stop(mut self) -> ExitStatus {
        let pid = self.pid();
        signal(pid, "TERM");
        let (ended, end) = mpsc::channel::<()>();
        let watchdog = std::thread::spawn(move || {
            if end.recv_timeout(STOP_PATIENCE) == Err(RecvTimeoutError::Timeout) {
                signal(pid, "KILL");
            }
        });
        let status = self.child.wait().unwrap();
        drop(ended);
        watchdog.join().unwrap();
        for output in self.output.drain(..) {
            let text = output.join().expect("reading does not panic");
            assert!(!text.contains("panicked"), "{text}");
        }
        status
    }

    /// Kills the broker with SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        // Ended already after `stop` and `kill`; both calls then say so, harmlessly.
        drop(self.child.kill());
        drop(self.child.wait());
        for output in self.output.drain(..) {
            // A failing test shows what its broker said.
            if let Ok(text) = output.join()
                && std::thread::panicking()
            {
                eprintln!("{text}");
            }
        }
    }
}

fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

fn read_all(mut from: impl Read) -> String {
    let mut text = String::new();
    // A broker that is killed may leave half a character behind.
    drop(from.read_to_string(&mut text));
    text
}
