//! `shardlake queries key`: keys of the query service.

use std::process::ExitCode;

use anyhow::anyhow;
use clap::Subcommand;
use shardlake_queries::NewKey;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a key. It is shown once, on standard error; standard output has the lines for the file of keys.
    New {
        /// Whose key it is, for logs.
        name: String,
    },
}

pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let Command::New { name } = command;
    let new = NewKey::make(name).map_err(|reason| anyhow!(reason))?;
    // Apart, so that `>> keys.toml` takes the lines and leaves the key on the screen.
    eprintln!("the key of {name}, shown this once: {}", new.key);
    println!("{}", new.lines);
    Ok(ExitCode::SUCCESS)
}
