//! A broker in a process of its own, which can be killed: this very program, called again.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::net::TcpSocket;

use crate::embedded::{Embedded, Options};

/// The first argument of the child.
const CALL: &str = "--serve-broker";

/// How long a broker may take to end by itself.
const STOPPING: Duration = Duration::from_secs(30);

pub(super) struct BrokerProcess {
    /// Bound and never listening: while the broker is dead, no connection of anybody's may begin at its
    /// port, which would then be in use.
    _port: TcpSocket,
    folder: PathBuf,
    cores: Vec<usize>,
    child: Child,
    servers: String,
}

impl BrokerProcess {
    /// Starts a broker on a free port, which stays its own.
    pub(super) fn start(folder: PathBuf, cores: Vec<usize>) -> Result<Self> {
        let port = TcpSocket::new_v4().context("cannot make a socket")?;
        port.set_reuseaddr(true).context("SO_REUSEADDR")?;
        let any = (Ipv4Addr::LOCALHOST, 0).into();
        port.bind(any).context("cannot reserve a port")?;
        let number = port.local_addr().context("cannot tell the port")?.port();
        let (child, servers) = call(&folder, &cores, number)?;
        Ok(Self {
            _port: port,
            folder,
            cores,
            child,
            servers,
        })
    }

    pub(super) fn servers(&self) -> String {
        self.servers.clone()
    }

    /// Kills the broker as a crash would, and starts another where it was. Returns when that one listens.
    pub(super) fn kill_and_restart(&mut self) -> Result<()> {
        self.child.kill().context("cannot kill the broker")?;
        let status = self.child.wait().context("cannot wait for the broker")?;
        if let Some(code) = status.code() {
            bail!("the broker had ended by itself before it was killed, with exit code {code}");
        }
        let port = self.servers.rsplit(':').next();
        let port = port.and_then(|port| port.parse().ok());
        let port = port.context("the broker's address has no port")?;
        self.child = call(&self.folder, &self.cores, port)?.0;
        Ok(())
    }

    /// Ends the broker cleanly.
    pub(super) fn stop(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let began = Instant::now();
        loop {
            match self
                .child
                .try_wait()
                .context("cannot wait for the broker")?
            {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("the broker did not stop cleanly: {status}"),
                None if began.elapsed() > STOPPING => bail!("the broker does not stop"),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        // It has ended where it was stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the child, and waits until it says where it listens.
fn call(folder: &Path, cores: &[usize], port: u16) -> Result<(Child, String)> {
    let program = std::env::current_exe().context("cannot tell this program's file")?;
    let cores: Vec<String> = cores.iter().map(ToString::to_string).collect();
    let mut child = Command::new(program)
        .arg(CALL)
        .arg(folder)
        .arg(port.to_string())
        .arg(cores.join(","))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start a broker's process")?;
    let mut line = String::new();
    let stdout = child.stdout.take().context("the child has no output")?;
    let read = BufReader::new(stdout).read_line(&mut line);
    if read.is_err() || !line.ends_with('\n') {
        let _ = child.kill();
        let status = child.wait().context("cannot wait for the broker")?;
        bail!("the broker's process ended before it listened: {status}");
    }
    Ok((child, line.trim().to_owned()))
}

/// In the child: serves until standard input ends, which it also does when the parent dies. `None` in any
/// other process.
pub(crate) fn serve_if_called() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != CALL {
        return None;
    }
    let arguments: Vec<OsString> = arguments.collect();
    Some(match serve(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corelog-bench: the broker's process: {error:#}");
            ExitCode::FAILURE
        }
    })
}

fn serve(arguments: &[OsString]) -> Result<()> {
    let [folder, port, cores] = arguments else {
        bail!("{CALL} is for corelog-bench itself");
    };
    let port = port.to_str().and_then(|port| port.parse().ok());
    let cores = cores.to_str().context("cores")?.split(',');
    let cores = cores.map(str::parse).collect::<Result<_, _>>();
    let broker = Embedded::start(Options {
        port: port.context("port")?,
        short_sessions: true,
        ..Options::new(folder.into(), cores.context("cores")?)
    })?;
    println!("{}", broker.servers());
    std::io::stdout().flush().context("standard output")?;
    let mut rest = Vec::new();
    std::io::stdin()
        .read_to_end(&mut rest)
        .context("standard input")?;
    broker.stop()
}
