//! What `deploy/` holds is accepted by the programs that read it, and speaks of what exists.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const PROMTOOL: &str = "run `make prometheus`, which installs promtool";
const SYSTEMD_ANALYZE: &str = "run `make systemd`, which installs systemd-analyze";

/// Tenths of systemd's score of what a service could still do to its host, 0 to 100; below 20 systemd calls it OK.
const MOST_EXPOSURE: &str = "--threshold=20";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs `program` in `folder`, which must be content.
fn run(program: &str, if_missing: &str, folder: &Path, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap_or_else(|error| panic!("{program} does not start ({error}): {if_missing}"));
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (said(&output.stdout), said(&output.stderr));
    assert!(output.status.success(), "{program} {}: {}\n{out}{err}", arguments.join(" "), output.status);
}

fn promtool(arguments: &[&str]) {
    run("promtool", PROMTOOL, &root().join("deploy/prometheus"), arguments);
}

#[test]
fn prometheus_accepts_its_configuration() {
    promtool(&["check", "config", "prometheus.yml"]);
}

#[test]
fn prometheus_accepts_the_rules() {
    promtool(&["check", "rules", "rules.yml"]);
}

#[test]
fn alerts_fire_when_they_should_and_only_then() {
    promtool(&["test", "rules", "rules_test.yml"]);

    let (rules, tests) = (read("deploy/prometheus/rules.yml"), read("deploy/prometheus/rules_test.yml"));
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let cases: Vec<_> = tests.split(&format!("alertname: {alert}\n")).skip(1).collect();
        let silent = |case: &&&str| case.trim_start().starts_with("exp_alerts: []");
        let silences = cases.iter().filter(silent).count();
        assert!(
            silences > 0 && silences < cases.len(),
            "rules_test.yml lacks a case where {alert} fires, or where not"
        );
    }
}

#[test]
fn every_series_in_the_rules_exists() {
    let sources = ["ingest/src/metrics.rs", "ingest/src/metrics/inserts.rs", "ingest/src/metrics/live.rs"];
    let declared = sources.map(read).concat();
    let missing = undeclared(&read("deploy/prometheus/rules.yml"), &declared);
    assert!(
        missing.is_empty(),
        "ingest/src/metrics.rs and metrics/ declare no {missing:?}, yet rules.yml asks for them"
    );
}

#[test]
fn a_series_that_does_not_exist_is_found() {
    let metrics = r#"Opts::new("discord_up", "x"), histogram("discord_seconds", "x")"#;
    let rules = "- record: cluster:discord_seconds:p95\n expr: f(discord_seconds_bucket) / discord_up\n";
    assert!(undeclared(rules, metrics).is_empty());
    let rules = "expr: discord_u + discord_up_ + cluster:discord_seconds:p95 + argus_x{job=\"shardlake-cluster\"}";
    assert_eq!(undeclared(rules, metrics).len(), 4);
}

/// The series in `rules` that are neither recorded there nor declared in `metrics`.
fn undeclared(rules: &str, metrics: &str) -> BTreeSet<String> {
    let words = rules.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    let ours =
        |word: &&str| ["discord_", "argus_", "shardlake_", "cluster:"].iter().any(|start| word.starts_with(start));
    let exists = |word: &str| {
        let family = ["_bucket", "_count", "_sum"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word);
        rules.contains(&format!("record: {word}\n")) || metrics.contains(&format!("\"{family}\""))
    };
    let words = words.map(|word| word.trim_end_matches(':')).filter(ours).filter(|word| word.contains('_'));
    words.filter(|word| !exists(word)).map(str::to_owned).collect()
}

/// Where units look for the program.
const PROGRAM: &str = "/usr/local/bin/shardlake";

/// A program for units that exists, as systemd wants it: on this machine ours does not, and any stands in for it.
fn stand_in() -> String {
    let path = std::env::current_exe().expect("this program has a path");
    path.into_os_string().into_string().expect("which is UTF-8, as cargo's are")
}

#[test]
fn systemd_accepts_the_unit() {
    let unit = read("deploy/systemd/shardlake-cluster@.service");
    assert!(unit.contains(&format!("ExecStart={PROGRAM} cluster --cluster %i\n")));

    let folder = tempfile::tempdir().unwrap();
    let copy = "shardlake-cluster@0.service";
    fs::write(folder.path().join(copy), unit.replace(PROGRAM, &stand_in())).unwrap();

    let path = format!("./{copy}");
    run("systemd-analyze", SYSTEMD_ANALYZE, folder.path(), &["verify", "--man=no", "--recursive-errors=no", &path]);
    run("systemd-analyze", SYSTEMD_ANALYZE, folder.path(), &["security", "--offline=true", MOST_EXPOSURE, &path]);
}

#[test]
fn systemd_accepts_what_comes_beside_clickhouse_s_unit() {
    let drop_in = read("deploy/systemd/clickhouse-server.service.d/shardlake.conf");
    assert!(drop_in.contains(&format!("ExecStartPre=-{PROGRAM} tokens ")));

    let folder = tempfile::tempdir().unwrap();
    let beside = folder.path().join("clickhouse-server.service.d");
    fs::create_dir(&beside).unwrap();
    fs::write(beside.join("shardlake.conf"), drop_in.replace(PROGRAM, &stand_in())).unwrap();
    let unit = format!("[Service]\nExecStart={}\n", stand_in());
    fs::write(folder.path().join("clickhouse-server.service"), unit).unwrap();
    let arguments = ["verify", "--man=no", "--recursive-errors=no", "./clickhouse-server.service"];
    run("systemd-analyze", SYSTEMD_ANALYZE, folder.path(), &arguments);
}

#[test]
fn every_variable_named_is_one_that_the_program_reads() {
    let mut program = String::new();
    let mut folders = vec![root().join("cli/src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                program.push_str(&read(path));
            }
        }
    }

    let mut named = BTreeSet::new();
    for file in ["deploy/README.md", "deploy/systemd/shardlake-cluster@.service"] {
        let text = read(file);
        let words = text.split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
        let ours = words.filter(|word| word.starts_with("SHARDLAKE_") || word.starts_with("DISCORD_"));
        named.extend(ours.map(str::to_owned));
    }
    assert!(!named.is_empty());
    named.retain(|name| !program.contains(&format!("\"{name}\"")));
    assert!(named.is_empty(), "cli/src reads no {named:?}, yet deploy/ tells people to set them");
}
