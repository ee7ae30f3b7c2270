//! Keeps the engine's hands off the rest of the machine.
//!
//! Grants are not enough. This engine takes itself for a command line tool of the user's own, so its function `file(path)` reads any
//! file without asking for a privilege: a reader could read the administrator's password, or the environment of the process beside
//! it. What the kernel refuses to the process, no query gets. Linux has Landlock for this since 5.13 (2021); elsewhere the grants of
//! `config.rs` are all there is.
//!
//! What is left to `file`: the configuration, which holds hashes and no passwords; and the tables of other databases, for one who
//! guesses a directory's name of 122 random bits.

use crate::data_dir::Layout;

/// Confines this thread and all that it will start to the engine's own files. To be called before the engine starts its threads.
///
/// # Errors
/// Says why not, where the system cannot do it. Nothing is confined then.
#[cfg(target_os = "linux")]
pub(crate) fn confine(layout: &Layout) -> Result<(), String> {
    use landlock::{
        ABI, Access as _, AccessFs, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus,
        path_beneath_rules,
    };

    /// Of the kernel that has all that is asked for here: reading, writing, renaming between directories, truncating.
    const VERSION: ABI = ABI::V3;

    /// What the engine looks at to measure itself and the machine. Never all of `/proc`: other processes have secrets.
    const MEASURES: [&str; 10] = [
        "/proc/self",
        "/proc/cpuinfo",
        "/proc/loadavg",
        "/proc/meminfo",
        "/proc/pressure",
        "/proc/stat",
        "/proc/sys",
        "/proc/uptime",
        "/proc/version",
        "/sys",
    ];

    /// For host names and TLS, should the administrator select from another server.
    const NETWORK: [&str; 7] = [
        "/etc/gai.conf",
        "/etc/host.conf",
        "/etc/hosts",
        "/etc/nsswitch.conf",
        "/etc/resolv.conf",
        "/etc/ssl/certs",
        "/usr/share/ca-certificates",
    ];

    const DEVICES: [&str; 3] = ["/dev/null", "/dev/random", "/dev/urandom"];

    let confine = || {
        Ruleset::default()
            .handle_access(AccessFs::from_all(VERSION))?
            .create()?
            // Paths that do not exist are skipped.
            .add_rules(path_beneath_rules([layout.engine()], AccessFs::from_all(VERSION)))?
            // Other users' queries are in it.
            .add_rules(path_beneath_rules([layout.log()], AccessFs::from_write(VERSION)))?
            .add_rules(path_beneath_rules([layout.config()], AccessFs::from_read(VERSION)))?
            .add_rules(path_beneath_rules(MEASURES, AccessFs::from_read(VERSION)))?
            .add_rules(path_beneath_rules(NETWORK, AccessFs::from_read(VERSION)))?
            .add_rules(path_beneath_rules(DEVICES, AccessFs::ReadFile | AccessFs::WriteFile))?
            .restrict_self()
    };
    match confine() {
        Ok(status) if status.ruleset == RulesetStatus::NotEnforced => Err("this kernel has no Landlock".to_owned()),
        Ok(_) => Ok(()),
        Err::<_, RulesetError>(error) => Err(error.to_string()),
    }
}

/// Not confined: this system has no Landlock.
#[cfg(not(target_os = "linux"))]
pub(crate) fn confine(_layout: &Layout) -> Result<(), String> {
    Err("this system has no Landlock".to_owned())
}
