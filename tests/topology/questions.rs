//! Every question of the catalogue, asked over two shards: the cases of `queries/tests/cases/`, whose rows go to the shard of
//! their cluster, bring the answers that one server gives; and rollups answer as raw rows do.

use std::fs;

use clickhouse::Client;
use serde_json::{Map, Value};
use shardlake_embedded::User;
use shardlake_queries::Catalogue;
use shardlake_schema::topology::readers_database;

use crate::{
    lake::{Api, insert, run},
    line::{DATABASE, servers::Servers},
    rolled_up,
};

/// Its sizes are those of the server that answers, and it says so.
const OF_ONE_SERVER: &str = "pipeline/storage";

#[tokio::test(flavor = "multi_thread")]
async fn two_shards_answer_like_one_server() {
    let servers = Servers::with_schema(2).await;
    let shards = [1, 2].map(|shard| servers.client(shard, User::Admin, DATABASE));
    for admin in &shards {
        // Cases have dates that stay what they are.
        let sql = "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine_full LIKE '% TTL %'";
        for table in admin.query_raw(sql).fetch_all::<String>().await.unwrap() {
            run(admin, &format!("ALTER TABLE {table} REMOVE TTL")).await;
        }
    }
    let catalogue = Catalogue::builtin();
    // One server is as good as the other.
    let asked = [1, 2].map(|shard| servers.client(shard, User::Reader, &readers_database(DATABASE)));
    let mut both_were_needed = 0;
    for question in catalogue.questions() {
        let id = question.id();
        if id == OF_ONE_SERVER {
            continue;
        }
        let path = format!("{}/queries/tests/cases/{id}.json", env!("CARGO_MANIFEST_DIR"));
        let case: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let spread = fill(&shards, case["rows"].as_object().unwrap()).await;
        both_were_needed += usize::from(spread.iter().all(|rows| *rows > 0));
        for reader in &asked {
            let api = Api::start(reader.clone(), catalogue.clone()).await;
            for ask in case["ask"].as_array().unwrap() {
                let query = ask["query"].as_str().unwrap();
                let answer = api.answer(&id, query).await;
                let (rows, expected) = (&answer["rows"], &ask["rows"]);
                assert!(same(rows, expected), "{id}?{query}\nover shards {rows:#}\non one server {expected:#}");
                let complete = ask.get("complete").unwrap_or(&Value::Bool(true));
                assert_eq!(&answer["meta"]["complete"], complete, "{id}?{query}: {:#}", answer["meta"]);
            }
            if question.parameter("step").is_some() {
                // Edges go from one server to the other in the statement's text, which has a limit.
                let required = question.parameters.iter().filter(|parameter| parameter.default.is_none());
                let required: Vec<String> = required.map(|parameter| format!("&{}=up", parameter.name)).collect();
                let most = format!("from=2025-01-01&to=2025-01-02T09:00&step=1m{}", required.concat());
                api.answer(&id, &most).await;
            }
            api.stop().await;
        }
    }
    assert!(both_were_needed > 5, "{both_were_needed} questions had rows on both shards");
    servers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_shards_answer_from_rollups_as_from_raw_rows() {
    /// By minute, hour or day, and by the longest steps that there are.
    const RANGES: [rolled_up::Range; 3] =
        [(48, 24, "1h", "Europe/Berlin"), (840, 0, "5d", "UTC"), (8_800, 0, "14d", "UTC")];
    let servers = Servers::with_schema(2).await;
    for shard in [1, 2] {
        let admin = servers.client(shard, User::Admin, DATABASE);
        for rows in rolled_up::ROWS {
            // Two of the four clusters each.
            run(&admin, &format!("{rows} WHERE number % 2 = {}", shard - 1)).await;
        }
    }
    let (catalogue, ids) = rolled_up::with_raw_questions();
    let reader = servers.client(1, User::Reader, &readers_database(DATABASE));
    let api = Api::start(reader, catalogue.clone()).await;
    rolled_up::answer_as_raw_rows_do(&api, &catalogue, &ids, &RANGES).await;
    api.stop().await;
    servers.stop().await;
}

/// Empties all tables and inserts the rows of a case, those of every other cluster into the other shard. Returns how many went where.
async fn fill(shards: &[Client; 2], tables: &Map<String, Value>) -> [usize; 2] {
    for admin in shards {
        let sql = "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree' \
             AND name NOT LIKE 'migration%'";
        for table in admin.query_raw(sql).fetch_all::<String>().await.unwrap() {
            run(admin, &format!("TRUNCATE TABLE {table}")).await;
        }
    }
    let cluster = |row: &Value| row["cluster"].as_str().unwrap_or_default().to_owned();
    let mut clusters: Vec<String> = tables.values().flat_map(|rows| rows.as_array().unwrap()).map(cluster).collect();
    clusters.sort();
    clusters.dedup();
    let shard_of = |row: &Value| clusters.iter().position(|known| *known == cluster(row)).unwrap() % 2;
    // `batches` last: where a case writes down what landed and when, the views have no say in it.
    let mut spread = [0, 0];
    let (batches, others): (Vec<_>, Vec<_>) = tables.iter().partition(|(table, _)| *table == "batches");
    for (table, rows) in others.into_iter().chain(batches) {
        for (shard, admin) in shards.iter().enumerate() {
            if table == "batches" {
                run(admin, "TRUNCATE TABLE batches").await;
            }
            let rows: Vec<Value> =
                rows.as_array().unwrap().iter().filter(|row| shard_of(row) == shard).cloned().collect();
            if !rows.is_empty() {
                insert(admin, table, &rows).await;
            }
            spread[shard] += rows.len();
        }
    }
    spread
}

/// Equal, with room for the last digits of floats.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= 1e-6 * a.abs().max(b.abs())
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => a == b,
    }
}
