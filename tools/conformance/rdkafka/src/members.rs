//! Members of groups, each in a thread of its own, and what they go through.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::checks::{Failure, Outcome, eventually, unique};
use crate::{config, equal, new_topic, send_values};

const PARTITIONS: i32 = 4;

/// A consumer that reads until it is told to leave.
struct Member {
    seen: Arc<Seen>,
    thread: JoinHandle<Result<(), String>>,
}

#[derive(Default)]
struct Seen {
    partitions: Mutex<BTreeSet<i32>>,
    changes: Mutex<u32>,
    values: Mutex<Vec<String>>,
    leaving: AtomicBool,
}

impl Member {
    fn join(topic: &str, of: &[(&str, &str)]) -> Result<Member, Failure> {
        let defaults = [
            ("auto.offset.reset", "earliest"),
            ("heartbeat.interval.ms", "500"),
            ("session.timeout.ms", "10000"),
        ];
        let consumer: BaseConsumer = config(&[&defaults, of].concat()).create()?;
        consumer.subscribe(&[topic])?;
        let seen = Arc::new(Seen::default());
        let shared = seen.clone();
        let thread = thread::spawn(move || shared.read(&consumer).map_err(|Failure(why)| why));
        Ok(Member { seen, thread })
    }

    fn partitions(&self) -> BTreeSet<i32> {
        self.seen
            .partitions
            .lock()
            .expect("no reader panics")
            .clone()
    }

    fn values(&self) -> Vec<String> {
        self.seen.values.lock().expect("no reader panics").clone()
    }

    fn leave(self) -> Result<Vec<String>, Failure> {
        self.seen.leaving.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "a member panicked")??;
        Ok(self.seen.values.lock().expect("no reader panics").clone())
    }
}

impl Seen {
    /// Reads in the member's thread; the consumer leaves its group as it is dropped.
    fn read(&self, consumer: &BaseConsumer) -> Result<(), Failure> {
        while !self.leaving.load(Ordering::Relaxed) {
            if let Some(message) = consumer.poll(Duration::from_millis(100)) {
                let value =
                    String::from_utf8_lossy(message?.payload().unwrap_or_default()).into_owned();
                self.values.lock().expect("no reader panics").push(value);
            }
            let now = consumer
                .assignment()?
                .elements()
                .iter()
                .map(|it| it.partition())
                .collect();
            let mut partitions = self.partitions.lock().expect("no reader panics");
            if *partitions != now {
                *partitions = now;
                *self.changes.lock().expect("no reader panics") += 1;
            }
        }
        Ok(())
    }
}

/// Waits until all partitions are held, none twice, and by all members.
fn all_shared(what: &str, members: &[&Member]) -> Result<(), Failure> {
    eventually(what, || {
        let mut held: Vec<i32> = members
            .iter()
            .flat_map(|member| member.partitions())
            .collect();
        held.sort_unstable();
        let all = held == (0..PARTITIONS).collect::<Vec<_>>();
        Ok((all && members.iter().all(|member| !member.partitions().is_empty())).then_some(()))
    })
}

fn send_to_all(topic: &str, values: &[String]) -> Result<(), Failure> {
    for partition in 0..PARTITIONS {
        let mine: Vec<_> = values
            .iter()
            .skip(partition as usize)
            .step_by(PARTITIONS as usize)
            .cloned()
            .collect();
        send_values(topic, &mine, partition)?;
    }
    Ok(())
}

/// Two members share the partitions, one leaves, the other takes all; nothing is lost or read twice.
pub(crate) fn two_share_and_one_leaves(of: &[(&str, &str)]) -> Outcome {
    let (topic, group) = (new_topic("shared", PARTITIONS)?, unique("shared"));
    let of = [of, &[("group.id", group.as_str())]].concat();
    let first = Member::join(&topic, &of)?;
    all_shared("one member has all partitions", &[&first])?;
    let second = Member::join(&topic, &of)?;
    all_shared("two members share the partitions", &[&first, &second])?;

    let values = |what: &str| {
        (0..40)
            .map(|i| format!("{what} {i:02}"))
            .collect::<Vec<_>>()
    };
    send_to_all(&topic, &values("shared"))?;
    eventually("the two have read all", || {
        Ok((first.values().len() + second.values().len() >= 40).then_some(()))
    })?;
    equal!(
        first.values().is_empty() || second.values().is_empty(),
        false
    );
    let mut read = second.leave()?;
    all_shared("the one that is left has all partitions", &[&first])?;
    send_to_all(&topic, &values("alone"))?;
    eventually("the one that is left has read all", || {
        Ok((first.values().len() + read.len() >= 80).then_some(()))
    })?;
    read.extend(first.leave()?);
    read.sort_unstable();
    equal!(read, [values("alone"), values("shared")].concat());
    Ok(String::new())
}

/// A static member that restarts gets its partitions back, and the other keeps its own all the while.
pub(crate) fn static_member() -> Outcome {
    let (topic, group) = (new_topic("static", PARTITIONS)?, unique("static"));
    let join = |instance| {
        Member::join(
            &topic,
            &[("group.id", &group), ("group.instance.id", instance)],
        )
    };
    let (first, second) = (join("instance-1")?, join("instance-2")?);
    all_shared(
        "two static members share the partitions",
        &[&first, &second],
    )?;
    let had = first.partitions();
    let changes = *second.seen.changes.lock().expect("no reader panics");
    first.leave()?;
    let again = join("instance-1")?;
    eventually("the restarted member has partitions", || {
        Ok((!again.partitions().is_empty()).then_some(()))
    })?;
    equal!(again.partitions(), had);
    equal!(
        *second.seen.changes.lock().expect("no reader panics"),
        changes
    );
    again.leave()?;
    second.leave()?;
    Ok(String::new())
}
