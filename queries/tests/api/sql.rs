//! SQL of one's own, and what ClickHouse's query log says of a query.

use std::fs;

use serde_json::json;
use shardlake_embedded::{Clickhouse, Options, User};
use shardlake_queries::{Access, Catalogue, Keys, Service};

use crate::{
    access::{Opened, code, opened},
    http::{Reply, get, post},
    lake::{Api, Lake, insert, run},
};

/// A service on `lake` with these keys.
pub(crate) async fn guarded(lake: &Lake, user: User, keys: &[&Opened], sql: bool) -> Api {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    fs::write(&path, keys.iter().map(|key| key.lines.as_str()).collect::<String>()).unwrap();
    let access = Access { keys: Some(Keys::open(&path).unwrap()), sql };
    Api::serve(Service::with_access(lake.client(user, "lake"), Catalogue::builtin(), access)).await
}

async fn ask(api: &Api, path: &str, key: &Opened, sql: &str) -> Reply {
    post(api.address, path, &[("Authorization", &format!("Bearer {}", key.key))], sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_reads_and_does_nothing_else() {
    let lake = Lake::start(["lake"]).await;
    let admin = lake.with_schema("lake").await;
    let row = json!({"cluster": "0", "boot": 1, "batch": 1, "time": 1_735_689_660_000_i64, "shards_total": 1,
        "command": "play", "type": "application_command", "outcome": "success"});
    insert(&admin, "interactions", &[row]).await;
    let key = opened("sql", &[("sql", "true"), ("per_second", "100")]);
    for user in [User::Reader, User::Admin] {
        let api = guarded(&lake, user, &[&key], true).await;
        let reply = ask(&api, "/v1/sql", &key, "SELECT cluster, count() AS n FROM interactions GROUP BY ALL").await;
        assert_eq!(
            (reply.status, &reply.json()["rows"]),
            (200, &json!([{"cluster": "0", "n": "1"}])),
            "{}",
            reply.text()
        );
        assert!(reply.json()["meta"]["rows_read"].as_u64() == Some(1), "{}", reply.text());
        let csv = ask(&api, "/v1/sql.csv", &key, "SELECT 1 AS a, 'x' AS b").await;
        assert_eq!(csv.text(), "a,b\n1,x\n");
        for (sql, status, wrong) in [
            ("DROP TABLE interactions", 400, "bad_sql"),
            ("INSERT INTO interactions (cluster) VALUES ('1')", 400, "bad_sql"),
            ("SELECT 1 SETTINGS readonly = 0", 400, "bad_sql"),
            ("SELECT 1 SETTINGS max_memory_usage = 0", 400, "bad_sql"),
            ("SELECT 1; SELECT 2", 400, "bad_sql"),
            ("SELECT no_such_column FROM interactions", 400, "bad_sql"),
            ("SELECT 1 FROM no_such_table", 400, "bad_sql"),
            ("SELECT 1 FORMAT CSV", 400, "bad_sql"),
            (" ", 400, "bad_sql"),
            ("SELECT number FROM numbers(100001)", 422, "too_large"),
            (&"x".repeat(70_000), 413, "long_body"),
        ] {
            let reply = ask(&api, "/v1/sql", &key, sql).await;
            let shown: String = sql.chars().take(60).collect();
            assert_eq!(code(&reply), (status, json!(wrong)), "{user} {shown}: {}", reply.text());
        }
        for path in ["/v1/sql.arrow", "/v1/sql.parquet", "/v1/sql.ndjson"] {
            assert_eq!(code(&ask(&api, path, &key, "SELECT 1 FORMAT CSV").await), (400, json!("bad_sql")), "{path}");
        }
        assert_eq!(ask(&api, "/v1/sql.prom", &key, "SELECT 1").await.status, 406);
        assert_eq!(get(api.address, "/v1/sql", &[]).await.status, 405);
        api.stop().await;
    }
    let left = admin.query_raw("SELECT count() FROM interactions").fetch_one::<u64>().await.unwrap();
    assert_eq!(left, 1);
    lake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn not_everybody_may_send_sql() {
    let nowhere = clickhouse::Client::default().with_url("http://127.0.0.1:9");
    let api = Api::start(nowhere.clone(), Catalogue::builtin()).await;
    assert_eq!(code(&post(api.address, "/v1/sql", &[], "SELECT 1").await), (403, json!("sql_off")));
    api.stop().await;
    let access = Access { keys: None, sql: true };
    let api = Api::serve(Service::with_access(nowhere, Catalogue::builtin(), access)).await;
    assert_eq!(
        code(&post(api.address, "/v1/sql", &[], "SELECT 1").await),
        (403, json!("forbidden")),
        "a key is needed"
    );
    api.stop().await;

    let folder = tempfile::tempdir().unwrap();
    let (sql, plain) = (opened("sql", &[("sql", "true")]), opened("plain", &[]));
    let api = crate::access::guarded(&folder.path().join("keys.toml"), &[&sql, &plain]).await;
    assert_eq!(code(&ask(&api, "/v1/sql", &plain, "SELECT 1").await), (403, json!("forbidden")));
    assert_eq!(code(&ask(&api, "/v1/sql", &sql, "SELECT 1").await), (503, json!("clickhouse_unreachable")));
    assert_eq!(post(api.address, "/v1/sql", &[], "SELECT 1").await.status, 401);
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_may_lift_its_limits_gets_no_sql() {
    let folder = tempfile::tempdir().unwrap();
    let users_d = folder.path().join("lake/config/users.d");
    fs::create_dir_all(&users_d).unwrap();
    let loose = "<clickhouse><profiles><loose><readonly>2</readonly></loose></profiles><users><loose>\
        <password>loose</password><profile>loose</profile></loose></users></clickhouse>";
    fs::write(users_d.join("loose.xml"), loose).unwrap();
    let clickhouse = Clickhouse::start(Options::new(folder.path().join("lake"))).await.unwrap();
    let path = folder.path().join("keys.toml");
    let key = opened("sql", &[("sql", "true")]);
    fs::write(&path, &key.lines).unwrap();
    let access = Access { keys: Some(Keys::open(&path).unwrap()), sql: true };
    let client = clickhouse::Client::default().with_url(clickhouse.url()).with_user("loose").with_password("loose");
    let api = Api::serve(Service::with_access(client, Catalogue::builtin(), access)).await;
    let refused = ask(&api, "/v1/sql", &key, "SELECT 1").await;
    assert_eq!(code(&refused), (502, json!("clickhouse_refused")));
    assert!(refused.text().contains("readonly = 1"), "{}", refused.text());
    api.stop().await;
    clickhouse.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_query_log_says_whose_a_query_was() {
    let lake = Lake::start(["lake"]).await;
    let admin = lake.with_schema("lake").await;
    let key = opened("grafana", &[("sql", "true")]);
    let api = guarded(&lake, User::Reader, &[&key], true).await;
    let headers = [("Authorization", format!("Bearer {}", key.key))];
    let headers = [(headers[0].0, headers[0].1.as_str())];
    let mut expected = Vec::new();
    // Each about a cluster of its own: what is known of another is not asked again.
    for path in ["/v1/commands/top", "/v1/commands/top.csv?cluster=1", "/v1/commands/top.prom?cluster=2"] {
        let reply = get(api.address, path, &headers).await;
        let id = reply.header("shardlake-query-id").to_owned();
        expected.extend(["", "-freshness", "-gaps"].map(|end| (format!("{id}{end}"), "commands/top".to_owned())));
    }
    let reply = ask(&api, "/v1/sql", &key, "SELECT 1").await;
    expected.push((reply.header("shardlake-query-id").to_owned(), "(sql)".to_owned()));
    run(&admin, "SYSTEM FLUSH LOGS").await;
    let sql = "SELECT query_id, JSONExtractString(log_comment, 'question') FROM system.query_log \
        WHERE type = 'QueryFinish' AND JSONExtractString(log_comment, 'key') = 'grafana' ORDER BY 1";
    let logged = admin.query_raw(sql).fetch_all::<(String, String)>().await.unwrap();
    expected.sort();
    assert_eq!(logged, expected);
    api.stop().await;
    lake.stop().await;
}
