//! What can be said about the tables of a database, each as one fact that can be compared.

use std::collections::{BTreeMap, BTreeSet};

use clickhouse::{Client, error::Result};

use super::Verified;

/// Facts by what they are about. A thing is a table, or a part of one: `interactions.time`, `interactions setting x`.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Tables and views.
    tables: BTreeSet<String>,
    /// Of each thing, what is said about it: `type`, `comment` and so on.
    things: BTreeMap<Thing, BTreeMap<String, String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Thing {
    table: String,
    part: Part,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Whole,
    Column(String),
    Index(String),
    Projection(String),
    Setting(String),
}

impl Part {
    fn named(kind: &str, name: String) -> Self {
        match kind {
            "column" => Self::Column(name),
            "index" => Self::Index(name),
            "projection" => Self::Projection(name),
            "setting" => Self::Setting(name),
            _ => Self::Whole,
        }
    }
}

/// Each says of every part of every table what is to be said about it.
const QUESTIONS: [&str; 5] = [
    // Engine with its arguments; the rest of `engine_full` has facts of its own, or is retention.
    r"SELECT name AS table, '' AS kind, '' AS part, [
        ('engine', extract(engine_full, '^(\\w+(?:\\([^()]*\\))?)')),
        ('kind', engine),
        ('partition key', partition_key), ('sorting key', sorting_key), ('primary key', primary_key),
        ('sampling key', sampling_key), ('comment', comment), ('query', as_select),
        ('target', extract(create_table_query, '^CREATE MATERIALIZED VIEW \\S+ TO (\\S+)'))] AS said
    FROM system.tables WHERE database = {database:String}",
    r"SELECT name AS table, 'setting' AS kind, extract(setting, '^(\\w+) = ') AS part, [('value', extract(setting, ' = (.*)$'))] AS said
    FROM system.tables ARRAY JOIN splitByString(', ', extract(engine_full, ' SETTINGS (.*)$')) AS setting
    WHERE database = {database:String} AND setting != ''",
    "SELECT table, 'column' AS kind, name AS part, [('type', type), ('default', trim(concat(default_kind, ' ', default_expression))),
        ('codec', compression_codec), ('comment', comment)] AS said
    FROM system.columns WHERE database = {database:String}",
    "SELECT table, 'index' AS kind, name AS part, [('type', type_full), ('expression', expr), ('granularity', toString(granularity))] AS said
    FROM system.data_skipping_indices WHERE database = {database:String}",
    "SELECT table, 'projection' AS kind, name AS part, [('query', query)] AS said
    FROM system.projections WHERE database = {database:String}",
];

/// The migrator's own tables are no part of the schema.
const BOOKKEEPING: [&str; 3] = ["migrations", "migration_statements", "migration_lock"];

impl Facts {
    /// Reads all facts about `database`; there are none about one that is not there.
    pub(super) async fn read(client: &Client, database: &str) -> Result<Self> {
        let mut facts = Self::default();
        for question in QUESTIONS {
            let sql = format!("SELECT table, kind, part, fact.1, fact.2 FROM ({question}) ARRAY JOIN said AS fact");
            let rows: Vec<(String, String, String, String, String)> =
                client.query_raw(&sql).param("database", database).fetch_all().await?;
            for (table, kind, part, what, value) in rows {
                if BOOKKEEPING.contains(&table.as_str()) {
                    continue;
                }
                let value = if what == "comment" { value } else { without_database(&value, database) };
                facts.tables.insert(table.clone());
                let thing = Thing { table, part: Part::named(&kind, part) };
                facts.things.entry(thing).or_default().insert(what, value);
            }
        }
        Ok(facts)
    }

    /// Notes where `self`, the live schema, differs from what is expected.
    pub(super) fn compare(&self, expected: &Self, verified: &mut Verified) {
        for table in expected.tables.difference(&self.tables) {
            verified.drift.push(format!("{table} is missing"));
        }
        for table in self.tables.difference(&expected.tables) {
            verified.notes.push(format!("{table} is not of this build's making"));
        }
        let in_both = |thing: &Thing| self.tables.contains(&thing.table) && expected.tables.contains(&thing.table);
        for (thing, facts) in expected.things.iter().filter(|(thing, _)| in_both(thing)) {
            let Some(live) = self.things.get(thing) else {
                verified.drift.push(format!("{thing} is missing"));
                continue;
            };
            for (what, expected) in facts {
                let found = live.get(what).map_or("", String::as_str);
                if found != expected {
                    verified.drift.push(format!("{thing}: {what} is `{found}`, this build makes `{expected}`"));
                }
            }
        }
        for thing in self.things.keys().filter(|thing| in_both(thing) && !expected.things.contains_key(thing)) {
            let line = format!("{thing} is not of this build's making");
            // What somebody tunes does not change what the tables mean.
            if matches!(thing.part, Part::Setting(_)) { &mut verified.notes } else { &mut verified.drift }.push(line);
        }
    }
}

impl std::fmt::Display for Thing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let table = &self.table;
        match &self.part {
            Part::Whole => f.write_str(table),
            Part::Column(name) => write!(f, "{table}.{name}"),
            Part::Index(name) => write!(f, "{table} index {name}"),
            Part::Projection(name) => write!(f, "{table} projection {name}"),
            Part::Setting(name) => write!(f, "{table} setting {name}"),
        }
    }
}

/// A query or an expression with its tables named as in the migrations.
fn without_database(sql: &str, database: &str) -> String {
    sql.replace(&format!("`{database}`."), "").replace(&format!("{database}."), "")
}
