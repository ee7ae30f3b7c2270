//! `shardlake schema`: bringing ClickHouse to the schema of this build.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use shardlake_schema::migrate;

use crate::clickhouse_options::ClickhouseOptions;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Apply the migrations that the database lacks. Running it again changes nothing.
    Apply(Options),
}

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    clickhouse: ClickhouseOptions,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    let Command::Apply(options) = command;
    let database = options.clickhouse.database();
    let applied = migrate::apply(&options.clickhouse.client()?, database).await?;
    for (version, name) in &applied.now {
        println!("applied {version:04}_{name}");
    }
    println!("{database} is at schema {:04}", applied.before + applied.now.len());
    Ok(ExitCode::SUCCESS)
}
