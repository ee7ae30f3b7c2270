//! The end, in order and within one deadline: first what produces rows stops, then what carries them drains, and last the
//! process's own row goes out with the figures of all the others. What did not make it is counted, and the receipt says so.

use std::{fmt, time::Duration};

use shardlake_schema::TimeMs;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::{
    account::{Account, DropReason},
    recorder::{Shared, Tasks},
    watch,
};

/// Part of the deadline that is kept for the process's own row.
const LAST_WORD: f64 = 0.2;

pub(crate) async fn drain(shared: &Shared, mut tasks: Tasks, reason: &'static str, deadline: Duration) {
    let end = Instant::now() + deadline;
    tasks.watchers.shutdown().await;
    for row in shared.tracker.give_up() {
        shared.lanes.interactions.push(row);
    }

    shared.lanes.close_all_but_last();
    let pending = "interactions, shard_events, gateway_counts, guild_events, samples";
    finish(&mut tasks.lanes, end - deadline.mul_f64(LAST_WORD), pending).await;
    shared.lanes.abandon_all_but_last();

    shared.lanes.processes.push(watch::process_row(shared, reason, TimeMs::now()));
    shared.lanes.close_last();
    finish(&mut tasks.last_lane, end, "processes").await;
    shared.lanes.abandon_last();
}

/// Waits for `lanes` until `end`, then stops what is left.
async fn finish(lanes: &mut JoinSet<()>, end: Instant, pending: &'static str) {
    let all_done = async { while lanes.join_next().await.is_some() {} };
    if timeout_at(end, all_done).await.is_err() {
        tracing::error!(
            pending,
            "the deadline passed before everything had landed; what is left goes to the spool's directory, or is dropped and counted"
        );
        lanes.shutdown().await;
    }
}

/// What became of every row that was recorded. Its `Display` is a table.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// The book of each table.
    pub accounts: Vec<Account>,
}

impl Receipt {
    /// Whether the law holds for every table.
    pub fn holds(&self) -> bool {
        self.accounts.iter().all(Account::holds)
    }

    /// Rows dropped in all tables.
    pub fn dropped(&self) -> u64 {
        self.accounts.iter().map(Account::dropped).sum()
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = ["observed", "recovered", "landed", "spooled", "dropped"];
        writeln!(f, "{:<16}{}", "table", heads.map(|head| format!("{head:>12}")).concat())?;
        for account in &self.accounts {
            let figures = [account.observed, account.recovered, account.landed, account.spooled, account.dropped()];
            write!(f, "{:<16}{}", account.table.name(), figures.map(|rows| format!("{rows:>12}")).concat())?;
            let reasons = account.dropped.iter().filter(|(_, rows)| *rows > 0);
            for (reason, rows) in reasons {
                write!(f, "  {}={rows}", DropReason::as_str(*reason))?;
            }
            writeln!(f, "{}", if account.holds() { "" } else { "  DOES NOT ADD UP" })?;
        }
        Ok(())
    }
}
