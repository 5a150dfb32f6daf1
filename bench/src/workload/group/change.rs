//! One more member joins the group under load, and leaves it again.

use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Gathering, LOOK, PATIENCE};

/// Large records come so seldom that not every partition gets one soon: then
/// the first of any is enough.
const WARM_UP: Duration = Duration::from_secs(5);

/// What the group notices of a member that comes and goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    /// From the newcomer's subscription until every member has its share.
    pub(crate) joining: Duration,
    /// From the newcomer's farewell until the others have all partitions again.
    pub(crate) leaving: Duration,
    /// The longest pause of a partition that kept its owner through both.
    pub(crate) longest_pause: Option<Duration>,
    /// The longest pause of any partition as long before, while nobody came or went.
    pub(crate) calm_pause: Option<Duration>,
}

/// Has the newcomer join and leave, with a stretch of load before, between and
/// after; then ends the load. `None` if it was broken off.
pub(crate) async fn conduct(gathering: &Gathering, stretch: Duration) -> Result<Option<Change>> {
    let newcomer = &gathering.newcomer;
    let members = gathering.members;
    let began = Instant::now();
    let flows = || {
        let shares = gathering.shares();
        shares.all_flow() || (shares.delivered() > 0 && began.elapsed() > WARM_UP)
    };
    while !flows() && !gathering.is_broken_off() {
        ensure!(
            began.elapsed() < 2 * PATIENCE,
            "no record of the load reached the group within {} s",
            2 * PATIENCE.as_secs()
        );
        tokio::time::sleep(LOOK).await;
    }
    gathering.shares().watch(Instant::now());
    // As long as the watch over both rebalances, which are short beside it.
    go_on(gathering, stretch * 2).await;
    let calm_pause = gathering.longest_pause_and_on();

    newcomer.may_join.store(true, Ordering::Release);
    let joining = even(gathering, members + 1, &newcomer.joined, "joined").await?;
    go_on(gathering, stretch).await;
    newcomer.is_to_leave.store(true, Ordering::Release);
    let leaving = even(gathering, members, &newcomer.left, "left").await?;
    go_on(gathering, stretch).await;

    let longest_pause = gathering.longest_pause_and_on();
    gathering.over.store(true, Ordering::Release);
    Ok(joining.zip(leaving).map(|(joining, leaving)| Change {
        joining,
        leaving,
        longest_pause,
        calm_pause,
    }))
}

/// The time from `since` to the change that made the shares even; `None` if the run was broken off.
async fn even(
    gathering: &Gathering,
    members: usize,
    since: &OnceLock<Instant>,
    what: &str,
) -> Result<Option<Duration>> {
    let began = Instant::now();
    while !gathering.is_broken_off() {
        if let Some(&since) = since.get()
            && let Some(at) = gathering.shares().even_since(members)
        {
            return Ok(Some(at.saturating_duration_since(since)));
        }
        ensure!(
            began.elapsed() < PATIENCE,
            "{} s after a member {what} the group is not stable again: {}",
            PATIENCE.as_secs(),
            gathering.shares().describe()
        );
        tokio::time::sleep(LOOK).await;
    }
    Ok(None)
}

impl Gathering {
    /// The longest pause of the watch that ends, and has the next one begin.
    fn longest_pause_and_on(&self) -> Option<Duration> {
        let (mut shares, now) = (self.shares(), Instant::now());
        let longest = shares.longest_pause(now);
        shares.watch(now);
        longest
    }
}

async fn go_on(gathering: &Gathering, stretch: Duration) {
    let until = Instant::now() + stretch;
    while Instant::now() < until && !gathering.is_broken_off() {
        tokio::time::sleep(LOOK).await;
    }
}
