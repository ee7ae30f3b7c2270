//! A statement of a migration, rewritten for a ClickHouse cluster with replicas.
//!
//! | written | becomes |
//! |---|---|
//! | `CREATE`, `DROP`, `ALTER`, `RENAME`, `EXCHANGE` | the same with `ON CLUSTER` |
//! | `ENGINE = …MergeTree` | `ENGINE = Replicated…MergeTree`, its place in Keeper by UUID and shard |
//! | `non_replicated_deduplication_window = n` | `replicated_deduplication_window = n`, and how long: see [`WINDOW_S`] |
//! | `CREATE TABLE u … AS SELECT … FROM t` | `CREATE TABLE u … EMPTY AS SELECT …`, then the `INSERT` below: else every replica would copy the rows |
//! | `INSERT INTO u SELECT … FROM t` | the same on one replica of each shard: rows stay on their shard |
//!
//! A statement is edited word by word, so comments and layout stay. What is not in the table is refused; a test renders every
//! migration. The copying `INSERT` goes through the table function `cluster`, which with `parallel_distributed_insert_select = 2`
//! has each shard read and write its own tables.

use super::{
    Cluster,
    lex::{Token, tokens},
};
use crate::quote;

/// How long replicas remember an insert's token, at most, seconds; the number of tokens is the tighter limit. The
/// writer uses a token again for half an hour (`ingest/src/insert.rs`); ClickHouse's own hour is near that for a
/// fleet that drains, and the week that it had until 25.10 costs nothing where the number is limited.
const WINDOW_S: u32 = 604_800;

/// The setting of tables that are not replicated.
const WINDOW: &str = "non_replicated_deduplication_window";

/// A statement that cannot be rewritten.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this statement cannot be rewritten for a ClickHouse cluster with replicas: {reason}: {statement}")]
pub struct RenderError {
    /// What it lacks, or has too much.
    pub reason: &'static str,
    /// Its first line.
    pub statement: String,
}

/// Where a replicated table's replicas find each other.
struct Place {
    path: &'static str,
    replica: &'static str,
}

const PER_SHARD: Place = Place { path: "/clickhouse/tables/{uuid}/{shard}", replica: "{replica}" };

/// All nodes are replicas of one table. Replicas of different shards may bear the same name.
const OF_ALL_NODES: Place = Place { path: "/clickhouse/tables/{uuid}/all", replica: "{shard}-{replica}" };

/// What `statement` becomes.
pub(super) fn replicated(cluster: &Cluster, database: &str, statement: &str) -> Result<Vec<String>, RenderError> {
    Statement { cluster, database, place: PER_SHARD, text: statement, tokens: tokens(statement) }.render()
}

/// The same for a table of which all nodes share one content.
pub(super) fn shared(cluster: &Cluster, database: &str, statement: &str) -> Result<Vec<String>, RenderError> {
    Statement { cluster, database, place: OF_ALL_NODES, text: statement, tokens: tokens(statement) }.render()
}

struct Statement<'a> {
    cluster: &'a Cluster,
    database: &'a str,
    place: Place,
    text: &'a str,
    tokens: Vec<Token<'a>>,
}

/// Text that takes the place of bytes `from..to`.
struct Edit {
    from: usize,
    to: usize,
    text: String,
}

impl Statement<'_> {
    fn render(&self) -> Result<Vec<String>, RenderError> {
        match self.head().as_slice() {
            ["INSERT", "INTO"] => Ok(vec![self.copy(self.name(2)?, 3)?]),
            ["RENAME", "TABLE", ..] | ["EXCHANGE", "TABLES"] => {
                Ok(vec![self.text.to_owned() + &self.cluster.on_cluster()])
            }
            ["CREATE", .., "TABLE"] | ["CREATE", .., "TABLE", "IF", "NOT", "EXISTS"] => self.table(),
            ["CREATE", .., "VIEW"]
            | ["CREATE", .., "VIEW", "IF", "NOT", "EXISTS"]
            | ["DROP", "TABLE" | "VIEW"]
            | ["DROP", "TABLE" | "VIEW", "IF", "EXISTS"]
            | ["ALTER", "TABLE"]
            | ["ALTER", "TABLE", "IF", "EXISTS"] => {
                let mut edits = self.windows();
                edits.push(self.on_cluster_after(self.name(self.head().len())?));
                Ok(vec![self.edited(edits)])
            }
            _ => Err(self.refuse("it is of a kind that is not known here")),
        }
    }

    /// The words before the first name, in capitals.
    fn head(&self) -> Vec<&'static str> {
        const WORDS: [&str; 14] = [
            "ALTER",
            "CREATE",
            "DROP",
            "EXCHANGE",
            "EXISTS",
            "IF",
            "INSERT",
            "INTO",
            "MATERIALIZED",
            "NOT",
            "OR",
            "RENAME",
            "REPLACE",
            "TABLES",
        ];
        let known = WORDS.into_iter().chain(["TABLE", "VIEW"]);
        let word = |token: &Token<'_>| known.clone().find(|word| token.is(word));
        self.tokens.iter().map_while(word).collect()
    }

    fn name(&self, at: usize) -> Result<Token<'_>, RenderError> {
        self.tokens.get(at).filter(|token| token.is_name()).copied().ok_or_else(|| self.refuse("it names no table"))
    }

    fn on_cluster_after(&self, name: Token<'_>) -> Edit {
        Edit { from: name.end(), to: name.end(), text: self.cluster.on_cluster() }
    }

    fn table(&self) -> Result<Vec<String>, RenderError> {
        let name = self.name(self.head().len())?;
        let select =
            self.tokens.windows(2).position(|pair| pair[0].depth == 0 && pair[0].is("AS") && pair[1].is("SELECT"));
        let end = select.map_or(self.text.len(), |at| self.tokens[at].start);
        let mut edits = self.windows();
        edits.push(self.on_cluster_after(name));
        self.replicate(end, &mut edits)?;
        let Some(at) = select else { return Ok(vec![self.edited(edits)]) };
        // The SELECT stays: its SETTINGS are those of the whole statement.
        edits.push(Edit { from: end, to: end, text: "EMPTY ".to_owned() });
        Ok(vec![self.edited(edits), self.copy(name, at + 1)?])
    }

    /// Makes the engine before `end` a replicated one.
    fn replicate(&self, end: usize, edits: &mut Vec<Edit>) -> Result<(), RenderError> {
        let tokens: Vec<_> = self.tokens.iter().filter(|token| token.depth == 0 && token.start < end).collect();
        let engine = tokens.windows(3).find(|words| words[0].is("ENGINE") && words[1].is("="));
        let engine = engine.map(|words| words[2]).ok_or_else(|| self.refuse("it names no engine"))?;
        if !engine.text.ends_with("MergeTree") || engine.text.starts_with("Replicated") {
            return Err(self.refuse("its engine is not one that has a replicated form"));
        }
        edits.push(Edit { from: engine.start, to: engine.start, text: "Replicated".to_owned() });
        let place = format!("'{}', '{}'", self.place.path, self.place.replica);
        let mut behind = self.tokens.iter().skip_while(|token| token.start <= engine.start);
        match (behind.next(), behind.next()) {
            (Some(open), Some(first)) if open.is("(") => {
                let comma = if first.is(")") { "" } else { ", " };
                edits.push(Edit { from: open.end(), to: open.end(), text: place + comma });
            }
            _ => edits.push(Edit { from: engine.end(), to: engine.end(), text: format!("({place})") }),
        }
        Ok(())
    }

    /// Makes the window that of replicated tables.
    fn windows(&self) -> Vec<Edit> {
        let text = format!("replicated_deduplication_window_seconds = {WINDOW_S}, replicated_deduplication_window");
        let windows = self.tokens.iter().filter(|token| token.is(WINDOW));
        windows.map(|window| Edit { from: window.start, to: window.end(), text: text.clone() }).collect()
    }

    /// An `INSERT` into `target`, on each shard, of what follows from token `from` on: columns, perhaps, and a `SELECT` from one
    /// table. Its subqueries read the shard's own tables.
    fn copy(&self, target: Token<'_>, from: usize) -> Result<String, RenderError> {
        let rest = &self.tokens[from..];
        let select = rest.iter().position(|token| token.depth == 0 && token.is("SELECT"));
        let select = select.ok_or_else(|| self.refuse("it inserts something else than a SELECT"))?;
        if rest[..select].iter().any(|token| token.depth == 0 && !["(", ")"].contains(&token.text)) {
            return Err(self.refuse("more than columns stands before its SELECT"));
        }
        let mut source = None;
        let mut edits = Vec::new();
        for (at, pair) in rest.windows(2).enumerate().filter(|(_, pair)| pair[0].is("FROM") || pair[0].is("JOIN")) {
            let (word, table) = (pair[0], pair[1]);
            let is_function = rest.get(at + 2).is_some_and(|token| token.is("(") && token.start == table.end());
            let is_table = table.is_name() && !is_function;
            if word.depth > 0 {
                if is_table && in_subquery(&rest[..at], word.depth) {
                    let text = format!("{}.", quote::identifier(self.database));
                    edits.push(Edit { from: table.start, to: table.start, text });
                }
            } else if word.is("JOIN") || !is_table || source.replace(table).is_some() {
                return Err(self.refuse("it copies from something else than one table"));
            }
        }
        let source = source.ok_or_else(|| self.refuse("it copies from no table"))?;
        // Columns may be qualified with the table's name.
        let is_named = rest.iter().find(|token| token.start > source.start).is_some_and(|token| token.is("AS"));
        let name = if is_named { String::new() } else { format!(" AS {}", source.text) };
        edits.push(Edit { from: source.start, to: source.end(), text: self.of_each_shard(source) + &name });
        let target = format!("INSERT INTO FUNCTION {} ", self.of_each_shard(target));
        edits.push(Edit { from: 0, to: rest[0].start, text: target });
        let settings = "SETTINGS parallel_distributed_insert_select = 2 ".to_owned();
        edits.push(Edit { from: rest[select].start, to: rest[select].start, text: settings });
        Ok(self.edited(edits))
    }

    fn of_each_shard(&self, table: Token<'_>) -> String {
        let table = table.text.trim_matches('`');
        format!(
            "cluster({}, {}, {})",
            quote::identifier(&self.cluster.name),
            quote::identifier(self.database),
            quote::identifier(table)
        )
    }

    fn edited(&self, mut edits: Vec<Edit>) -> String {
        edits.sort_by_key(|edit| (edit.from, edit.to));
        let mut text = self.text.to_owned();
        for edit in edits.into_iter().rev() {
            text.replace_range(edit.from..edit.to, &edit.text);
        }
        text
    }

    fn refuse(&self, reason: &'static str) -> RenderError {
        let first = self.tokens.first().map_or(0, |token| token.start);
        RenderError { reason, statement: self.text[first..].lines().next().unwrap_or_default().to_owned() }
    }
}

/// Whether what follows `before`, between `depth` parentheses, is in a `SELECT`: `EXTRACT` and `trim` have a `FROM` too.
fn in_subquery(before: &[Token<'_>], depth: usize) -> bool {
    let opening = before.iter().rposition(|token| token.is("(") && token.depth + 1 == depth);
    opening.and_then(|opening| before.get(opening + 1)).is_some_and(|first| first.is("SELECT"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(statement: &str) -> Result<Vec<String>, RenderError> {
        replicated(&Cluster { name: "lake".to_owned(), replicated: true }, "shardlake", statement)
    }

    fn becomes(statement: &str, expected: &[&str]) {
        assert_eq!(render(statement).unwrap(), expected, "{statement}");
    }

    #[test]
    fn a_table_is_replicated() {
        becomes(
            "-- ENGINE = Log\nCREATE TABLE IF NOT EXISTS a (b UInt8 COMMENT 'ENGINE = MergeTree') -- why\nENGINE = MergeTree\nORDER BY b SETTINGS non_replicated_deduplication_window = 10, x = 1",
            &[
                "-- ENGINE = Log\nCREATE TABLE IF NOT EXISTS a ON CLUSTER `lake` (b UInt8 COMMENT 'ENGINE = MergeTree') -- why\nENGINE = ReplicatedMergeTree('/clickhouse/tables/{uuid}/{shard}', '{replica}')\nORDER BY b SETTINGS replicated_deduplication_window_seconds = 604800, replicated_deduplication_window = 10, x = 1",
            ],
        );
        becomes(
            "CREATE TABLE a (b UInt8) ENGINE = ReplacingMergeTree(b) ORDER BY b",
            &[
                "CREATE TABLE a ON CLUSTER `lake` (b UInt8) ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{uuid}/{shard}', '{replica}', b) ORDER BY b",
            ],
        );
        becomes(
            "CREATE TABLE a (b UInt8) ENGINE = AggregatingMergeTree() ORDER BY b",
            &[
                "CREATE TABLE a ON CLUSTER `lake` (b UInt8) ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/{uuid}/{shard}', '{replica}') ORDER BY b",
            ],
        );
    }

    #[test]
    fn what_all_nodes_share_does_not_depend_on_the_shard() {
        let cluster = Cluster { name: "lake".to_owned(), replicated: true };
        let rendered = shared(&cluster, "shardlake", "CREATE TABLE a (b UInt8) ENGINE = MergeTree ORDER BY b").unwrap();
        assert_eq!(
            rendered,
            [
                "CREATE TABLE a ON CLUSTER `lake` (b UInt8) ENGINE = ReplicatedMergeTree('/clickhouse/tables/{uuid}/all', '{shard}-{replica}') ORDER BY b"
            ]
        );
    }

    #[test]
    fn the_whole_cluster_is_told() {
        for (statement, expected) in [
            ("DROP VIEW IF EXISTS a", "DROP VIEW IF EXISTS a ON CLUSTER `lake`"),
            ("DROP TABLE a SYNC", "DROP TABLE a ON CLUSTER `lake` SYNC"),
            ("RENAME TABLE IF EXISTS a TO b", "RENAME TABLE IF EXISTS a TO b ON CLUSTER `lake`"),
            ("EXCHANGE TABLES a AND b", "EXCHANGE TABLES a AND b ON CLUSTER `lake`"),
            ("CREATE OR REPLACE VIEW a AS SELECT 1", "CREATE OR REPLACE VIEW a ON CLUSTER `lake` AS SELECT 1"),
            (
                "CREATE MATERIALIZED VIEW IF NOT EXISTS a TO b AS SELECT c FROM d",
                "CREATE MATERIALIZED VIEW IF NOT EXISTS a ON CLUSTER `lake` TO b AS SELECT c FROM d",
            ),
            (
                "ALTER TABLE a MODIFY SETTING non_replicated_deduplication_window = 5",
                "ALTER TABLE a ON CLUSTER `lake` MODIFY SETTING replicated_deduplication_window_seconds = 604800, replicated_deduplication_window = 5",
            ),
        ] {
            becomes(statement, &[expected]);
        }
    }

    #[test]
    fn rows_are_copied_on_their_shard() {
        let to = "INSERT INTO FUNCTION cluster(`lake`, `shardlake`, `a`)";
        let select = "SETTINGS parallel_distributed_insert_select = 2 SELECT b + 1 FROM cluster(`lake`, `shardlake`, `old`) AS old";
        becomes(
            "CREATE OR REPLACE TABLE a (b UInt8) ENGINE = MergeTree ORDER BY b\nAS SELECT b + 1 FROM old WHERE b > 0",
            &[
                "CREATE OR REPLACE TABLE a ON CLUSTER `lake` (b UInt8) ENGINE = ReplicatedMergeTree('/clickhouse/tables/{uuid}/{shard}', '{replica}') ORDER BY b\nEMPTY AS SELECT b + 1 FROM old WHERE b > 0",
                &format!("{to} {select} WHERE b > 0"),
            ],
        );
        becomes("INSERT INTO a SELECT b + 1 FROM old", &[&format!("{to} {select}")]);
        becomes(
            "INSERT INTO a SELECT b + 1 FROM old WHERE b NOT IN (SELECT EXTRACT(DAY FROM b) FROM c, (SELECT b FROM d))",
            &[&format!(
                "{to} {select} WHERE b NOT IN (SELECT EXTRACT(DAY FROM b) FROM `shardlake`.c, (SELECT b FROM `shardlake`.d))"
            )],
        );
        becomes("INSERT INTO a (b)\nSELECT b + 1 FROM old", &[&format!("{to} (b)\n{select}")]);
    }

    #[test]
    fn what_cannot_be_rewritten_is_refused() {
        for statement in [
            "",
            "OPTIMIZE TABLE a FINAL",
            "CREATE TABLE",
            "CREATE TABLE a (b UInt8) ENGINE = Log",
            "CREATE TABLE a AS b",
            "CREATE TABLE a (b UInt8) ENGINE = ReplicatedMergeTree('/x', 'y') ORDER BY b",
            "INSERT INTO a VALUES (1)",
            "INSERT INTO a SELECT number FROM numbers(3)",
            "INSERT INTO a SELECT b FROM (SELECT b FROM c)",
            "INSERT INTO a SELECT b FROM c JOIN d USING b",
            "INSERT INTO a WITH 1 AS c SELECT b FROM d",
            "INSERT INTO a SELECT b FROM c UNION ALL SELECT b FROM d",
        ] {
            assert!(render(statement).is_err(), "{statement}");
        }
    }
}
