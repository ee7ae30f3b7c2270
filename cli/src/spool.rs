//! `shardlake spool`: looking into a spool's directory, and emptying it, when a cluster cannot.

mod list;

mod replay;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use shardlake_ingest::inspect::{self, Contents};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what is there. Changes nothing, and works while a process holds the directory.
    Ls(Directory),
    /// Read everything and name what is damaged, and where. Changes nothing; exit status 1 if anything is wrong.
    Verify(Directory),
    /// Land everything into ClickHouse, as the cluster's next start would. No process may hold the directory.
    Replay(replay::Options),
    /// Write each batch into a file of its own, as an Arrow IPC stream. Changes nothing in the spool.
    Export(Export),
}

#[derive(Debug, Args)]
pub(crate) struct Directory {
    /// The spool: what the cluster was told as --spool.
    directory: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The spool: what the cluster was told as --spool.
    directory: PathBuf,
    /// Where the files go: `<cluster>-<boot>-<table>-<batch>.arrows`, and `refused/` for batches that ClickHouse refused.
    /// It is made if it is missing.
    #[arg(long)]
    to: PathBuf,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Ls(Directory { directory }) => {
            print!("{}", list::Listing(&look(&directory)?));
            Ok(ExitCode::SUCCESS)
        }
        Command::Verify(Directory { directory }) => Ok(verify(&look(&directory)?)),
        Command::Replay(options) => replay::run(options).await.context("replay"),
        Command::Export(Export { directory, to }) => export(&directory, &to),
    }
}

/// Says so if what was seen may not be there any more.
fn look(directory: &Path) -> anyhow::Result<Contents> {
    let contents = inspect::inspect(directory)?;
    if contents.in_use {
        println!("A process holds {}: this is a moment that may be gone.\n", directory.display());
    }
    Ok(contents)
}

fn verify(contents: &Contents) -> ExitCode {
    for damaged in &contents.damaged {
        println!("{} at byte {}: {}", damaged.file.display(), damaged.at, damaged.what);
    }
    let journal_rows: u64 = contents.journals.iter().map(|journal| journal.rows).sum();
    println!(
        "{} batches and {journal_rows} rows of the journal can be read, {} files or ends of files cannot",
        contents.batches.len(),
        contents.damaged.len()
    );
    if !contents.set_aside.is_empty() {
        println!(
            "quarantine/ holds {} files that were set aside earlier; see `shardlake spool ls`",
            contents.set_aside.len()
        );
    }
    if contents.damaged.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Goes on after a failure: what can be saved is.
fn export(directory: &Path, to: &Path) -> anyhow::Result<ExitCode> {
    let contents = look(directory)?;
    let refused: Vec<_> = contents.set_aside.iter().filter(|file| file.refused).collect();
    fs::create_dir_all(if refused.is_empty() { to.to_owned() } else { to.join("refused") })
        .with_context(|| format!("{} cannot be made", to.display()))?;

    let mut failed = 0;
    let mut write = |name: &str, fill: &dyn Fn(&mut File) -> io::Result<()>| {
        let path = to.join(name);
        match File::create_new(&path).and_then(|mut file| fill(&mut file)) {
            Ok(()) => println!("{}", path.display()),
            Err(error) => {
                failed += 1;
                tracing::error!(file = %path.display(), %error, "a batch was not exported as a whole");
            }
        }
    };
    for batch in &contents.batches {
        write(&format!("{}.arrows", batch.file_stem), &|file| inspect::export(directory, batch, file));
    }
    for file in refused {
        let name = file.name.trim_end_matches(".lz4");
        write(&format!("refused/{name}"), &|out| inspect::export_refused(directory, file, out));
    }

    let unsealed: u64 = contents.journals.iter().filter(|file| !file.in_batches).map(|file| file.rows).sum();
    if unsealed > 0 {
        println!(
            "{unsealed} rows of the journal are in no batch yet and were not exported; a start or `shardlake spool replay` makes batches of them"
        );
    }
    Ok(if failed == 0 && contents.damaged.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
