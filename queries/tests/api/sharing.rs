//! One query for many, at the same time and within a minute.

use serde_json::{Value, json};
use shardlake_embedded::User;
use shardlake_queries::Catalogue;

use crate::{
    eventually,
    formats::catalogue_with,
    http::{get, rest, send},
    lake::{Api, Lake, insert, run},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_same_question_at_the_same_time_is_one_query() {
    let lake = Lake::start(["lake"]).await;
    let admin = lake.with_schema("lake").await;
    let slow = "SELECT count() AS n FROM numbers(1000000) WHERE sleepEachRow(0.00001) = 0";
    let api = Api::start(lake.client(User::Reader, "lake"), catalogue_with(&[("slow", slow)])).await;
    let running = async || {
        let sql = "SELECT count() FROM system.processes WHERE query LIKE '%numbers(1000000)%' AND user = 'reader'";
        admin.query_raw(sql).fetch_one::<u64>().await.unwrap()
    };
    let first = send(api.address, "GET /v1/mine/slow", &[], "").await;
    eventually("it runs", async || running().await == 1).await;
    let mut others = Vec::new();
    for _ in 0..5 {
        others.push(send(api.address, "GET /v1/mine/slow", &[], "").await);
    }
    eventually("all wait", async || api.text("/metrics").await.1.contains("shardlake_queries_in_flight 6")).await;
    assert_eq!(running().await, 1);
    drop(first); // the others still want it
    for other in others {
        let wire = String::from_utf8(rest(other).await).unwrap();
        assert!(wire.starts_with("HTTP/1.1 200") && wire.contains("\"n\":1000000"), "{wire}");
    }
    run(&admin, "SYSTEM FLUSH LOGS").await;
    let asked = "SELECT count() FROM system.query_log WHERE type = 'QueryStart' AND user = 'reader' \
        AND query LIKE '%sleepEachRow%'";
    assert_eq!(admin.query_raw(asked).fetch_one::<u64>().await.unwrap(), 1);
    let metrics = api.text("/metrics").await.1;
    for series in [
        r#"shardlake_queries_reused_total{how="shared",question="mine/slow"} 5"#,
        r#"shardlake_queries_requests_total{question="mine/slow",status="200"} 5"#,
        r#"shardlake_queries_requests_total{question="mine/slow",status="cancelled"} 1"#,
    ] {
        assert!(metrics.contains(series), "{series} is not in\n{metrics}");
    }
    api.stop().await;
    lake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settled_answer_is_kept_and_known_again() {
    let lake = Lake::start(["lake"]).await;
    let admin = lake.with_schema("lake").await;
    let row = |batch: u64| {
        json!({"cluster": "0", "boot": 1, "batch": batch, "time": 1_735_689_660_000_i64, "shards_total": 1,
            "command": "play", "type": "application_command", "outcome": "success"})
    };
    insert(&admin, "interactions", &[row(1)]).await; // landed now, long after the range
    let api = lake.api("lake", Catalogue::builtin()).await;
    let closed = "/v1/interactions/by_cluster?from=2025-01-01T00:00:00Z&to=2025-01-01T00:05:00Z";
    let first = get(api.address, closed, &[]).await;
    assert_eq!(first.header("cache-control"), "private, no-cache", "{first:?}");
    let tag = first.header("etag").to_owned();
    assert!(tag.starts_with("W/\"") && first.header("vary").contains("authorization"), "{first:?}");

    let id = |reply: &Value| reply["meta"]["query_id"].clone();
    let second = get(api.address, closed, &[]).await;
    assert_eq!((id(&second.json()), second.header("etag")), (id(&first.json()), tag.as_str()), "kept");
    let known = get(api.address, closed, &[("If-None-Match", &tag)]).await;
    assert_eq!((known.status, known.body.len(), known.header("etag")), (304, 0, tag.as_str()));
    assert_eq!(get(api.address, closed, &[("If-None-Match", "\"other\"")]).await.status, 200);
    let metrics = api.text("/metrics").await.1;
    let series = r#"shardlake_queries_reused_total{how="cached",question="interactions/by_cluster"} 3"#;
    assert!(metrics.contains(series), "{metrics}");
    api.stop().await;

    // Another process finds the same, and knows it by the same name; with other rows it has another.
    let api = lake.api("lake", Catalogue::builtin()).await;
    assert_eq!(get(api.address, closed, &[("If-None-Match", &tag)]).await.status, 304);
    api.stop().await;
    insert(&admin, "interactions", &[row(2)]).await;
    let api = lake.api("lake", Catalogue::builtin()).await;
    assert_eq!(get(api.address, closed, &[("If-None-Match", &tag)]).await.status, 200);

    for open in [
        "/v1/interactions/by_cluster",                     // it goes on
        "/v1/interactions/by_cluster?from=-1h&to=-10m",    // rows may still come
        "/v1/interactions/by_cluster.csv?from=-2h&to=-1h", // only documents are kept
        "/v1/pipeline/freshness?from=2025-01-01&to=2025-01-02",
    ] {
        let reply = get(api.address, open, &[]).await;
        let settled = open.contains("2025");
        assert_eq!(reply.header("cache-control"), if settled { "private, no-cache" } else { "no-store" }, "{open}");
        assert_eq!(reply.header("etag").is_empty(), !settled, "{open}");
    }
    run(&admin, "DELETE FROM batches WHERE batch = 1").await;
    api.stop().await;
    let api = lake.api("lake", Catalogue::builtin()).await;
    let holed =
        get(api.address, "/v1/interactions/volume?from=2025-01-01T00:00:00Z&to=2025-01-01T00:05:00Z", &[]).await;
    assert_eq!((holed.header("shardlake-complete"), holed.header("cache-control")), ("false", "no-store"));
    api.stop().await;
    lake.stop().await;
}
