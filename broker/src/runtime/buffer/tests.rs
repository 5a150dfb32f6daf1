#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::runtime::{Simulator, sleep, spawn};

#[test]
fn buffers_count_against_the_budget_until_they_are_dropped() {
    let pool = BufferPool::new(10 * BLOCK + 100);
    assert_eq!(pool.budget(), 10 * BLOCK);
    let first = pool.aligned(4 * BLOCK).unwrap();
    let second = pool.append_buffer(5 * BLOCK).unwrap();
    let charge = pool.charge(1).unwrap();
    assert_eq!(pool.in_use(), 10 * BLOCK);
    let refused = pool.aligned(BLOCK).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "a buffer of 4096 bytes does not fit: 40960 of the budget's 40960 bytes are in use"
    );
    drop(charge);
    assert!(pool.aligned(BLOCK).is_ok());
    drop((first, second));
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn what_is_kept_for_reuse_makes_room_for_other_sizes() {
    let pool = BufferPool::new(8 * BLOCK);
    drop(pool.aligned(6 * BLOCK).unwrap());
    assert_eq!(pool.pool.kept_bytes.get(), 6 * BLOCK);
    let other = pool.aligned(4 * BLOCK).unwrap();
    assert_eq!(
        pool.pool.kept_bytes.get(),
        0,
        "kept and used together stay within the budget"
    );
    drop(other);
    let charge = pool.charge(7 * BLOCK).unwrap();
    assert_eq!(pool.pool.kept_bytes.get(), 0);
    drop(charge);
}

#[test]
fn memory_of_the_same_size_is_used_again() {
    let pool = BufferPool::new(64 * BLOCK);
    let first = pool.aligned(2 * BLOCK).unwrap();
    let start = first.as_ptr();
    drop(first);
    drop(pool.aligned(3 * BLOCK).unwrap());
    assert_eq!(pool.aligned(2 * BLOCK).unwrap().as_ptr(), start);
}

#[test]
fn at_most_a_bounded_number_of_buffers_is_kept() {
    let pool = BufferPool::new(1024 * BLOCK);
    let buffers: Vec<_> = (0..KEPT_BUFFERS + 50)
        .map(|_| pool.aligned(BLOCK).unwrap())
        .collect();
    drop(buffers);
    assert_eq!(pool.pool.kept.borrow().len(), KEPT_BUFFERS);
    assert_eq!(pool.pool.kept_bytes.get(), KEPT_BUFFERS * BLOCK);
}

#[test]
fn buffers_are_aligned_and_a_fresh_one_is_zero() {
    let pool = BufferPool::new(64 * BLOCK);
    for blocks in 1..8 {
        let buffer = pool.aligned(blocks * BLOCK).unwrap();
        assert_eq!(buffer.as_ptr().addr() % BLOCK, 0);
        assert!(buffer.iter().all(|byte| *byte == 0));
    }
}

/// An append buffer that was filled in part leaves memory that nobody wrote. A later owner of the same
/// memory sees what was appended or zeroes, never what the allocator left there.
#[test]
fn memory_that_was_never_written_is_cleared_before_it_can_be_read() {
    let pool = BufferPool::new(64 * BLOCK);
    let mut partly = pool.append_buffer(2 * BLOCK).unwrap();
    let start = partly.as_slice().as_ptr();
    partly.append(&[7; 100]);
    drop(partly);
    let whole = pool.aligned(2 * BLOCK).unwrap();
    assert_eq!(whole.as_ptr(), start);
    assert!(whole[..100].iter().all(|byte| *byte == 7));
    assert!(whole[100..].iter().all(|byte| *byte == 0));
}

#[test]
fn an_append_buffer_takes_what_fits_and_slices_never_change() {
    let pool = BufferPool::new(64 * BLOCK);
    let mut buffer = pool.append_buffer(BLOCK).unwrap();
    assert_eq!(buffer.append(&[1; 4_000]), 4_000);
    let slice = buffer.slice(3_990..4_000);
    assert_eq!(buffer.append(&[2; 200]), 96);
    assert_eq!(buffer.append(&[3; 200]), 0);
    assert_eq!((buffer.len(), buffer.remaining()), (BLOCK, 0));
    assert_eq!(&slice[..], &[1; 10]);
    assert_eq!(&buffer.slice(3_999..4_001)[..], &[1, 2]);
    let part = slice.slice(2..5);
    drop((buffer, slice));
    assert_eq!(&part[..], &[1; 3]);
    assert_eq!(pool.in_use(), BLOCK, "a slice keeps the memory");
    drop(part);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn padding_fills_with_zeroes_whatever_the_memory_held() {
    let pool = BufferPool::new(64 * BLOCK);
    pool.aligned(BLOCK).unwrap().fill(9);
    let mut buffer = pool.append_buffer(BLOCK).unwrap();
    buffer.append(&[1; 10]);
    buffer.pad_to(BLOCK);
    assert_eq!(&buffer.as_slice()[..10], &[1; 10]);
    assert!(buffer.as_slice()[10..].iter().all(|byte| *byte == 0));
}

#[test]
#[should_panic(expected = "only what was appended can be read")]
fn a_slice_beyond_what_was_appended_is_refused() {
    let mut buffer = BufferPool::new(BLOCK).append_buffer(BLOCK).unwrap();
    buffer.append(&[1; 10]);
    let _ = buffer.slice(5..11);
}

#[test]
fn a_buffer_that_waits_gets_its_turn_before_later_ones() {
    Simulator::new(1).run(async {
        let pool = BufferPool::new(4 * BLOCK);
        let held = pool.aligned(4 * BLOCK).unwrap();
        let order = Rc::new(RefCell::new(Vec::new()));
        let mut tasks = Vec::new();
        for blocks in [4, 1] {
            let (pool, order) = (pool.clone(), Rc::clone(&order));
            tasks.push(spawn(async move {
                // The one that wants much stands in line first.
                sleep(std::time::Duration::from_millis(5 - blocks as u64)).await;
                let buffer = pool.aligned_wait(blocks * BLOCK).await;
                order.borrow_mut().push(buffer.len() / BLOCK);
            }));
        }
        sleep(std::time::Duration::from_millis(20)).await;
        assert!(order.borrow().is_empty());
        assert!(pool.aligned(BLOCK).is_err(), "nobody overtakes the line");
        drop(held);
        for task in tasks {
            task.await;
        }
        assert_eq!(*order.borrow(), [4, 1]);
    });
}

#[test]
fn a_charge_gives_back_what_it_does_not_need() {
    let pool = BufferPool::new(10 * BLOCK);
    let mut charge = pool.charge(10 * BLOCK).unwrap();
    charge.shrink_to(BLOCK + 1);
    assert_eq!((charge.bytes(), pool.in_use()), (2 * BLOCK, 2 * BLOCK));
}

#[test]
fn shares_of_one_budget_are_counted_apart() {
    let pool = BufferPool::new(10 * BLOCK);
    let (tails, reads) = (pool.share(), pool.share());
    let buffer = tails.append_buffer(2 * BLOCK).unwrap();
    let mut charge = reads.clone().charge(3 * BLOCK).unwrap();
    assert_eq!((tails.in_share(), reads.in_share()), (2 * BLOCK, 3 * BLOCK));
    assert_eq!((pool.in_share(), pool.in_use()), (0, 5 * BLOCK));
    assert!(tails.aligned(6 * BLOCK).is_err(), "the budget is one");
    charge.shrink_to(1);
    assert_eq!(reads.in_share(), BLOCK);
    drop((buffer, charge));
    assert_eq!((tails.in_share(), reads.in_share()), (0, 0));
}
