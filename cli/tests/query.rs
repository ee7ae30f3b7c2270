//! `shardlake query` as somebody types it, on a lake of which it is known what it holds: asked of ClickHouse, and of a query
//! service.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod lake;

use std::{
    fs,
    process::{Command, Output, Stdio},
};

use lake::Lake;
use serde_json::Value;
use shardlake_queries::{Access, Catalogue, Keys, Service};
use shardlake_schema::users::Role;
use tokio::net::TcpListener;

/// Of cluster 1, the batches 1 to 4 but 3: 12 interactions each in the last minutes, of them 3 with an error.
const ROWS: &str = "
    INSERT INTO interactions (cluster, boot, batch, time, id_low, guild_id, shards_total, type, command, outcome, duration_ms)
    SELECT '1', 7, {batch}, now64(3) - toIntervalSecond(600 - number * 10), number, 77, 1, 'application_command',
        if(number % 4 = 0, 'play', 'queue'), if(number % 4 = 1, 'error', 'success'), 1234
    FROM numbers(12)";

struct Said {
    out: String,
    error: String,
    code: Option<i32>,
}

fn said(output: Output) -> Said {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { out: text(output.stdout), error: text(output.stderr), code: output.status.code() }
}

fn query(lake: &Lake, arguments: &[&str]) -> Said {
    let mut command = lake.shardlake(Role::Reader, &["query"]);
    said(command.args(arguments).output().unwrap())
}

/// The same, of a service that wants a key.
fn query_service(url: &str, key: &str, arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shardlake"));
    command.arg("query").args(["--service", url]).args(arguments).env("SHARDLAKE_KEY", key);
    said(command.output().unwrap())
}

async fn with_rows() -> Lake {
    let lake = Lake::start().await;
    for batch in [1, 2, 4] {
        lake.execute(&ROWS.replace("{batch}", &batch.to_string())).await;
    }
    lake
}

/// The query service over the lake, as long as the test's runtime lives, and a key that it takes.
async fn serve(lake: &Lake) -> (String, String) {
    let made =
        Command::new(env!("CARGO_BIN_EXE_shardlake")).args(["queries", "key", "new", "terminal"]).output().unwrap();
    let key = String::from_utf8(made.stderr).unwrap().trim().rsplit_once(' ').unwrap().1.to_owned();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("keys.toml"), made.stdout).unwrap();
    let access = Access { keys: Some(Keys::open(&folder.path().join("keys.toml")).unwrap()), ..Access::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let service = Service::with_access(lake.client("shardlake_reader"), Catalogue::builtin(), access);
    tokio::spawn(async move {
        let _folder = folder; // the service looks whether its keys have changed
        shardlake_queries::serve(listener, None, service, std::future::pending()).await;
    });
    (url, key)
}

/// The first line that begins with `begin`, in words.
fn line<'a>(text: &'a str, begin: &str) -> Vec<&'a str> {
    let line = text.lines().find(|line| line.starts_with(begin));
    line.unwrap_or_else(|| panic!("no line begins with {begin} in\n{text}")).split_whitespace().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_answered_in_the_terminal() {
    let lake = with_rows().await;

    let table = query(&lake, &["commands/top", "--since", "1h", "--cluster", "1"]);
    assert_eq!(table.code, Some(0), "{}{}", table.out, table.error);
    assert!(table.out.starts_with("Top commands · "), "{}", table.out);
    assert_eq!(line(&table.out, "queue ")[..5], ["queue", "application_command", "27", "75", "27"], "{}", table.out);
    assert_eq!(line(&table.out, "play ")[2..5], ["9", "25", "9"], "{}", table.out);
    let missing = "NOT complete: 1 batch is missing (interactions 3 of cluster 1); cluster 1 is up to date";
    assert!(table.out.contains(missing), "{}", table.out);
    let limited = query(&lake, &["commands/top", "--since", "1h", "--limit", "1"]);
    assert!(limited.out.contains("There is more: raise --limit, or go on with --param cursor="), "{}", limited.out);
    let cursor = limited.out.split_once("cursor=").unwrap().1.lines().next().unwrap();
    let rest = query(&lake, &["commands/top", "--since", "1h", "--limit", "1", "--param", &format!("cursor={cursor}")]);
    assert_eq!(line(&rest.out, "play ")[2], "9", "{}", rest.out);

    let chart = query(&lake, &["interactions/volume", "--since", "1h", "--step", "5m", "--width", "80"]);
    assert!(
        chart.out.starts_with("Interactions over time: interactions · ") && chart.out.contains("by 5m"),
        "{}",
        chart.out
    );
    assert!(chart.out.chars().any(|char| ('\u{2801}'..='\u{28ff}').contains(&char)), "{}", chart.out);
    assert!(chart.out.lines().all(|line| line.chars().count() <= 80 || line.contains(" · ")), "{}", chart.out);
    assert_eq!(line(&chart.out, "1 ").len(), 4, "name, last, mean and max: {}", chart.out);
    let errors = query(&lake, &["interactions/volume", "--since", "1h", "--column", "errors"]);
    assert!(errors.out.starts_with("Interactions over time: errors"), "{}", errors.out);
    let as_table = query(&lake, &["interactions/volume", "--since", "1h", "--format", "table"]);
    assert!(as_table.out.contains("time ") && as_table.out.contains("errors"), "{}", as_table.out);

    let before = query(&lake, &["commands/top", "--since", "1h", "--param", "compare=previous"]);
    assert!(before.out.contains("\nbefore: Top commands · ") && before.out.contains("no rows"), "{}", before.out);
    lake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_says_the_same() {
    let lake = with_rows().await;
    let (url, key) = serve(&lake).await;
    // Closed ends, so that both are asked about the same range.
    let range = lake
        .rows::<(String, String)>("SELECT toString(toUnixTimestamp(now() - 3600)), toString(toUnixTimestamp(now()))")
        .await;
    let asked = ["commands/top", "--from", &range[0].0, "--to", &range[0].1, "--format", "json"];
    let rows = |said: &Said| {
        serde_json::from_str::<Value>(&said.out).unwrap_or_else(|_| panic!("{}{}", said.out, said.error))["rows"]
            .clone()
    };
    let (here, there) = (query(&lake, &asked), query_service(&url, &key, &asked));
    assert_eq!(rows(&here).as_array().unwrap().len(), 2);
    assert_eq!(rows(&here), rows(&there));
    assert!(here.error.starts_with("NOT complete: 1 batch is missing") && there.error == here.error, "{}", here.error);

    for (arguments, expected) in [
        (&["commands/tpo"][..], "there is no question commands/tpo"),
        (&["commands/tpo", "--explain"], "did you mean commands/top"),
        (&["commands/top", "--param", "lmit=3"], "commands/top has no parameter `lmit`; did you mean limit?"),
        (&["commands/top", "--since", "yesterday"], "from: `yesterday` is not valid; expected ISO 8601"),
        (&["commands/top", "--format", "chart"], "commands/top is no series over time"),
        (&["interactions/volume", "--column", "erors"], "it has interactions, errors"),
        (&["no such words"], "no question is about no such words"),
    ] {
        let (here, there) = (query(&lake, arguments), query_service(&url, &key, arguments));
        assert!(
            here.code == Some(1) && here.out.is_empty() && here.error.contains(expected),
            "{arguments:?}: {}",
            here.error
        );
        assert_eq!((there.code, there.error), (Some(1), here.error));
    }
    let stranger = query_service(&url, "another", &["commands/top"]);
    assert!(stranger.code == Some(1) && stranger.error.contains("a key is needed"), "{}", stranger.error);
    let nobody = query_service("http://127.0.0.1:1", &key, &["commands/top"]);
    assert!(nobody.code == Some(1) && nobody.error.contains("127.0.0.1:1 cannot be reached"), "{}", nobody.error);
    lake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_get_their_formats() {
    let lake = with_rows().await;
    let (url, key) = serve(&lake).await;
    let asked = |format| ["commands/top", "--since", "1h", "--format", format];
    for said in [query(&lake, &asked("csv")), query_service(&url, &key, &asked("csv"))] {
        assert_eq!(
            said.out.lines().map(|line| line.split(',').next().unwrap()).collect::<Vec<_>>(),
            ["command", "queue", "play"]
        );
        assert!(said.error.starts_with("NOT complete: 1 batch is missing"), "{}", said.error);
    }
    let ndjson = query(&lake, &asked("ndjson")).out;
    let first: Value = serde_json::from_str(ndjson.lines().next().unwrap()).unwrap();
    assert_eq!((first["command"].as_str(), first["interactions"].as_u64()), (Some("queue"), Some(27)), "{ndjson}");
    let prometheus = query(&lake, &asked("prometheus")).out;
    assert!(prometheus.lines().any(|line| line.contains("command=\"queue\"") && line.ends_with(" 27")), "{prometheus}");
    for (format, magic) in [("arrow", &[0xff_u8; 4][..]), ("parquet", b"PAR1")] {
        let output = lake.shardlake(Role::Reader, &["query"]).args(asked(format)).output().unwrap();
        assert!(output.status.success() && output.stdout.starts_with(magic), "{format}");
    }
    let unknown = query(&lake, &["commands/tpo", "--format", "csv"]);
    assert!(
        unknown.code == Some(1) && unknown.out.is_empty() && unknown.error.contains("did you mean commands/top"),
        "{}",
        unknown.error
    );
    lake.stop().await;
}

#[test]
fn the_catalogue_is_there_without_a_server() {
    let shardlake = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shardlake"));
        command.args(["query", "--clickhouse-url", "http://127.0.0.1:1"]).args(arguments);
        command
    };
    let all = said(shardlake(&[]).output().unwrap());
    assert_eq!(
        (all.code, line(&all.out, "commands/top ").join(" ").as_str()),
        (Some(0), "commands/top Top commands table")
    );
    let nouns = said(shardlake(&["gateway"]).output().unwrap());
    assert!(nouns.out.contains("gateway/lag") && !nouns.out.contains("commands/"), "{}", nouns.out);
    let explained = said(shardlake(&["commands/top", "--explain"]).output().unwrap());
    assert_eq!(line(&explained.out, "limit ")[..2], ["limit", "20"], "{}", explained.out);
    assert_eq!(line(&explained.out, "error_ratio ")[..2], ["error_ratio", "ratio"], "{}", explained.out);

    // A reader who has seen enough.
    let mut child = shardlake(&[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let left = child.wait_with_output().unwrap();
    assert!(left.status.success() && left.stderr.is_empty(), "{left:?}");
}
