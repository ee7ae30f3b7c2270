//! A dashboard in Grafana's classic form, which file provisioning of Grafana 11.6 to 13 loads.
//!
//! Rows of panels become a grid of 24 columns: panels of a row stand side by side until there is no room, then begin a
//! new line. Ids are numbered, and every panel and target gets the data source that the variable `datasource` names.

use serde_json::{Value, json};

/// Width of Grafana's grid.
pub(crate) const GRID_COLUMNS: u64 = 24;

/// Thresholds of counts of what should not happen at all.
pub(crate) const ANY: &[(f64, &str)] = &[(1.0, "red")];

/// Thresholds of shares of failures: one in a hundred is a bug in a command, one in twenty is an outage.
pub(crate) const ERROR_RATIO: &[(f64, &str)] = &[(0.01, "orange"), (0.05, "red")];

/// What a dashboard asks its questions of.
pub(crate) struct Source {
    /// Type of the data source: the id of Grafana's plugin.
    pub(crate) plugin: &'static str,
    /// Uid that `grafana/provisioning/` gives it. Only the variable's first value: people may choose another one.
    pub(crate) uid: &'static str,
    /// Its name there.
    pub(crate) name: &'static str,
}

pub(crate) const CLICKHOUSE: Source =
    Source { plugin: "grafana-clickhouse-datasource", uid: "shardlake-clickhouse", name: "Shardlake (ClickHouse)" };

pub(crate) const PROMETHEUS: Source =
    Source { plugin: "prometheus", uid: "shardlake-prometheus", name: "Shardlake (Prometheus)" };

impl Source {
    /// How a panel names it.
    fn by_variable(&self) -> Value {
        json!({ "type": self.plugin, "uid": "${datasource}" })
    }
}

pub(crate) struct Dashboard<'a> {
    pub(crate) uid: &'a str,
    pub(crate) title: &'a str,
    pub(crate) description: &'a str,
    pub(crate) source: Source,
    /// The range it opens with, such as `now-6h`.
    pub(crate) from: &'a str,
    pub(crate) refresh: &'a str,
    /// What the variable `cluster` takes its values from, and what it says when all are meant.
    pub(crate) clusters: Clusters,
    /// Uid and title of the dashboards that are a click away, with the same clusters and range.
    pub(crate) others: &'a [(&'a str, &'a str)],
    pub(crate) rows: Vec<Row>,
}

pub(crate) struct Clusters {
    /// In the data source's language.
    pub(crate) query: Value,
    /// Put into queries as it is, without quotes or escapes.
    pub(crate) all: &'static str,
}

pub(crate) struct Row {
    pub(crate) title: &'static str,
    pub(crate) panels: Vec<Panel>,
}

pub(crate) struct Panel {
    width: u64,
    height: u64,
    body: Value,
}

impl Panel {
    /// A panel of Grafana's type `kind`.
    pub(crate) fn new(kind: &str, title: &str, description: &str, targets: &[Value]) -> Self {
        let (width, height) = if kind == "stat" { (3, 4) } else { (12, 8) };
        let body = json!({
            "type": kind,
            "title": title,
            "description": description,
            "targets": targets,
            "fieldConfig": { "defaults": {}, "overrides": [] },
            "options": {},
        });
        Self { width, height, body }
    }

    pub(crate) fn sized(mut self, width: u64, height: u64) -> Self {
        (self.width, self.height) = (width, height);
        self
    }

    /// Adds to its JSON: objects are merged, all else is replaced.
    pub(crate) fn with(mut self, more: Value) -> Self {
        merge(&mut self.body, more);
        self
    }

    /// Adds to what holds for all of its fields.
    pub(crate) fn with_defaults(self, defaults: Value) -> Self {
        let mut more = json!({});
        more["fieldConfig"]["defaults"] = defaults;
        self.with(more)
    }

    /// Adds what holds for the field of this name: pairs of a property's id and its value.
    pub(crate) fn with_override(mut self, field: &str, properties: Vec<(&str, Value)>) -> Self {
        let properties: Vec<Value> =
            properties.into_iter().map(|(id, value)| json!({ "id": id, "value": value })).collect();
        let overrides = self.body["fieldConfig"]["overrides"].as_array_mut().expect("every panel begins with a list");
        overrides.push(json!({ "matcher": { "id": "byName", "options": field }, "properties": properties }));
        self
    }

    /// Colours its values: from each value on the colour beside it, below the first one green.
    pub(crate) fn with_thresholds(self, steps: &[(f64, &str)]) -> Self {
        self.with_defaults(json!({ "color": { "mode": "thresholds" }, "thresholds": thresholds(steps) }))
    }
}

/// Green below the first step.
pub(crate) fn thresholds(steps: &[(f64, &str)]) -> Value {
    let mut all = vec![json!({ "color": "green", "value": null })];
    all.extend(steps.iter().map(|(value, color)| json!({ "color": color, "value": value })));
    json!({ "mode": "absolute", "steps": all })
}

/// Shows each word in the colour beside it.
pub(crate) fn colored_words(words: &[(&str, &str)]) -> Value {
    let options: serde_json::Map<String, Value> = (0..)
        .zip(words)
        .map(|(index, (word, color))| ((*word).to_owned(), json!({ "text": word, "color": color, "index": index })))
        .collect();
    json!([{ "type": "value", "options": options }])
}

/// One big number.
pub(crate) fn stat(title: &str, description: &str, unit: &str, target: Value) -> Panel {
    Panel::new("stat", title, description, &[target]).with_thresholds(&[]).with_defaults(json!({ "unit": unit })).with(
        json!({ "options": {
            "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
            "colorMode": "value",
            "graphMode": "area",
            "textMode": "value",
        } }),
    )
}

/// A line for each series. The legend ranks them, as a fleet has more than colours can tell apart.
pub(crate) fn timeseries(title: &str, description: &str, unit: &str, targets: &[Value]) -> Panel {
    Panel::new("timeseries", title, description, targets)
        .with_defaults(json!({
            "unit": unit,
            "color": { "mode": "palette-classic" },
            "custom": { "drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never" },
        }))
        .with(json!({ "options": {
            "legend": { "displayMode": "table", "placement": "right", "showLegend": true, "calcs": ["mean", "max"], "sortBy": "Max", "sortDesc": true },
            "tooltip": { "mode": "multi", "sort": "desc" },
        } }))
}

/// On top of each other: for what adds up.
pub(crate) fn stacked(panel: Panel) -> Panel {
    panel.with_defaults(json!({ "custom": { "fillOpacity": 40, "stacking": { "mode": "normal", "group": "A" } } }))
}

impl Dashboard<'_> {
    pub(crate) fn json(self) -> Value {
        let links: Vec<Value> = self.others.iter().map(|(uid, title)| link(uid, title)).collect();
        json!({
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["shardlake"],
            "schemaVersion": 42,
            "editable": false,
            "graphTooltip": 1,
            "refresh": self.refresh,
            "time": { "from": self.from, "to": "now" },
            "timezone": "browser",
            "annotations": { "list": [] },
            "links": links,
            "templating": { "list": [datasource_variable(&self.source), cluster_variable(&self.source, &self.clusters)] },
            "panels": laid_out(&self.source, self.rows),
        })
    }
}

fn link(uid: &str, title: &str) -> Value {
    json!({
        "type": "link",
        "title": title,
        "url": format!("/d/{uid}?${{cluster:queryparam}}"),
        "icon": "dashboard",
        "tooltip": "The same clusters and range",
        "keepTime": true,
        "includeVars": false,
        "targetBlank": false,
        "asDropdown": false,
        "tags": [],
    })
}

fn datasource_variable(source: &Source) -> Value {
    json!({
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": source.plugin,
        "current": { "text": source.name, "value": source.uid },
        "refresh": 1,
        "regex": "",
        "hide": 0,
        "multi": false,
        "includeAll": false,
        "options": [],
    })
}

fn cluster_variable(source: &Source, clusters: &Clusters) -> Value {
    json!({
        "name": "cluster",
        "label": "Cluster",
        "description": "Process of the bot, with its range of shards",
        "type": "query",
        "datasource": source.by_variable(),
        "query": clusters.query,
        "allValue": clusters.all,
        "current": { "text": ["All"], "value": ["$__all"] },
        "multi": true,
        "includeAll": true,
        "refresh": 2, // when the range changes: other clusters may have run then
        "sort": 3,    // by the number in the name
        "regex": "",
        "hide": 0,
        "options": [],
    })
}

fn laid_out(source: &Source, rows: Vec<Row>) -> Vec<Value> {
    let mut laid_out = Vec::new();
    let mut top = 0;
    for row in rows {
        laid_out.push(json!({
            "type": "row",
            "title": row.title,
            "collapsed": false,
            "panels": [],
            "gridPos": { "x": 0, "y": top, "w": GRID_COLUMNS, "h": 1 },
        }));
        top += 1;
        let (mut left, mut line_height) = (0, 0);
        for mut panel in row.panels {
            if left + panel.width > GRID_COLUMNS {
                top += line_height;
                (left, line_height) = (0, 0);
            }
            for target in panel.body["targets"].as_array_mut().into_iter().flatten() {
                target["datasource"] = source.by_variable();
            }
            merge(
                &mut panel.body,
                json!({
                    "datasource": source.by_variable(),
                    "gridPos": { "x": left, "y": top, "w": panel.width, "h": panel.height },
                }),
            );
            laid_out.push(panel.body);
            left += panel.width;
            line_height = line_height.max(panel.height);
        }
        top += line_height;
    }
    for (id, panel) in (1..).zip(&mut laid_out) {
        panel["id"] = Value::from(id);
    }
    laid_out
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}
