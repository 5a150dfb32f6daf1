//! Clients come, go, crash, fall asleep and are restarted, topics grow, and the coordinator moves,
//! as a seed decides. What must hold:
//!
//! * of one generation, a partition is never given to two members;
//! * a static member that was replaced is never again told that it is one;
//! * no request waits longer than the rebalance time-outs explain, and none is answered twice;
//! * no rebalance lasts longer than they explain;
//! * once the trouble is over the group becomes stable, and every partition has an owner.
//!
//! The story behind the canaries: a coordinator that takes assignments from any leader, that
//! overlooks a departure, that waits for members who never come, or that knows a static member by
//! its instance id alone, serves a group of well-behaved clients for months.

mod judge;
mod process;
mod subscription;
mod trouble;
mod world;

use judge::Fault;
use world::World;

use crate::group::classic::canary::{Canary, plant};
use crate::runtime::sim::seeds_for_steps;

/// Random steps in all, unless `CORELOG_TEST_STEPS` says how many.
const STEPS: u64 = 40_000;
/// Steps before a group is left in peace and judged.
const STEPS_PER_SEED: u64 = 2_000;

fn run_seed(seed: u64) -> Result<(), Fault> {
    let mut world = World::new(seed);
    for _ in 0..STEPS_PER_SEED {
        world.step()?;
    }
    world.settle()
}

#[test]
fn groups_survive_what_their_members_do() {
    for seed in seeds_for_steps(STEPS, STEPS_PER_SEED) {
        run_seed(seed).unwrap_or_else(|fault| panic!("seed {seed}: {fault:?}"));
    }
}

#[test]
fn a_second_leader_is_caught() {
    assert_is_caught(Canary::AnyLeaderAssigns, |fault| {
        matches!(fault, Fault::TwoOwners(_))
    });
}

#[test]
fn an_overlooked_departure_is_caught() {
    assert_is_caught(Canary::DepartureUnnoticed, |fault| {
        matches!(fault, Fault::LostPartition(_))
    });
}

#[test]
fn a_rebalance_without_end_is_caught() {
    assert_is_caught(Canary::JoinDeadlineForgotten, |fault| {
        matches!(fault, Fault::StuckRebalance(_) | Fault::Unanswered(_))
    });
}

#[test]
fn a_forgotten_fence_is_caught() {
    assert_is_caught(Canary::FenceForgotten, |fault| {
        matches!(fault, Fault::NotFenced(_))
    });
}

#[test]
fn a_reply_sent_twice_is_caught() {
    assert_is_caught(Canary::AnsweredTwice, |fault| {
        matches!(fault, Fault::AnsweredTwice(_))
    });
}

/// Some seed shows the fault with the planted bug, and not without it.
fn assert_is_caught(canary: Canary, is_its_fault: impl Fn(&Fault) -> bool) {
    plant(Some(canary));
    let caught = (0..100).find(|seed| run_seed(*seed).is_err_and(|fault| is_its_fault(&fault)));
    plant(None);
    let seed = caught.unwrap_or_else(|| panic!("no seed shows {canary:?}"));
    assert_eq!(run_seed(seed), Ok(()), "without the bug");
}
