//! The REST side, over plain TCP: what is replied, and what counts as an answer.

use crate::client::{Client, scenario};
use serde_json::Value;
use shardlake_simulator::{InteractionRecord, LedgerSnapshot, Mix, Profile, Scenario};
use shardlake_simulator::{Simulator, Traffic};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Status, head and body of one call.
async fn call(
    simulator: &Simulator,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: &str,
) -> (u16, String, String) {
    let (host, prefix) =
        if path.starts_with("/ledger") { (simulator.ledger_url(), "") } else { (simulator.rest_url(), "/api/v10") };
    let host = host.split('/').nth(2).expect("a host").to_owned();
    let mut stream = TcpStream::connect(&host).await.expect("listening");
    let authorization = token.map_or_else(String::new, |token| format!("Authorization: Bot {token}\r\n"));
    let length = body.len();
    let request = format!(
        "{method} {prefix}{path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
         {authorization}Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.expect("taken");
    let mut reply = String::new();
    // Ends because the simulator closes the connection.
    stream.read_to_string(&mut reply).await.expect("a reply");
    let (head, body) = reply.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), head.to_lowercase(), body.to_owned())
}

async fn json(simulator: &Simulator, path: &str) -> Value {
    let (status, head, body) = call(simulator, "GET", path, Some(simulator.token()), "").await;
    assert_eq!(status, 200, "{path}");
    assert!(head.contains("connection: close"), "{head}");
    serde_json::from_str(&body).expect("JSON")
}

fn code(body: &str) -> u64 {
    let body: Value = serde_json::from_str(body).expect("JSON");
    body["code"].as_u64().expect("a code")
}

#[tokio::test]
async fn what_a_client_asks_before_it_connects() {
    let simulator = Simulator::start(Scenario { session_starts: 77, ..scenario(3) }).await.expect("a free port");
    assert_eq!(json(&simulator, "/gateway").await["url"], simulator.gateway_url());
    let bot = json(&simulator, "/gateway/bot").await;
    assert_eq!(bot["shards"], 3);
    assert_eq!(bot["session_start_limit"]["remaining"], 77);
    assert_eq!(bot["session_start_limit"]["max_concurrency"], 3);

    let user = json(&simulator, "/users/@me").await;
    serde_json::from_value::<twilight_model::user::CurrentUser>(user).expect("twilight's model");
    for path in ["/applications/@me", "/oauth2/applications/@me"] {
        let application = json(&simulator, path).await;
        serde_json::from_value::<twilight_model::oauth::Application>(application).expect("twilight's model");
    }
    assert_eq!(json(&simulator, "/applications/1/commands").await, Value::Array(Vec::new()));

    let path = "/applications/1/guilds/2/commands";
    let (status, _, body) = call(&simulator, "PUT", path, Some(simulator.token()), "[]").await;
    assert_eq!((status, body.as_str()), (200, "[]"));
    for (token, path, expected) in
        [(None, "/gateway/bot", 401), (Some("wrong"), "/users/@me", 401), (Some(simulator.token()), "/nothing", 404)]
    {
        assert_eq!(call(&simulator, "GET", path, token, "").await.0, expected, "{path}");
    }
    let calls = simulator.ledger().rest_calls;
    assert_eq!(calls["GET /gateway/bot 200"], 1);
    assert_eq!(calls["GET unauthorized 401"], 2);
}

/// Tokens of the interactions that a client got, by reading its raw messages.
async fn interactions(simulator: &Simulator, count: u64) -> Vec<(String, String)> {
    use futures_util::StreamExt as _;
    use tokio_tungstenite::tungstenite::Message;

    let url = format!("{}/?v=10&encoding=json", simulator.gateway_url());
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.expect("a gateway");
    crate::independent::identify(&mut socket, simulator.token(), 0, 1, 0).await;
    let traffic = Traffic { mix: Mix::Interactions, ..Traffic::of(Profile::Normal).budget(count).unpaced() };
    let mut run = simulator.traffic(&traffic);
    let found = Arc::new(Mutex::new(Vec::new()));
    let reading = async {
        while let Some(Ok(Message::Text(text))) = socket.next().await {
            let json: Value = serde_json::from_str(&text).expect("JSON");
            if json["t"] == "INTERACTION_CREATE" {
                let field = |name: &str| json["d"][name].as_str().expect("text").to_owned();
                let mut found = found.lock().expect("one thread");
                found.push((field("id"), field("token")));
                if found.len() as u64 == count {
                    return;
                }
            }
        }
    };
    tokio::join!(reading, run.sent());
    let found = found.lock().expect("one thread");
    found.clone()
}

#[tokio::test]
async fn the_first_answer_wins() {
    let simulator = Simulator::start(scenario(1)).await.expect("a free port");
    let sent = interactions(&simulator, 3).await;
    let path = |n: usize| {
        let (id, token) = &sent[n];
        format!("/interactions/{id}/{token}/callback")
    };
    let webhook = format!("/webhooks/1/{}", sent[0].1);
    let body = r#"{"type":5}"#;

    let early = call(&simulator, "POST", &webhook, None, "{}").await;
    assert_eq!((early.0, code(&early.2)), (404, 10_015), "a follow-up needs an answer");
    let first = call(&simulator, "POST", &path(0), None, body).await;
    assert_eq!((first.0, first.2.as_str()), (204, ""));
    let second = call(&simulator, "POST", &path(0), None, r#"{"type":4}"#).await;
    assert_eq!((second.0, code(&second.2)), (400, 40_060));
    let with_response = format!("{}?with_response=true", path(1));
    let response = call(&simulator, "POST", &with_response, None, body).await;
    assert_eq!(response.0, 200);
    serde_json::from_str::<Value>(&response.2).expect("JSON");

    let edit = format!("{webhook}/messages/@original");
    let edited = call(&simulator, "PATCH", &edit, None, "{}").await;
    assert_eq!(edited.0, 200);
    serde_json::from_str::<twilight_model::channel::Message>(&edited.2).expect("a message");
    assert_eq!(call(&simulator, "POST", &webhook, None, "{}").await.0, 200);

    let unknown = "/interactions/1/aW50-1/callback";
    let swapped = format!("/interactions/{}/{}/callback", sent[2].0, sent[1].1);
    for path in [unknown, &swapped] {
        let refused = call(&simulator, "POST", path, None, body).await;
        assert_eq!((refused.0, code(&refused.2)), (404, 10_062), "{path}");
    }
    let bad = call(&simulator, "POST", &path(2), None, "no JSON").await;
    assert_eq!((bad.0, code(&bad.2)), (400, 50_035));

    let records = simulator.interactions();
    let answers: Vec<_> = records.iter().map(|r| (r.answer_type, r.followups)).collect();
    assert_eq!(answers, [(Some(5), 2), (Some(5), 0), (None, 0)]);
    assert!(records[0].answered_at_ms >= Some(records[0].sent_at_ms));
    let answered: u64 = simulator.ledger().interactions.iter().map(|c| c.answered).sum();
    assert_eq!(answered, 2);
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_refused() {
    let simulator = Simulator::start(Scenario { answer_deadline_ms: 0, ..scenario(1) }).await.expect("a free port");
    let sent = interactions(&simulator, 1).await;
    // The clock that counts has milliseconds.
    tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    let path = format!("/interactions/{}/{}/callback", sent[0].0, sent[0].1);
    let late = call(&simulator, "POST", &path, None, r#"{"type":5}"#).await;
    assert_eq!((late.0, code(&late.2)), (404, 10_062));
    assert_eq!(simulator.interactions()[0].answered_at_ms, None);
}

#[tokio::test]
async fn the_ledger_is_served_and_looking_changes_nothing() {
    let simulator = Simulator::start(scenario(1)).await.expect("a free port");
    let client = Client::start(&simulator, 0, 1);
    let mut run = simulator.traffic(&Traffic::of(Profile::Normal).budget(400).unpaced());
    run.sent().await;
    client.agrees_with(&simulator, 0).await;
    let (status, _, body) = call(&simulator, "GET", "/ledger", None, "").await;
    assert_eq!(status, 200);
    let served: LedgerSnapshot = serde_json::from_str(&body).expect("a ledger");
    let here = simulator.ledger();
    assert_eq!(served.shards[&0].dispatches, here.shards[&0].dispatches);
    assert_eq!(served.interactions, here.interactions);
    assert!(here.rest_calls.is_empty());
    let (_, _, body) = call(&simulator, "GET", "/ledger/interactions", None, "").await;
    let records: Vec<InteractionRecord> = serde_json::from_str(&body).expect("records");
    assert_eq!(records, simulator.interactions());
}
