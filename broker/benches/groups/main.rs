//! What consumer groups cost, against a broker of one core in this process, over loopback and on the
//! real disk.
//!
//! `cargo bench -p corelog-broker --bench groups [-- FIGURE]`, where FIGURE is one of
//!
//! * `commits`: offset commits a second, each of one partition and durable before it is answered, and
//!   their ratio to records produced at `sync` one to a request, with as many requests in flight;
//! * `rebalance`: 100 members of one group on 1,000 partitions that are read all the while. How long
//!   until everybody has its share after the last join, after one more, after one leaves and after one
//!   dies (beyond its session time-out), and for how long members waited for records of a partition
//!   that they kept.

mod commits;
mod pipeline;
mod rebalance;
mod rig;

use tracing_subscriber::EnvFilter;

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn")),
        )
        .with_writer(std::io::stderr)
        .init();
    // Cargo adds `--bench`.
    let figure = std::env::args().skip(1).find(|it| !it.starts_with('-'));
    let is_wanted = |name: &str| figure.as_deref().is_none_or(|wanted| wanted == name);
    if is_wanted("commits") {
        println!("{}", commits::run()?);
    }
    if is_wanted("rebalance") {
        println!("{}", rebalance::run()?);
    }
    Ok(())
}
