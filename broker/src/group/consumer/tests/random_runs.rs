//! A group must never let two consumers read one partition, and must never leave one unread for
//! good. Both promises are easily lost in a corner: a member that is told to give something up,
//! whose reply is lost, that crashes and comes back under another id while the coordinator moves.
//! Random runs look into the corners; planted bugs prove that they see what lies there.

use super::simulation::{Fault, Simulation};
use crate::group::consumer::canary::{Canary, plant};
use crate::runtime::sim::seeds_for_steps;

/// Random steps in all, unless `CORELOG_TEST_STEPS` says how many.
const STEPS: u64 = 60_000;
/// Random steps of one seed, between which the group is left to settle.
const STEPS_OF_SEED: u64 = 600;
const STEPS_UNTIL_SETTLED: u64 = 100;

#[test]
fn no_partition_has_two_owners_and_every_group_left_alone_settles() {
    for seed in seeds_for_steps(STEPS, STEPS_OF_SEED) {
        run_seed(seed).unwrap_or_else(|fault| panic!("seed {seed}: {fault:?}"));
    }
}

#[test]
fn a_coordinator_that_gives_away_what_is_still_held_is_caught() {
    assert_is_caught(Canary::TwoOwners, |f| matches!(f, Fault::TwoOwners(_)));
}

#[test]
fn a_coordinator_that_forgets_what_fenced_members_held_is_caught() {
    assert_is_caught(Canary::LostPartition, |f| {
        matches!(f, Fault::LostPartition(_))
    });
}

#[test]
fn a_coordinator_that_waits_for_a_stubborn_member_without_end_is_caught() {
    assert_is_caught(Canary::StuckRebalance, |f| matches!(f, Fault::Unsettled(_)));
}

#[test]
fn a_coordinator_that_lets_old_epochs_in_is_caught() {
    assert_is_caught(Canary::ForgottenFence, |f| matches!(f, Fault::NotFenced(_)));
}

/// Some seed shows the fault with the planted bug, and not without it.
fn assert_is_caught(canary: Canary, is_caught: impl Fn(&Fault) -> bool) {
    plant(Some(canary));
    let caught = (0..100).find(|seed| run_seed(*seed).is_err_and(|fault| is_caught(&fault)));
    plant(None);
    let seed = caught.unwrap_or_else(|| panic!("no seed caught {canary:?}"));
    assert_eq!(run_seed(seed), Ok(()), "without the bug");
}

fn run_seed(seed: u64) -> Result<(), Fault> {
    let mut simulation = Simulation::new(seed);
    for step in 1..=STEPS_OF_SEED {
        simulation.step()?;
        if step % STEPS_UNTIL_SETTLED == 0 {
            simulation.settle()?;
        }
    }
    Ok(())
}
