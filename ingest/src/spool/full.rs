//! A disk that is really full: a file system of 1 MiB, in a mount namespace of its own that ends with the test. Mounting
//! needs root, or a kernel that lets anybody make a user namespace; where neither is given the test fails and says so.

use std::{
    env, fs,
    fs::File,
    io::{ErrorKind, Write as _},
    path::Path,
    process::Command,
    time::Duration,
};

use futures_util::FutureExt as _;
use shardlake_schema::{Labels, rows::Sample};

use super::{
    disk::Limits,
    tests::{batch, sent},
    *,
};
use crate::{
    Config, Receipt, Recorder, Shards,
    journal::{self, Journal as RowJournal},
};

/// Set in the process that sees the small file system: where to mount it.
const MOUNT_AT: &str = "SHARDLAKE_TEST_MOUNT_AT";
const BODY_BYTES: usize = 20_000;
const MEMORY_BYTES: usize = 10 * BODY_BYTES;

#[tokio::test]
async fn a_full_disk_costs_counted_rows_and_no_more() {
    let Some(directory) = env::var_os(MOUNT_AT) else { return in_a_namespace() };
    let directory = Path::new(&directory);
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(directory).output().unwrap();
    assert!(mount.status.success(), "mount: {}", String::from_utf8_lossy(&mount.stderr));

    spool_on(directory);
    journal_on(directory);
    recorder_on(directory).await;
}

/// Runs this test once more, where it may mount.
fn in_a_namespace() {
    let directory = tempfile::tempdir().unwrap();
    let mut unshare = Command::new("unshare");
    if !rustix::process::getuid().is_root() {
        unshare.arg("--map-root-user");
    }
    let again = unshare
        .args(["--mount", "--propagation", "private", "--"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "spool::full::a_full_disk_costs_counted_rows_and_no_more", "--nocapture"])
        .env(MOUNT_AT, directory.path())
        .output()
        .unwrap_or_else(|error| panic!("unshare (of util-linux) cannot be started: {error}"));
    let said = String::from_utf8_lossy(&[again.stdout, again.stderr].concat()).into_owned();
    let ran = again.status.success() && said.contains("1 passed");
    assert!(ran, "in a mount namespace of its own, which needs root or user namespaces:\n{said}");
}

struct World {
    spool: Spool,
    book: Arc<Book>,
}

impl World {
    fn open(directory: &Path) -> Self {
        let limits = Limits { budget: 1 << 30, segment: 100_000, leave_free: 0, ledger: 64 };
        let (disk, recovered) = Disk::open_within(directory, limits).unwrap();
        assert_eq!(recovered.quarantined, 0);
        let book = Arc::new(Book::new(Table::Samples));
        let config = config::Spool { memory_bytes: MEMORY_BYTES, journal: Journal::Always, ..config::Spool::default() };
        let spool = Spool::new(&config, WhenFull::DropOldest, Some(Arc::new(disk)), Arc::clone(&book));
        for stored in recovered.batches {
            spool.take_up(Table::Samples, stored);
        }
        Self { spool, book }
    }

    fn push(&self, sequences: impl IntoIterator<Item = u64>) {
        for sequence in sequences {
            self.book.observed.fetch_add(10, Relaxed);
            self.book.batched.fetch_add(10, Relaxed);
            let body = Bytes::from(vec![u8::try_from(sequence).unwrap(); BODY_BYTES]);
            self.spool.push(Frozen { body, ..batch(sequence) });
            assert!(self.book.account().holds(), "{:?}", self.book.account());
        }
    }

    /// Sequences on disk, and those in memory only.
    fn waiting(&self) -> (Vec<u64>, Vec<u64>) {
        let batches = self.spool.lock();
        let (on_disk, in_memory): (Vec<_>, Vec<_>) = batches.waiting.iter().partition(|held| held.on_disk.is_some());
        let sequences = |held: Vec<&Held>| held.into_iter().map(|held| held.batch.id.batch).collect();
        (sequences(on_disk), sequences(in_memory))
    }

    /// Lands the oldest batch; its bytes are what was pushed.
    fn land(&self) -> u64 {
        let lent = self.spool.next().now_or_never().flatten().unwrap();
        let sequence = lent.batch.id.batch;
        assert!(lent.batch.body.iter().all(|byte| u64::from(*byte) == sequence) && lent.batch.body.len() == BODY_BYTES);
        self.spool.landed();
        sequence
    }
}

/// Takes what room is left.
fn fill(directory: &Path) -> std::path::PathBuf {
    let path = directory.join("journal").join("filler"); // the spool does not look into this folder
    let mut file = File::create(&path).unwrap();
    let error = loop {
        if let Err(error) = file.write_all(&[7; 512]) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    path
}

fn spool_on(directory: &Path) {
    fs::create_dir(directory.join("journal")).unwrap();
    let world = World::open(directory);
    world.push(1..=100);
    world.spool.next().now_or_never().flatten().unwrap();
    world.spool.sending(sent(1)).unwrap();
    let filler = fill(directory);
    world.push(101..=110);
    let (on_disk, in_memory) = world.waiting();
    assert!(on_disk.len() > 30 && on_disk[0] == 1, "as much as fits: {on_disk:?}");
    assert_eq!(in_memory, (101..=110).collect::<Vec<_>>(), "the newest, as the policy says");
    assert_eq!(world.book.account().dropped(), 10 * (110 - on_disk.len() as u64 - 10));
    let segments = |directory: &Path| {
        let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().ends_with(".segment")).count()
    };

    // A kill, and a start on the full disk.
    drop(world);
    let world = World::open(directory);
    assert_eq!(world.waiting(), (on_disk.clone(), Vec::new()));
    let before = segments(directory);
    world.push(111..=115);
    assert_eq!(segments(directory), before, "a batch that finds no room leaves no file");
    let lent = world.spool.next().now_or_never().flatten().unwrap();
    assert_eq!((lent.batch.id.batch, lent.sent), (1, Some(sent(1))), "the ledger is what it was");
    for attempt in 2..=200 {
        if world.spool.sending(sent(attempt)).is_err() {
            break; // no room in the ledger: the inserter waits
        }
    }
    // Landing needs no room, and makes some.
    let landed: Vec<_> = on_disk.iter().map(|_| world.land()).collect();
    assert_eq!(landed, on_disk);
    assert_eq!(segments(directory), 0);

    world.push(116..=120);
    assert_eq!(world.waiting(), ((116..=120).collect(), (111..=115).collect()), "there is room again");
    drop(world);
    fs::remove_file(filler).unwrap();
    let world = World::open(directory);
    assert_eq!(world.waiting().0, (116..=120).collect::<Vec<_>>(), "nothing that landed came back");
    while !world.waiting().0.is_empty() {
        world.land();
    }
}

fn journal_on(directory: &Path) {
    let failed = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let journal = RowJournal::new::<Sample>(directory, 7, Arc::clone(&failed)).unwrap();
    let mut queued = 0;
    let mut append = |time| {
        let labels = Labels::default();
        let row = Sample { time: TimeMs(time), name: "up".into(), kind: "gauge".into(), labels, value: 1.0 };
        journal.append(row, |_, _| {
            queued += 1;
            true
        });
    };
    let filler = fill(directory);
    (0..500).for_each(&mut append);
    assert_eq!(failed.load(Relaxed), 500, "there is not even room for a header");
    fs::remove_file(&filler).unwrap();
    (500..600).for_each(&mut append);
    let filler = fill(directory);
    (600..1600).for_each(&mut append);
    let missed = failed.load(Relaxed) - 500;
    assert!(missed > 0, "the last block was full at some row");
    fs::remove_file(filler).unwrap();
    (1600..1700).for_each(&mut append);
    assert_eq!(queued, 1700, "every row goes on, journal or not");

    let left = journal::left_behind::<Sample>(directory).unwrap();
    let (rows, damaged) = left[0].sealed().rows::<Sample>().unwrap();
    assert!(!damaged && rows.len() as u64 == 1200 - missed && rows.is_sorted_by_key(|row| row.time));
    left[0].sealed().remove();
}

/// The whole of it, with ClickHouse away.
async fn recorder_on(directory: &Path) {
    let mut config = Config::new("7", Shards { first: 0, count: 1, total: 1 }, "http://127.0.0.1:1");
    config.spool.directory = Some(directory.to_owned());
    config.spool.journal = Journal::Always;
    config.batch.max_age = Duration::from_millis(100);
    let recorder = Recorder::start(config).unwrap();
    let filler = fill(directory);
    for id in 0..20_000 {
        recorder.timer(&interaction(id)).success();
    }
    let receipt: Receipt = recorder.shutdown("the test says so", Duration::from_millis(500)).await;
    assert!(receipt.holds(), "{receipt}");
    let account = receipt.accounts.iter().find(|account| account.table == Table::Interactions).unwrap();
    assert_eq!((account.observed, account.landed + account.spooled), (20_000, 0), "{receipt}");
    fs::remove_file(filler).unwrap();
}

fn interaction(id: u64) -> twilight_model::application::interaction::Interaction {
    serde_json::from_value(serde_json::json!({
        "id": ((350_000_000_000_u64 << 22) + id).to_string(), "type": 2, "token": "t", "version": 1,
        "application_id": "1", "attachment_size_limit": 1, "authorizing_integration_owners": {}, "entitlements": [],
        "guild_id": "77", "locale": "en-GB", "context": 0, "app_permissions": "0",
        "data": { "id": "5", "name": "play", "type": 1 },
        "user": { "id": "9", "username": "a", "discriminator": "0", "avatar": null },
    }))
    .unwrap()
}
