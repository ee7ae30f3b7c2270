//! `shardlake schema`: bringing ClickHouse to the schema of this build, and looking whether it is there.

mod plan;

mod topology;

mod users;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use clickhouse::Client;
use shardlake_schema::{
    migrate::{self, MIGRATIONS},
    plan::plan,
    retention::{self, Retention},
    verify::verify,
};

use self::topology::TopologyOptions;
use crate::clickhouse_options::ClickhouseOptions;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Apply the migrations that the database lacks, and set retention. Running it again changes nothing.
    ///
    /// Any number of them may run at once: one migrates, the others wait. One that was interrupted is continued by the
    /// next, at once if it said so, else a minute after its last sign of life.
    Apply(Options),
    /// Print what `apply` would do, with the sizes of what it touches, and do nothing.
    ///
    /// The exit status is 0 if there is nothing to do, 2 if there is something, and 1 if the plan cannot be made.
    Plan(Options),
    /// Compare the live schema with what the migrations make, and print each difference.
    ///
    /// The exit status is 0 if there is none, else 1. Retention, additional tables and additional settings are no
    /// difference. The user needs the rights of the migrator: a scratch database is made and dropped.
    Verify(VerifyOptions),
    /// Print SQL for three users with the rights they need: writer, reader and migrator.
    Users(users::Options),
}

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    clickhouse: ClickhouseOptions,
    /// How long tables keep their rows, such as `interactions=180d,samples=14d,processes=forever`; units are d, w, mo and
    /// y. Tables that are not named keep what they have.
    #[arg(long, value_delimiter = ',', env = "SHARDLAKE_RETENTION")]
    retention: Vec<Retention>,
    #[command(flatten)]
    topology: TopologyOptions,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyOptions {
    #[command(flatten)]
    clickhouse: ClickhouseOptions,
    #[command(flatten)]
    topology: TopologyOptions,
}

/// The exit status of a plan that has something to do.
const SOMETHING_TO_DO: u8 = 2;

pub(crate) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Apply(options) => {
            let servers = options.topology.servers(&options.clickhouse).await?;
            for client in &servers {
                // What cannot be meant is refused before anything is changed.
                plan(client, options.clickhouse.database(), &options.retention).await?;
            }
            for client in &servers {
                apply(client, &options).await?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Plan(options) => {
            let database = options.clickhouse.database();
            let mut is_empty = true;
            for client in options.topology.servers(&options.clickhouse).await? {
                let plan = plan(&client, database, &options.retention).await?;
                print!("{}", plan::Printed { plan: &plan, database });
                is_empty &= plan.is_empty();
            }
            Ok(if is_empty { ExitCode::SUCCESS } else { ExitCode::from(SOMETHING_TO_DO) })
        }
        Command::Verify(options) => {
            options.topology.refuse_replicas("verify")?;
            let mut is_right = true;
            for client in options.topology.servers(&options.clickhouse).await? {
                is_right &= verify_server(&client, options.clickhouse.database()).await?;
            }
            Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Users(options) => users::run(&options).await,
    }
}

async fn apply(client: &Client, options: &Options) -> anyhow::Result<()> {
    let (database, topology) = (options.clickhouse.database(), &options.topology.topology);
    let applied = migrate::apply_on(client, database, topology, MIGRATIONS).await?;
    for (version, name) in &applied.now {
        println!("applied {version:04}_{name}");
    }
    println!("{database} is at schema {:04}", applied.before + applied.now.len());
    for change in retention::set_on(client, database, topology, &options.retention).await? {
        println!("{}", plan::retention_line(&change));
        for warning in &change.warnings {
            println!("    note: {warning}");
        }
    }
    options.topology.serve_readers(client, database).await
}

/// Prints what differs; returns whether nothing does.
async fn verify_server(client: &Client, database: &str) -> anyhow::Result<bool> {
    let verified = verify(client, database).await?;
    for line in &verified.drift {
        println!("{line}");
    }
    for line in &verified.notes {
        println!("note: {line}");
    }
    match verified.drift.len() {
        0 => println!("{database} is as this build makes it"),
        points => println!("{database} differs from what this build makes in {points} points"),
    }
    Ok(verified.drift.is_empty())
}
