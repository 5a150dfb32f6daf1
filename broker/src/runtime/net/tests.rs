#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;

use super::*;
use crate::runtime::{Mesh, launch_small, spawn, timeout, yield_now};

fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn on_executor<T: Send + 'static, Fut: Future<Output = T> + 'static>(
    test: impl FnOnce() -> Fut + Send + 'static,
) -> T {
    launch_small(test).join().unwrap()
}

async fn read_exactly(connection: &mut Connection, len: usize) -> Vec<u8> {
    let mut bytes = BytesMut::with_capacity(len);
    while bytes.len() < len {
        assert_ne!(
            connection.read_buf(&mut bytes).await.unwrap(),
            0,
            "the peer closed early"
        );
    }
    bytes.to_vec()
}

async fn pair() -> (Connection, Connection) {
    let listener = Listener::bind(any_port()).unwrap();
    let address = listener.local_addr();
    let client = spawn(Connection::connect(address));
    let server = listener.accept().await.unwrap().into_connection().unwrap();
    (client.await.unwrap(), server)
}

#[test]
fn bytes_arrive_in_order_and_the_end_is_seen() {
    on_executor(|| async {
        let (mut client, mut server) = pair().await;
        assert_eq!(server.peer_addr().ip(), Ipv4Addr::LOCALHOST);
        let mut parts = [
            IoSlice::new(b""),
            IoSlice::new(b"one "),
            IoSlice::new(b""),
            IoSlice::new(b"two"),
        ];
        client.write_all_vectored(&mut parts).await.unwrap();
        assert_eq!(read_exactly(&mut server, 7).await, b"one two");
        drop(client);
        assert_eq!(server.read(&mut [0; 16]).await.unwrap(), 0);
    });
}

#[test]
fn a_write_larger_than_the_socket_waits_for_the_reader() {
    on_executor(|| async {
        let (client, mut server) = pair().await;
        let (_read, mut write) = client.split();
        // Ten times what the kernel buffers by default, in more parts than one call takes.
        let bytes: Vec<u8> = (0..40_000_000_u32).map(|index| (index / 7) as u8).collect();
        let expected = bytes.clone();
        let writer = spawn(async move {
            let mut parts: Vec<IoSlice<'_>> = bytes.chunks(10_000).map(IoSlice::new).collect();
            write.write_all_vectored(&mut parts).await.unwrap();
        });
        let received = read_exactly(&mut server, expected.len()).await;
        writer.await;
        assert!(received == expected);
    });
}

#[test]
fn shutdown_wakes_the_half_that_reads() {
    on_executor(|| async {
        let (client, _server) = pair().await;
        let (mut read, write) = client.split();
        let reader = spawn(async move { read.read(&mut [0; 16]).await });
        yield_now().await;
        write.shutdown().unwrap();
        assert_eq!(reader.await.unwrap(), 0);
        write.shutdown().unwrap();
    });
}

#[test]
fn the_end_of_one_direction_leaves_the_other_open() {
    on_executor(|| async {
        let (mut client, server) = pair().await;
        let (mut read, write) = server.split();
        write.shutdown_write().unwrap();
        assert_eq!(client.read(&mut [0; 16]).await.unwrap(), 0);
        client.write_all(b"still here").await.unwrap();
        let mut bytes = [0; 16];
        assert_eq!(read.read(&mut bytes).await.unwrap(), 10);
        assert_eq!(&bytes[..10], b"still here");
    });
}

#[test]
fn an_abandoned_accept_loses_no_connection() {
    on_executor(|| async {
        let listener = Listener::bind(any_port()).unwrap();
        let address = listener.local_addr();
        for _ in 0..3 {
            assert!(
                timeout(Duration::from_millis(1), listener.accept())
                    .await
                    .is_err()
            );
        }
        let mut client = Connection::connect(address).await.unwrap();
        let mut server = listener.accept().await.unwrap().into_connection().unwrap();
        client.write_all(b"hello").await.unwrap();
        assert_eq!(read_exactly(&mut server, 5).await, b"hello");
    });
}

#[test]
fn a_port_in_use_is_refused() {
    let first = ListeningSocket::bind(any_port()).unwrap();
    let address = first.local_addr().unwrap();
    let error = ListeningSocket::bind(address).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[test]
fn a_connection_moves_to_another_executor_with_the_bytes_already_read() {
    let mut ports = Mesh::new::<(AcceptedSocket, Vec<u8>)>(2, 4).into_iter();
    let (accepting, owning) = (ports.next().unwrap(), ports.next().unwrap());
    let socket = ListeningSocket::bind(any_port()).unwrap();
    let address = socket.local_addr().unwrap();

    let owner = launch_small(move || async move {
        let (from, (socket, mut received)) = owning.recv().await;
        assert_eq!(from, 0);
        let mut connection = socket.into_connection().unwrap();
        received.extend(read_exactly(&mut connection, 6).await);
        connection.write_all(b"served by the owner").await.unwrap();
        received
    });
    let acceptor = launch_small(move || async move {
        let listener = socket.into_listener().unwrap();
        let mut connection = listener.accept().await.unwrap().into_connection().unwrap();
        let hello = read_exactly(&mut connection, 5).await;
        let socket = connection.into_accepted().unwrap();
        accepting.send(1, (socket, hello)).await;
    });
    let reply = on_executor(move || async move {
        let mut client = Connection::connect(address).await.unwrap();
        client.write_all(b"hello").await.unwrap();
        client.write_all(b" world").await.unwrap();
        read_exactly(&mut client, 19).await
    });
    acceptor.join().unwrap();
    assert_eq!(owner.join().unwrap(), b"hello world");
    assert_eq!(reply, b"served by the owner");
}

/// A listener that is asked again and again while nobody connects: each time glommio kept a waker, and
/// at 32,768 of them the task panicked.
#[test]
fn an_accept_may_be_polled_without_end() {
    on_executor(|| async {
        let listener = Listener::bind(any_port()).unwrap();
        for _ in 0..40_000 {
            assert!(
                futures_util::future::poll_immediate(listener.accept())
                    .await
                    .is_none()
            );
        }
        let client = Connection::connect(listener.local_addr()).await.unwrap();
        assert_eq!(
            listener.accept().await.unwrap().peer_addr().ip(),
            client.peer_addr().ip()
        );
    });
}
