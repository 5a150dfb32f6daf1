//! Finding a cluster, and saying why it was not found.

use std::time::Duration;

use corelog_client::{Admin, ClientConfig, ConnectError, ConnectionError, ErrorCode, RequestError};
use tokio::net::TcpListener;

use crate::fake::FakeBroker;

#[tokio::test]
async fn the_first_server_that_answers_is_enough() {
    let broker = FakeBroker::start(&[]).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = closed.local_addr().unwrap();
    drop(closed);
    let servers = format!("{nobody},{}", broker.address);
    let config = broker.config().set("bootstrap.servers", servers);
    let admin = Admin::new(&config).await.unwrap();
    let cluster = admin.describe_cluster().await.unwrap();
    assert_eq!(cluster.cluster_id, "fake");
    assert_eq!(cluster.brokers.len(), 1);
    assert_eq!(cluster.brokers[0].shards, 2);
}

#[tokio::test]
async fn nobody_at_the_address_is_said_after_the_time_allowed() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = closed.local_addr().unwrap();
    drop(closed);
    let config = ClientConfig::new()
        .set("bootstrap.servers", nobody)
        .set("default.api.timeout.ms", 200);
    let error = Admin::new(&config).await.err().unwrap();
    let ConnectError::Unreachable { last, servers, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*servers, nobody.to_string());
    assert!(
        matches!(
            last,
            RequestError::Connection(ConnectionError::Socket {
                action: "connect",
                ..
            })
        ),
        "{error}"
    );
    assert!(error.is_retriable());
}

#[tokio::test]
async fn a_socket_that_never_speaks_is_left_after_the_setup_time() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = ClientConfig::new()
        .set("bootstrap.servers", silent.local_addr().unwrap())
        .set("socket.connection.setup.timeout.ms", 50)
        .set("default.api.timeout.ms", 100);
    let error = Admin::new(&config).await.err().unwrap();
    assert!(
        matches!(&error, ConnectError::Unreachable { last: RequestError::Connection(
            ConnectionError::SetupTimeout { waited, .. }), .. } if *waited == Duration::from_millis(50)),
        "{error}"
    );
}

#[tokio::test]
async fn something_else_at_the_address_is_told_from_a_broker() {
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = other.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        loop {
            let (mut socket, _) = other.accept().await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut socket, b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .await
                .unwrap();
        }
    });
    let config = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("default.api.timeout.ms", 100);
    let error = Admin::new(&config).await.err().unwrap();
    assert!(error.to_string().contains("magic"), "{error}");
    serving.abort();
}

#[tokio::test]
async fn a_refused_hello_gives_the_brokers_words() {
    let broker = FakeBroker::start(&[]).await;
    broker.change(|state| {
        state.script.refuse_hello = Some(ErrorCode::ClusterAuthorizationFailed);
    });
    let error = Admin::new(&broker.config()).await.err().unwrap();
    assert!(error.to_string().contains("not today"), "{error}");
    assert!(
        error.to_string().contains("CLUSTER_AUTHORIZATION_FAILED"),
        "{error}"
    );
    assert_eq!(broker.state().seen.hellos.len(), 1, "it is not tried again");
}
