//! A real broker process, and the `corelog` binary against it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::{LazyLock, mpsc};
use std::thread::{self, JoinHandle};

/// A broker in its own process. Dropping it kills it.
pub(crate) struct BrokerProcess {
    data_dir: PathBuf,
    child: Child,
    pub(crate) address: SocketAddr,
}

impl BrokerProcess {
    pub(crate) fn start(data_dir: &Path) -> Self {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let (child, address) = spawn(data_dir, any_port);
        Self {
            data_dir: data_dir.to_owned(),
            child,
            address,
        }
    }

    /// The power stays on, the process is gone at once: kill -9.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// A clean stop: SIGTERM.
    pub(crate) fn terminate(&mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }

    /// Starts it again on the same folder and port, and waits until it serves.
    pub(crate) fn start_again(&mut self) {
        let (child, address) = spawn(&self.data_dir, self.address);
        assert_eq!(address, self.address);
        self.child = child;
    }

    /// `corelog` with this broker's address.
    pub(crate) fn corelog(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_corelog"));
        command
            .args(arguments)
            .args(["--brokers", &self.address.to_string()]);
        command
    }

    /// Runs `corelog` to its end; it must succeed.
    pub(crate) fn run(&self, arguments: &[&str]) -> Vec<u8> {
        let output = self.output(arguments);
        assert!(
            output.status.success(),
            "corelog {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    /// Runs `corelog` to its end.
    pub(crate) fn output(&self, arguments: &[&str]) -> Output {
        self.corelog(arguments).output().unwrap()
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(data_dir: &Path, listen: SocketAddr) -> (Child, SocketAddr) {
    let mut child = Command::new(broker_binary())
        .arg("--data-dir")
        .arg(data_dir)
        .args(["--listen", &listen.to_string()])
        .args(["--kafka-listen", "", "--http-listen", "127.0.0.1:0"])
        .args(["--cores", "2"])
        .env("RUST_LOG", "error")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It prints where it listens once it does.
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("native ").unwrap_or_else(|| {
        panic!("the broker ended instead of starting; it printed {line:?}");
    });
    (child, address.parse().unwrap())
}

/// The broker is another package's binary: cargo builds it next to this one where that was not done yet.
fn broker_binary() -> &'static Path {
    static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = Path::new(env!("CARGO_BIN_EXE_corelog")).parent().unwrap();
        let mut build = Command::new(env!("CARGO"));
        // With the whole workspace and a test, which is built already, the dependencies get the features that
        // `cargo test --workspace` gave them, and nothing is compiled again for others.
        build.args(["build", "--quiet", "--locked", "--workspace"]);
        build.args(["--bin", "corelog-broker", "--test", "commands"]);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        build.arg("--target-dir").arg(folder.parent().unwrap());
        assert!(build.status().unwrap().success(), "the broker is built");
        folder.join("corelog-broker")
    });
    &BUILT
}

/// A `corelog` command under way, which prints as long as it runs.
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    feeding: Option<JoinHandle<()>>,
    lines: mpsc::Receiver<String>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines() {
                if sender.send(line.unwrap()).is_err() {
                    return;
                }
            }
        });
        Self {
            stdin: child.stdin.take(),
            feeding: None,
            child,
            lines,
        }
    }

    /// Feeds its stdin. Blocks while it is behind.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// Feeds the rest of its stdin from a thread, because it reads no more while it is far behind.
    pub(crate) fn feed_last(&mut self, bytes: Vec<u8>) {
        let mut stdin = self.stdin.take().unwrap();
        self.feeding = Some(thread::spawn(move || stdin.write_all(&bytes).unwrap()));
    }

    /// Feeds its stdin in two parts from a thread, the second and last one once the sender says so.
    pub(crate) fn feed_in_two(&mut self, first: Vec<u8>, last: Vec<u8>) -> mpsc::Sender<()> {
        let (go_on, told) = mpsc::channel();
        let mut stdin = self.stdin.take().unwrap();
        self.feeding = Some(thread::spawn(move || {
            stdin.write_all(&first).unwrap();
            told.recv().unwrap();
            stdin.write_all(&last).unwrap();
        }));
        go_on
    }

    /// The lines it has printed since the last ones taken.
    pub(crate) fn lines_so_far(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// Waits for the next line it prints.
    pub(crate) fn next_line(&mut self) -> String {
        self.lines.recv().unwrap()
    }

    /// Sends what Ctrl-C sends.
    pub(crate) fn interrupt(&self) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &id]).status().unwrap();
        assert!(sent.success());
    }

    /// Ends its stdin and waits for it; returns the rest of its lines. It must succeed.
    pub(crate) fn finish(mut self) -> Vec<String> {
        drop(self.stdin.take());
        self.wait()
    }

    /// Waits for it; returns the rest of its lines. It must succeed.
    pub(crate) fn wait(mut self) -> Vec<String> {
        let rest = self.lines.iter().collect();
        if let Some(feeding) = self.feeding.take() {
            feeding.join().unwrap();
        }
        let status = self.child.wait().unwrap();
        assert!(status.success(), "it ended with {status}");
        rest
    }
}

impl Drop for Running {
    /// After a failed test it may go on for minutes, trying to reach a broker that is gone.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
