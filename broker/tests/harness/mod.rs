//! Starts, stops and kills real brokers, and talks to them.
//!
//! Every broker listens on ports the system picks and tells them in `ports.json`. Nothing here
//! sleeps: a start waits for the broker's first line of output, an end for the process to end.

mod broker_process;
mod connection;
mod metrics;
mod records;
mod small_disk;
mod stranger;
mod until;

pub(crate) use broker_process::{BrokerProcess, Refused};
pub(crate) use connection::{Connection, NewTopicBuilder};
pub(crate) use metrics::Metrics;
pub(crate) use records::{batch_of, values_in};
pub(crate) use small_disk::SmallDisk;
pub(crate) use stranger::{Stranger, frame, hello, raw_frame};
pub(crate) use until::until;
