//! A file system of its own for a broker, in a file: it can fill up, turn read-only and lose its
//! device without any harm to the machine's.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// An ext4 file system on a loop device. Unmounted when dropped: brokers on it must have ended.
pub(crate) struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts a new file system of so many mebibytes. `None`, with a note, where this process may
    /// not mount; the simulated disk of `log::tests` then is all that fills up and fails.
    pub(crate) fn mount(mebibytes: u64) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        Self::mount_image(folder, mebibytes, Path::new("image"))
    }

    /// As [`SmallDisk::mount`], with the device's blocks on another disk, which holds fewer: when
    /// that is full, this one's device fails.
    pub(crate) fn mount_on(thin: &SmallDisk, mebibytes: u64) -> Option<Self> {
        let image = thin.path().join("image");
        Self::mount_image(TempDir::new().unwrap(), mebibytes, &image)
    }

    fn mount_image(folder: TempDir, mebibytes: u64, image: &Path) -> Option<Self> {
        let image = folder.path().join(image);
        let disk = Self { folder };
        std::fs::create_dir(disk.path()).unwrap();
        File::create(&image)
            .unwrap()
            .set_len(mebibytes << 20)
            .unwrap();
        run("mkfs.ext4", &["-q", "-m", "0"], &[&image]);
        let mounted = Command::new("mount")
            .args(["-o", "loop,errors=remount-ro"])
            .args([&image, &disk.path()])
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(disk),
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr);
                eprintln!(
                    "SKIPPED: a file system cannot be mounted here: {}",
                    why.trim()
                );
                None
            }
            Err(error) => {
                eprintln!("SKIPPED: there is no mount(8): {error}");
                None
            }
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    /// Takes all room but so many kibibytes.
    pub(crate) fn fill_but(&self, kibibytes: usize) {
        let mut filler = File::options()
            .create(true)
            .append(true)
            .open(self.filler())
            .unwrap();
        let mut piece = 1 << 20;
        while piece >= 512 {
            match filler.write_all(&vec![0xF1; piece]) {
                Ok(()) => {}
                Err(_full) => piece /= 2,
            }
        }
        let length = filler.metadata().unwrap().len();
        let kept = length.saturating_sub((kibibytes as u64) << 10);
        filler.set_len(kept).unwrap();
        // Room that was only promised so far is taken, or given back, now.
        filler.sync_all().unwrap();
    }

    /// Gives all of that back.
    pub(crate) fn make_room(&self) {
        std::fs::remove_file(self.filler()).unwrap();
        File::open(self.path()).unwrap().sync_all().unwrap();
    }

    /// Has the file system meet an error: it goes read-only, as it does when its device fails or
    /// its structures turn out damaged.
    pub(crate) fn turn_read_only(&self) {
        let source = Command::new("findmnt")
            .args(["-no", "SOURCE"])
            .arg(self.path())
            .output()
            .unwrap();
        let source = String::from_utf8(source.stdout).unwrap();
        let device = source.trim().trim_start_matches("/dev/");
        let trigger = format!("/sys/fs/ext4/{device}/trigger_fs_error");
        std::fs::write(trigger, "a test of the broker").unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Nothing is mounted where mounting was refused.
        drop(
            Command::new("umount")
                .args(["-q", "-l"])
                .arg(self.path())
                .status(),
        );
    }
}

fn run(program: &str, options: &[&str], paths: &[&Path]) {
    let status = Command::new(program).args(options).args(paths).status();
    assert!(status.unwrap().success(), "{program}");
}
