//! One run of the migrations at a time.
//!
//! The lock is the name of a column. The table `migration_lock` has a single one: `free`, or `held_by_…` with a random end
//! that says which run. To take the lock, to give it back and to take it over from a run that died is one and the same
//! ALTER, which adds a name and drops another. A server carries out one ALTER of a table at a time and refuses one that
//! drops what is not there, so of all who try the same step only one succeeds, and one that comes late changes nothing.
//! This needs neither Keeper nor a transaction, but one server: the servers of a ClickHouse cluster have a lock each.
//!
//! A holder gives a sign of life by changing its column's comment, which also fails for who no longer holds the lock. It
//! does so before each statement and while one runs. The age of the sign is that of the table's metadata, by the server's
//! clock alone. A lock without signs is taken over once the holder's statement has ended too: the server goes on with it
//! when its client is gone, so it runs under the holder's name as its query id, and is looked for. A look is not one moment:
//! it can read the age of the last holder's sign and then the name of the next holder. So only a name that the look before
//! has shown already is judged by its age.

use std::{fs, pin::pin, process, time::Duration};

use clickhouse::{Client, error::Error, error::Result};
use tokio::time::{Instant, sleep};

use crate::{answer, quote};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS migration_lock (free UInt8 COMMENT 'Nobody migrates this database') \
     ENGINE = Null COMMENT 'Its only column says who migrates this database: free, or held_by_ and the name of a run'";
const FREE: &str = "free";
const HELD: &str = "held_by_";

/// Without a sign for so long, a run counts as dead: many times what a sign takes on a server that is alive at all.
const DEAD_AFTER_S: i64 = 60;
/// Several may get lost before the run counts as dead.
const SIGN_EVERY: Duration = Duration::from_secs(5);
/// How often it is looked whether the lock is free. A migration takes seconds, or much longer.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often somebody who waits says so.
const SAY_EVERY: Duration = Duration::from_secs(30);

/// `NOT_FOUND_COLUMN_IN_BLOCK`: somebody else's name stands there.
const NO_SUCH_COLUMN: u32 = 10;

/// The lock, held. Dropped, it stays held until it counts as dead: its last statement may still run.
#[derive(Debug)]
pub(super) struct Lock {
    client: Client,
    /// The name of the column, and of the queries.
    name: String,
}

/// Why a statement was not carried out.
pub(super) enum Failure {
    /// Somebody has taken the lock over.
    Lost,
    /// The server refused it, or could not be reached.
    Statement(Error),
}

/// What the lock's table shows: the name of its column, who that is, the age of the last sign in seconds, and whether a
/// statement of that name runs.
type Seen = (String, String, i64, bool);

impl Lock {
    /// Waits until the lock is free, or its holder dead, and takes it. `client`'s database is the one to lock.
    ///
    /// Cancel safe, except that a lock that was just taken stays taken until it counts as dead.
    pub(super) async fn take(client: &Client) -> Result<Self> {
        client.query_raw(TABLE).execute().await?;
        let random: String = client.query_raw("SELECT lower(hex(generateUUIDv4()))").fetch_one().await?;
        let lock = Self { client: client.clone(), name: format!("{HELD}{random}") };
        let mut said: Option<Instant> = None;
        let mut seen_before = String::new();
        loop {
            let (column, holder, silent_s, running) = look(client).await?;
            let is_free = column == FREE;
            let is_dead = column == seen_before && silent_s > DEAD_AFTER_S && !running;
            seen_before.clone_from(&column);
            if is_free || is_dead {
                if lock.swap(&column, &lock.name).await? {
                    if !is_free {
                        tracing::warn!(holder, silent_s, "took over the migrations from a run that died");
                    }
                    return Ok(lock);
                }
                continue; // somebody was faster
            }
            if said.is_none_or(|said| said.elapsed() > SAY_EVERY) {
                said = Some(Instant::now());
                tracing::info!(
                    holder,
                    silent_s,
                    running,
                    "waiting for another run; dead after {DEAD_AFTER_S} s of silence"
                );
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Carries out one statement, if the lock is still held.
    pub(super) async fn execute(&self, statement: &str) -> std::result::Result<(), Failure> {
        self.give_sign().await.map_err(|error| match answer::code(&error) {
            Some(NO_SUCH_COLUMN) => Failure::Lost,
            _ => Failure::Statement(error),
        })?;
        let mut query = pin!(self.client.query_raw(statement).with_setting("query_id", &self.name).execute());
        loop {
            tokio::select! {
                outcome = &mut query => return outcome.map_err(Failure::Statement),
                () = sleep(SIGN_EVERY) => if let Err(error) = self.give_sign().await {
                    // Nobody takes over as long as the statement runs; after it, the next sign tells.
                    tracing::warn!(%error, "no sign of life could be given while a migration runs");
                },
            }
        }
    }

    /// Gives the lock back. Only for who knows that none of its statements runs any more.
    pub(super) async fn give_back(self) {
        match self.swap(&self.name, FREE).await {
            Ok(true) => {}
            Ok(false) => tracing::warn!("another run had taken this one for dead"),
            Err(error) => {
                tracing::warn!(%error, "the lock of the migrations could not be given back; the next run waits a minute");
            }
        }
    }

    async fn give_sign(&self) -> Result<()> {
        let name = quote::identifier(&self.name);
        let sql = format!("ALTER TABLE migration_lock COMMENT COLUMN {name} {}", quote::string(&myself()));
        self.client.query_raw(&sql).execute().await
    }

    /// Puts one name in place of another; `false` if the other was not there.
    async fn swap(&self, from: &str, to: &str) -> Result<bool> {
        let who = if to == FREE { "Nobody migrates this database".to_owned() } else { myself() };
        let sql = format!(
            "ALTER TABLE migration_lock ADD COLUMN {} UInt8 COMMENT {}, DROP COLUMN {}",
            quote::identifier(to),
            quote::string(&who),
            quote::identifier(from),
        );
        match self.client.query_raw(&sql).execute().await {
            Ok(()) => Ok(true),
            Err(error) if answer::code(&error) == Some(NO_SUCH_COLUMN) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

async fn look(client: &Client) -> Result<Seen> {
    client
        .query_raw(
            "SELECT name, comment, \
             ifNull((SELECT dateDiff('second', any(metadata_modification_time), now()) FROM system.tables \
              WHERE database = currentDatabase() AND name = 'migration_lock'), 0), \
             toBool(has((SELECT groupArray(query_id) FROM system.processes), name)) \
             FROM system.columns WHERE database = currentDatabase() AND table = 'migration_lock'",
        )
        .fetch_one()
        .await
}

/// Who runs this, for whoever waits.
fn myself() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "an unknown host" } else { host.trim() };
    format!("process {} on {host}", process::id())
}
