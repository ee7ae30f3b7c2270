//! `schema/README.md` is what a real server says of our tables, word for word. `UPDATE=1 cargo test -p shardlake-schema
//! --test readme` writes it anew.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod server;

use std::{env, fmt::Write as _, fs, path::Path};

use server::server;
use shardlake_schema::{Table, migrate};

const INTRODUCTION: &str = "\
# The tables

Generated from a real server: `UPDATE=1 cargo test -p shardlake-schema --test readme` writes it, and the same test without
`UPDATE` fails when it is out of step. Edit the migrations in `schema/migrations/`, not this file.

All times are UTC. **Raw tables** hold what clusters record; each of their rows names the insert that carried it (`cluster`,
`boot`, `batch`), and `batches` says which inserts landed. **Rollups** (`_1m`, `_1h`, `_1d`, `_1w`, `_2w`: by minute, hour, day, week
and fortnight) are filled by materialized views and keep their numbers as states that merge: read counts with `sum(…)`, sketches
with `quantileBFloat16Merge(level)(…)`, uniques with `uniqCombinedMerge(12)(…)`, always with `GROUP BY`. Where one is asked for by
all of them, a table `_rollup` holds them and a view shows each: read the views, of which every one counts everything once;
`interactions_1h` and its like do so for all clusters together, in one row for each bucket, and `interactions_in_guilds_1d` for all
guilds. An `ALIAS` column is computed when it is read
and is not part of `SELECT *`. TTLs are the defaults;
`shardlake schema apply --retention` changes them, those of rollups by the name of the view: `interactions_by_cluster_1h=5y`.
";

#[derive(clickhouse::Row, serde::Deserialize)]
struct Described {
    name: String,
    engine: String,
    partition_key: String,
    sorting_key: String,
    engine_full: String,
    as_select: String,
    comment: String,
}

impl Described {
    fn group(&self) -> &'static str {
        if Table::ALL.iter().any(|raw| raw.name() == self.name) {
            "Raw tables"
        } else if self.engine == "AggregatingMergeTree" || self.as_select.contains("_rollup WHERE ") {
            "Rollups"
        } else {
            "Others"
        }
    }
}

#[derive(clickhouse::Row, serde::Deserialize)]
struct Column {
    name: String,
    r#type: String,
    default_type: String,
    default_expression: String,
    comment: String,
    codec_expression: String,
    ttl_expression: String,
}

#[tokio::test]
async fn the_readme_says_what_describe_says() {
    let (clickhouse, client, _directory) = server().await;
    migrate::apply(&client, "shardlake").await.unwrap();

    let tables = "SELECT name, engine, partition_key, sorting_key, engine_full, as_select, comment FROM system.tables \
        WHERE database = 'shardlake' AND engine != 'MaterializedView' ORDER BY name";
    let tables: Vec<Described> = client.query_raw(tables).fetch_all().await.unwrap();
    let mut text = INTRODUCTION.to_owned();
    for group in ["Raw tables", "Rollups", "Others"] {
        writeln!(text, "\n## {group}").unwrap();
        for table in tables.iter().filter(|table| table.group() == group) {
            let columns = client.query_raw("DESCRIBE TABLE {table:Identifier}").param("table", &table.name);
            describe(&mut text, table, &columns.fetch_all().await.unwrap());
        }
    }
    clickhouse.stop().await.unwrap();

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let stands = fs::read_to_string(&path).unwrap_or_default();
    let apart = stands.lines().zip(text.lines()).find(|(stands, says)| stands != says);
    assert_eq!(
        apart,
        None,
        "{} is out of step, the server says the right; run this test with UPDATE=1",
        path.display()
    );
    assert_eq!(stands.len(), text.len(), "{} ends too early or too late", path.display());
}

fn describe(text: &mut String, table: &Described, columns: &[Column]) {
    writeln!(text, "\n### `{}`\n\n{}.", table.name, table.comment).unwrap();
    if table.engine == "View" {
        let of = table.as_select.split_once("FROM shardlake.").and_then(|(_, rest)| rest.split_once(" WHERE "));
        if let Some((rollup, condition)) = of.filter(|(table, _)| table.ends_with("_rollup")) {
            writeln!(text, "View of `{rollup}` where `{condition}`.").unwrap();
        }
    } else {
        let ttl = table.engine_full.split_once(" TTL ").and_then(|(_, rest)| rest.split_once(" SETTINGS "));
        let kept = ttl.map_or("for ever".to_owned(), |(ttl, _)| format!("`TTL {ttl}`"));
        let partition = if table.partition_key.is_empty() { "none" } else { &table.partition_key };
        writeln!(text, "{}, sorted by `{}`, partitions `{partition}`, kept {kept}.", table.engine, table.sorting_key)
            .unwrap();
    }
    writeln!(text, "\n| column | type | meaning |\n|---|---|---|").unwrap();
    for column in columns {
        let alias = match column.default_type.as_str() {
            "ALIAS" => format!(" ALIAS `{}`", column.default_expression),
            _ => String::new(),
        };
        let meaning = column.comment.replace('|', "\\|").replace('<', "\\<");
        writeln!(text, "| `{}` | {}{alias} | {meaning} |", column.name, column.r#type).unwrap();
        assert!(column.ttl_expression.is_empty() && (alias.is_empty() || column.codec_expression.is_empty()));
    }
}
