//! The service keeps to its own description: schemathesis reads `/openapi.json` and asks everything in it, well and badly,
//! with all the rows of the fixtures to answer from. And what the description and the page beside it say to whom.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use shardlake_embedded::User;
use shardlake_queries::Catalogue;

use crate::{
    access::{Opened, guarded, opened},
    http::get,
    lake::{Api, Lake, insert},
    sql,
};

/// What `make schemathesis` installs.
fn schemathesis() -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| Path::new(&env::var_os("HOME").unwrap()).join(".cache"));
    cache.join("shardlake/schemathesis/bin/schemathesis")
}

/// Runs it with the options of `queries/tests/api/schemathesis/<config>.toml`, which must be content.
async fn agrees(config: &str, url: String, key: &Opened) {
    let program = schemathesis();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/schemathesis");
    let config = folder.join(config).with_extension("toml");
    let authorization = format!("Authorization: Bearer {}", key.key);
    // Of its own, because it leaves things where it runs.
    let place = tempfile::tempdir().unwrap();
    let run = move || {
        let mut command = Command::new(&program);
        command.arg("--config-file").arg(config).args(["run", &url, "-H", &authorization]).current_dir(place.path());
        command.output().unwrap_or_else(|error| {
            panic!("{} does not start ({error}): run `make schemathesis`, which installs it", program.display())
        })
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", said(&output.stdout), said(&output.stderr));
}

/// A lake with the rows of all fixtures.
async fn filled() -> Lake {
    let lake = Lake::start(["lake"]).await;
    let admin = lake.with_schema("lake").await;
    let files = |folder: &Path| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    for case in files(&cases).iter().flat_map(|noun| files(noun)) {
        let case: Value = serde_json::from_str(&fs::read_to_string(case).unwrap()).unwrap();
        for (table, rows) in case["rows"].as_object().unwrap() {
            insert(&admin, table, rows.as_array().unwrap()).await;
        }
    }
    lake
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_is_as_described() {
    let lake = filled().await;
    let key = opened("schemathesis", &[("sql", "true"), ("per_second", "100000"), ("concurrent", "32")]);
    let api = sql::guarded(&lake, User::Reader, &[&key], true).await;
    let url = format!("http://{}/openapi.json", api.address);
    tokio::join!(agrees("anything", url.clone(), &key), agrees("good", url, &key));
    api.stop().await;
    lake.stop().await;
}

/// A key that opens less is told of less.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_told_what_it_opens() {
    let folder = tempfile::tempdir().unwrap();
    let some = opened("some", &[("questions", r#"["commands/top", "shards/*"]"#)]);
    let sql = opened("sql", &[("sql", "true")]);
    let api = guarded(&folder.path().join("keys.toml"), &[&some, &sql]).await;
    let described = async |key: &Opened| {
        let authorization = format!("Bearer {}", key.key);
        let reply = get(api.address, "/openapi.json", &[("Authorization", &authorization)]).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    };
    let document = described(&some).await;
    let paths: Vec<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    assert!(paths.contains(&"/v1/commands/top") && paths.contains(&"/v1/shards/stuck"), "{paths:?}");
    assert!(!paths.contains(&"/v1/commands/errors") && !paths.contains(&"/v1/sql"), "{paths:?}");
    assert_eq!(document["paths"]["/v1/shards/stuck"]["get"]["security"][0]["key"], Value::Array(Vec::new()));
    assert!(described(&sql).await["paths"]["/v1/sql"]["post"].is_object());
    assert_eq!(get(api.address, "/openapi.json", &[]).await.status, 401);
    api.stop().await;
}

/// The page asks nobody else, and names every form of an answer and the place of the description.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_whole_in_itself() {
    let nowhere = clickhouse::Client::default().with_url("http://127.0.0.1:9");
    let api = Api::start(nowhere, Catalogue::builtin()).await;
    let page = get(api.address, "/docs", &[]).await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
    assert!(!page.text().contains("://"), "it loads nothing from elsewhere");
    let document = get(api.address, "/openapi.json", &[]).await.json();
    assert!(document["components"]["securitySchemes"].is_null() && document["paths"]["/v1/sql"].is_null());
    let top = &document["paths"]["/v1/commands/top"]["get"];
    let ok = top["responses"]["200"]["description"].as_str().unwrap();
    for suffix in ok.split('`').filter(|word| word.starts_with('.') && *word != ".json").chain(["/openapi.json"]) {
        assert!(page.text().contains(suffix), "the page does not name {suffix}");
    }
    assert!(top["responses"]["401"].is_null(), "nobody needs a key here");
    let parameters = top["parameters"].as_array().unwrap();
    let limit = parameters.iter().find(|parameter| parameter["name"] == "limit").unwrap();
    assert_eq!((&limit["schema"]["default"], &limit["schema"]["maximum"]), (&json!(20), &json!(100_000)));
    api.stop().await;
}
