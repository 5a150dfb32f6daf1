#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

fn beside_the_binary() -> tempfile::TempDir {
    let binary = std::env::current_exe().unwrap();
    tempfile::tempdir_in(binary.parent().unwrap()).unwrap()
}

#[test]
fn a_machine_that_runs_these_tests_has_no_blockers_and_the_probe_leaves_nothing_behind() {
    let directory = beside_the_binary();
    let report = probe_machine(directory.path());
    assert_eq!(
        report.blockers().collect::<Vec<_>>(),
        Vec::<&Finding>::new()
    );
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.what.contains("direct I/O"))
    );
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_directory_that_is_missing_is_a_blocker_with_its_name() {
    let report = probe_machine(Path::new("/no/such/directory"));
    let blockers: Vec<&Finding> = report.blockers().collect();
    assert_eq!(blockers.len(), 1);
    assert!(
        blockers[0]
            .what
            .starts_with("/no/such/directory cannot be written")
    );
    assert!(!blockers[0].mend.is_empty());
}

#[test]
fn a_refused_ring_names_the_cure() {
    let refused = |code, setting| explain_refusal(&io::Error::from_raw_os_error(code), setting).1;
    assert!(refused(libc::EPERM, "2").contains("sysctl kernel.io_uring_disabled=0"));
    assert!(refused(libc::EPERM, "1").contains("kernel.io_uring_group"));
    assert!(refused(libc::EPERM, "0").contains("seccomp"));
    assert!(refused(libc::ENOSYS, "").contains("5.8"));
    assert!(refused(libc::ENOMEM, "0").contains("memlock"));
}

#[test]
fn the_limit_of_open_files_is_raised_to_the_hard_one() {
    let raised = raise_open_files_limit().unwrap();
    assert_eq!(limit(libc::RLIMIT_NOFILE).unwrap(), (raised, raised));
}
