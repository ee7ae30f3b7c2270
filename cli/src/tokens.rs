//! `shardlake tokens`: what has to be mended in the files of a ClickHouse server that was killed, before it starts again.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use shardlake_embedded::take_back_spent_tokens;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where that server keeps its data: the `<path>` of its configuration.
    #[arg(default_value = "/var/lib/clickhouse")]
    path: PathBuf,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let path = options.path.display();
    anyhow::ensure!(
        options.path.join("store").is_dir(),
        "there are no tables in {path}: name the <path> of ClickHouse's configuration"
    );
    let tokens = take_back_spent_tokens(&options.path)?;
    println!("{tokens} deduplication tokens taken back in {path}");
    Ok(ExitCode::SUCCESS)
}
