//! `--verify`: proves end to end what the broker promises, while it is killed and while consumers come
//! and go.
//!
//! Every record carries its key and a sequence number that counts the key's records. At the end the log
//! holds each record that was acknowledged once, and those of one key in the order in which they were
//! sent. Two groups read along: what the one processes and then commits was processed once at the least;
//! what the other stores together with its offsets counts exactly once.
//!
//! | file | holds |
//! |---|---|
//! | `plan` | what the command line asks for |
//! | `broker` | the broker's process, and its deaths |
//! | `load` | producers |
//! | `members`, `churn` | consumers, and how they come and go |
//! | `log`, `processed`, `store`, `faults` | the judgement: plain state, without clients |
//! | `report` | the verdict |

mod broker;
mod churn;
mod faults;
mod load;
mod log;
mod members;
mod plan;
mod processed;
mod report;
mod store;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use corelog_client::{
    Admin, ClientConfig, Consumer, ConsumerRecord, NewTopic, PartitionIndex, SeekTo, TopicPartition,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::cores::pin_this_thread;
use crate::interrupt;
use crate::progress::Progress;
use crate::scratch::Scratch;
use crate::workload::payload::{Epoch, Payloads};
use broker::BrokerProcess;
use faults::Faults;
use log::{LogJudge, Sent};
use members::Group;
use processed::Processed;
use store::Store;

pub(crate) use broker::serve_if_called;
pub(crate) use plan::VerifyPlan;
pub(crate) use report::VerifyReport;

/// How long the groups may take to process what is left when the load has ended.
const CATCHING_UP: Duration = Duration::from_secs(60);
/// Between two looks at how far they are.
const LOOK: Duration = Duration::from_millis(20);
/// How long the log may give nothing when it is read at the end.
const READING: Duration = Duration::from_secs(30);
/// After the broker was killed, and before the next try to kill it.
const RECOVERY: Duration = Duration::from_secs(60);

/// What all tasks of a run share.
struct Run {
    plan: VerifyPlan,
    servers: String,
    topic: String,
    epoch: Epoch,
    over: AtomicBool,
    acknowledged: AtomicU64,
    rebalances: AtomicU64,
    consumer_errors: AtomicU64,
    commits_refused: AtomicU64,
    processed: Mutex<Processed>,
    store: Mutex<Store>,
    faults: Mutex<Faults>,
}

impl Run {
    fn config(&self) -> ClientConfig {
        ClientConfig::new().set("bootstrap.servers", &self.servers)
    }

    /// True when nothing more is to be sent.
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed) || interrupt::requested()
    }

    fn processed(&self) -> MutexGuard<'_, Processed> {
        self.processed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key and sequence number of a record, if every byte of it is right.
    fn stamp(&self, payloads: &Payloads, record: &ConsumerRecord) -> Option<(u32, u64)> {
        let stamp = payloads.check(record.value.as_deref()?)?;
        let name = load::key_name(stamp.producer);
        let is_ours = record.key.as_deref() == Some(name.as_bytes());
        is_ours.then_some((stamp.producer, stamp.sequence))
    }

    fn partitions(&self) -> Vec<TopicPartition> {
        (0..self.plan.partitions)
            .map(|index| TopicPartition::new(self.topic.as_str(), PartitionIndex::new(index)))
            .collect()
    }
}

/// Runs the whole verification. The report says what held; an error means that it could not be found out.
pub(crate) fn run(plan: VerifyPlan) -> Result<VerifyReport> {
    let began = Instant::now();
    let progress = Progress::start(plan.duration + plan.duration / 10);
    let (scratch, broker) = match &plan.brokers {
        Some(_) => (None, None),
        None => {
            let scratch = Scratch::create(&plan.data_dir)?;
            interrupt::remove_at_exit(scratch.path());
            let folder = scratch.join("broker");
            let broker = BrokerProcess::start(folder, plan.cores.broker.clone())?;
            (Some(scratch), Some(broker))
        }
    };
    let servers = match (&plan.brokers, &broker) {
        (Some(brokers), _) => brokers.clone(),
        (None, Some(broker)) => broker.servers(),
        (None, None) => bail!("there is no broker"),
    };
    let keys = plan.keys;
    let partitions = usize::try_from(plan.partitions).context("partitions")?;
    let run = Arc::new(Run {
        servers,
        topic: format!("corelog-bench-verify-{:08x}", rand::random::<u32>()),
        epoch: Epoch::now(),
        over: AtomicBool::new(false),
        acknowledged: AtomicU64::new(0),
        rebalances: AtomicU64::new(0),
        consumer_errors: AtomicU64::new(0),
        commits_refused: AtomicU64::new(0),
        processed: Mutex::new(Processed::new(partitions)),
        store: Mutex::new(Store::new(partitions, keys)),
        faults: Mutex::default(),
        plan,
    });
    let report = runtime(&run.plan)?.block_on(verify(Arc::clone(&run), broker, &progress));
    drop(progress);
    drop(scratch);
    let mut report = report?;
    report.elapsed_s = began.elapsed().as_secs_f64();
    Ok(report)
}

fn runtime(plan: &VerifyPlan) -> Result<tokio::runtime::Runtime> {
    let cores = plan.cores.clone();
    let next = AtomicU64::new(0);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(plan.cores.client_threads())
        .on_thread_start(move || {
            let thread = next.fetch_add(1, Ordering::Relaxed);
            pin_this_thread(cores.client_core(thread as usize));
        })
        .enable_all()
        .build()
        .context("cannot start the clients' runtime")
}

async fn verify(
    run: Arc<Run>,
    broker: Option<BrokerProcess>,
    progress: &Progress,
) -> Result<VerifyReport> {
    create_topic(&run).await?;
    progress.step("producing, consuming and disturbing", run.plan.duration);
    let mut producing = Vec::new();
    for number in 0..run.plan.producers {
        let run = Arc::clone(&run);
        producing.push(tokio::spawn(
            async move { load::produce(&run, number).await },
        ));
    }
    let groups = Group::ALL.map(|group| churn::Members::new(&run, group));
    let churning = tokio::spawn(churn(Arc::clone(&run), groups));
    let killing = broker.map(|broker| {
        let run = Arc::clone(&run);
        std::thread::spawn(move || kill(&run, broker))
    });
    let producing_time = wait_out(&run, killing.as_ref()).await;
    let broker = match killing {
        Some(killing) => {
            let killed = tokio::task::spawn_blocking(move || killing.join());
            let killed = killed.await.context("the killer's thread")?;
            let Ok(killed) = killed else {
                bail!("the killer's thread panicked");
            };
            Some(killed?)
        }
        None => None,
    };

    progress.step("catching up and reading the log", run.plan.duration / 10);
    let mut report = VerifyReport::new(&run.plan);
    let mut sent = vec![Sent::default(); run.plan.keys];
    for task in producing {
        let produced = task.await.context("a producer panicked")??;
        for (all, of_one) in sent.iter_mut().zip(&produced.sent) {
            all.sent += of_one.sent;
            all.acknowledged += of_one.acknowledged;
        }
        report.retries += produced.metrics.retries;
        run.faults().add(produced.faults);
    }
    let groups = churning.await.context("the churn panicked")?;
    ensure!(!interrupt::requested(), "interrupted: nothing was judged");

    let ends = ends(&run).await?;
    let caught_up = catch_up(&run, &ends).await;
    for group in groups {
        report.add_churn(group.end().await?);
    }
    let (in_log, records) = read_log(&run, &ends, &sent).await?;
    report.records = records;
    report.acknowledged = sent.iter().map(|sent| sent.acknowledged).sum();
    report.records_per_s = report.acknowledged as f64 / producing_time.as_secs_f64();
    report.rebalances = run.rebalances.load(Ordering::Relaxed);
    report.consumer_errors = run.consumer_errors.load(Ordering::Relaxed);
    report.commits_refused = run.commits_refused.load(Ordering::Relaxed);
    report.catching_up_s = caught_up.as_secs_f64();
    let (processing, again) = run.processed().finish(&ends);
    let (storing, refused) = run.store().finish(&ends);
    report.processed_again = again;
    report.refused_by_store = refused;
    let mut faults = std::mem::take(&mut *run.faults());
    for of_part in [in_log, processing, storing] {
        faults.add(of_part);
    }
    report.faults = faults;
    match broker {
        Some((broker, recoveries)) => {
            report.note_recoveries(recoveries);
            broker.stop()?;
        }
        None => delete_topic(&run).await?,
    }
    Ok(report)
}

type Killing = JoinHandle<Result<(BrokerProcess, Vec<Duration>)>>;

/// Waits until the load has lasted long enough, or the broker is gone for good; ends it, and tells how long
/// it lasted.
async fn wait_out(run: &Run, killing: Option<&Killing>) -> Duration {
    let began = Instant::now();
    // The thread that kills ends with the load, or with an error.
    let is_broken =
        || run.plan.kill_every.is_some() && killing.is_some_and(JoinHandle::is_finished);
    while began.elapsed() < run.plan.duration && !interrupt::requested() && !is_broken() {
        tokio::time::sleep(LOOK).await;
    }
    run.over.store(true, Ordering::Relaxed);
    began.elapsed()
}

async fn create_topic(run: &Run) -> Result<()> {
    let admin = Admin::new(&run.config())
        .await
        .context("cannot reach the brokers")?;
    let mut configs = Vec::new();
    if let Some(durability) = run.plan.durability {
        configs.push(("durability".to_owned(), durability.to_string()));
    }
    let topic = NewTopic {
        name: run.topic.clone(),
        partitions: Some(run.plan.partitions),
        replication_factor: None,
        configs,
    };
    let created = admin
        .create_topics(&[topic])
        .await
        .context("cannot create the topic")?;
    for topic in created {
        topic.context("cannot create the topic")?;
    }
    Ok(())
}

async fn delete_topic(run: &Run) -> Result<()> {
    let admin = Admin::new(&run.config())
        .await
        .context("cannot reach the brokers")?;
    for deleted in admin.delete_topics(&[run.topic.as_str()]).await? {
        deleted.context("cannot delete the topic")?;
    }
    Ok(())
}

async fn churn(run: Arc<Run>, mut groups: [churn::Members; 2]) -> [churn::Members; 2] {
    let mut random = StdRng::seed_from_u64(run.plan.seed);
    while !run.is_over() {
        let Some(every) = run.plan.churn_every else {
            tokio::time::sleep(LOOK).await;
            continue;
        };
        sleep_unless_over(&run, every.mul_f64(random.random_range(0.5..1.5))).await;
        if !run.is_over() {
            groups[random.random_range(0..2)].stir();
        }
    }
    groups
}

async fn sleep_unless_over(run: &Run, duration: Duration) {
    let until = Instant::now() + duration;
    while Instant::now() < until && !run.is_over() {
        tokio::time::sleep(LOOK).await;
    }
}

/// Kills the broker again and again. Gives it back at the end, and how long each time no record was
/// acknowledged.
fn kill(run: &Run, mut broker: BrokerProcess) -> Result<(BrokerProcess, Vec<Duration>)> {
    let mut recoveries = Vec::new();
    let Some(every) = run.plan.kill_every else {
        return Ok((broker, recoveries));
    };
    let mut random = StdRng::seed_from_u64(run.plan.seed + 1);
    while !run.is_over() {
        let pause = every.mul_f64(random.random_range(0.5..1.5));
        let until = Instant::now() + pause;
        while Instant::now() < until && !run.is_over() {
            std::thread::sleep(LOOK);
        }
        if run.is_over() {
            break;
        }
        let killed = Instant::now();
        broker.kill_and_restart()?;
        let before = run.acknowledged.load(Ordering::Relaxed);
        while run.acknowledged.load(Ordering::Relaxed) == before && !run.is_over() {
            ensure!(
                killed.elapsed() < RECOVERY,
                "no record was acknowledged for {} s after the broker was killed",
                RECOVERY.as_secs()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        recoveries.push(killed.elapsed());
    }
    Ok((broker, recoveries))
}

async fn reader(run: &Run) -> Result<Consumer> {
    Consumer::new(&run.config())
        .await
        .context("cannot start a reader")
}

/// The end of each partition's log.
async fn ends(run: &Run) -> Result<Vec<usize>> {
    let partitions = run.partitions();
    let ends = reader(run).await?.end_offsets(&partitions).await?;
    let ends = partitions.iter().map(|partition| {
        let end = ends.get(partition).context("a partition without an end")?;
        usize::try_from(end.get()).context("an end below zero")
    });
    ends.collect()
}

/// Waits until both groups have processed everything, as long as it is worth waiting.
async fn catch_up(run: &Run, ends: &[usize]) -> Duration {
    let began = Instant::now();
    while began.elapsed() < CATCHING_UP
        && (run.processed().through() != ends || run.store().all_next() != ends)
    {
        tokio::time::sleep(LOOK).await;
    }
    began.elapsed()
}

/// Reads the whole log; the verdict, and how many records there are.
async fn read_log(run: &Run, ends: &[usize], sent: &[Sent]) -> Result<(Faults, u64)> {
    let mut consumer = reader(run).await?;
    let partitions = run.partitions();
    consumer.assign(&partitions).await?;
    for partition in &partitions {
        consumer.seek(partition, SeekTo::Beginning).await?;
    }
    let payloads = Payloads::new(run.plan.record_size);
    let mut judge = LogJudge::new(run.plan.keys);
    let total: usize = ends.iter().sum();
    let mut read = 0;
    let mut last = Instant::now();
    while read < total {
        let records = consumer.poll(READING).await?;
        ensure!(
            !records.is_empty() || last.elapsed() < READING,
            "the log gives no more after {read} of {total} records"
        );
        last = Instant::now();
        for record in &records {
            let found = run.stamp(&payloads, record);
            judge.read(record.partition.get(), record.offset.get(), found);
        }
        read += records.len();
    }
    let (faults, records) = judge.finish(sent);
    Ok((faults, records))
}
