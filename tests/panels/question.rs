//! A question of the catalogue as a panel: its SQL with the plugin's macros in the place of its parameters, its words,
//! its units.

use serde_json::{Value, json};
use shardlake_queries::{Catalogue, Kind, Parameter, Question, Unit};

use crate::dashboard::{Panel, Source, colored_words, stat, timeseries};

/// The values of the variable `cluster` as an array of strings. Empty text is no cluster: it stands for all of them
/// ([`ALL_CLUSTERS`]), and is what Grafana writes when there is nothing to choose from. `singlequote` escapes quotes.
const CLUSTER_VARIABLE: &str = "arrayFilter(name -> name != '', CAST([${cluster:singlequote}], 'Array(String)'))";

/// What the variable `cluster` says for all: one empty text. Catalogue questions take an empty array for all clusters.
pub(crate) const ALL_CLUSTERS: &str = "''";

/// The target's `format` of the plugin: frames for time series.
pub(crate) const FORMAT_TIMESERIES: u64 = 0;
/// The rows as they are.
const FORMAT_TABLE: u64 = 1;

/// A question, and what of its answer is wanted.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    question: &'a Question,
    /// What is selected from the answer, and what follows `FROM`; `None`: the answer as it is.
    selected: Option<(&'static str, &'static str)>,
    any_cluster: bool,
    /// A parameter, and what stands for it whatever Grafana or the header would say.
    given: Option<(&'static str, &'static str)>,
}

/// The question `id`.
///
/// # Panics
/// If there is none.
pub(crate) fn all<'a>(catalogue: &'a Catalogue, id: &str) -> View<'a> {
    let question = catalogue.get(id).unwrap_or_else(|| panic!("the catalogue has no question {id}"));
    View { question, selected: None, any_cluster: false, given: None }
}

/// The file of a question, as the first line of its SQL names it.
pub(crate) fn file(id: &str) -> String {
    format!("queries/catalogue/{id}.sql")
}

impl<'a> View<'a> {
    /// `SELECT columns FROM (the answer) rest`. Only for choosing columns or rows and for totals: what is more than that
    /// belongs into the question.
    pub(crate) fn select(self, columns: &'static str, rest: &'static str) -> Self {
        Self { selected: Some((columns, rest)), ..self }
    }

    /// With `value` for the parameter `name`; a width of buckets in seconds.
    pub(crate) fn given(self, name: &'static str, value: &'static str) -> Self {
        assert!(self.question.parameter(name).is_some(), "{} has no parameter {name}", self.question.id());
        Self { given: Some((name, value)), ..self }
    }

    /// Whatever the variable `cluster` says.
    pub(crate) fn of_any_cluster(self) -> Self {
        Self { any_cluster: true, ..self }
    }

    pub(crate) fn sql(self) -> String {
        let question = self.question;
        let statement = question.sql.lines().skip_while(|line| line.starts_with("--"));
        let mut sql = statement.collect::<Vec<_>>().join("\n").trim().trim_end_matches(';').to_owned();
        for parameter in &question.parameters {
            let placeholder = format!("{{{}:{}}}", parameter.name, parameter.kind.sql_type());
            let missed = sql.replace(&placeholder, "").contains(&format!("{{{}", parameter.name));
            assert!(!missed, "{}: write every {placeholder} just like this", question.id());
            sql = sql.replace(&placeholder, &self.bind(parameter));
        }
        sql = sql.replace("{edges:Array(Int64)}", &self.edges()).replace("{offset:UInt64}", "0");
        let head = format!("-- {}, generated: edit it there", file(&question.id()));
        match self.selected {
            None => format!("{head}\n{sql}"),
            Some((columns, rest)) => {
                let indented = sql.replace('\n', "\n    ");
                format!("{head}\nSELECT {columns}\nFROM\n(\n    {indented}\n)\n{rest}").trim_end().to_owned()
            }
        }
    }

    /// What stands for a parameter: the plugin's macro, a variable, or else the parameter's own default.
    fn bind(self, parameter: &Parameter) -> String {
        let default = || {
            let id = self.question.id();
            let given = self.given_value(&parameter.name).or(parameter.default.as_deref());
            given.unwrap_or_else(|| panic!("{id}: a panel needs a value for {}", parameter.name))
        };
        let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
        match (parameter.name.as_str(), parameter.kind) {
            // The macros give times in the zone of the server.
            ("from", _) => "toTimeZone($__fromTime_ms, 'UTC')".to_owned(),
            ("to", _) => "toTimeZone($__toTime_ms, 'UTC')".to_owned(),
            (_, Kind::Step) => self.step(),
            ("cluster", Kind::Many(_)) if !self.any_cluster => CLUSTER_VARIABLE.to_owned(),
            (_, Kind::Many(_)) => {
                let elements = default().split(',').filter(|element| *element != "[]").map(quoted).collect::<Vec<_>>();
                format!("CAST([{}], '{}')", elements.join(", "), parameter.kind.sql_type())
            }
            (_, Kind::One(_) | Kind::Zone | Kind::Word) => {
                format!("CAST({}, '{}')", quoted(default()), parameter.kind.sql_type())
            }
            (name, Kind::Time) => panic!("{}: no macro stands for {name}", self.question.id()),
        }
    }

    fn given_value(self, name: &str) -> Option<&'static str> {
        self.given.filter(|(given, _)| *given == name).map(|(_, value)| value)
    }

    /// The width of a bucket that Grafana chooses, seconds.
    fn step(self) -> String {
        match (self.given_value("step"), self.question.min_step_s) {
            (Some(seconds), _) => seconds.to_owned(),
            (None, 1) => "$__interval_s".to_owned(),
            // Buckets of 15 s would hold one or two of the 10 s windows by turns.
            (None, min_s) => format!("toUInt32({min_s} * ceil($__interval_s / {min_s}))"),
        }
    }

    /// The edges of buckets of that width in UTC, a constant.
    fn edges(self) -> String {
        let step_ms = format!("1000 * toInt64({})", self.step());
        let ms = |end: &str| format!("toUnixTimestamp64Milli($__{end}Time_ms)");
        let (from, to) = (ms("from"), ms("to"));
        format!("range({from} - {from} % ({step_ms}), {to} + {step_ms}, {step_ms})")
    }

    pub(crate) fn target(self, format: u64) -> Value {
        json!({
            "refId": "A",
            "editorType": "sql",
            "format": format,
            "queryType": if format == FORMAT_TIMESERIES { "timeseries" } else { "table" },
            "rawSql": self.sql(),
        })
    }

    /// One big number.
    pub(crate) fn stat(self, title: &str, description: &str, unit: &str) -> Panel {
        stat(title, description, unit, self.target(FORMAT_TABLE)).with(json!({ "options": { "graphMode": "none" } }))
    }

    /// A line for each combination of names: for each cluster, say, or for each of its shards.
    ///
    /// # Panics
    /// If the view selects no column of the question with a measure.
    pub(crate) fn timeseries(self, title: &str) -> Panel {
        let (measure, doc) = self
            .columns()
            .find(|(_, column)| column.unit.is_measure())
            .map(|(_, column)| (column.unit, &column.doc))
            .expect("a time series measures something");
        let description = format!("{doc}.\n\n{}", self.question.description);
        let mut panel = timeseries(title, &description, unit(measure, "short"), &[self.target(FORMAT_TIMESERIES)]);
        if self.question.min_step_s > 1 {
            panel = panel.with(json!({ "interval": format!("{}s", self.question.min_step_s) }));
        }
        let names = self.columns().filter(|(_, column)| matches!(column.unit, Unit::Id | Unit::Text));
        let labels: Vec<String> = names.map(|(name, _)| format!("${{__field.labels.{name}}}")).collect();
        if labels.is_empty() {
            return self.columns().fold(panel, |panel, (name, column)| {
                panel.with_override(name, vec![("displayName", heading(name, column.unit).into())])
            });
        }
        panel.with_defaults(json!({ "displayName": labels.join(" / ") }))
    }

    /// Rows and columns, each column with its unit.
    pub(crate) fn table(self, title: &str) -> Panel {
        let docs: Vec<String> = self
            .columns()
            .map(|(name, column)| format!("- **{}**: {}", heading(name, column.unit), column.doc))
            .collect();
        let description = format!("{}\n\n{}", self.question.description, docs.join("\n"));
        let panel = Panel::new("table", title, &description, &[self.target(FORMAT_TABLE)])
            .sized(24, 8)
            .with(json!({ "options": { "cellHeight": "sm", "showHeader": true } }))
            .with_defaults(json!({ "custom": { "align": "auto", "filterable": true } }));
        self.columns().fold(panel, |panel, (name, column)| {
            let mut properties = vec![("displayName", Value::from(heading(name, column.unit)))];
            if column.unit.is_measure() {
                properties.push(("unit", unit(column.unit, "locale").into()));
            }
            if name == "cluster" {
                let link = json!({ "title": "Live, this cluster", "url": "/d/shardlake-live?var-cluster=${__value.raw}&${__url_time_range}" });
                properties.push(("links", json!([link])));
            }
            panel.with_override(name, properties)
        })
    }

    /// A band for each shard.
    pub(crate) fn shard_states(self, title: &str, colors: &[(&str, &str)]) -> Panel {
        Panel::new("state-timeline", title, &self.question.description, &[self.target(FORMAT_TABLE)])
            .sized(24, 10)
            .with_defaults(json!({
                "displayName": "${__field.labels.cluster} / ${__field.labels.shard}",
                "color": { "mode": "fixed", "fixedColor": "text" },
                "mappings": colored_words(colors),
                "custom": { "lineWidth": 0, "fillOpacity": 80, "spanNulls": true }, // a state lasts until the next
            }))
            .with(json!({
                "transformations": [{ "id": "partitionByValues", "options": { "fields": ["cluster", "shard"], "keepFields": false, "naming": { "asLabels": true } } }],
                "options": {
                    "mergeValues": true,
                    "showValue": "never",
                    "alignValue": "left",
                    "rowHeight": 0.9,
                    "perPage": 40,
                    "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true },
                    "tooltip": { "mode": "single", "sort": "none" },
                },
            }))
    }

    /// The columns of the question that the view shows unchanged, in its order.
    fn columns(self) -> impl Iterator<Item = (&'a str, &'a shardlake_queries::Column)> {
        let names: Vec<&str> = match self.selected {
            None => self.question.columns.iter().map(|column| column.name.as_str()).collect(),
            Some((columns, _)) => columns.split(',').map(str::trim).collect(),
        };
        let column = |name| self.question.columns.iter().find(move |column| column.name == name);
        names.into_iter().filter_map(move |name| column(name).map(|column| (column.name.as_str(), column)))
    }
}

/// A column's name for people: the unit stands beside each value already.
fn heading(name: &str, unit: Unit) -> String {
    let name = match unit {
        Unit::Milliseconds => name.trim_end_matches("_ms"),
        Unit::Seconds => name.trim_end_matches("_s"),
        _ => name,
    };
    let name = name.replace('_', " ");
    name[..1].to_uppercase() + &name[1..]
}

/// Grafana's id of a unit.
fn unit(unit: Unit, count: &'static str) -> &'static str {
    match unit {
        Unit::Id | Unit::Text | Unit::Time => "none",
        Unit::Count => count,
        Unit::Ratio => "percentunit",
        Unit::Milliseconds => "ms",
        Unit::Seconds => "s",
        Unit::Bytes => "bytes",
        Unit::PerSecond => "eps",
        Unit::BytesPerSecond => "binBps",
    }
}

/// How the variable `cluster` finds its values.
pub(crate) fn clusters_query(catalogue: &Catalogue, source: &Source) -> Value {
    let sql = all(catalogue, "clusters/list").of_any_cluster().select("cluster", "").sql();
    json!({ "refId": format!("{}-clusters", source.uid), "editorType": "sql", "rawSql": sql })
}
