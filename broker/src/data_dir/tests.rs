#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

fn config(path: &Path) -> BrokerConfig {
    BrokerConfig {
        data_dir: path.to_owned(),
        ..BrokerConfig::default()
    }
}

#[test]
fn a_folder_keeps_its_identity() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/data");
    let first = DataDir::open(&config(&path)).unwrap();
    let (cluster, directory) = (
        first.cluster_id().to_owned(),
        first.directory_id().to_owned(),
    );
    assert!(first.path().is_absolute());
    assert_ne!(cluster, directory);
    first.close().unwrap();

    let again = DataDir::open(&config(&path)).unwrap();
    assert_eq!(
        (again.cluster_id(), again.directory_id()),
        (&*cluster, &*directory)
    );
    drop(again);

    let named = BrokerConfig {
        cluster_id: Some(cluster.clone()),
        ..config(&path)
    };
    assert!(DataDir::open(&named).is_ok());
    let text = fs::read_to_string(path.join(META)).unwrap();
    assert_eq!(
        text,
        format!(
            "# Written by Corelog at the first start in this folder. Do not edit.\nversion=1\n\
             cluster.id={cluster}\nnode.id=1\ndirectory.id={directory}\ncorelog.format.version=1\n"
        )
    );
}

#[test]
fn a_second_broker_is_refused_by_the_process_that_holds_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let first = DataDir::open(&config(folder.path())).unwrap();
    let refused = DataDir::open(&config(folder.path())).unwrap_err();
    let pid = std::process::id();
    assert!(
        refused
            .to_string()
            .contains(&format!("in use by process {pid}:")),
        "{refused}"
    );
    drop(first);
    assert!(DataDir::open(&config(folder.path())).is_ok());
}

#[test]
fn the_folder_of_another_broker_or_cluster_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(DataDir::open(&config(folder.path())).unwrap());
    let refused = DataDir::open(&BrokerConfig {
        broker_id: BrokerId::new(2),
        ..config(folder.path())
    })
    .unwrap_err();
    assert!(
        matches!(refused, DataDirError::OtherBroker { found, configured, .. }
            if found == BrokerId::new(1) && configured == BrokerId::new(2)),
        "{refused}"
    );
    let refused = DataDir::open(&BrokerConfig {
        cluster_id: Some("other".to_owned()),
        ..config(folder.path())
    })
    .unwrap_err();
    assert!(
        matches!(refused, DataDirError::OtherCluster { .. }),
        "{refused}"
    );
}

#[test]
fn a_newer_or_damaged_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(DataDir::open(&config(folder.path())).unwrap());
    let meta = folder.path().join(META);
    let text = fs::read_to_string(&meta).unwrap();
    let refuse = |text: &str| {
        fs::write(&meta, text).unwrap();
        DataDir::open(&config(folder.path())).unwrap_err()
    };
    let newer = refuse(&text.replace("format.version=1", "format.version=2"));
    assert!(
        matches!(
            newer,
            DataDirError::NewerFormat {
                found: 2,
                newest: 1,
                ..
            }
        ),
        "{newer}"
    );
    // A newer format may mean anything by the other keys.
    let newer = refuse("corelog.format.version=9\n");
    assert!(
        matches!(newer, DataDirError::NewerFormat { found: 9, .. }),
        "{newer}"
    );
    for (from, to, reason) in [
        (
            "format.version=1",
            "format.version=0",
            "`corelog.format.version` cannot be `0`",
        ),
        (
            "corelog.format.version=1",
            "",
            "`corelog.format.version` is missing",
        ),
        ("node.id=1", "node.id=-1", "`node.id` cannot be `-1`"),
        ("node.id=1", "node.id=x", "`node.id` cannot be `x`"),
        ("cluster.id=", "cluster.id=a b", "`cluster.id` cannot be"),
        ("directory.id=", "#", "`directory.id` is missing"),
        ("\nversion=1", "\nversion=7", "`version` cannot be `7`"),
    ] {
        let refused = refuse(&text.replace(from, to)).to_string();
        assert!(refused.contains(reason), "{refused}");
    }
    // Keys of Kafka's that we do not know change nothing.
    fs::write(&meta, format!("{text}controller.mode=1\n")).unwrap();
    assert!(DataDir::open(&config(folder.path())).is_ok());
}

#[test]
fn a_used_folder_that_lost_its_identity_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(DataDir::open(&config(folder.path())).unwrap());
    fs::remove_file(folder.path().join(META)).unwrap();
    fs::create_dir(folder.path().join("journal")).unwrap();
    drop(DataDir::open(&config(folder.path())).unwrap());

    fs::remove_file(folder.path().join(META)).unwrap();
    fs::create_dir_all(folder.path().join("data/orders-0")).unwrap();
    let refused = DataDir::open(&config(folder.path())).unwrap_err();
    assert!(
        matches!(&refused, DataDirError::MetaMissing { found, .. } if found == "data"),
        "{refused}"
    );
}

#[test]
fn ports_are_there_only_while_the_broker_serves() {
    let folder = tempfile::tempdir().unwrap();
    let ports = Ports {
        native: ([127, 0, 0, 1], 9190).into(),
        kafka: Some(([127, 0, 0, 1], 9092).into()),
        http: ([127, 0, 0, 1], 9191).into(),
    };
    let path = folder.path().join(PORTS);
    let running = DataDir::open(&config(folder.path())).unwrap();
    assert!(!path.exists());
    running.write_ports(&ports).unwrap();
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "{\"native\":\"127.0.0.1:9190\",\"kafka\":\"127.0.0.1:9092\",\"http\":\"127.0.0.1:9191\"}\n"
    );
    // Killed: the file stays until the next start.
    drop(running);
    assert!(path.exists());
    let next = DataDir::open(&config(folder.path())).unwrap();
    assert!(!path.exists());
    next.write_ports(&ports).unwrap();
    next.close().unwrap();
    assert!(!path.exists());
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = DataDir::open(&config(&file)).unwrap_err().to_string();
    assert!(refused.contains("file"), "{refused}");
}
