//! Clients produce, fetch and subscribe over connections that are slow, cut frames at any byte, break
//! and fall silent, while the broker's machine loses its power now and then.
//!
//! Whatever happens: what was acknowledged, or shown to a reader, is there after every restart at its
//! offset, with its bytes, once; replies match their requests and keep a partition's order; every wait
//! ends; and when the clients are gone, so is all memory that they had.
//!
//! The sleeps are simulated time and part of what a seed plays: how long a round lasts, how long a
//! client idles or reads nothing. No outcome is waited for with one.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use corelog_protocol::native::{
    FetchResponse, FrameKind, Message, ProduceResponse, SubscribeCreditRequest, SubscribeRequest,
};
use corelog_protocol::{ErrorCode, IsolationLevel};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::client::{Client, batch, position, records};
use super::model::Model;
use super::rig::{Broker, PARTITIONS};
use crate::runtime::sim::{Weather, seeds};
use crate::runtime::{Simulator, Storage, now, sleep, spawn};

/// Produces under way on one connection.
const PIPELINE: usize = 4;

type SharedModel = Rc<RefCell<Model>>;

#[test]
fn nothing_promised_is_lost_and_nothing_hangs_on_a_bad_network() {
    let (mut acknowledged, mut read) = (0, 0);
    let seeds = seeds(40);
    let count = seeds.len();
    for seed in seeds {
        let (simulator, model) = run_seed(seed);
        drop(simulator);
        acknowledged += model.borrow().acknowledged;
        read += model.borrow().read;
    }
    // A network that lets nothing through would prove nothing. One seed alone may be that bad.
    assert!(
        count < 10 || acknowledged > 10 * count,
        "{acknowledged} acknowledged"
    );
    assert!(count < 10 || read > 10 * count, "{read} read");
}

#[test]
fn a_seed_replays_exactly() {
    let way = |seed| {
        let (simulator, model) = run_seed(seed);
        let acknowledged = model.borrow().acknowledged;
        (simulator.trace(), simulator.steps(), acknowledged)
    };
    assert_eq!(way(3), way(3));
    assert_ne!(way(3).0, way(4).0);
}

fn run_seed(seed: u64) -> (Simulator, SharedModel) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut simulator = Simulator::new(seed);
    let model = SharedModel::default();
    let storage = Storage::simulated(simulator.disk());
    for round in 0..random.random_range(1..4) {
        let context = format!("seed {seed}, round {round}");
        simulator.network().set_weather(weather(&mut random));
        let time = Duration::from_millis(random.random_range(50..4000));
        let clients = random.random();
        simulator.run_until(time, async {
            let broker = Broker::start(storage.clone()).await;
            let _clients = spawn_clients(clients, &model, &Rc::default());
            loop {
                sleep(Duration::from_millis(100)).await;
                assert!(broker.lent() <= broker.lending_limit(), "{context}");
            }
        });
        match random.random_range(0..3) {
            0 => simulator.kill(),
            _ => simulator.crash(),
        }
    }
    let context = format!("seed {seed}, at the end");
    let clients = random.random();
    let time = Duration::from_millis(random.random_range(50..4000));
    let network = simulator.network();
    network.set_weather(weather(&mut random));
    simulator.run(async {
        // Clients are at it again when the broker is told to stop.
        let broker = Broker::start(storage.clone()).await;
        let over = Rc::<Cell<bool>>::default();
        let clients = spawn_clients(clients, &model, &over);
        sleep(time).await;
        over.set(true);
        broker.stop(&context).await;
        for client in clients {
            client.await;
        }
        network.set_weather(Weather::FAIR);
        let broker = Broker::start(storage.clone()).await;
        check_everything(&model, &context).await.unwrap();
        broker.stop(&context).await;
    });
    (simulator, model)
}

fn weather(random: &mut StdRng) -> Weather {
    Weather {
        delay: Duration::from_micros(random.random_range(1..20_000)),
        window: random.random_range(1..64 << 10),
        cut_percent: random.random_range(0..50),
        silent_percent: random.random_range(0..30),
        life: Duration::from_millis(random.random_range(1..3000)),
    }
}

async fn check_everything(model: &SharedModel, context: &str) -> io::Result<()> {
    let mut client = Client::connect().await?;
    for partition in 0..PARTITIONS {
        let mut found = Vec::new();
        loop {
            let offset = found.len() as i64;
            let (records, high_watermark) = client.fetch(partition, offset, Duration::ZERO).await?;
            if offset == high_watermark {
                break;
            }
            assert!(!records.is_empty(), "{context}: stuck at {offset}");
            found.extend(records);
        }
        model.borrow_mut().check(partition, &found, context);
    }
    Ok(())
}

fn spawn_clients(
    seed: u64,
    model: &SharedModel,
    over: &Rc<Cell<bool>>,
) -> Vec<crate::runtime::Task<()>> {
    (0..9)
        .map(|number| {
            let (model, over) = (Rc::clone(model), Rc::clone(over));
            let mut random = StdRng::seed_from_u64(seed ^ number);
            spawn(async move {
                while !over.get() {
                    // Its connection ends some way or other, and it comes again.
                    let _ended = match number % 3 {
                        0 => produce(&model, &over, &mut random).await,
                        1 => fetch(&model, &over, &mut random).await,
                        _ => subscribe(&model, &over, &mut random).await,
                    };
                    sleep(Duration::from_millis(random.random_range(1..200))).await;
                }
            })
        })
        .collect()
}

/// Pipelined produces; each reply must be that of the oldest produce to its partition.
async fn produce(model: &SharedModel, over: &Cell<bool>, random: &mut StdRng) -> io::Result<()> {
    let mut client = Client::connect().await?;
    let mut under_way: VecDeque<(u32, i32, Vec<String>)> = VecDeque::new();
    while !over.get() {
        while under_way.len() < random.random_range(1..=PIPELINE) {
            let padding = match random.random_range(0..8) {
                0 => random.random_range(0..100_000),
                _ => random.random_range(0..2_000),
            };
            let values: Vec<String> = (0..random.random_range(1..4))
                .map(|_| model.borrow_mut().fresh_value(padding))
                .collect();
            let partition = random.random_range(0..PARTITIONS);
            let id = client.send_produce(partition, &batch(&values)).await?;
            under_way.push_back((id, partition, values));
        }
        let frame = client.receive().await?;
        assert_eq!(frame.header.kind, FrameKind::Response);
        let id = frame.header.correlation_id;
        let index = under_way.iter().position(|it| it.0 == id);
        let (_, partition, values) = under_way
            .remove(index.expect("a reply to nothing that was asked"))
            .unwrap();
        let is_oldest = under_way.iter().all(|it| it.1 != partition || it.0 > id);
        assert!(is_oldest, "a reply overtook another of its partition");
        let response = ProduceResponse::decode(&frame.metadata).unwrap();
        assert_eq!(response.partitions.len(), 1);
        let answer = &response.partitions[0];
        assert_eq!(answer.partition.get(), partition);
        match answer.error {
            ErrorCode::None => {
                let mut model = model.borrow_mut();
                for (offset, value) in (answer.base_offset.get()..).zip(&values) {
                    model.promise(partition, offset, value);
                }
                model.acknowledged += 1;
            }
            // Too slow, or at the stop: it may be there or not.
            ErrorCode::RequestTimedOut | ErrorCode::NotLeaderOrFollower => {}
            error => panic!("{error:?}: {:?}", answer.error_message),
        }
    }
    Ok(())
}

async fn fetch(model: &SharedModel, over: &Cell<bool>, random: &mut StdRng) -> io::Result<()> {
    let mut client = Client::connect().await?;
    let partition = random.random_range(0..PARTITIONS);
    let mut offset = 0;
    while !over.get() {
        let wait = Duration::from_millis(random.random_range(0..500));
        let (records, high_watermark) = client.fetch(partition, offset, wait).await?;
        note_read(model, partition, &mut offset, records, high_watermark);
        if random.random_range(0..20) == 0 {
            sleep(Duration::from_millis(random.random_range(0..3000))).await;
        }
    }
    Ok(())
}

async fn subscribe(model: &SharedModel, over: &Cell<bool>, random: &mut StdRng) -> io::Result<()> {
    let mut client = Client::connect().await?;
    let partition = random.random_range(0..PARTITIONS);
    let request = SubscribeRequest {
        credit_bytes: random.random_range(1..1 << 20),
        max_push_bytes: random.random_range(1..256 << 10),
        isolation: IsolationLevel::ReadUncommitted,
        partitions: vec![position(partition, 0)],
    };
    let id = client.send(&request, &[]).await?;
    let frame = client.receive().await?;
    assert_eq!(frame.header.correlation_id, id);
    let mut offset = 0;
    while !over.get() {
        let frame = client.receive().await?;
        assert_eq!(frame.header.correlation_id, id);
        assert_eq!(frame.header.kind, FrameKind::Push);
        let push = FetchResponse::decode(&frame.metadata).unwrap();
        let answer = &push.partitions[0];
        if answer.error != ErrorCode::None {
            return Ok(());
        }
        let bytes = frame.payload.len() as u64;
        let high_watermark = answer.high_watermark.get();
        let records = records(&frame.payload);
        note_read(model, partition, &mut offset, records, high_watermark);
        if random.random_range(0..4) == 0 {
            // Credit remains, and nobody reads.
            let until = now() + Duration::from_millis(random.random_range(0..5000));
            while !over.get() && now() < until {
                sleep(Duration::from_millis(50)).await;
            }
        }
        let credit = SubscribeCreditRequest {
            subscription: id,
            bytes: bytes + random.random_range(0..64 << 10),
        };
        client.send(&credit, &[]).await?;
    }
    Ok(())
}

/// What readers see goes on where they were, and ends at the high watermark.
fn note_read(
    model: &SharedModel,
    partition: i32,
    offset: &mut i64,
    records: Vec<(i64, String)>,
    high_watermark: i64,
) {
    let mut model = model.borrow_mut();
    for (at, value) in records {
        assert_eq!(at, *offset, "partition {partition}: a gap, or a repetition");
        assert!(
            at < high_watermark,
            "partition {partition}: not readable yet"
        );
        model.promise(partition, at, &value);
        model.read += 1;
        *offset = at + 1;
    }
}
