#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::Cell;

use super::super::command::NewTopic;
use super::super::store::BrokerStart;
use super::*;
use crate::config::{ByteSize, TopicConfig};
use crate::runtime::sim::{Fault, Operation};
use crate::runtime::{SimulatedDisk, Simulator, Storage, oneshot, yield_now};
use corelog_protocol::BrokerId;

const RULES: Rules = Rules {
    num_partitions: 1,
    topic_partitions_max: 10,
    partitions_max: 100,
};

async fn start(
    disk: &SimulatedDisk,
    shards: u16,
    publish: impl Fn(Arc<MetadataImage>) + 'static,
) -> ControllerHandle {
    let mut store = MetadataStore::open(
        Storage::simulated(disk.clone()),
        "c",
        Arc::new(TopicConfig::default()),
        ByteSize::mib(1),
    )
    .await
    .unwrap();
    let broker = BrokerStart {
        id: BrokerId::new(1),
        host: "h".to_owned(),
        port: 1,
        shards,
    };
    store.start_broker(broker).await.unwrap();
    ControllerHandle::start(store, RULES, shards, publish)
}

fn create(name: &str) -> Command {
    Command::CreateTopics {
        topics: vec![NewTopic {
            name: name.to_owned(),
            ..NewTopic::default()
        }],
        validate_only: false,
    }
}

/// A `publish` for [`start`], and the offset of the first image it is given.
fn first_published() -> (
    impl Fn(Arc<MetadataImage>) + 'static,
    oneshot::Receiver<i64>,
) {
    let (sender, first) = oneshot::channel();
    let sender = Cell::new(Some(sender));
    let publish = move |image: Arc<MetadataImage>| {
        if let Some(sender) = sender.take() {
            let _ = sender.send(image.offset);
        }
    };
    (publish, first)
}

fn is_created(outcome: Result<Outcome, ControllerError>) -> bool {
    matches!(outcome, Ok(Outcome::CreateTopics(topics)) if topics[0].is_ok())
}

#[test]
fn a_command_is_answered_when_every_shard_has_applied_it() {
    let mut simulator = Simulator::new(1);
    let disk = simulator.disk();
    simulator.run(async {
        let (publish, published) = first_published();
        let controller = start(&disk, 2, publish).await;
        let answered = Rc::new(Cell::new(false));
        let command = spawn({
            let (controller, answered) = (controller.clone(), Rc::clone(&answered));
            async move {
                let outcome = controller.execute(create("orders")).await;
                answered.set(true);
                outcome
            }
        });
        let offset = published.await.unwrap();
        controller.applied(ShardId::new(0), offset);
        for _ in 0..100 {
            yield_now().await;
        }
        assert!(!answered.get(), "shard 1 does not know the topic yet");
        controller.applied(ShardId::new(1), offset);
        assert!(is_created(command.await));
        controller.close().await.unwrap();
    });
}

#[test]
fn commands_are_carried_out_one_after_the_other() {
    for seed in 0..20 {
        let mut simulator = Simulator::new(seed);
        let disk = simulator.disk();
        simulator.run(async {
            let slot: Rc<RefCell<Option<ControllerHandle>>> = Rc::default();
            let publish = {
                let slot = Rc::clone(&slot);
                move |image: Arc<MetadataImage>| {
                    let controller = slot.borrow().clone().unwrap();
                    controller.applied(ShardId::new(0), image.offset);
                }
            };
            let controller = start(&disk, 1, publish).await;
            *slot.borrow_mut() = Some(controller.clone());
            let commands: Vec<_> = (0..100)
                .map(|_| {
                    let controller = controller.clone();
                    spawn(async move { controller.execute(create("orders")).await })
                })
                .collect();
            let mut created = 0;
            for command in commands {
                created += usize::from(is_created(command.await));
            }
            assert_eq!(created, 1, "seed {seed}");
            slot.borrow_mut().take();
            controller.close().await.unwrap();
        });
    }
}

#[test]
fn a_stop_answers_those_who_wait() {
    let mut simulator = Simulator::new(3);
    let disk = simulator.disk();
    simulator.run(async {
        let (publish, published) = first_published();
        let controller = start(&disk, 2, publish).await;
        let waiting = spawn({
            let controller = controller.clone();
            async move { controller.execute(create("orders")).await }
        });
        published.await.unwrap();
        controller.close().await.unwrap();
        assert_eq!(waiting.await, Err(ControllerError::Stopping));
        let late = controller.execute(create("late")).await;
        assert_eq!(late, Err(ControllerError::Stopping));
    });
}

#[test]
fn a_failed_disk_is_reported_as_a_storage_error() {
    let mut simulator = Simulator::new(4);
    let disk = simulator.disk();
    simulator.run(async {
        let controller = start(&disk, 1, |_| panic!("nothing may be published")).await;
        disk.fail_nth(Operation::Write, 1, Fault::Device);
        let error = controller.execute(create("orders")).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::KafkaStorageError);
        let error = controller.execute(create("orders")).await.unwrap_err();
        assert!(error.to_string().contains("no longer written"), "{error}");
        controller.close().await.unwrap();
    });
}

#[test]
fn a_refused_command_writes_nothing_and_waits_for_nobody() {
    let mut simulator = Simulator::new(5);
    let disk = simulator.disk();
    simulator.run(async {
        let controller = start(&disk, 2, |_| panic!("nothing may be published")).await;
        let before = disk.counters();
        let outcome = controller.execute(create("a/b")).await;
        assert!(!is_created(outcome));
        assert_eq!(disk.counters(), before);
        controller.close().await.unwrap();
    });
}
