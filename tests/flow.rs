//! From a gateway event to an answer, with everything real but Discord: what the simulator says it sent is what
//! ClickHouse holds, exactly, and the law holds.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod line;

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Stdio,
};

use line::{Cluster, Line, fails, get};
use serde_json::Value;
use shardlake_ingest::Receipt;
use shardlake_queries::{Catalogue, Service};
use shardlake_schema::Table;
use shardlake_simulator::{LedgerSnapshot, Mix, Profile, Scenario, Traffic};
use tokio::{io::AsyncWriteExt as _, net::TcpListener, process::Command};

const CLUSTERS: u16 = 4;
const SHARDS: u32 = 8;
const EVENTS_PER_SHARD: u64 = 400;

fn scenario() -> Scenario {
    Scenario { seed: 7, shards: SHARDS, guilds: 80, users: 2_000, max_concurrency: SHARDS, ..Scenario::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_discord_sent_is_what_clickhouse_holds() {
    holds_exactly(Line::start(scenario()).await).await;
}

/// The same, with the same counts, where clusters write to two ClickHouse servers and everybody reads both.
#[tokio::test(flavor = "multi_thread")]
async fn what_discord_sent_is_what_two_shards_hold() {
    let line = Line::start_on_shards(2, scenario()).await;
    holds_exactly(line).await;
}

async fn holds_exactly(line: Line) {
    let clusters: Vec<Cluster> = (0..CLUSTERS)
        .map(|number| line.cluster(number, CLUSTERS, |config| config.user_key = Some("key".into())))
        .collect();
    let mut traffic = line.discord.traffic(&Traffic::of(Profile::Normal).unpaced().budget(EVENTS_PER_SHARD));
    traffic.sent().await;

    let mut receipts = Vec::new();
    for cluster in clusters {
        receipts.push(cluster.stop().await);
    }
    let sent = line.discord.ledger();

    dispatches_agree(&line, &sent).await;
    interactions_agree(&line, &sent).await;
    every_interaction_is_there_once(&line).await;
    the_law_holds(&line, &receipts).await;
    the_answer_agrees(&line, &sent).await;
    line.stop().await;
}

/// Shards 2n and 2n + 1 belong to cluster n.
fn cluster_of(shard: u32) -> String {
    (shard / (SHARDS / u32::from(CLUSTERS))).to_string()
}

async fn dispatches_agree(line: &Line, sent: &LedgerSnapshot) {
    let sql = "SELECT cluster, shard, toString(event), toUInt64(sum(dispatches)), sum(bytes) FROM gateway_counts GROUP BY ALL";
    let stored: Vec<(String, u16, String, u64, u64)> = line.rows(sql).await;
    let stored: BTreeSet<_> = stored.into_iter().map(|row| (row.0, u32::from(row.1), row.2, row.3, row.4)).collect();
    let mut expected = BTreeSet::new();
    for (shard, ledger) in &sent.shards {
        for (event, tally) in ledger.dispatches.iter().filter(|(_, tally)| tally.distinct() > 0) {
            expected.insert((cluster_of(*shard), *shard, event.to_string(), tally.distinct(), tally.distinct_bytes()));
        }
    }
    assert!(sent.distinct_total() >= EVENTS_PER_SHARD * u64::from(SHARDS), "the simulator sent its budget");
    assert_eq!(stored, expected);
}

async fn interactions_agree(line: &Line, sent: &LedgerSnapshot) {
    let sql = "SELECT shard, toString(type), toString(command), guild_id > 0, count(), countIf(response_ms > 0) FROM interactions GROUP BY ALL";
    let stored: Vec<(u16, String, String, u8, u64, u64)> = line.rows(sql).await;
    let stored: BTreeSet<_> = stored
        .into_iter()
        .map(|(shard, kind, command, in_guild, rows, answered)| {
            (u32::from(shard), kind, command, in_guild == 1, rows, answered)
        })
        .collect();
    let mut expected: BTreeMap<(u32, String, String, bool), (u64, u64)> = BTreeMap::new();
    for count in &sent.interactions {
        let kind = match count.kind.discord_type() {
            2 => "application_command",
            3 => "component",
            4 => "autocomplete",
            _ => "modal_submit",
        };
        let key = (count.shard, kind.to_owned(), count.command.to_string(), count.in_guild);
        let (rows, answered) = expected.entry(key).or_default();
        *rows += count.sent;
        *answered += count.answered;
    }
    let expected: BTreeSet<_> = expected
        .into_iter()
        .map(|((shard, kind, command, in_guild), (rows, answered))| (shard, kind, command, in_guild, rows, answered))
        .collect();
    assert!(sent.interactions_sent() > 50, "there is something to compare");
    assert_eq!(stored, expected);
}

async fn every_interaction_is_there_once(line: &Line) {
    let sql = "SELECT interaction_id, guild_id, toString(outcome), toString(error_type), user_key FROM interactions ORDER BY interaction_id";
    let stored: Vec<(u64, u64, String, String, u32)> = line.rows(sql).await;
    let mut sent = line.discord.interactions();
    sent.sort_by_key(|interaction| interaction.id);
    assert_eq!(stored.len(), sent.len());
    let mut users: BTreeMap<u64, u32> = BTreeMap::new();
    for ((id, guild, outcome, error_type, user_key), sent) in stored.iter().zip(&sent) {
        assert_eq!((*id, *guild), (sent.id, sent.guild_id.unwrap_or(0)));
        let expected = if fails(*id) { ("error", "HandlerError") } else { ("success", "") };
        assert_eq!((outcome.as_str(), error_type.as_str()), expected);
        assert!(*user_key != 0 && u64::from(*user_key) != sent.user_id, "a user is stored as a keyed hash");
        assert_eq!(users.entry(sent.user_id).or_insert(*user_key), user_key, "one user, one key");
    }
}

/// `observed = landed + spooled + in memory + dropped`, by the processes' own books and by what ClickHouse counted.
async fn the_law_holds(line: &Line, receipts: &[Receipt]) {
    let mut landed: BTreeMap<&str, u64> = BTreeMap::new();
    for receipt in receipts {
        assert!(receipt.holds(), "{receipt}");
        for account in &receipt.accounts {
            assert_eq!((account.spooled, account.in_memory, account.dropped()), (0, 0, 0), "{receipt}");
            *landed.entry(account.table.name()).or_default() += account.landed;
        }
    }
    landed.retain(|_, rows| *rows > 0);
    let batches: Vec<(String, u64)> =
        line.rows("SELECT toString(table), sum(rows) FROM batches GROUP BY table ORDER BY table").await;
    let by_our_books: Vec<_> = landed.iter().map(|(table, rows)| ((*table).to_owned(), *rows)).collect();
    assert_eq!(batches, by_our_books, "what landed by ClickHouse's count, and by ours");
    for (table, rows) in landed.into_iter().filter(|(table, _)| *table != "processes") {
        let stored: Vec<u64> = line.rows(&format!("SELECT count() FROM {table}")).await;
        assert_eq!(stored[0], rows, "{table}");
    }
    let gaps: Vec<u64> = line
        .rows("SELECT count() FROM (SELECT max(batch) != count() OR uniqExact(batch) != count() AS gap FROM batches GROUP BY cluster, boot, table) WHERE gap")
        .await;
    assert_eq!(gaps[0], 0, "sequences without gaps");
    let stopped: Vec<u64> = line
        .rows("SELECT count() FROM processes FINAL WHERE stop_reason = 'test is over' AND rows_observed >= rows_landed AND rows_landed > 0")
        .await;
    assert_eq!(stopped[0], u64::from(CLUSTERS), "every process left its receipt");
}

async fn the_answer_agrees(line: &Line, sent: &LedgerSnapshot) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = Service::new(line.reader(), Catalogue::builtin());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(shardlake_queries::serve(listener, None, service, async {
        let _ = stopped.await;
    }));

    let body = get(&format!("http://{address}/v1/interactions/by_cluster?from=-1h")).await;
    let answer: Value = serde_json::from_str(&body).unwrap();
    let counted: BTreeMap<String, u64> = answer["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["cluster"].as_str().unwrap().to_owned(), number(&row["interactions"])))
        .collect();
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for count in &sent.interactions {
        *expected.entry(cluster_of(count.shard)).or_default() += count.sent;
    }
    assert_eq!(counted, expected);
    assert_eq!(answer["meta"]["complete"], Value::Bool(true), "{}", answer["meta"]);
    stop.send(()).unwrap();
    served.await.unwrap();
}

/// 64-bit numbers may come in quotes.
fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| value.as_str().unwrap().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_of_a_cluster_please_promtool() {
    let line = Line::start(scenario()).await;
    let cluster = line.cluster(0, 1, |_| {});
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let recorder = cluster.recorder.clone();
    let serving = tokio::spawn(async move { recorder.serve_metrics(listener, std::future::pending()).await });
    let traffic = Traffic { mix: Mix::Interactions, ..Traffic::of(Profile::Normal).unpaced().budget(20) };
    line.discord.traffic(&traffic).sent().await;
    line.until(20 * u64::from(SHARDS), "SELECT count() FROM interactions").await;
    // They can be seen a moment before ClickHouse has acknowledged them.
    cluster.landed(Table::Interactions, 20 * u64::from(SHARDS)).await;

    assert!(get(&format!("http://{address}/healthz")).await.contains("alive"));
    assert!(get(&format!("http://{address}/readyz")).await.contains("8 of 8"));
    let metrics = get(&format!("http://{address}/metrics")).await;
    promtool_agrees(&metrics).await;
    families_are_whole_and_series_unique(&metrics);
    for expected in [
        r#"discord_shard_up{cluster="0",shard="7"} 1"#,
        r#"discord_shards_connected{cluster="0"} 8"#,
        r#"discord_shards_configured{cluster="0"} 8"#,
        r#"discord_guilds{cluster="0"} 80"#,
        r#"shardlake_rows_dropped_total{cluster="0",reason="queue_full",table="interactions"} 0"#,
        r#"shardlake_rows_landed_total{cluster="0",table="interactions"} 160"#,
    ] {
        assert!(has_series(&metrics, expected), "{expected} is missing in\n{metrics}");
    }
    let cpu = metrics.lines().find_map(|line| line.strip_prefix(r#"process_cpu_seconds_total{cluster="0"} "#));
    assert!(cpu.unwrap().parse::<f64>().unwrap() > 0.0, "this test used some CPU time");
    serving.abort();
    assert!(cluster.stop().await.holds());
    line.stop().await;
}

async fn promtool_agrees(metrics: &str) {
    let spawned = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = spawned.expect("promtool is installed by `make prometheus`");
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).await.unwrap();
    let checked = promtool.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&checked.stderr).into_owned() + &String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{said}");
}

/// What promtool does not notice: families that are torn apart, and one series twice.
fn families_are_whole_and_series_unique(metrics: &str) {
    let mut families = BTreeSet::new();
    let mut series = BTreeSet::new();
    for row in metrics.lines() {
        if let Some(rest) = row.strip_prefix("# HELP ") {
            let family = rest.split(' ').next().unwrap();
            assert!(families.insert(family.to_owned()), "{family} comes twice");
        } else if !row.starts_with('#') {
            let name = row.rsplit_once(' ').unwrap().0;
            assert!(series.insert(name.to_owned()), "{name} comes twice");
            assert!(name.contains("cluster=\"0\""), "{name} lacks the cluster");
        }
    }
    assert!(series.len() > 100);
}

/// Whether `metrics` has the series `expected`, whatever the order of its labels.
fn has_series(metrics: &str, expected: &str) -> bool {
    fn parts(row: &str) -> Option<(&str, BTreeSet<&str>, &str)> {
        let (name, rest) = row.split_once('{')?;
        let (labels, value) = rest.split_once("} ")?;
        Some((name, labels.split(',').collect(), value))
    }
    let expected = parts(expected).unwrap();
    metrics.lines().filter_map(parts).any(|row| row == expected)
}
