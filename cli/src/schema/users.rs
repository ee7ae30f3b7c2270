//! `shardlake schema users`: the users that writing, reading and migrating need, and no more rights than that.
//!
//! Passwords come from the environment, and what is printed holds their hashes. A user whose password is not given keeps
//! the one that it has.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use shardlake_schema::users::{Role, Users};

use crate::clickhouse_options::{ClickhouseOptions, secret};

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    clickhouse: ClickhouseOptions,
    /// Run the statements instead of printing them. The user needs the right to manage users.
    #[arg(long, conflicts_with = "xml")]
    apply: bool,
    /// Print a file for the server's `users.d/` instead, for a server that keeps its users in files.
    #[arg(long)]
    xml: bool,
}

/// The environment variable with the password of a role's user.
fn variable(role: Role) -> &'static str {
    match role {
        Role::Writer => "SHARDLAKE_WRITER_PASSWORD",
        Role::Reader => "SHARDLAKE_READER_PASSWORD",
        Role::Migrator => "SHARDLAKE_MIGRATOR_PASSWORD",
    }
}

pub(super) async fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let mut users = Users::of(options.clickhouse.database())?;
    for role in Role::ALL {
        match secret(variable(role), None)? {
            Some(password) => users = users.with_password(role, password.reveal())?,
            None if options.xml => {}
            None => {
                let (user, variable) = (users.name(role), variable(role));
                tracing::warn!("{variable} is not set: the user {user} has to be there, and keeps its password");
            }
        }
    }
    if options.xml {
        print!("{}", users.xml().context("set SHARDLAKE_WRITER_PASSWORD, …_READER_… and …_MIGRATOR_PASSWORD")?);
        return Ok(ExitCode::SUCCESS);
    }
    let statements = users.sql();
    if !options.apply {
        for statement in statements {
            println!("{statement};");
        }
        return Ok(ExitCode::SUCCESS);
    }
    // The database may not be there yet.
    let client = options.clickhouse.client()?.with_database("system");
    for statement in &statements {
        let done = client.query_raw(statement).execute().await;
        done.context("a statement failed; a server that keeps its users in files takes them from --xml")?;
    }
    let names = Role::ALL.map(|role| users.name(role)).join(", ");
    println!("{names} have their rights");
    Ok(ExitCode::SUCCESS)
}
