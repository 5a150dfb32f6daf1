//! What idempotence costs, in instructions: times are too noisy for a few percent.
//!
//! `cargo bench -p corelog-broker --bench idempotence` counts with callgrind (valgrind has to be installed)
//!
//! * `client`: from `send` to the acknowledgement, the whole process of a producer;
//! * `broker`: from a partition's mailbox to the answer, with its log on a simulated disk (the listener's share, which is
//!   the same with and without, is left out).
//!
//! Each count is the difference between a long and a short run over the records more, so that what a process does
//! once is not in it. System calls count as far as they are this process's own instructions.

mod append;
mod counting;
mod send;

use anyhow::{Context, bail};

use counting::Load;

fn main() -> anyhow::Result<()> {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match &arguments[..] {
        [] => report(),
        ["--append", idempotent, batches, records] => {
            append::run(Load::parse(idempotent, batches, records)?);
            Ok(())
        }
        ["--send", servers, idempotent, batches, records] => {
            send::run(servers, Load::parse(idempotent, batches, records)?)
        }
        ["--serve"] => send::serve(),
        other => bail!("unknown arguments {other:?}"),
    }
}

fn report() -> anyhow::Result<()> {
    let broker = send::Broker::start().context("cannot start a broker")?;
    println!("instructions a record, without idempotence and with it");
    for records in [1, 10, 100] {
        let cost = counting::cost(records, |load| {
            let mut arguments = vec!["--append".to_owned()];
            arguments.extend(load.arguments());
            arguments
        })?;
        println!("broker, {records} records in a batch: {cost}");
    }
    for records in [1, 10, 100] {
        let cost = counting::cost(records, |load| {
            let mut arguments = vec!["--send".to_owned(), broker.servers.clone()];
            arguments.extend(load.arguments());
            arguments
        })?;
        println!("client, {records} records in a batch: {cost}");
    }
    Ok(())
}
