//! `shardlake spool replay`: the cluster will not start again, or not soon, and its rows should land all the same.

use std::{collections::BTreeSet, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::bail;
use clap::Args;
use shardlake_ingest::{Account, Clickhouse, Config, Replay, Shards, Spool, inspect};
use tokio::time::{MissedTickBehavior, interval};

use crate::{clickhouse_options::ClickhouseOptions, signals};

/// How often it says how far it is.
const SAY_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The spool: what the cluster was told as --spool.
    directory: PathBuf,
    /// Name of the cluster whose spool it is [default: what its batches say].
    #[arg(long, env = "SHARDLAKE_CLUSTER_NAME")]
    cluster_name: Option<String>,
    #[command(flatten)]
    clickhouse: ClickhouseOptions,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let mut replay = Replay::start(config(options)?)?;
    let stop = signals::stop_requested();
    tokio::pin!(stop);
    let mut say = interval(SAY_EVERY);
    say.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = replay.done() => break,
            signal = &mut stop => {
                tracing::warn!(signal, "stopped; what has not landed stays in the spool");
                break;
            }
            _ = say.tick() => println!("{}", progress(&replay.accounts())),
        }
    }
    let receipt = replay.stop().await;
    println!("\n{receipt}");
    let left: u64 = receipt.accounts.iter().map(|account| account.spooled).sum();
    let all_landed = left == 0 && receipt.dropped() == 0 && receipt.holds();
    Ok(if all_landed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn progress(accounts: &[Account]) -> String {
    let sum = |term: fn(&Account) -> u64| accounts.iter().map(term).sum::<u64>();
    format!("landed {} of {} rows", sum(|account| account.landed), sum(|account| account.recovered))
}

fn config(options: Options) -> anyhow::Result<Config> {
    let contents = inspect::inspect(&options.directory)?;
    let clusters: BTreeSet<_> = contents.batches.iter().map(|batch| batch.cluster.as_str()).collect();
    let cluster = match (&options.cluster_name, clusters.iter().next()) {
        (Some(name), _) => name.as_str(),
        (None, Some(name)) if clusters.len() == 1 => name,
        // Only rows of journals need the name; batches have theirs.
        (None, _) if contents.journals.iter().all(|journal| journal.rows == 0) => "replay",
        (None, _) => bail!("the journal does not say which cluster its rows are from; say it with --cluster-name"),
    };
    // No shard is run. ClickHouse never sees these figures.
    let shards = Shards { first: 0, count: 1, total: 1 };
    let defaults = Config::new(cluster, shards, options.clickhouse.url());
    Ok(Config {
        clickhouse: Clickhouse {
            database: options.clickhouse.database().to_owned(),
            user: options.clickhouse.user().to_owned(),
            password: options.clickhouse.password()?,
            ..defaults.clickhouse
        },
        spool: Spool { directory: Some(options.directory), ..defaults.spool },
        ..defaults
    })
}
