//! One answer in six forms, compressed or not, and what becomes of one that fails half-way.

use std::{fs, io::Read as _};

use arrow::ipc::reader::StreamReader;
use serde_json::{Value, json};
use shardlake_embedded::User;
use shardlake_queries::Catalogue;

use crate::{
    http::{get, rest, send},
    lake::{Api, Lake, insert, run},
};

const HEADER: &str = "-- title: T\n-- description: D\n-- panel: table\n-- table: interactions\n-- column: n count N\n\
    -- column: name text Name\n";

/// Ours, and `mine/<name>` for each of `questions`, with the columns `n` and `name` declared.
pub(crate) fn catalogue_with(questions: &[(&str, &str)]) -> Catalogue {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("mine")).unwrap();
    for (name, sql) in questions {
        fs::write(folder.path().join(format!("mine/{name}.sql")), format!("{HEADER}{sql}\n")).unwrap();
    }
    Catalogue::builtin().with_folder(folder.path()).unwrap()
}

const ROWS: &str = "SELECT number AS n, if(number = 1, 'a,\"b\"', 'x') AS name, toUInt64(18446744073709551615) AS big, \
    toDateTime64('2026-10-01 12:00:00.005', 3, 'UTC') AS at, if(number = 1, NULL, nan) AS nothing FROM numbers(3)";

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_says_the_same_in_every_form() {
    let lake = Lake::start(["lake"]).await;
    let admin = lake.with_schema("lake").await;
    let api = lake.api("lake", catalogue_with(&[("rows", ROWS)])).await;
    let json = get(api.address, "/v1/mine/rows.json", &[]).await;
    assert_eq!((json.status, json.header("content-type")), (200, "application/json"));
    assert_eq!(get(api.address, "/v1/mine/rows", &[]).await.json()["rows"], json.json()["rows"]);

    let ndjson = get(api.address, "/v1/mine/rows", &[("Accept", "application/x-ndjson")]).await;
    let lines: Vec<Value> = ndjson.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(json!(lines), json.json()["rows"], "{}", ndjson.text());

    let csv = get(api.address, "/v1/mine/rows.csv", &[("Accept", "application/json")]).await;
    let expected = "n,name,big,at,nothing\n\
        0,x,18446744073709551615,2026-10-01T12:00:00.005Z,\n\
        1,\"a,\"\"b\"\"\",18446744073709551615,2026-10-01T12:00:00.005Z,\n\
        2,x,18446744073709551615,2026-10-01T12:00:00.005Z,\n";
    assert_eq!((csv.text(), csv.header("content-type")), (expected, "text/csv; charset=utf-8; header=present"));

    let arrow = get(api.address, "/v1/mine/rows.arrow", &[]).await;
    let batches: Vec<_> = StreamReader::try_new(&arrow.body[..], None).unwrap().map(Result::unwrap).collect();
    assert_eq!(batches.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>(), 3);
    assert_eq!(batches[0].schema().field(3).data_type().to_string(), "Timestamp(ms, \"UTC\")");

    let parquet = get(api.address, "/v1/mine/rows.parquet", &[]).await;
    run(&admin, "CREATE TABLE back (n UInt64, name String, big UInt64) ENGINE = Memory").await;
    let mut insert = admin.insert_formatted_with("INSERT INTO back FORMAT Parquet");
    insert.send(parquet.body.clone().into()).await.unwrap();
    insert.end().await.unwrap();
    let back =
        admin.query_raw("SELECT groupArray((n, name, big)) FROM back").fetch_one::<Vec<(u64, String, u64)>>().await;
    assert_eq!(back.unwrap()[1], (1, "a,\"b\"".to_owned(), u64::MAX));

    let prometheus = get(api.address, "/v1/mine/rows.prom", &[]).await;
    let expected = "# HELP shardlake_mine_rows_n N\n# TYPE shardlake_mine_rows_n gauge\n\
        shardlake_mine_rows_n{name=\"a,\\\"b\\\"\"} 1\nshardlake_mine_rows_n{name=\"x\"} 2\n";
    assert_eq!(prometheus.text(), expected);

    for reply in [&json, &ndjson, &csv, &arrow, &parquet, &prometheus] {
        assert!(reply.is_whole && reply.status == 200, "{reply:?}");
        assert_eq!((reply.header("shardlake-complete"), reply.header("shardlake-table")), ("true", "interactions"));
        assert_eq!((reply.header("shardlake-missing-batches"), reply.header("cache-control")), ("0", "no-store"));
        assert!(reply.header("shardlake-query-id").starts_with("shardlake-"));
    }
    api.stop().await;
    lake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_had_is_refused() {
    let nowhere = clickhouse::Client::default().with_url("http://127.0.0.1:9");
    let api = Api::start(nowhere, Catalogue::builtin()).await;
    for (path, headers, status, code) in [
        ("/v1/interactions/volume.xml", &[][..], 404, "unknown_format"),
        ("/v1/interactions/volume", &[("Accept", "text/html")], 406, "not_acceptable"),
        ("/v1/interactions/volumes.csv", &[], 404, "unknown_question"),
        ("/v1/interactions/volume.csv?from=x", &[], 400, "bad_parameter"),
        ("/v1/interactions/volume.csv", &[], 503, "clickhouse_unreachable"),
    ] {
        let reply = get(api.address, path, headers).await;
        assert_eq!((reply.status, &reply.json()["error"]["code"]), (status, &json!(code)), "{path}");
    }
    let old = b"GET /v1/interactions/volume.csv HTTP/1.0\r\n\r\n";
    let mut stream = tokio::net::TcpStream::connect(api.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, old).await.unwrap();
    let wire = rest(stream).await;
    assert!(wire.starts_with(b"HTTP/1.0 505"), "{}", String::from_utf8_lossy(&wire));
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_looks_like_it() {
    let lake = Lake::start(["lake"]).await;
    lake.with_schema("lake").await;
    let questions = [
        ("late", "SELECT number AS n, throwIf(number = 900000) AS name FROM numbers(1000000)"),
        ("early", "SELECT throwIf(number = 3) AS n FROM numbers(10)"),
        ("many", "SELECT number AS n FROM numbers(20000001)"),
        ("enough", "SELECT number AS n FROM numbers(100001)"),
    ];
    let api = lake.api("lake", catalogue_with(&questions)).await;
    for suffix in ["ndjson", "csv", "arrow"] {
        for encoding in ["identity", "gzip", "zstd"] {
            let reply = get(api.address, &format!("/v1/mine/late.{suffix}"), &[("Accept-Encoding", encoding)]).await;
            // Broken off before the head was on the wire, it may be nothing at all.
            assert!(!reply.is_whole && matches!(reply.status, 0 | 200), "{suffix} {encoding}: {}", reply.status);
        }
    }
    for suffix in ["ndjson", "csv", "arrow", "parquet"] {
        let reply = get(api.address, &format!("/v1/mine/early.{suffix}"), &[]).await;
        assert_eq!((reply.status, &reply.json()["error"]["code"]), (500, &json!("failed")), "{suffix}");
    }
    assert!(!get(api.address, "/v1/mine/many.arrow", &[]).await.is_whole, "past the limit of rows");
    let enough = get(api.address, "/v1/mine/enough.csv", &[]).await;
    assert!(enough.is_whole && enough.text().lines().count() == 100_002, "more than a document may have");

    let metrics = api.text("/metrics").await.1;
    for series in [
        r#"shardlake_queries_requests_total{question="mine/late",status="broken_off"} 9"#,
        r#"shardlake_queries_requests_total{question="mine/many",status="broken_off"} 1"#,
        r#"shardlake_queries_limited_total{limit="too_large",question="mine/many"} 1"#,
        "shardlake_queries_in_flight 0",
    ] {
        assert!(metrics.contains(series), "{series} is not in\n{metrics}");
    }
    api.stop().await;
    lake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_compressed_for_who_takes_it() {
    let lake = Lake::start(["lake"]).await;
    lake.with_schema("lake").await;
    let api = lake.api("lake", catalogue_with(&[("many", "SELECT number AS n FROM numbers(100000)")])).await;
    let plain = get(api.address, "/v1/mine/many.csv", &[]).await;
    assert_eq!(plain.header("content-encoding"), "");
    let gzip = get(api.address, "/v1/mine/many.csv", &[("Accept-Encoding", "gzip")]).await;
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(&gzip.body[..]).read_to_string(&mut unpacked).unwrap();
    assert_eq!((gzip.header("content-encoding"), unpacked.as_str()), ("gzip", plain.text()));
    let zstd = get(api.address, "/v1/mine/many.csv", &[("Accept-Encoding", "gzip, zstd")]).await;
    assert_eq!((zstd.header("content-encoding"), zstd::decode_all(&zstd.body[..]).unwrap()), ("zstd", plain.body));
    assert!(zstd.is_whole && gzip.is_whole && zstd.body.len() * 2 < unpacked.len());
    let parquet = get(api.address, "/v1/mine/many.parquet", &[("Accept-Encoding", "gzip")]).await;
    assert_eq!(parquet.header("content-encoding"), "", "it is compressed already");
    let json = get(api.address, "/v1/mine/many", &[("Accept-Encoding", "zstd")]).await;
    assert_eq!(json.header("content-encoding"), "zstd");
    api.stop().await;
    lake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_in_the_middle_takes_its_query_along() {
    let lake = Lake::start(["lake"]).await;
    let admin = lake.with_schema("lake").await;
    let endless = "SELECT number AS n FROM numbers(19000000000) WHERE sleepEachRow(0.00001) = 0 LIMIT 19000000";
    let api = Api::start(lake.client(User::Reader, "lake"), catalogue_with(&[("endless", endless)])).await;
    let running = async || {
        let sql = "SELECT count() FROM system.processes WHERE query LIKE '%numbers(19000000000)%' AND user = 'reader'";
        admin.query_raw(sql).fetch_one::<u64>().await.unwrap()
    };
    let mut stream = send(api.address, "GET /v1/mine/endless.ndjson", &[], "").await;
    let mut some = [0; 2_000];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut some).await.unwrap();
    assert_eq!(running().await, 1);
    drop(stream);
    let cancelled = r#"shardlake_queries_requests_total{question="mine/endless",status="cancelled"} 1"#;
    crate::eventually("the query ends, and is counted", async || {
        running().await == 0 && api.text("/metrics").await.1.contains(cancelled)
    })
    .await;
    api.stop().await;
    lake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_is_scraped_as_it_is_now() {
    let lake = Lake::start(["lake"]).await;
    let admin = lake.with_schema("lake").await;
    let row = |cluster: &str, time: i64| {
        json!({"cluster": cluster, "boot": 1, "batch": 1, "time": time, "shards_total": 1, "command": "play",
            "type": "application_command", "outcome": "error"})
    };
    let start_ms = 1_735_689_600_000;
    insert(&admin, "interactions", &[row("0", start_ms + 61_000), row("0", start_ms + 1_000)]).await;
    let api = lake.api("lake", Catalogue::builtin()).await;
    let path = "/v1/interactions/volume.prom?from=2025-01-01T00:00:00Z&to=2025-01-01T00:02:00Z&step=60";
    let reply = get(api.address, path, &[]).await;
    assert!(reply.text().contains("\nshardlake_interactions_volume_errors{cluster=\"0\"} 1\n"), "{}", reply.text());
    assert_eq!(reply.header("shardlake-to"), "2025-01-01T00:02:00.000Z");

    let zone = format!("{}&tz=Asia/Kolkata", path.replace(".prom", ".csv"));
    let local = get(api.address, &zone, &[]).await;
    assert!(local.text().contains("\n2025-01-01T05:31:00.000+05:30,0,1,1\n"), "{}", local.text());
    assert_eq!(local.header("shardlake-to"), "2025-01-01T05:32:00.000+05:30");
    let compared = get(api.address, &format!("{zone}&compare=previous"), &[]).await;
    assert_eq!((compared.status, &compared.json()["error"]["parameter"]), (400, &json!("compare")));
    let both = format!("{}&compare=previous", path.replace(".prom", ""));
    let tag = get(api.address, &both, &[]).await.header("etag").to_owned();
    assert_eq!(get(api.address, &both, &[("If-None-Match", &tag)]).await.status, 304, "both ranges are settled");
    api.stop().await;
    lake.stop().await;
}
