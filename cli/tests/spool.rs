//! `shardlake spool` as the person on call types it: on the directory of a cluster that runs, on that of one that was
//! killed, and on a damaged one.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use clickhouse::Client;
use shardlake_embedded::{Clickhouse, Options, User};
use shardlake_ingest::{Config, Journal, Recorder, Shards};
use shardlake_schema::{Table, migrate};
use twilight_model::application::interaction::Interaction;

/// Nothing listens there.
const NOBODY: &str = "http://127.0.0.1:1";

fn shardlake(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shardlake"));
    command.arg("spool").args(arguments);
    command
}

fn run(arguments: &[&str]) -> (String, bool) {
    said(&shardlake(arguments).output().unwrap())
}

/// Standard output and error, and whether it succeeded.
fn said(output: &Output) -> (String, bool) {
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (text, output.status.success())
}

/// A recorder over `spool` that has recorded interactions with these ids.
fn record(spool: &Path, cluster: &str, ids: std::ops::Range<u64>) -> Recorder {
    let mut config = Config::new(cluster, Shards { first: 0, count: 1, total: 1 }, NOBODY);
    config.spool.directory = Some(spool.to_owned());
    config.spool.journal = Journal::Always;
    config.batch.max_age = Duration::from_hours(1);
    let recorder = Recorder::start(config).unwrap();
    for id in ids {
        recorder.timer(&interaction((350_000_000_000 << 22) + id)).success();
    }
    recorder
}

fn interaction(id: u64) -> Interaction {
    serde_json::from_value(serde_json::json!({
        "id": id.to_string(), "type": 2, "token": "t", "version": 1, "application_id": "1", "attachment_size_limit": 1,
        "authorizing_integration_owners": {}, "entitlements": [], "guild_id": "77", "locale": "en-GB", "context": 0,
        "app_permissions": "0", "data": { "id": "5", "name": "play", "type": 1 },
        "user": { "id": "9", "username": "a", "discriminator": "0", "avatar": null },
    }))
    .unwrap()
}

/// What a kill would have left of a directory that is in use.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Every file below `directory` with its bytes.
fn everything(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            files.extend(everything(&entry.path()));
        } else {
            files.push((entry.path(), fs::read(entry.path()).unwrap()));
        }
    }
    files.sort();
    files
}

/// The columns of the first line that has all of `words`.
fn line<'a>(text: &'a str, words: &[&str]) -> Vec<&'a str> {
    let line = text.lines().find(|line| words.iter().all(|word| line.contains(word)));
    line.unwrap_or_else(|| panic!("no line with {words:?} in\n{text}")).split_whitespace().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_in_use_is_shown_and_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let spool = home.path().join("spool");
    let path = spool.to_str().unwrap();
    let recorder = record(&spool, "7", 0..5);

    let (text, ok) = run(&["ls", path]);
    assert!(ok && text.contains("A process holds"), "{text}");
    assert_eq!(line(&text, &["interactions-", ".rows"])[1], "5", "{text}");
    assert!(run(&["verify", path]).1);
    let (text, ok) = run(&["replay", path, "--cluster-name", "7"]);
    assert!(!ok && text.contains("is used by another process"), "{text}");

    recorder.shutdown("the test says so", Duration::from_millis(100)).await;
    drop(recorder);
    let before = everything(&spool);
    let (text, ok) = run(&["ls", path]);
    assert!(ok && !text.contains("A process holds"), "{text}");
    let columns = line(&text, &["7 ", "interactions"]);
    assert_eq!(columns[2..8], ["interactions", "1", "1", "to", "1", "5"], "{text}");
    assert!(columns[9].ends_with('Z'), "{text}");
    assert!(text.contains("no journals") && text.contains("nothing in quarantine"), "{text}");

    let out = home.path().join("out");
    let (text, ok) = run(&["export", path, "--to", out.to_str().unwrap()]);
    assert!(ok, "{text}");
    let names: Vec<_> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path()).collect();
    let exported = names.iter().find(|path| path.to_str().unwrap().ends_with("-interactions-1.arrows")).unwrap();
    let bytes = fs::read(exported).unwrap();
    assert_eq!(bytes[..4], [0xff; 4], "an Arrow IPC stream begins with this mark");
    assert_eq!(everything(&spool), before, "nothing was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_named_and_nothing_is_changed() {
    let home = tempfile::tempdir().unwrap();
    let spool = home.path().join("spool");
    let path = spool.to_str().unwrap();
    assert!(run(&["verify", path]).0.contains("cannot use"), "a directory that is not there");
    record(&spool, "7", 0..5).shutdown("the test says so", Duration::from_millis(100)).await;
    assert!(run(&["verify", path]).1);

    let segment = spool.join("00000000000000000001.segment");
    let mut bytes = fs::read(&segment).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&segment, bytes).unwrap();
    fs::write(spool.join("notes.txt"), "hello").unwrap();
    fs::write(spool.join("ledger"), [1; 32]).unwrap();
    fs::write(spool.join("journal/samples-7-0000000000.rows"), "no rows").unwrap();
    let before = everything(&spool);
    let (text, ok) = run(&["verify", path]);
    assert!(!ok, "{text}");
    for expected in [
        "00000000000000000001.segment at byte ",
        "notes.txt at byte 0",
        "ledger at byte 0",
        "journal/samples-7-0000000000.rows at byte 0",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert_eq!(everything(&spool), before, "nothing was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_lands_batches_and_journals_and_adds_nothing() {
    let home = tempfile::tempdir().unwrap();
    let [spool, running, killed] = ["spool", "running", "killed"].map(|name| home.path().join(name));
    record(&spool, "7", 0..5).shutdown("the test says so", Duration::from_millis(100)).await;
    let recorder = record(&running, "8", 5..9);
    copy(&running, &killed);
    recorder.shutdown("the test says so", Duration::from_millis(100)).await;

    let clickhouse = Clickhouse::start(Options::new(home.path().join("clickhouse"))).await.unwrap();
    let url = format!("http://127.0.0.1:{}", clickhouse.http_port());
    let [admin, writer] = [User::Admin, User::Writer].map(|user| clickhouse.credentials(user));
    let client = Client::default().with_url(&url).with_database("shardlake");
    let client = client.with_user(admin.user).with_password(admin.password);
    migrate::apply(&client, "shardlake").await.unwrap();

    let (text, ok) = run(&["replay", killed.to_str().unwrap(), "--clickhouse-url", &url]);
    assert!(!ok && text.contains("--cluster-name"), "{text}");
    for arguments in [&[spool.to_str().unwrap()][..], &[killed.to_str().unwrap(), "--cluster-name", "8"]] {
        let mut command = shardlake(&["replay", "--clickhouse-url", &url, "--clickhouse-user", &writer.user]);
        let replay = command.args(arguments).env("SHARDLAKE_CLICKHOUSE_PASSWORD", &writer.password);
        let (text, ok) = said(&replay.output().unwrap());
        assert!(ok, "{text}");
        for table in Table::ALL {
            let columns = line(&text, &[table.name()]);
            assert_eq!((columns[1], columns[2]), ("0", columns[3]), "observed nothing, landed what was there: {text}");
        }
        assert!(run(&["ls", arguments[0]]).0.contains("no batches\nno journals\nnothing in quarantine"));
    }
    let sql = "SELECT toString(cluster), count() FROM interactions GROUP BY ALL ORDER BY ALL";
    let landed: Vec<(String, u64)> = client.query_raw(sql).fetch_all().await.unwrap();
    assert_eq!(landed, [("7".to_owned(), 5), ("8".to_owned(), 4)]);
    clickhouse.stop().await.unwrap();
}
