//! Small file systems, full ones and read-only ones, in a mount namespace of their own that ends with the test. Mounting
//! needs root, or a kernel that lets anybody make a user namespace.

use std::{
    env,
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

/// Set in the process that may mount.
const MAY_MOUNT: &str = "SHARDLAKE_TEST_MAY_MOUNT";
/// The spool leaves 64 MiB to others; beside them there is room for some batches.
const SIZE: &str = "size=68m";

/// Where a test runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Where it may mount.
    Namespace,
    /// It ran to its end, in a process that may mount.
    RanInNamespace,
    /// Where it may not.
    NoMounting,
}

/// Runs a test once more where it may mount, if there is such a place. A failure there is a failure here.
pub fn in_a_namespace(test: &str) -> Place {
    if env::var_os(MAY_MOUNT).is_some() {
        return Place::Namespace;
    }
    let possible = unshare().args(["mount", "-t", "tmpfs", "none"]).arg(env::temp_dir()).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        return Place::NoMounting;
    }
    let again = unshare()
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(MAY_MOUNT, "1")
        .status()
        .unwrap();
    assert!(again.success(), "in a mount namespace of its own: {again}");
    Place::RanInNamespace
}

fn unshare() -> Command {
    let mut unshare = Command::new("unshare");
    if !rustix::process::getuid().is_root() {
        unshare.arg("--map-root-user");
    }
    unshare.args(["--mount", "--propagation", "private", "--"]);
    unshare
}

fn run(program: &str, arguments: &[&str], at: &Path) {
    let output = Command::new(program).args(arguments).arg(at).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A small file system; it goes with the namespace, or with [`Small::unmount`].
pub struct Small {
    at: PathBuf,
}

impl Small {
    pub fn mount(at: &Path) -> Self {
        fs::create_dir(at).unwrap();
        run("mount", &["-t", "tmpfs", "-o", SIZE, "none"], at);
        Self { at: at.to_owned() }
    }

    /// Takes what room is left; what is returned gives it back when it is removed.
    pub fn fill(&self) -> PathBuf {
        let path = self.at.join("quarantine").join("filler"); // the spool does not look into this folder
        let mut file = File::create(&path).unwrap();
        let zeros = vec![0; 1 << 20];
        for piece in [&zeros[..], &zeros[..4096], &zeros[..1]] {
            while match file.write(piece) {
                Ok(_) => true,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::StorageFull);
                    false
                }
            } {}
        }
        path
    }

    /// Read-only as a whole. No process may have it open for writing.
    pub fn make_read_only(&self, read_only: bool) {
        run("mount", &["-o", if read_only { "remount,ro" } else { "remount,rw" }], &self.at);
    }

    /// Read-only for whoever opens, makes, removes or renames a file from now on. The kernel makes no file system
    /// read-only as a whole while somebody writes to it, so files that are open stay writable.
    pub fn cover_read_only(&self) {
        // Made elsewhere and then put over it: nobody opens a file through it before it is read-only.
        let aside = self.at.with_extension("read-only");
        fs::create_dir(&aside).unwrap();
        run("mount", &["--bind", self.at.to_str().unwrap()], &aside);
        run("mount", &["-o", "remount,bind,ro"], &aside);
        run("mount", &["--move", aside.to_str().unwrap()], &self.at);
    }

    /// Ends [`Self::cover_read_only`].
    pub fn uncover(&self) {
        run("umount", &["--lazy"], &self.at);
    }

    pub fn unmount(self) {
        run("umount", &["--lazy"], &self.at);
    }
}
