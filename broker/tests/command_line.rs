//! What the broker's command says and how it ends, before any client connects.

use std::path::Path;
use std::process::{Command, Output};

/// Runs the command without the settings of the environment that runs the tests.
fn broker(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corelog-broker"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CORELOG_")) {
        command.env_remove(name);
    }
    command
        .args(arguments)
        .envs(variables.iter().copied())
        .output()
        .expect("the broker's binary is built with the tests")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn wrong_usage_and_wrong_settings_exit_with_2_and_name_the_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("corelog.toml");
    std::fs::write(&file, "[journal]\nfiles = 100\n").unwrap();
    let file = file.to_str().expect("test folders have plain names");

    type Arguments<'a> = &'a [&'a str];
    type Variables<'a> = &'a [(&'a str, &'a str)];
    let cases: [(Arguments<'_>, Variables<'_>, &str); 6] = [
        (&["--no-such-flag"], &[], "--no-such-flag"),
        (&["--set", "journal.files"], &[], "expected KEY=VALUE"),
        (
            &["--set", "jurnal.files=2"],
            &[],
            "corelog-broker: command line: there is no setting `jurnal.files`; did you mean \
             `journal.files`?\n",
        ),
        (
            &[],
            &[("CORELOG_LISTEN", "here")],
            "corelog-broker: CORELOG_LISTEN: `listen` cannot be `here`: it must be HOST:PORT\n",
        ),
        (
            &["--config", file],
            &[],
            "corelog.toml: `journal.files` cannot be `100`: it must be an integer from 2 to 64\n",
        ),
        (
            &["--config", "/nowhere.toml"],
            &[],
            "corelog-broker: cannot read the configuration file `/nowhere.toml`: ",
        ),
    ];
    for (arguments, variables, expected) in cases {
        let output = broker(arguments, variables);
        let errors = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(expected), "{errors}");
        assert_eq!(stdout(&output), "");
    }
}

#[test]
fn a_start_that_fails_exits_with_1_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let file = file.to_str().expect("test folders have plain names");
    let output = broker(&["--data-dir", file], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(file), "{}", stderr(&output));
}

#[test]
fn the_settings_in_force_are_printed_and_nothing_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let data = data.to_str().expect("test folders have plain names");
    let output = broker(
        &["--data-dir", data, "--print-config"],
        &[("CORELOG_LOG_RETENTION_MS", "7d")],
    );
    assert!(output.status.success());
    let text = stdout(&output);
    assert!(text.contains(&format!("data.dir = \"{data}\"\n")), "{text}");
    assert!(text.contains("log.retention.ms = 604800000\n"), "{text}");
    assert!(!Path::new(data).exists());
}

#[test]
fn help_names_the_flags_and_where_the_settings_are_described() {
    let output = broker(&["--help"], &[]);
    assert!(output.status.success());
    let text = stdout(&output);
    for expected in [
        "--data-dir <DIR>",
        "--listen <HOST:PORT>",
        "--kafka-listen <HOST:PORT>",
        "--http-listen <HOST:PORT>",
        "--cores <CORES>",
        "--config <FILE>",
        "--set <KEY=VALUE>",
        "configuration.md",
        "SIGTERM",
    ] {
        assert!(text.contains(expected), "no {expected} in\n{text}");
    }
}
