//! What a dashboard can get wrong without any query failing: it would load, and show less than it should.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{dashboard::GRID_COLUMNS, panels, question::FORMAT_TIMESERIES};

/// Ids of `getValueFormats()` of Grafana 11.6 to 13 that we use. With any other, Grafana writes the id behind the number.
const UNITS: &[&str] =
    &["none", "short", "locale", "percentunit", "ms", "s", "bytes", "binBps", "cpm", "eps", "ops", "reqps", "rowsps"];

const PANEL_TYPES: &[&str] = &["stat", "timeseries", "table", "state-timeline"];

/// Everything that is wrong with `dashboard`, which is one of `all`.
pub(crate) fn findings(dashboard: &Value, all: &[Value]) -> Vec<String> {
    let mut findings = Vec::new();
    let mut expect = |is_right: bool, what: String| {
        if !is_right {
            findings.push(what);
        }
    };
    expect(dashboard["schemaVersion"] == 42, "schemaVersion is not 42".into());
    expect(dashboard["editable"] == false, "editable: what is changed in Grafana is lost with the next update".into());
    expect(dashboard["graphTooltip"] == 1, "panels do not share their crosshair".into());
    expect(dashboard.get("id").is_none(), "an id belongs to one Grafana, the uid to all".into());
    let same_uid = all.iter().filter(|other| other["uid"] == dashboard["uid"]).count();
    expect(same_uid == 1, format!("{same_uid} dashboards have the uid {}", dashboard["uid"]));

    let every_panel = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = every_panel.iter().map(|panel| panel["id"].as_u64()).collect();
    expect(ids.len() == every_panel.len() && !ids.contains(&None), "panels without an id of their own".into());
    for panel in panels(dashboard) {
        for what in panel_findings(panel) {
            expect(false, format!("panel {}: {what}", panel["title"]));
        }
    }
    findings.extend(grid_findings(every_panel));
    findings.extend(variable_findings(dashboard));
    walk(dashboard, &mut |key, value| {
        if key == "datasource" && value["uid"] != "${datasource}" {
            findings.push(format!("the data source {value} is fixed: people could not choose theirs"));
        }
        if let Some(uid) = value.as_str().and_then(|url| url.strip_prefix("/d/")?.split('?').next())
            && !all.iter().any(|dashboard| dashboard["uid"] == uid)
        {
            findings.push(format!("a link to {uid}, which is no dashboard of ours"));
        }
        if let Some(steps) = value["steps"].as_array() {
            let values: Vec<_> = steps.iter().map(|step| step["value"].as_f64()).collect();
            if values.first() != Some(&None) || !values.is_sorted() {
                findings.push(format!("thresholds that do not ascend from null: {value}"));
            }
        }
    });
    findings
}

fn panel_findings(panel: &Value) -> Vec<String> {
    let mut findings = Vec::new();
    let kind = panel["type"].as_str().unwrap_or_default();
    let is_text = |value: &Value| value.as_str().is_some_and(|text| !text.trim().is_empty());
    if !PANEL_TYPES.contains(&kind) {
        findings.push(format!("type {kind} is not one we know to work"));
    }
    if !is_text(&panel["title"]) || !is_text(&panel["description"]) {
        findings.push("it does not say what it shows: title and description".to_owned());
    }
    if panel["datasource"].is_null() {
        findings.push("no data source".to_owned());
    }

    let defaults = &panel["fieldConfig"]["defaults"];
    let overrides = panel["fieldConfig"]["overrides"].as_array().unwrap();
    let properties = overrides.iter().flat_map(|rule| rule["properties"].as_array().unwrap());
    let units = properties.filter(|property| property["id"] == "unit").map(|property| &property["value"]);
    for unit in units.chain(defaults.get("unit")) {
        if !unit.as_str().is_some_and(|unit| UNITS.contains(&unit)) {
            findings
                .push(format!("unit {unit} is not in the list of lints.rs: look it up in Grafana's getValueFormats()"));
        }
    }
    if matches!(kind, "stat" | "timeseries") && defaults["unit"].is_null() {
        findings.push("numbers without a unit".to_owned());
    }

    let targets = panel["targets"].as_array().unwrap();
    let ids: BTreeSet<_> = targets.iter().map(|target| target["refId"].as_str()).collect();
    if targets.is_empty() || ids.len() != targets.len() || ids.contains(&None) {
        findings.push("targets without a refId of their own".to_owned());
    }
    for target in targets {
        let Some(sql) = target["rawSql"].as_str() else { continue };
        if !sql.contains("$__fromTime_ms") || !sql.contains("$__toTime_ms") {
            findings.push("a query that ignores the range".to_owned());
        }
        if !sql.contains("${cluster:singlequote}") {
            findings.push("a query that ignores the chosen clusters".to_owned());
        }
        if (target["format"] == FORMAT_TIMESERIES) != (kind == "timeseries") {
            findings.push(format!("format {} in a panel of type {kind}", target["format"]));
        }
    }
    findings
}

/// Panels lie inside the grid and not on each other.
fn grid_findings(panels: &[Value]) -> Vec<String> {
    let mut findings = Vec::new();
    let place = |panel: &Value| ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
    for (index, panel) in panels.iter().enumerate() {
        let [x, y, w, h] = place(panel);
        if x + w > GRID_COLUMNS || w == 0 || h == 0 {
            findings.push(format!("{} is outside the grid: {}", panel["title"], panel["gridPos"]));
        }
        for other in &panels[index + 1..] {
            let [other_x, other_y, other_w, other_h] = place(other);
            if x < other_x + other_w && other_x < x + w && y < other_y + other_h && other_y < y + h {
                findings.push(format!("{} lies on {}", panel["title"], other["title"]));
            }
        }
    }
    findings
}

/// Variables that are used are defined, and the other way round.
fn variable_findings(dashboard: &Value) -> Vec<String> {
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let defined: BTreeSet<_> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    let mut used = BTreeSet::new();
    walk(dashboard, &mut |_, value| {
        for text in value.as_str().into_iter().flat_map(|text| text.split('$').skip(1)) {
            let text = text.trim_start_matches('{');
            let end = text.find(|char: char| !char.is_ascii_alphanumeric() && char != '_').unwrap_or(text.len());
            used.insert(text[..end].to_owned());
        }
    });
    let ours: BTreeSet<_> = used.iter().map(String::as_str).filter(|name| !name.starts_with("__")).collect();
    let difference = ours.symmetric_difference(&defined);
    difference.map(|name| format!("the variable {name} is used and not defined, or defined and not used")).collect()
}

/// Calls `visit` with every value, and the key it has in its object.
fn walk<'a>(value: &'a Value, visit: &mut impl FnMut(&str, &'a Value)) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                visit(key, value);
                walk(value, visit);
            }
        }
        Value::Array(values) => {
            for value in values {
                visit("", value);
                walk(value, visit);
            }
        }
        _ => {}
    }
}
