//! `shardlake`: one binary, a subcommand per role. This file only parses and hands over; each role has a file of its own.

#![allow(clippy::print_stdout, reason = "a command-line program speaks to its terminal")]

mod cluster;

mod spool;

mod queries;

mod query;

mod schema;

mod doctor;

mod import;

mod forget;

mod clickhouse;

mod tokens;

mod simulate;

mod demo;

// What several roles need.
mod clickhouse_options;

mod http;

mod progress;

mod signals;

use std::{env, process::ExitCode};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Long-retention analytics for clustered Discord bots.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Run shards of a bot and record what they see.
    Cluster(Box<cluster::Options>),
    /// Look into a cluster's spool, or empty it.
    #[command(subcommand)]
    Spool(spool::Command),
    /// Answer questions over HTTP.
    Queries(queries::Options),
    /// Ask a question in the terminal.
    Query(Box<query::Options>),
    /// Bring ClickHouse to the schema of this build.
    #[command(subcommand)]
    Schema(schema::Command),
    /// Look at every part of an installation, and say what to do.
    Doctor(Box<doctor::Options>),
    /// Bring in history from elsewhere.
    #[command(subcommand)]
    Import(import::Command),
    /// Delete what is stored of a guild or a user.
    Forget(forget::Options),
    /// Run a ClickHouse server on this machine.
    Clickhouse(clickhouse::Options),
    /// Before a ClickHouse server starts: take back what a killed one noted without its rows.
    Tokens(tokens::Options),
    /// Run a Discord that is not there.
    Simulate(simulate::Options),
    /// Run all of it together, with a simulated bot.
    Demo(demo::Options),
    /// The engine's own process; started by the others, not by you.
    #[command(hide = true, disable_help_flag = true)]
    Engine,
}

fn main() -> ExitCode {
    // The engine must be the first and only thing in its process, and reads its own arguments.
    let mut arguments = env::args_os().skip(1);
    if arguments.next().is_some_and(|role| role == "engine") {
        return shardlake_embedded::engine_main(arguments);
    }

    let role = Arguments::parse().role;
    start_log(&role);
    match run(role) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// To standard error, so that standard output keeps what a role has to say. `SHARDLAKE_LOG` filters it.
fn start_log(role: &Role) {
    let filter = match role {
        // What these find wrong is in their output.
        Role::Query(_) | Role::Doctor(_) => "shardlake=error",
        _ => "info,clickhouse=error",
    };
    let filter = EnvFilter::try_from_env("SHARDLAKE_LOG").unwrap_or_else(|_| EnvFilter::new(filter));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

#[tokio::main]
async fn run(role: Role) -> anyhow::Result<ExitCode> {
    // Twilight and the ClickHouse client both speak TLS; the process has to choose one cryptography for them.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed before");
    }
    match role {
        Role::Cluster(options) => cluster::run(*options).await.context("cluster"),
        Role::Spool(command) => spool::run(command).await.context("spool"),
        Role::Query(options) => query::run(*options).await.context("query"),
        Role::Queries(options) => queries::run(options).await.context("queries"),
        Role::Schema(command) => schema::run(command).await.context("schema"),
        Role::Doctor(options) => doctor::run(*options).await.context("doctor"),
        Role::Import(command) => import::run(command).await.context("import"),
        Role::Forget(options) => forget::run(options).await.context("forget"),
        Role::Clickhouse(options) => clickhouse::run(options).await.context("clickhouse"),
        Role::Tokens(options) => tokens::run(&options).context("tokens"),
        Role::Simulate(options) => simulate::run(options).await.context("simulate"),
        Role::Demo(options) => demo::run(options).await.context("demo"),
        Role::Engine => unreachable!("main handles it before anything else is started"),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn arguments_are_consistent() {
        super::Arguments::command().debug_assert();
    }
}
