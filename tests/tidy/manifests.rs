//! Manifests: one table of versions, one table of lints, and dependencies that follow the data.

use crate::house::{File, Finding, House, folder};

const ROOT: &str = "Cargo.toml";

/// Which of our packages each folder may depend on outside tests. Queries and ingest meet only in the tables.
const FLOW: &[(&str, &[&str])] = &[
    ("", &[]), // the root package has only tests and benches
    ("schema", &[]),
    ("simulator", &[]),
    ("ingest", &["schema"]),
    ("embedded", &[]),
    ("queries", &["schema"]),
    ("cli", &["schema", "simulator", "ingest", "embedded", "queries"]),
];

/// One `key = value` of a manifest.
struct Entry<'a> {
    line: usize,
    section: &'a str,
    key: &'a str,
    value: &'a str,
}

/// The entries of `text`. Ours are one line each; what continues a value has no key and is left out.
fn entries(text: &str) -> impl Iterator<Item = Entry<'_>> {
    let mut section = "";
    (1..).zip(text.lines()).filter_map(move |(line, text)| {
        let text = text.trim();
        if text.starts_with('[') && text.contains(']') && !text.contains('=') {
            section = text.split('#').next().unwrap_or_default().trim().trim_matches(['[', ']']);
        }
        let (key, value) = text.split_once('=')?;
        let named = !key.starts_with(['#', '"', '[', '{']);
        named.then(|| Entry { line, section, key: key.trim(), value: value.trim() })
    })
}

fn packages(house: &House) -> impl Iterator<Item = &File> {
    house.files.iter().filter(|file| file.path == ROOT || file.path.ends_with("/Cargo.toml"))
}

/// A package outside the workspace is neither built nor tested.
pub(crate) fn packages_are_members(house: &House) -> Vec<Finding> {
    let root = house.file(ROOT).map_or("", |file| &file.text);
    let list = entries(root).find(|entry| (entry.section, entry.key) == ("workspace", "members"));
    let members: Vec<_> = list.map(|entry| entry.value.split('"').skip(1).step_by(2).collect()).unwrap_or_default();
    let outside = |file: &&File| file.path != ROOT && !members.contains(&folder(&file.path));
    let what = "not in the `members` of the workspace: nothing builds or tests it";
    packages(house).filter(outside).map(|file| Finding::new(file, 1, what)).collect()
}

/// `[lints] workspace = true`.
pub(crate) fn lints_are_inherited(house: &House) -> Vec<Finding> {
    let inherits = |file: &&File| {
        entries(&file.text).any(|entry| (entry.section, entry.key, entry.value) == ("lints", "workspace", "true"))
    };
    let what = "no `[lints] workspace = true`: this package would follow no rule of ours";
    packages(house).filter(|file| !inherits(file)).map(|file| Finding::new(file, 1, what)).collect()
}

/// Every dependency takes its version from the table in the root.
pub(crate) fn versions_are_inherited(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in packages(house) {
        for entry in entries(&file.text) {
            let (key, value) = (entry.key, entry.value);
            let inherited = key.ends_with(".workspace") && value == "true" || value.contains("workspace = true");
            let what = match entry.section.rsplit_once("dependencies.") {
                Some((table, name)) if table != "workspace." => {
                    format!("`{name}` in a table of its own: one line each")
                }
                None if !entry.section.ends_with("dependencies") || entry.section == "workspace.dependencies" => {
                    continue;
                }
                _ if inherited => continue,
                _ => format!(
                    "`{key}` has a version of its own: add it to [workspace.dependencies], say `{key}.workspace = true`"
                ),
            };
            findings.push(Finding::new(
                file,
                entry.line,
                format!("{what}, so that a crate has one version everywhere"),
            ));
        }
    }
    findings
}

/// Nobody depends on what comes later in the flow. Dev-dependencies are free.
pub(crate) fn dependencies_follow_the_flow(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in packages(house) {
        let Some((name, allowed)) = FLOW.iter().find(|(name, _)| *name == folder(&file.path)) else {
            findings.push(Finding::new(
                file,
                1,
                "tests/tidy/manifests.rs does not say on what this package may depend",
            ));
            continue;
        };
        for entry in entries(&file.text) {
            let counts = entry.section.ends_with("dependencies")
                && !entry.section.ends_with("dev-dependencies")
                && entry.section != "workspace.dependencies";
            let Some(ours) = entry.key.split('.').next().and_then(|key| key.strip_prefix("shardlake-")) else {
                continue;
            };
            if counts && !allowed.contains(&ours) {
                let name = if name.is_empty() { "the root package" } else { name };
                let what = format!("{name} may not depend on {ours}: data flows one way, and so do dependencies");
                findings.push(Finding::new(file, entry.line, what));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rule: fn(&House) -> Vec<Finding>, path: &str, text: &str) -> usize {
        let root = "[workspace]\n# In order.\nmembers = [\"schema\", \"ingest\"]\n[workspace.dependencies]\nserde = \"1\"\nshardlake-cli = { path = \"x\" }\n[lints]\nworkspace = true\n";
        rule(&House::of(&[(ROOT, root), (path, text)])).len()
    }

    #[test]
    fn packages_outside_the_workspace_are_found() {
        assert_eq!(found(packages_are_members, "ingest/Cargo.toml", ""), 0);
        assert_eq!(found(packages_are_members, "tools/Cargo.toml", ""), 1);
    }

    #[test]
    fn packages_without_our_lints_are_found() {
        assert_eq!(found(lints_are_inherited, "ingest/Cargo.toml", "[lints]\nworkspace = true\n"), 0);
        for text in ["", "[lints]\nworkspace = false\n", "[lints]\n# workspace = true\n", "[x]\nworkspace = true\n"] {
            assert_eq!(found(lints_are_inherited, "ingest/Cargo.toml", text), 1, "{text}");
        }
    }

    #[test]
    fn versions_of_their_own_are_found() {
        for text in [
            "[dependencies]\nserde = \"1\"",
            "[dev-dependencies]\nserde = { version = \"1\" }",
            "[target.'cfg(unix)'.dependencies]\nserde = { path = \"../serde\" }",
            "[build-dependencies]\nserde.version = \"1\"",
            "[dependencies.serde]\nworkspace = true",
        ] {
            assert_eq!(found(versions_are_inherited, "ingest/Cargo.toml", text), 1, "{text}");
        }
        let fine = "[package]\nversion = \"1\"\n[dependencies]\na.workspace = true\n# b = \"1\"\nc = { workspace = true, features = [\n\"x\",\n] }\n";
        assert_eq!(found(versions_are_inherited, "ingest/Cargo.toml", fine), 0);
    }

    #[test]
    fn dependencies_against_the_flow_are_found() {
        for (path, text, expected) in [
            ("ingest/Cargo.toml", "[dependencies]\nshardlake-schema.workspace = true", 0),
            ("ingest/Cargo.toml", "[dev-dependencies]\nshardlake-queries.workspace = true", 0),
            ("ingest/Cargo.toml", "[dependencies]\nshardlake-queries.workspace = true", 1),
            ("schema/Cargo.toml", "[build-dependencies]\nshardlake-ingest = { workspace = true }", 1),
            ("embedded/Cargo.toml", "[target.x.dependencies]\nshardlake-schema.workspace = true", 1),
            (
                "cli/Cargo.toml",
                "[dependencies]\nshardlake-schema.workspace = true\nshardlake-queries.workspace = true",
                0,
            ),
            ("unheard-of/Cargo.toml", "", 1),
        ] {
            assert_eq!(found(dependencies_follow_the_flow, path, text), expected, "{path} {text}");
        }
    }
}
