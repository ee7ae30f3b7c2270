//! Grafana's dashboards: made here, and held to everything short of a running Grafana.
//!
//! `grafana/dashboards/*.json` are written by this program. A panel on ClickHouse takes its SQL, title, description and
//! units from a question of the catalogue, so nothing of the SQL is written a second time; `fleet.rs`, `usage.rs` and
//! `live.rs` say which panels there are. After a change to the catalogue or to these files:
//!
//! ```sh
//! UPDATE=1 cargo test --test panels
//! ```
//!
//! writes the files anew. Without `UPDATE` the tests below hold them to it: the checked-in files are the generated ones,
//! every query brings an answer out of a real ClickHouse in the way that Grafana's plugin asks for it, every expression
//! is valid to Prometheus and names a series that is exported, and nothing is missing that only a look at the picture
//! would show.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod dashboard;
mod question;

mod fleet;
mod live;
mod usage;

mod lake;
mod plugin;

mod lints;
mod promql;
mod provisioning;

use std::{collections::BTreeSet, env, fs, path::Path};

use serde_json::Value;
use shardlake_queries::Catalogue;

use plugin::{RANGES, Selection};

const REGENERATE: &str = "UPDATE=1 cargo test --test panels";

/// The text of a file of this checkout.
fn read(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Path and contents of every dashboard.
fn dashboards() -> [(&'static str, Value); 3] {
    [
        ("grafana/dashboards/fleet.json", fleet::dashboard(&Catalogue::builtin())),
        ("grafana/dashboards/usage.json", usage::dashboard(&Catalogue::builtin())),
        ("grafana/dashboards/live.json", live::dashboard()),
    ]
}

/// The panels of a dashboard, without the headings of its rows.
fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row")
}

#[test]
fn checked_in_dashboards_are_the_generated_ones() {
    for (path, generated) in dashboards() {
        if env::var_os("UPDATE").is_some() {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
            fs::write(file, format!("{generated:#}\n")).unwrap();
        }
        let checked_in: Value = serde_json::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(checked_in == generated, "{path} is not what the catalogue gives now; run `{REGENERATE}`");
    }
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana/dashboards")).unwrap();
    assert_eq!(files.count(), dashboards().len(), "a file that nothing writes, or two that overwrite each other");
}

#[test]
fn every_question_has_a_panel() {
    let catalogue = Catalogue::builtin();
    let dashboards =
        [fleet::dashboard(&catalogue), usage::dashboard(&catalogue)].map(|dashboard| dashboard.to_string());
    let questions: BTreeSet<_> = catalogue.questions().map(|question| question.id()).collect();
    let shown = questions
        .iter()
        .filter(|id| dashboards.iter().any(|text| text.contains(&question::file(id))))
        .cloned()
        .collect();
    assert_eq!(questions, shown, "questions, and those that a panel shows");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_brings_an_answer() {
    let lake = lake::Lake::start().await;
    let catalogue = Catalogue::builtin();
    let [fleet, usage] = [fleet::dashboard(&catalogue), usage::dashboard(&catalogue)];
    let cluster = fleet["templating"]["list"].as_array().unwrap().iter().find(|variable| variable["name"] == "cluster");
    let cluster = cluster.unwrap();
    let every_cluster = BTreeSet::from(lake::CLUSTERS);

    for range in RANGES {
        let sql = cluster["query"]["rawSql"].as_str().unwrap();
        let answer = lake.ask(&plugin::expand(sql, range, lake.now_ms, 1_000, &Selection::All)).await;
        assert_eq!(
            BTreeSet::from_iter(answer.column("cluster")),
            every_cluster,
            "options of the variable `cluster` over {range:?}"
        );

        for panel in panels(&fleet).chain(panels(&usage)) {
            for selection in
                [Selection::All, Selection::Nothing, Selection::Some(&["it's"]), Selection::Some(&["0", "it's"])]
            {
                plugin::check(&lake, panel, range, &selection).await;
            }
        }
    }
    lake.stop().await;
}

#[test]
fn every_expression_is_valid() {
    promql::check_with_promtool(&dashboards());
}

#[test]
fn expressions_name_what_is_exported() {
    promql::every_name_is_exported(&dashboards());
}

#[test]
fn what_is_exported_is_shown() {
    promql::every_series_is_shown(&dashboards());
}

#[test]
fn dashboards_follow_the_rules() {
    for (path, dashboard) in dashboards() {
        let findings = lints::findings(&dashboard, &dashboards().map(|(_, dashboard)| dashboard));
        assert!(findings.is_empty(), "{path}\n{}", findings.join("\n"));
    }
}

#[test]
fn provisioning_fits_the_dashboards() {
    provisioning::check(&dashboards().map(|(_, dashboard)| dashboard));
}
