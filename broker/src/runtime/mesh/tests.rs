#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::*;
use crate::runtime::{Simulator, launch_small, sleep, spawn};

fn two<M: Send>(capacity: usize) -> (MeshPort<M>, MeshPort<M>) {
    let mut ports = Mesh::new(2, capacity).into_iter();
    (ports.next().unwrap(), ports.next().unwrap())
}

#[test]
fn messages_of_one_sender_keep_their_order_across_threads() {
    const MESSAGES: u64 = 20_000;
    // Far fewer places than messages, so that both sides wait for each other again and again.
    let (here, there) = two::<u64>(8);
    let receiver = launch_small(move || async move {
        for expected in 0..MESSAGES {
            assert_eq!(there.recv().await, (0, expected));
        }
        there.queued(0)
    });
    let sender = launch_small(move || async move {
        for message in 0..MESSAGES {
            here.send(1, message).await;
        }
        here.sent(1)
    });
    assert_eq!(sender.join().unwrap(), MESSAGES);
    assert_eq!(receiver.join().unwrap(), 0);
}

/// An executor with nothing to do sleeps in the kernel; a message must bring it back each time.
#[test]
fn a_message_wakes_an_executor_that_sleeps() {
    let (here, there) = two::<u32>(4);
    let receiver = launch_small(move || async move {
        let mut sum = 0;
        for _ in 0..200 {
            let (from, value) = there.recv().await;
            sum += value;
            there.send(from, value).await;
        }
        sum
    });
    let sender = launch_small(move || async move {
        for value in 0..200 {
            here.send(1, value).await;
            assert_eq!(here.recv().await, (1, value));
        }
    });
    sender.join().unwrap();
    assert_eq!(receiver.join().unwrap(), (0..200).sum::<u32>());
}

#[test]
fn a_plain_thread_wakes_a_sleeping_executor() {
    let (control, shard) = two::<&str>(4);
    let (ready, started) = std::sync::mpsc::channel();
    let thread = launch_small(move || async move {
        ready.send(()).unwrap();
        shard.recv().await
    });
    started.recv().unwrap();
    control.sender().try_send(1, "hello").unwrap();
    assert_eq!(thread.join().unwrap(), (0, "hello"));
}

#[test]
fn a_full_lane_gives_the_message_back_and_blocks_no_other() {
    let ports = Mesh::new::<u8>(3, 2);
    ports[0].try_send(1, 1).unwrap();
    ports[0].try_send(1, 2).unwrap();
    assert_eq!(ports[0].try_send(1, 3), Err(MeshFull(3)));
    ports[2].try_send(1, 4).unwrap();
    ports[0].try_send(2, 5).unwrap();
    assert_eq!(ports[0].sent(1), 2);
    assert_eq!(ports[1].queued(0), 2);
    // Served in turns, so that the third core does not wait for all of the first one's.
    assert_eq!(ports[1].try_recv(), Some((0, 1)));
    assert_eq!(ports[1].try_recv(), Some((2, 4)));
    assert_eq!(ports[1].try_recv(), Some((0, 2)));
    assert_eq!(ports[1].try_recv(), None);
}

#[test]
fn a_sender_that_waits_for_room_goes_on_when_there_is_some() {
    Simulator::new(1).run(async {
        let (here, there) = two::<u8>(1);
        here.try_send(1, 1).unwrap();
        let here = std::rc::Rc::new(here);
        let sender = std::rc::Rc::clone(&here);
        let task = spawn(async move { sender.send(1, 2).await });
        sleep(Duration::from_millis(1)).await;
        assert_eq!(there.recv().await, (0, 1));
        assert_eq!(there.recv().await, (0, 2));
        task.await;
    });
}

#[test]
fn a_send_that_is_given_up_leaves_no_waiter() {
    let (here, there) = two::<u8>(1);
    here.try_send(1, 1).unwrap();
    let mut send = Box::pin(here.send(1, 2));
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..3 {
        assert_eq!(send.as_mut().poll(&mut context), Poll::Pending);
    }
    assert_eq!(there.seat().lanes[0].waiters().len(), 1);
    drop(send);
    assert_eq!(there.seat().lanes[0].waiters().len(), 0);
}

#[test]
fn a_port_that_goes_drops_what_it_was_sent() {
    let (here, there) = two::<remote::ReplySender<u8>>(4);
    Simulator::new(1).run(async move {
        let (reply, before) = remote::channel();
        here.try_send(1, reply).unwrap();
        drop(there);
        assert_eq!(before.await, Err(crate::runtime::Closed));
        let (reply, after) = remote::channel();
        here.try_send(1, reply).unwrap();
        assert_eq!(after.await, Err(crate::runtime::Closed));
    });
}

#[test]
fn a_reply_crosses_threads_both_ways() {
    let (ask, asked) = two::<(u32, remote::ReplySender<u32>)>(4);
    let server = launch_small(move || async move {
        for _ in 0..100 {
            let (_, (value, reply)) = asked.recv().await;
            reply.send(value * 2).unwrap();
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        for value in 0..100 {
            let (reply, answer) = remote::channel();
            ask.send(1, (value, reply)).await;
            assert_eq!(answer.await, Ok(value * 2));
        }
    });
    server.join().unwrap();
}

#[test]
fn a_subscriber_sees_the_newest_value_and_the_end() {
    let (publisher, mut subscriber) = latest::channel(Arc::new(0));
    let follower = launch_small(move || async move {
        let mut newest = *subscriber.latest();
        while let Ok(value) = subscriber.changed().await {
            assert!(*value > newest, "{value} after {newest}");
            newest = *value;
        }
        newest
    });
    for value in 1..=1_000 {
        publisher.publish(Arc::new(value));
    }
    assert_eq!(*publisher.current(), 1_000);
    drop(publisher);
    assert_eq!(follower.join().unwrap(), 1_000);
}
