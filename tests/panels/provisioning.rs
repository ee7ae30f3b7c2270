//! The files that tell a Grafana about its data sources and dashboards.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    dashboard::{CLICKHOUSE, PROMETHEUS},
    read,
};

const DATASOURCES: &str = "grafana/provisioning/datasources/shardlake.yaml";
const DASHBOARDS: &str = "grafana/provisioning/dashboards/shardlake.yaml";
const README: &str = "grafana/README.md";

/// Both files parse, and the data sources are the ones that the dashboards begin with.
pub(crate) fn check(dashboards: &[Value]) {
    let datasources = yaml(DATASOURCES);
    let datasources = datasources["datasources"].as_array().unwrap();
    for dashboard in dashboards {
        let variable = &dashboard["templating"]["list"][0];
        let source = [CLICKHOUSE, PROMETHEUS].into_iter().find(|source| variable["current"]["value"] == source.uid);
        let source = source.unwrap_or_else(|| panic!("{} begins with no source of ours", dashboard["title"]));
        assert_eq!(variable["query"], source.plugin, "{}", dashboard["title"]);
        let provisioned = datasources.iter().find(|provisioned| provisioned["uid"] == source.uid);
        let provisioned = provisioned.unwrap_or_else(|| panic!("{DATASOURCES}: no uid {}", source.uid));
        assert_eq!(provisioned["type"], source.plugin, "{DATASOURCES}: {}", source.uid);
        assert_eq!(provisioned["name"], source.name, "{DATASOURCES}: {}", source.uid);
        assert_eq!(provisioned["editable"], false, "{DATASOURCES}: {}", source.uid);
    }
    assert_eq!(datasources.len(), 2, "{DATASOURCES}");

    let clickhouse = datasources.iter().find(|source| source["uid"] == CLICKHOUSE.uid).unwrap();
    for (key, value) in [("protocol", "http"), ("username", "reader"), ("defaultDatabase", "shardlake")] {
        assert_eq!(clickhouse["jsonData"][key], value, "{DATASOURCES}: {key}");
    }
    let password = clickhouse["secureJsonData"]["password"].as_str().unwrap();
    assert!(password.starts_with('$'), "{DATASOURCES}: the password does not come from the environment");

    let providers = yaml(DASHBOARDS);
    let provider = &providers["providers"][0];
    assert_eq!(provider["type"], "file", "{DASHBOARDS}");
    assert_eq!(provider["allowUiUpdates"], false, "{DASHBOARDS}: changes made in Grafana would not last");
    let readme = read(README);
    let folder = provider["options"]["path"].as_str().unwrap();
    assert!(readme.contains(folder), "{README} does not name the folder of the dashboards, {folder}");
    for name in variables(DATASOURCES).union(&variables(DASHBOARDS)) {
        assert!(readme.contains(name), "{README} does not name the environment variable {name}");
    }
}

fn yaml(path: &str) -> Value {
    let value: Value = serde_saphyr::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(value["apiVersion"], 1, "{path}");
    value
}

/// Names of the environment variables that a file reads: `$NAME`.
fn variables(path: &str) -> BTreeSet<String> {
    let is_part = |char: char| char.is_ascii_uppercase() || char.is_ascii_digit() || char == '_';
    let text = read(path);
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let names = lines.flat_map(|line| line.split('$').skip(1));
    names.map(|name| name.chars().take_while(|char| is_part(*char)).collect()).collect()
}
