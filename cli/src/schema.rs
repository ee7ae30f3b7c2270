//! `shardlake schema`: bringing ClickHouse to the schema of this build, and looking whether it is there.

mod plan;

mod users;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use shardlake_schema::{
    migrate,
    plan::plan,
    retention::{self, Retention},
    verify::verify,
};

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
}

#[derive(Debug, Args)]
pub(crate) struct VerifyOptions {
    #[command(flatten)]
    clickhouse: ClickhouseOptions,
}

/// The exit status of a plan that has something to do.
const SOMETHING_TO_DO: u8 = 2;

pub(crate) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Apply(options) => apply(&options).await,
        Command::Plan(options) => {
            let database = options.clickhouse.database();
            let plan = plan(&options.clickhouse.client()?, database, &options.retention).await?;
            print!("{}", plan::Printed { plan: &plan, database });
            Ok(if plan.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(SOMETHING_TO_DO) })
        }
        Command::Verify(options) => {
            let database = options.clickhouse.database();
            let verified = verify(&options.clickhouse.client()?, database).await?;
            for line in &verified.drift {
                println!("{line}");
            }
            for line in &verified.notes {
                println!("note: {line}");
            }
            if verified.drift.is_empty() {
                println!("{database} is as this build makes it");
                return Ok(ExitCode::SUCCESS);
            }
            println!("{database} differs from what this build makes in {} points", verified.drift.len());
            Ok(ExitCode::FAILURE)
        }
        Command::Users(options) => users::run(&options).await,
    }
}

async fn apply(options: &Options) -> anyhow::Result<ExitCode> {
    let (client, database) = (options.clickhouse.client()?, options.clickhouse.database());
    // What cannot be meant is refused before anything is changed.
    plan(&client, database, &options.retention).await?;
    let applied = migrate::apply(&client, database).await?;
    for (version, name) in &applied.now {
        println!("applied {version:04}_{name}");
    }
    println!("{database} is at schema {:04}", applied.before + applied.now.len());
    for change in retention::set(&client, database, &options.retention).await? {
        println!("{}", plan::retention_line(&change));
        for warning in &change.warnings {
            println!("    note: {warning}");
        }
    }
    Ok(ExitCode::SUCCESS)
}
