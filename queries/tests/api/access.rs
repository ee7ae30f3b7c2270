//! Keys: what they open, how often, and what is told to who has none.

use std::{fs, net::SocketAddr};

use serde_json::{Value, json};
use shardlake_embedded::User;
use shardlake_queries::{Access, Catalogue, Keys, NewKey, Service};

use crate::{
    eventually,
    http::{Reply, get, send},
    lake::{Api, Lake, insert},
};

/// A key and the lines that let it in, some of them replaced.
pub(crate) struct Opened {
    pub(crate) key: String,
    pub(crate) lines: String,
}

pub(crate) fn opened(name: &str, replacing: &[(&str, &str)]) -> Opened {
    let NewKey { key, lines, .. } = NewKey::make(name).unwrap();
    let mut kept: Vec<&str> = lines.lines().collect();
    kept.retain(|line| !replacing.iter().any(|(setting, _)| line.starts_with(setting)));
    let mut lines = kept.join("\n");
    for (setting, value) in replacing {
        lines += &["\n", setting, " = ", value].concat();
    }
    Opened { key, lines: lines + "\n\n" }
}

async fn ask(address: SocketAddr, path: &str, key: &Opened) -> Reply {
    get(address, path, &[("Authorization", &format!("Bearer {}", key.key))]).await
}

pub(crate) fn code(reply: &Reply) -> (u16, Value) {
    (reply.status, reply.json()["error"]["code"].clone())
}

/// A service with these keys and our questions; no ClickHouse is asked.
pub(crate) async fn guarded(path: &std::path::Path, keys: &[&Opened]) -> Api {
    fs::write(path, keys.iter().map(|key| key.lines.as_str()).collect::<String>()).unwrap();
    let nowhere = clickhouse::Client::default().with_url("http://127.0.0.1:9");
    let access = Access { keys: Some(Keys::open(path).unwrap()), sql: true };
    Api::serve(Service::with_access(nowhere, Catalogue::builtin(), access)).await
}

const RANGE: &str = "from=2025-01-01T00:00:00Z&to=2025-01-01T00:05:00Z";

#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_its_clusters_and_no_other() {
    let lake = Lake::start(["lake"]).await;
    let admin = lake.with_schema("lake").await;
    let row = |cluster: &str| {
        json!({"cluster": cluster, "boot": 1, "batch": 1, "time": 1_735_689_660_000_i64, "shards_total": 1,
            "command": "play", "type": "application_command", "outcome": "success"})
    };
    insert(&admin, "interactions", &[row("0"), row("1"), row("2")]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    let (all, some) = (opened("all", &[]), opened("some", &[("clusters", r#"["0", "1"]"#)]));
    fs::write(&path, format!("{}{}", all.lines, some.lines)).unwrap();
    let access = Access { keys: Some(Keys::open(&path).unwrap()), sql: true };
    let catalogue = crate::formats::catalogue_with(&[("everything", "SELECT count() AS n FROM interactions")]);
    let api = Api::serve(Service::with_access(lake.client(User::Reader, "lake"), catalogue, access)).await;

    let clusters = |reply: &Reply, rows: fn(&Value) -> &Value| {
        let names = rows(&reply.json()).as_array().unwrap().clone();
        names.iter().map(|row| row["cluster"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let path = format!("/v1/interactions/by_cluster?{RANGE}");
    for (key, expected) in [(&all, &["0", "1", "2"][..]), (&some, &["0", "1"])] {
        let reply = ask(api.address, &path, key).await;
        assert_eq!(clusters(&reply, |answer| &answer["rows"]), expected);
        assert_eq!(
            clusters(&reply, |answer| &answer["meta"]["freshness"]),
            expected,
            "and of no other it is said how fresh it is"
        );
    }
    let csv = ask(api.address, &format!("/v1/interactions/by_cluster.csv?{RANGE}"), &some).await;
    assert_eq!(csv.text().lines().count(), 3, "{}", csv.text());
    let one = ask(api.address, &format!("{path}&cluster=1"), &some).await;
    assert_eq!(clusters(&one, |answer| &answer["rows"]), ["1"]);
    for query in ["cluster=2", "cluster=0,2", "cluster=0&cluster=2"] {
        let other = ask(api.address, &format!("{path}&{query}"), &some).await;
        assert_eq!(code(&other), (403, json!("forbidden")), "{query}");
        assert!(other.text().contains("does not open the cluster 2"), "{}", other.text());
    }
    // A question without the filter would answer for all.
    assert_eq!(code(&ask(api.address, "/v1/mine/everything", &some).await), (403, json!("forbidden")));
    assert_eq!(ask(api.address, "/v1/mine/everything", &all).await.json()["rows"][0]["n"], 3);
    let listed = ask(api.address, "/v1", &some).await;
    assert!(listed.text().contains("/v1/shards/timeline") && !listed.text().contains("/v1/mine/everything"));

    // Every one of our questions, as a table and with what is said beside it, says nothing of the third.
    for question in Catalogue::builtin().questions() {
        let range = if question.parameter("from").is_some() { RANGE } else { "" };
        let required = question.parameters.iter().filter(|parameter| parameter.default.is_none());
        let required = required.map(|parameter| ["&", &parameter.name, "=up"].concat()).collect::<String>();
        let asked = format!("{range}{required}");
        let reply = ask(api.address, &format!("/v1/{}?{asked}", question.id()), &some).await;
        let answer = if reply.status == 403 { json!({}) } else { reply.json() };
        let named = |rows: &Value| rows.as_array().into_iter().flatten().any(|row| row["cluster"] == "2");
        assert!(!named(&answer["rows"]) && !named(&answer["meta"]["freshness"]), "{}: {answer:#}", question.id());
        assert!(matches!(reply.status, 200 | 403), "{}: {answer}", question.id());
    }
    api.stop().await;
    lake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_asks_without_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let (key, shards) = (opened("all", &[]), opened("shards", &[("questions", r#"["shards/*"]"#)]));
    let api = guarded(&folder.path().join("keys.toml"), &[&key, &shards]).await;
    for authorization in ["", "Bearer", "Bearer x", "Basic YTpi", &key.key, "Bearer \u{e4}\u{fffd}"] {
        for path in ["/v1", "/v1/interactions/volume", "/v1/no/such", "/v1/interactions/volume.csv"] {
            let reply = get(api.address, path, &[("Authorization", authorization)]).await;
            assert_eq!(code(&reply), (401, json!("unauthorized")), "{path} {authorization}");
            assert_eq!(reply.header("www-authenticate"), "Bearer");
        }
    }
    assert_eq!(api.text("/healthz").await.0, 200);
    assert_eq!(
        ask(api.address, "/v1/interactions/volume", &key).await.status,
        503,
        "let in, and ClickHouse is not there"
    );
    assert_eq!(code(&ask(api.address, "/v1/interactions/volume", &shards).await), (403, json!("forbidden")));
    assert_eq!(ask(api.address, "/v1/shards/timeline", &shards).await.status, 503);
    let metrics = api.text("/metrics").await.1;
    assert!(metrics.contains(r#"shardlake_queries_refused_total{code="unauthorized"} 24"#), "{metrics}");
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_used_so_often_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let slow = opened("slow", &[("per_second", "1"), ("concurrent", "3")]);
    let api = guarded(&folder.path().join("keys.toml"), &[&slow]).await;
    let first = ask(api.address, "/v1", &slow).await;
    assert_eq!(first.header("ratelimit-policy"), r#""rate";q=10;w=10, "concurrent";q=3;qu="concurrent-requests""#);
    assert_eq!(first.header("ratelimit"), r#""rate";r=9;t=1, "concurrent";r=2"#);
    let mut refused = ask(api.address, "/v1", &slow).await;
    for _ in 0..1_000 {
        if refused.status != 200 {
            break;
        }
        refused = ask(api.address, "/v1", &slow).await;
    }
    assert_eq!(code(&refused), (429, json!("rate_limited")));
    assert_eq!(refused.header("retry-after"), "1");
    assert!(refused.header("ratelimit").starts_with(r#""rate";r=0;t=10"#), "{}", refused.header("ratelimit"));
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_so_many_requests_at_a_time() {
    let lake = Lake::start(["lake"]).await;
    lake.with_schema("lake").await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    let one = opened("one", &[("concurrent", "1")]);
    fs::write(&path, &one.lines).unwrap();
    let endless = "SELECT number AS n FROM numbers(19000000000) WHERE sleepEachRow(0.00001) = 0 LIMIT 19000000";
    let catalogue = crate::formats::catalogue_with(&[("endless", endless)]);
    let access = Access { keys: Some(Keys::open(&path).unwrap()), sql: true };
    let api = Api::serve(Service::with_access(lake.client(User::Reader, "lake"), catalogue, access)).await;

    let authorization = format!("Bearer {}", one.key);
    let headers = [("Authorization", authorization.as_str())];
    let mut stream = send(api.address, "GET /v1/mine/endless.csv", &headers, "").await;
    let mut some = [0; 600];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut some).await.unwrap();
    let second = ask(api.address, "/v1", &one).await;
    assert_eq!((code(&second), second.header("retry-after")), ((429, json!("too_many_at_once")), "1"));
    drop(stream);
    eventually("there is room again", async || ask(api.address, "/v1", &one).await.status == 200).await;
    api.stop().await;
    lake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_file_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    let (old, new) = (opened("old", &[("per_second", "1000")]), opened("new", &[("per_second", "1000")]));
    let api = guarded(&path, &[&old]).await;
    assert_eq!((ask(api.address, "/v1", &old).await.status, ask(api.address, "/v1", &new).await.status), (200, 401));
    fs::write(&path, &new.lines).unwrap();
    eventually("the new key opens", async || ask(api.address, "/v1", &new).await.status == 200).await;
    assert_eq!(ask(api.address, "/v1", &old).await.status, 401);
    api.stop().await;
}
