//! What all checks share: names, limits of time, and one line of outcome per check.

use std::process::exit;
use std::sync::OnceLock;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, fmt, thread};

const CHECK_TIME: Duration = Duration::from_secs(45);

/// Name and function; the function returns a detail to print, or why it failed.
pub type Check = (&'static str, fn() -> Outcome);
pub type Outcome = Result<String, Failure>;

/// Why a check failed.
pub struct Failure(pub String);

impl<E: fmt::Display> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure(error.to_string())
    }
}

/// Fails the check unless the two are equal.
#[macro_export]
macro_rules! equal {
    ($found:expr, $expected:expr) => {{
        let (found, expected) = (&$found, &$expected);
        if found != expected {
            let text = format!("found {found:?}, expected {expected:?}, line {}", line!());
            return Err($crate::checks::Failure(text));
        }
    }};
}

pub fn client() -> &'static str {
    argument(1)
}

pub fn bootstrap() -> &'static str {
    argument(2)
}

fn argument(index: usize) -> &'static str {
    static ARGUMENTS: OnceLock<Vec<String>> = OnceLock::new();
    let arguments = ARGUMENTS.get_or_init(|| env::args().collect());
    arguments.get(index).map_or_else(
        || {
            eprintln!("usage: corelog-conformance-rdkafka CLIENT BOOTSTRAP");
            exit(2);
        },
        String::as_str,
    )
}

/// As many nodes as the broker shows: one, or one for each shard.
pub fn nodes() -> usize {
    env::var("NODES").map_or(1, |nodes| nodes.parse().expect("NODES is a number"))
}

/// Runs all checks, in their order, and ends the process.
pub fn run(version: &str, checks: &[Check]) -> ! {
    println!("version {} {version}", client());
    // What the names of the checks to run begin with; all run if it is empty.
    let chosen = env::var("CHECKS").unwrap_or_default();
    let mut failed = false;
    for (name, check) in checks {
        if !chosen
            .split('|')
            .any(|beginning| name.starts_with(beginning))
        {
            continue;
        }
        let (sender, receiver) = channel();
        let check = *check;
        // A check that hangs is named and left behind.
        thread::spawn(move || sender.send(check()));
        let (outcome, detail) = match receiver.recv_timeout(CHECK_TIME) {
            Ok(Ok(detail)) => ("ok", detail),
            Ok(Err(Failure(why))) => ("FAIL", why),
            Err(RecvTimeoutError::Timeout) => ("FAIL", format!("no end within {CHECK_TIME:?}")),
            Err(RecvTimeoutError::Disconnected) => ("FAIL", "it panicked".to_owned()),
        };
        failed |= outcome == "FAIL";
        let detail = detail.split_whitespace().collect::<Vec<_>>().join(" ");
        let detail = if detail.is_empty() {
            detail
        } else {
            format!(" ({detail})")
        };
        println!("{outcome} {} {name}{detail}", client());
    }
    exit(i32::from(failed));
}

/// A name that no other check, client or run uses.
pub fn unique(what: &str) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    format!("{}-{what}-{:x}", client(), now.as_nanos())
}

/// Waits until the condition gives something.
pub fn eventually<T>(
    what: &str,
    mut condition: impl FnMut() -> Result<Option<T>, Failure>,
) -> Result<T, Failure> {
    let deadline = Instant::now() + Duration::from_secs(25);
    loop {
        if let Some(result) = condition()? {
            return Ok(result);
        }
        if Instant::now() > deadline {
            return Err(Failure(format!("not within 25 s: {what}")));
        }
        thread::sleep(Duration::from_millis(50));
    }
}
