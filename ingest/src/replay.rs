//! Landing what a spool's directory holds, without a bot: the lanes of a recorder, and nothing that would fill them.

use tokio::task::JoinSet;

use crate::{
    account::Account,
    config::{Config, Journal},
    error::Error,
    pipeline,
    recorder::{Shared, check},
    shutdown::Receipt,
    writer::Writer,
};

/// Lands what a process left in its spool's directory, in the way in which the cluster's next process would.
///
/// It records no row of its own, in `processes` or elsewhere: nobody takes it for a start of the cluster. Batches keep their
/// identity. Rows that were in a journal only become batches of the cluster that the configuration names, in a boot of
/// the replay's own.
#[derive(Debug)]
pub struct Replay {
    shared: Shared,
    lanes: JoinSet<()>,
    last_lane: JoinSet<()>,
    _writer: Writer,
}

impl Replay {
    /// Takes the lock of `config.spool.directory` and begins. Nothing is dropped for want of room: the limits of the
    /// configuration's spool do not count, nor does its journal setting.
    ///
    /// # Errors
    /// [`Error::Setting`] if a setting is out of its range, or no directory is named; [`Error::Spool`] if the directory
    /// cannot be used, which it cannot while a process holds it.
    pub fn start(mut config: Config) -> Result<Self, Error> {
        if config.spool.directory.is_none() {
            let (setting, expected) = ("spool.directory", "the directory to land");
            return Err(Error::Setting { setting, value: "not set".to_owned(), expected });
        }
        config.spool.journal = Journal::Spill;
        config.spool.disk_bytes = u64::MAX;
        config.spool.memory_bytes = usize::MAX;
        check(&config)?;
        let shared = Shared::new(config)?;
        let writer = Writer::start().map_err(Error::Thread)?;
        let (lanes, last_lane) = pipeline::start(&shared, writer.handle());
        shared.lanes.close_all_but_last();
        shared.lanes.close_last();
        Ok(Self { shared, lanes, last_lane, _writer: writer })
    }

    /// The books of all tables, as they stand now.
    pub fn accounts(&self) -> Vec<Account> {
        self.shared.accounts()
    }

    /// Waits until nothing is left to land. Without ClickHouse that is for ever.
    ///
    /// Cancel safe: call it again, or [`Replay::stop`].
    pub async fn done(&mut self) {
        while self.lanes.join_next().await.is_some() {}
        while self.last_lane.join_next().await.is_some() {}
    }

    /// Ends; what has not landed stays in the directory.
    pub async fn stop(mut self) -> Receipt {
        self.lanes.shutdown().await;
        self.last_lane.shutdown().await;
        self.shared.lanes.abandon_all_but_last();
        self.shared.lanes.abandon_last();
        Receipt { accounts: self.accounts() }
    }
}
