//! The service's documents, as far as the terminal shows them.

use serde::Deserialize;
use serde_json::{Map, Value};
use shardlake_queries::Unit;

/// `/v1`.
#[derive(Debug, Deserialize)]
pub(super) struct Catalogue {
    pub(super) questions: Vec<Question>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Question {
    pub(super) noun: String,
    pub(super) name: String,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) panel: String,
    pub(super) table: String,
    pub(super) parameters: Vec<Parameter>,
    pub(super) columns: Vec<Column>,
}

impl Question {
    pub(super) fn id(&self) -> String {
        format!("{}/{}", self.noun, self.name)
    }

    /// The unit of the column `name`. What is not declared names something.
    pub(super) fn unit(&self, name: &str) -> Unit {
        let declared = self.columns.iter().find(|column| column.name == name);
        let known = |column: &Column| Unit::ALL.iter().find(|unit| unit.as_str() == column.unit).copied();
        declared.and_then(known).unwrap_or(Unit::Text)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) default: Option<String>,
    pub(super) doc: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) unit: String,
    pub(super) doc: String,
}

/// `/v1/<noun>/<question>`.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    pub(super) columns: Vec<ColumnName>,
    #[serde(flatten)]
    pub(super) asked: Section,
    /// The range before, if it was asked for.
    pub(super) previous: Option<Section>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ColumnName {
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Section {
    pub(super) rows: Vec<Map<String, Value>>,
    pub(super) meta: Meta,
}

/// What is known of an answer.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Meta {
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) step: Option<String>,
    #[serde(default)]
    pub(super) time_zone: String,
    #[serde(default)]
    pub(super) table: String,
    #[serde(default)]
    pub(super) limited: bool,
    pub(super) next_cursor: Option<String>,
    #[serde(default)]
    pub(super) freshness: Vec<Freshness>,
    pub(super) complete: Option<bool>,
    #[serde(default)]
    pub(super) missing_batches: u64,
    #[serde(default)]
    pub(super) gaps: Vec<Gap>,
    #[serde(default)]
    pub(super) rows_read: u64,
    #[serde(default)]
    pub(super) elapsed_ms: f64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Freshness {
    pub(super) cluster: String,
    pub(super) behind_ms: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Gap {
    pub(super) cluster: String,
    pub(super) table: String,
    pub(super) first_batch: u64,
    pub(super) last_batch: u64,
    pub(super) missing: u64,
}
