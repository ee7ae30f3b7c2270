//! Which shard of a ClickHouse cluster this process writes to.
//!
//! `clickhouse.url` may name several addresses, one per shard, separated by commas. All processes of a bot are given the
//! same list, and the cluster's name picks the shard: the one with the largest weight,
//!
//! ```text
//! weight(shard) = first 8 bytes, big-endian, of SHA-256("<cluster name>\n<position in the list, from 0>")
//! ```
//!
//! so that an address that is appended takes its part of the clusters from all others and moves nobody else. The formula
//! stays as it is. An address may change in its place: it is the position that counts.
//!
//! A batch whose outcome is not known can only be settled where it was sent: on another shard it would be missing, go
//! there, and be there twice. So a spool's directory remembers the address, in its file `placement`, and a process that
//! finds rows there stays with it for as long as the list names it; it moves at its first start with an empty spool. Rows
//! whose address the list does not name are no guess: with several addresses the start is refused. A single address is an
//! order: a server has moved, or its name was misspelt, and rows go there with a warning.
//!
//! An address is one server. A proxy that picks one of several replicas breaks the looking: a replica that was
//! started later, or that has not fetched a batch yet, says that it never landed.

use std::{
    io::{self, Read as _},
    os::unix::fs::FileExt as _,
    path::Path,
};

use sha2::{Digest as _, Sha256};

use crate::{
    outside::fs::{self, File, OpenOptions},
    spool::SpoolError,
};

/// In the spool's directory: the address that its batches are sent to.
pub(crate) const FILE: &str = "placement";
/// The same while it is written.
pub(crate) const FILE_NEW: &str = "placement.new";

/// Longest address that is read back.
const MAX_BYTES: u64 = 4096;

/// The addresses in a setting.
pub(crate) fn addresses(url: &str) -> Vec<&str> {
    url.split(',').map(str::trim).collect()
}

/// The position of the shard that `cluster` writes to, if nothing holds it elsewhere.
fn shard(cluster: &str, shards: usize) -> usize {
    let weight = |shard: &usize| Sha256::digest(format!("{cluster}\n{shard}"))[..8].to_vec();
    (0..shards).max_by_key(weight).unwrap_or(0)
}

/// The address for a process without a spool's directory.
pub(crate) fn by_name<'a>(cluster: &str, url: &'a str) -> &'a str {
    let addresses = addresses(url);
    addresses[shard(cluster, addresses.len())]
}

/// The address for a process with the spool's `directory`, of which it has the lock; `holds_rows` of an earlier one.
pub(crate) fn settle(cluster: &str, url: &str, directory: &Path, holds_rows: bool) -> Result<String, SpoolError> {
    let remembered = recall(directory);
    let Some(address) = choose(cluster, url, remembered.as_deref(), holds_rows) else {
        return Err(SpoolError::Elsewhere {
            directory: directory.to_owned(),
            address: remembered.unwrap_or_else(|| "an address that it does not remember".to_owned()),
        });
    };
    if holds_rows && remembered.as_deref().is_some_and(|remembered| !same(remembered, address)) {
        tracing::warn!(
            address,
            remembered,
            "the spool holds rows that may have landed at another address; they go to the new one"
        );
    }
    if remembered.as_deref() != Some(address)
        && let Err(source) = remember(directory, address)
    {
        if addresses(url).len() > 1 {
            return Err(SpoolError::Io { path: directory.join(FILE), source });
        }
        tracing::warn!(%source, "the spool cannot remember the address of ClickHouse");
    }
    Ok(address.to_owned())
}

fn choose<'a>(cluster: &str, url: &'a str, remembered: Option<&str>, holds_rows: bool) -> Option<&'a str> {
    let addresses = addresses(url);
    match addresses[..] {
        [only] => Some(only),
        _ if holds_rows => addresses.into_iter().find(|address| remembered.is_some_and(|one| same(one, address))),
        _ => Some(by_name(cluster, url)),
    }
}

fn same(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

fn recall(directory: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(directory.join(FILE)).ok()?.take(MAX_BYTES).read_to_string(&mut text).ok()?;
    let address = text.trim();
    (!address.is_empty()).then(|| address.to_owned())
}

/// Survives a power loss: rows may be sent as soon as this returns.
fn remember(directory: &Path, address: &str) -> io::Result<()> {
    let new = directory.join(FILE_NEW);
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(&new)?;
    file.write_all_at(format!("{address}\n").as_bytes(), 0)?;
    file.sync_data()?;
    fs::rename(new, directory.join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "http://a:8123";
    const AB: &str = "http://a:8123,http://b:8123/";
    const ABC: &str = "http://a:8123, http://b:8123/, http://c:8123";

    #[test]
    fn the_formula_stays_as_it_is() {
        let of = |shards| (0..12).map(|cluster| shard(&cluster.to_string(), shards)).collect::<Vec<_>>();
        assert_eq!(of(1), [0; 12]);
        assert_eq!(of(2), [0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 1, 1]);
        assert_eq!(of(5), [2, 3, 2, 4, 4, 1, 3, 4, 4, 1, 3, 3]);
    }

    #[test]
    fn an_appended_address_moves_clusters_to_itself_only() {
        for shards in 1..8 {
            let mut moved = 0;
            for cluster in 0..1000 {
                let (before, after) = (shard(&cluster.to_string(), shards), shard(&cluster.to_string(), shards + 1));
                assert!(after == before || after == shards);
                moved += usize::from(after != before);
            }
            let fair = 1000 / (shards + 1);
            assert!((fair * 3 / 4..fair * 5 / 4).contains(&moved), "{moved} of 1000 move to shard {shards}");
        }
    }

    #[test]
    fn who_holds_rows_stays_where_they_were_sent() {
        let (a, b) = ("http://a:8123", "http://b:8123");
        for cluster in ["0", "1", "2", "3", "4", "5"] {
            for remembered in [None, Some(a), Some(b), Some("http://gone:8123")] {
                assert_eq!(choose(cluster, ABC, remembered, false), Some(by_name(cluster, ABC)), "nothing holds it");
                assert_eq!(choose(cluster, A, remembered, true), Some(A), "one address is an order");
            }
            assert_eq!(choose(cluster, ABC, Some(a), true), Some(A));
            assert_eq!(choose(cluster, ABC, Some(b), true), Some("http://b:8123/"));
            assert_eq!(choose(cluster, ABC, Some("http://gone:8123"), true), None);
            assert_eq!(choose(cluster, ABC, None, true), None);
        }
    }

    #[test]
    fn a_directory_remembers_and_forgets() {
        let directory = tempfile::tempdir().unwrap();
        let settle = |url, holds| settle("7", url, directory.path(), holds);
        let first = settle(AB, false).unwrap();
        assert_eq!(recall(directory.path()).as_deref(), Some(&*first));
        let list_without_it =
            ABC.split(',').filter(|address| !same(address.trim(), &first)).collect::<Vec<_>>().join(",");
        match settle(&list_without_it, true) {
            Err(SpoolError::Elsewhere { address, .. }) => assert_eq!(address, first),
            other => panic!("{other:?}"),
        }
        assert_eq!(settle(&list_without_it, false).unwrap(), by_name("7", &list_without_it), "an empty spool moves");
        assert_eq!(recall(directory.path()).as_deref(), Some(by_name("7", &list_without_it)));
    }
}
