//! `shardlake queries key`: keys of the query service.

use std::process::ExitCode;

use anyhow::anyhow;
use clap::Subcommand;
use shardlake_queries::NewKey;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a key. It is shown once; the file of keys gets its hash.
    New {
        /// Whose key it is, for logs.
        name: String,
    },
}

pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let Command::New { name } = command;
    let new = NewKey::make(name).map_err(|reason| anyhow!(reason))?;
    println!("# The key, for whoever asks. It is shown this once:\n# {}\n", new.key);
    println!("# For the file of keys; narrow it to what the key shall open:\n{}", new.lines);
    Ok(ExitCode::SUCCESS)
}
