//! Every question of the catalogue, asked over HTTP on a real ClickHouse, against rows and answers written down in
//! `cases/<noun>/<question>.json`: `rows` go into each table, then each of `ask` is a `query` string and the `rows` it must
//! bring; `complete` says what its `meta.complete` must be, if that is not true, and a value `{"at_least": n}` stands for what
//! depends on ClickHouse's version, such as sizes. A question without a case fails, and so does a case without a question. Then the table gets old rows in plenty,
//! and the first ask must bring the same without reading them.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod lake;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use clickhouse::Client;
use lake::{Api, Lake, insert, run};
use serde_json::{Map, Value};
use shardlake_queries::{Catalogue, Panel, Question, Unit};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `noun/question` of every file below `folder`.
fn ids(folder: &str, ending: &str) -> BTreeSet<String> {
    let files = |folder: PathBuf| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    files(root().join(folder))
        .flat_map(|noun| files(noun.clone()).map(move |file| format!("{}/{}", name(&noun), name(&file))))
        .map(|id| {
            id.strip_suffix(ending).unwrap_or_else(|| panic!("{folder}/{id} does not end in {ending}")).to_owned()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_question_gives_the_answer_written_down() {
    let catalogue = Catalogue::builtin();
    let questions = ids("catalogue", ".sql");
    assert_eq!(
        questions,
        catalogue.questions().map(|question| question.id()).collect(),
        "compiled in: all files, no other"
    );
    assert_eq!(questions, ids("tests/cases", ".json"), "questions and cases");

    let lake = Lake::start(["shardlake"]).await;
    let admin = lake.with_schema("shardlake").await;
    let tables = tables(&admin).await;
    for question in catalogue.questions() {
        let id = question.id();
        for table in &tables {
            run(&admin, &format!("TRUNCATE TABLE {table}")).await; // a database of its own would take two seconds more
        }
        let case = fs::read_to_string(root().join(format!("tests/cases/{id}.json"))).unwrap();
        let case: Value = serde_json::from_str(&case).unwrap_or_else(|error| panic!("tests/cases/{id}.json: {error}"));
        fill(&admin, case["rows"].as_object().unwrap()).await;
        let api = lake.api("shardlake", catalogue.clone()).await;
        let asks = case["ask"].as_array().unwrap();
        assert!(asks.iter().any(|ask| !ask["rows"].as_array().unwrap().is_empty()), "{id}: no case brings a row");
        for ask in asks {
            let query = ask["query"].as_str().unwrap();
            let answer = api.answer(&id, query).await;
            check_form(question, &answer);
            assert_eq!(
                &answer["meta"]["complete"],
                ask.get("complete").unwrap_or(&true.into()),
                "{id}?{query}: {:#}",
                answer["meta"]
            );
            let (rows, expected) = (answer["rows"].as_array().unwrap(), ask["rows"].as_array().unwrap());
            for (index, (row, expected)) in rows.iter().zip(expected).enumerate() {
                assert!(same(row, expected), "{id}?{query}\nrow {index} is  {row}\nexpected {expected}");
            }
            assert_eq!(rows.len(), expected.len(), "{id}?{query}: {:#}", answer["rows"]);
        }
        check_pruning(&admin, &api, question, asks[0]["query"].as_str().unwrap()).await;
        api.stop().await;
    }
    lake.stop().await;
}

/// The tables that hold rows; views have none.
async fn tables(admin: &Client) -> Vec<String> {
    let sql = "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree' AND name NOT LIKE 'migration%'";
    admin.query_raw(sql).fetch_all().await.unwrap()
}

/// Inserts the rows of a case. Where it writes down what landed and when, the views have no say in it.
async fn fill(admin: &Client, tables: &Map<String, Value>) {
    for (table, rows) in tables.iter().filter(|(table, _)| *table != "batches") {
        insert(admin, table, rows.as_array().unwrap()).await;
    }
    if let Some(batches) = tables.get("batches") {
        run(admin, "TRUNCATE TABLE batches").await;
        insert(admin, "batches", batches.as_array().unwrap()).await;
    }
}

/// What was kept for long does not make `question` slow: `query` leaves the rows of other months alone.
async fn check_pruning(admin: &Client, api: &Api, question: &Question, query: &str) {
    const OLD_ROWS: u64 = 100_000;
    let columns = match question.table.as_str() {
        "batches" => "first_time, last_time",
        "processes" => return, // a few rows a day, kept for ever in one partition
        _ => "time",
    };
    let times =
        columns.split(", ").map(|_| "toDateTime64('2024-06-01 00:00:00', 3, 'UTC') + number").collect::<Vec<_>>();
    let old_rows = format!(
        "INSERT INTO {} (cluster, boot, batch, {columns}) SELECT '0', 1, 1, {} FROM numbers({OLD_ROWS})",
        question.table,
        times.join(", ")
    );
    let before = api.answer(&question.id(), query).await;
    run(admin, &old_rows).await;
    let after = api.answer(&question.id(), query).await;
    assert_eq!(before["rows"], after["rows"], "{}?{query}: rows of another year", question.id());
    let rows_read = after["meta"]["rows_read"].as_u64().unwrap();
    assert!(
        rows_read < OLD_ROWS,
        "{}?{query} reads {rows_read} rows: it does not keep to its partitions",
        question.id()
    );
}

/// As expected, with room for the last digits of floats.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Object(b)) => a.as_f64().unwrap() >= b["at_least"].as_f64().unwrap(),
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= 1e-6 * a.abs().max(b.abs())
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
        }
        _ => a == b,
    }
}

/// The answer has the columns that the header declares, of types that fit their units, and a series is ready for Grafana:
/// ascending in time, with every identity a string.
fn check_form(question: &Question, answer: &Value) {
    let id = question.id();
    assert_eq!(answer["question"], id);
    assert_eq!(answer["meta"]["table"], question.table);

    let columns = answer["columns"].as_array().unwrap();
    let names: Vec<&str> = columns.iter().map(|column| column["name"].as_str().unwrap()).collect();
    let declared: Vec<&str> = question.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, declared, "{id}: columns of the answer and of the header");
    for (column, declared) in columns.iter().zip(&question.columns) {
        let sql_type = column["type"].as_str().unwrap();
        let fits = match declared.unit {
            Unit::Id | Unit::Text => sql_type.contains("String"),
            Unit::Time => sql_type.starts_with("DateTime64(3, 'UTC')") || sql_type == "Nullable(DateTime64(3, 'UTC'))",
            _ => ["Int", "Float"].iter().any(|number| sql_type.contains(number)),
        };
        assert!(fits, "{id}: column {} is {sql_type}, its unit {}", declared.name, declared.unit.as_str());
    }
    if matches!(question.panel, Panel::Timeseries | Panel::StateTimeline) {
        let times: Vec<&str> =
            answer["rows"].as_array().unwrap().iter().map(|row| row["time"].as_str().unwrap()).collect();
        assert!(times.is_sorted(), "{id}: {times:?}");
    }
}
