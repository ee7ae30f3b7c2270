//! What lies in spools, and whether it can be read.

use std::path::Path;

use shardlake_ingest::inspect;

use super::finding::{Findings, count, some};

pub(super) fn check(directory: &Path) -> Findings {
    let mut found = Findings::about("spool");
    let at = directory.display();
    let contents = match inspect::inspect(directory) {
        Ok(contents) => contents,
        Err(error) => {
            found.fail(
                format!("{at} cannot be read: {:#}", anyhow::Error::new(error)),
                "check --spool-dir and the rights of this user",
            );
            return found;
        }
    };
    let rows: u64 = contents.batches.iter().map(|batch| batch.rows).sum();
    let waiting = format!("{at} holds {} with {rows} rows", count(contents.batches.len(), "batch", "batches"));
    match (contents.batches.len(), contents.in_use) {
        (0, true) => found.ok(format!("{at} is empty, and a process holds it")),
        (0, false) => found.ok(format!("{at} is empty")),
        (_, true) => found.ok(format!("{waiting}; a process holds it and lands them")),
        (_, false) => found.warn(
            format!("{waiting}, and no process that would land them"),
            format!("start its cluster, or run `shardlake spool replay {at}`"),
        ),
    }
    if !contents.damaged.is_empty() {
        found.fail(
            format!("{} in {at} cannot be read", count(contents.damaged.len(), "file or end of a file", "files or ends of files")),
            format!("`shardlake spool verify {at}` names them; save the rest with `shardlake spool export`, and look at the disk"),
        );
    }
    if !contents.set_aside.is_empty() {
        let names: Vec<String> = contents.set_aside.iter().map(|file| file.name.clone()).collect();
        found.warn(
            format!("{at}/quarantine holds {}", some(&names)),
            "ClickHouse refused them, or they were damaged: the process's log said why when it set them aside",
        );
    }
    found
}
