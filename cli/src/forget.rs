//! `shardlake forget`: what is stored of a guild or a user is deleted, and a receipt says so.
//!
//! Tables are found, not listed: every table of the database with a column `guild_id` (or `user_key`), raw or rollup, loses
//! the rows that have it. The rows are gone from the files when the command ends; ClickHouse deletes the old files about eight
//! minutes later. Totals that name neither stay as they are.
//!
//! # What it cannot reach
//!
//! - **States of unique counts.** A rollup by cluster or command counted the user or guild in a sketch. It is some thousand
//!   registers that cannot be asked who is in them, and nothing can be taken out of them.
//! - **Spools.** Rows that a cluster has not landed yet land later: run it again when all clusters are back and have drained.
//! - **Other servers.** With `Distributed` tables it deletes on the server that it speaks to: run it once per shard of the
//!   ClickHouse cluster. Backups are yours.
//!
//! # Users, and keys that change
//!
//! A user is stored as 32 bits of a keyed hash, so another user's rows can share them: with n users, by a chance of about n in
//! 4.3 billion. These are deleted as well; the receipt names the chance.
//!
//! To rotate the key, start the clusters with another `SHARDLAKE_USER_KEY`. Old rows keep the hash under the old key: a user
//! seen before and after is two users in every range that spans the rotation, and is forgotten by running this command once
//! with each key. So keep an old key until the last row under it has passed its time to live; destroying it earlier makes
//! those rows anonymous for good, which is a way of forgetting everybody at once.

mod delete;

mod receipt;

mod tables;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, bail};
use clap::{Args, builder::RangedU64ValueParser};
use shardlake_schema::TimeMs;

use self::receipt::{Forgotten, Receipt};
use crate::{
    clickhouse_options::{ClickhouseOptions, USER_KEY_VARIABLE, secret},
    progress::Progress,
};

/// Rows are left: they came while others were deleted.
const SOME_LEFT: u8 = 3;

/// Exit status: 0, nothing is left (or it was a dry run); 1, it failed, and running it again is safe; 3, rows came meanwhile,
/// run it again.
#[derive(Debug, Args)]
#[group(id = "whom", required = true, multiple = false, args = ["guild", "user"])]
pub(crate) struct Options {
    /// Snowflake of a guild.
    #[arg(long, value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    guild: Option<u64>,
    /// Snowflake of a user. Needs the key that the clusters record with, or recorded with.
    #[arg(long, value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    user: Option<u64>,
    /// File with that key; without it `SHARDLAKE_USER_KEY`.
    #[arg(long, env = "SHARDLAKE_USER_KEY_FILE")]
    user_key_file: Option<PathBuf>,
    /// Count only; delete nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print the receipt as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    clickhouse: ClickhouseOptions,
}

/// Whose rows.
#[derive(Debug, Clone, Copy)]
enum Whom {
    Guild(u64),
    User { key: u32 },
}

impl Whom {
    fn column(self) -> &'static str {
        match self {
            Whom::Guild(_) => "guild_id",
            Whom::User { .. } => "user_key",
        }
    }

    fn value(self) -> u64 {
        match self {
            Whom::Guild(id) => id,
            Whom::User { key } => key.into(),
        }
    }
}

impl Options {
    fn whom(&self) -> anyhow::Result<Whom> {
        let Some(user) = self.user else { return Ok(Whom::Guild(self.guild.unwrap_or_default())) };
        let Some(key) = secret(USER_KEY_VARIABLE, self.user_key_file.as_deref())? else {
            bail!(
                "there is no key, so no row can be told to be of that user; set {USER_KEY_VARIABLE}, or name a file with --user-key-file"
            );
        };
        match shardlake_ingest::user_key(key.reveal(), user) {
            // As good as never: the value of rows that were recorded without a key.
            0 => bail!("the user's key is 0, which rows without a user have too; they cannot be told apart"),
            key => Ok(Whom::User { key }),
        }
    }
}

pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let whom = options.whom()?;
    let client = options.clickhouse.client()?;
    let targets = tables::targets(&client, whom).await?;
    if targets.is_empty() {
        let database = options.clickhouse.database();
        bail!(
            "no table of {database} has a column {}; is it the right database, and may the user see its tables?",
            whom.column()
        );
    }

    let mut forgotten = Vec::new();
    for target in targets {
        let found = tables::count(&client, &target, whom).await?;
        forgotten.push(Forgotten { target, found, left: found });
    }
    if !options.dry_run {
        let mut progress = Progress::new("parts", 0);
        for table in forgotten.iter_mut().filter(|table| table.found > 0) {
            let name = &table.target.table;
            delete::delete(&client, &table.target, whom, &mut progress).await.with_context(|| name.clone())?;
            table.left = tables::count(&client, &table.target, whom).await?;
        }
        progress.finish();
    }

    let receipt = Receipt {
        at: TimeMs::now(),
        database: options.clickhouse.database().to_owned(),
        whom,
        dry_run: options.dry_run,
        forgotten,
        states: tables::states(&client, whom).await?,
        users: if matches!(whom, Whom::User { .. }) { Some(tables::users(&client).await?) } else { None },
    };
    if options.json {
        println!("{:#}", receipt.json());
    } else {
        print!("{receipt}");
    }
    let some_left = !options.dry_run && receipt.forgotten.iter().any(|table| table.left > 0);
    Ok(if some_left { ExitCode::from(SOME_LEFT) } else { ExitCode::SUCCESS })
}
