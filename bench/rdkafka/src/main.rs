//! librdkafka beside the native client, against the same broker: throughput, and what it costs the broker.
//!
//! One broker on one core, the clients on the next. In turn, as often as asked, each client produces the same records to a
//! topic of its own and reads them back; medians are shown. The broker's CPU time is that of its process, from
//! `/proc/PID/stat`; the clients' own is not in it.
//!
//! What librdkafka could reach at best is shown by its own mock of a broker, which has the broker's core to itself meanwhile.
//! It keeps the last 5 MB of a partition in memory and no more, so both get the records in many partitions there.

mod broker;
mod kafka;
mod native;

use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Parser;
use corelog_client::{Admin, ClientConfig, NewTopic};
use rdkafka::mocking::MockCluster;

use broker::{BrokerProcess, cpu_of};

/// Compare librdkafka with the native client.
#[derive(Parser)]
struct Arguments {
    /// The broker's binary
    #[arg(default_value = "target/release/corelog-broker")]
    broker: std::path::PathBuf,

    /// What an acknowledgement of the topics means: sync, written or memory
    #[arg(long, default_value = "written")]
    durability: String,

    /// Bytes of a record's value
    #[arg(long, default_value_t = 1024)]
    record_size: usize,

    /// Records that each client produces and reads in a round
    #[arg(long, default_value_t = 400_000)]
    records: usize,

    /// Bytes of a batch, at most
    #[arg(long, default_value_t = 1 << 20)]
    batch_size: usize,

    /// Rounds; medians are shown
    #[arg(long, default_value_t = 5)]
    rounds: usize,

    /// Settings of librdkafka beside those that are set anyway, as KEY=VALUE; may be repeated
    #[arg(long = "set")]
    settings: Vec<String>,

    /// Cores of the broker
    #[arg(long, default_value = "0,")]
    cores: String,

    /// The core of librdkafka's mock of a broker
    #[arg(long, default_value_t = 0)]
    mock_core: usize,

    /// The core of the clients
    #[arg(long, default_value_t = 1)]
    client_core: usize,
}

/// Well below what librdkafka's mock of a broker keeps of a partition.
const MOCK_KEEPS_BYTES: usize = 4_000_000;

/// The same for both clients.
pub(crate) struct Load {
    pub(crate) topic: String,
    pub(crate) partitions: usize,
    pub(crate) value: Vec<u8>,
    pub(crate) records: usize,
    pub(crate) batch_size: usize,
    pub(crate) settings: Vec<String>,
}

/// One pass of one client.
#[derive(Clone, Copy)]
struct Pass {
    seconds: f64,
    /// What the broker's process took of its core.
    broker: Duration,
    /// What the client took of its own.
    client: Duration,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    ensure!(
        arguments.rounds > 0 && arguments.records > 0,
        "nothing to measure"
    );
    let broker = BrokerProcess::start(&arguments.broker, &arguments.cores)?;
    // Threads stay on the core on which they are started, librdkafka's too.
    stay_on(arguments.mock_core);
    let mock = MockCluster::new(1)?;
    stay_on(arguments.client_core);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let client = ClientConfig::new().set("bootstrap.servers", broker.native());
    let admin = runtime.block_on(Admin::new(&client))?;
    let mut passes: [Vec<Pass>; 4] = Default::default();
    let mut mocked: [Vec<Pass>; 3] = Default::default();
    let create = |load: &Load| -> anyhow::Result<()> {
        let largest = (2 * arguments.batch_size).to_string();
        let configs = [
            ("durability", &arguments.durability),
            ("max.message.bytes", &largest),
        ];
        let topic = NewTopic {
            name: load.topic.clone(),
            partitions: Some(load.partitions as i32),
            replication_factor: None,
            configs: configs
                .map(|(name, value)| (name.to_owned(), value.clone()))
                .to_vec(),
        };
        for created in runtime.block_on(admin.create_topics(&[topic]))? {
            created?;
        }
        Ok(())
    };
    for round in 0..arguments.rounds {
        let load = |client: &str| Load {
            topic: format!("{client}-{round}"),
            value: (0..arguments.record_size)
                .map(|at| b'A' + (at * 7 % 26) as u8)
                .collect(),
            partitions: 1,
            records: arguments.records,
            batch_size: arguments.batch_size,
            settings: arguments.settings.clone(),
        };
        let (kafka, native) = (load("kafka"), load("native"));
        create(&kafka)?;
        create(&native)?;
        let spread = Load {
            partitions: (arguments.records * arguments.record_size).div_ceil(MOCK_KEEPS_BYTES),
            ..load("spread")
        };
        mock.create_topic(&kafka.topic, 1, 1)?;
        mock.create_topic(&spread.topic, spread.partitions as i32, 1)?;
        create(&spread)?;
        let brokers = [mock.bootstrap_servers(), broker.kafka().to_owned()];
        mocked[0].push(measure(&broker, || kafka::produce(&brokers[0], &kafka))?);
        for (servers, passes) in brokers.iter().zip(&mut mocked[1..]) {
            kafka::produce(servers, &spread)?;
            passes.push(measure(&broker, || kafka::consume(servers, &spread))?);
        }
        passes[0].push(measure(&broker, || kafka::produce(broker.kafka(), &kafka))?);
        passes[1].push(measure(&broker, || {
            runtime.block_on(native::produce(broker.native(), &native))
        })?);
        passes[2].push(measure(&broker, || kafka::consume(broker.kafka(), &kafka))?);
        passes[3].push(measure(&broker, || {
            runtime.block_on(native::consume(broker.native(), &native))
        })?);
        for deleted in
            runtime.block_on(admin.delete_topics(&[&kafka.topic, &native.topic, &spread.topic]))?
        {
            deleted?;
        }
        eprintln!("round {} of {}", round + 1, arguments.rounds);
    }
    let gigabytes = (arguments.records * arguments.record_size) as f64 / 1e9;
    println!(
        "{} records of {} B a pass, batches of {} B at most, durability {}; medians of {} rounds",
        arguments.records,
        arguments.record_size,
        arguments.batch_size,
        arguments.durability,
        arguments.rounds
    );
    let speed = |passes: &[Pass]| median(passes.iter().map(|it| gigabytes * 1e3 / it.seconds));
    println!("                              its mock     corelog     ratio");
    for (name, mock, ours) in [
        ("produce", &mocked[0], &passes[0]),
        ("consume", &mocked[1], &mocked[2]),
    ] {
        let (mock, ours) = (speed(mock), speed(ours));
        println!(
            "{name:8} librdkafka, MB/s     {mock:10.0}  {ours:10.0}  {:8.2}",
            ours / mock
        );
    }
    println!("                              librdkafka      native     ratio");
    for (name, [kafka, native]) in [
        ("produce", [&passes[0], &passes[1]]),
        ("consume", [&passes[2], &passes[3]]),
    ] {
        let show = |what: &str, of: &dyn Fn(&Pass) -> f64, digits: usize| {
            let [theirs, ours] = [kafka, native].map(|passes| median(passes.iter().map(of)));
            let ratio = theirs / ours;
            println!("{name:8} {what:20} {theirs:10.digits$}  {ours:10.digits$}  {ratio:8.2}");
        };
        show("MB/s", &|it| gigabytes * 1e3 / it.seconds, 0);
        show(
            "broker, CPU s/GB",
            &|it| it.broker.as_secs_f64() / gigabytes,
            2,
        );
        show(
            "client, cores busy",
            &|it| it.client.as_secs_f64() / it.seconds,
            2,
        );
    }
    Ok(())
}

fn stay_on(core: usize) {
    core_affinity::set_for_current(core_affinity::CoreId { id: core });
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn measure(
    broker: &BrokerProcess,
    work: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Pass> {
    let processes = [broker.id(), std::process::id()];
    let before = processes.map(cpu_of);
    let begun = Instant::now();
    work()?;
    let seconds = begun.elapsed().as_secs_f64();
    let client = cpu_of(processes[1])?;
    // What the broker still does for it, such as writing out, belongs to it, as far as it is done at once.
    std::thread::sleep(Duration::from_millis(200));
    let [broker_before, client_before] = before;
    Ok(Pass {
        seconds,
        broker: cpu_of(processes[0])?.saturating_sub(broker_before?),
        client: client.saturating_sub(client_before?),
    })
}
