//! A client that shares no code with twilight's: tokio-tungstenite, and decompressors used by hand.

use crate::client::{scenario, until_ledger};
use flate2::{Decompress, FlushDecompress};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use shardlake_simulator::{Profile, Simulator, Traffic};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use twilight_model::gateway::Intents;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What a connection's messages are read with.
enum Decoder {
    Plain,
    Zlib(Box<Decompress>),
    Zstd(zstd::stream::raw::Decoder<'static>),
}

impl Decoder {
    fn decode(&mut self, message: Message) -> String {
        use zstd::stream::raw::Operation as _;
        let mut out = Vec::with_capacity(1 << 20);
        match (self, message) {
            (Self::Plain, Message::Text(text)) => return text.to_string(),
            (Self::Zlib(context), Message::Binary(data)) => {
                assert!(data.ends_with(&[0, 0, 0xff, 0xff]), "flushed");
                context.decompress_vec(&data, &mut out, FlushDecompress::Sync).expect("one zlib stream");
            }
            (Self::Zstd(context), Message::Binary(data)) => {
                out.resize(1 << 20, 0);
                let done = context.run_on_buffers(&data, &mut out).expect("one zstd stream");
                assert_eq!(done.bytes_read, data.len());
                out.truncate(done.bytes_written);
            }
            (_, other) => panic!("not what was asked for: {other:?}"),
        }
        String::from_utf8(out).expect("JSON is UTF-8")
    }
}

/// Sends an IDENTIFY.
pub(crate) async fn identify(socket: &mut Socket, token: &str, shard: u32, shards: u32, intents: u64) {
    let data = json!({
        "token": token,
        "intents": intents,
        "properties": { "os": "linux", "browser": "test", "device": "test" },
        "shard": [shard, shards],
    });
    send(socket, 2, data).await;
}

async fn send(socket: &mut Socket, op: u64, data: Value) {
    let text = json!({ "op": op, "d": data }).to_string();
    socket.send(Message::text(text)).await.expect("an open connection");
}

async fn connect(simulator: &Simulator, query: &str) -> Socket {
    let url = format!("{}/?v=10&encoding=json{query}", simulator.gateway_url());
    connect_async(url).await.expect("a gateway").0
}

/// The close code that a connection ends with.
async fn close_code(socket: &mut Socket) -> u16 {
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Close(frame) = message {
            return frame.map_or(1005, |frame| frame.code.into());
        }
    }
    panic!("no close frame");
}

#[tokio::test]
async fn every_compression_carries_the_same() {
    for (query, mut decoder) in [
        ("", Decoder::Plain),
        ("&compress=zlib-stream", Decoder::Zlib(Box::new(Decompress::new(true)))),
        ("&compress=zstd-stream", Decoder::Zstd(zstd::stream::raw::Decoder::new().expect("a context"))),
    ] {
        let simulator = Simulator::start(scenario(1)).await.expect("a free port");
        let mut socket = connect(&simulator, query).await;
        identify(&mut socket, simulator.token(), 0, 1, Intents::all().bits()).await;
        let mut run = simulator.traffic(&Traffic::of(Profile::Presence).budget(500).unpaced());
        let reading = async {
            let (mut seq, mut bytes) = (0, 0);
            while seq < 1 + 3 + 500 {
                let message = socket.next().await.expect("more").expect("a message");
                let text = decoder.decode(message);
                let json: Value = serde_json::from_str(&text).expect("JSON");
                let order: Vec<usize> = [r#""t":"#, r#""s":"#, r#""op":"#, r#""d":"#]
                    .iter()
                    .map(|key| text.find(key).expect("every key"))
                    .collect();
                assert!(order.is_sorted(), "t, s, op, d: {text}");
                if json["op"] == 0 {
                    seq += 1;
                    assert_eq!(json["s"], seq, "no gap");
                    bytes += text.len() as u64;
                }
            }
            bytes
        };
        let (bytes, ()) = tokio::join!(reading, run.sent());
        let ledger = simulator.ledger();
        let tallies = ledger.shards[&0].dispatches.values();
        assert_eq!(tallies.map(|tally| tally.live_bytes).sum::<u64>(), bytes);
    }
}

#[tokio::test]
async fn ready_names_the_shard_s_guilds_and_where_to_resume() {
    let simulator = Simulator::start(scenario(2)).await.expect("a free port");
    let mut socket = connect(&simulator, "").await;
    identify(&mut socket, simulator.token(), 1, 2, 1).await;
    let mut decoder = Decoder::Plain;
    let (mut ready, mut created) = (Value::Null, Vec::new());
    while created.len() < 3 {
        let message = socket.next().await.expect("more").expect("a message");
        let json: Value = serde_json::from_str(&decoder.decode(message)).expect("JSON");
        match json["t"].as_str() {
            Some("READY") => ready = json["d"].clone(),
            Some("GUILD_CREATE") => created.push(json["d"]["id"].clone()),
            _ => {}
        }
    }
    let named: Vec<Value> = ready["guilds"].as_array().expect("a list").iter().map(|g| g["id"].clone()).collect();
    assert_eq!(named, created);
    for id in named {
        let id: u64 = id.as_str().expect("text").parse().expect("a snowflake");
        assert_eq!((id >> 22) % 2, 1);
    }
    // Resumed there, by hand: the last guild is sent again, because we claim not to have it.
    drop(socket);
    let url = ready["resume_gateway_url"].as_str().expect("an address");
    let (mut socket, _) = connect_async(format!("{url}/?v=10&encoding=json")).await.expect("there");
    let session = ready["session_id"].clone();
    let data = json!({ "token": simulator.token(), "session_id": session, "seq": 3 });
    send(&mut socket, 6, data).await;
    let mut events = Vec::new();
    while events.last().map(String::as_str) != Some("RESUMED") {
        let message = socket.next().await.expect("more").expect("a message");
        let json: Value = serde_json::from_str(&decoder.decode(message)).expect("JSON");
        events.push(json["t"].as_str().unwrap_or("HELLO").to_owned());
    }
    assert_eq!(events, ["HELLO", "GUILD_CREATE", "RESUMED"]);
    assert_eq!(simulator.ledger().shards[&1].dispatches["GUILD_CREATE"].resent, 1);
}

#[tokio::test]
async fn members_are_sent_when_asked_for() {
    let simulator = Simulator::start(scenario(1)).await.expect("a free port");
    let mut socket = connect(&simulator, "").await;
    identify(&mut socket, simulator.token(), 0, 1, 1).await;
    let mut decoder = Decoder::Plain;
    loop {
        let message = socket.next().await.expect("more").expect("a message");
        let json: Value = serde_json::from_str(&decoder.decode(message)).expect("JSON");
        match json["t"].as_str() {
            Some("GUILD_CREATE") => {
                let guild = json["d"]["id"].clone();
                let data = json!({ "guild_id": guild, "query": "", "limit": 2, "nonce": "n" });
                send(&mut socket, 8, data).await;
            }
            Some("GUILD_MEMBERS_CHUNK") => {
                assert_eq!(json["d"]["members"].as_array().map(Vec::len), Some(2));
                assert_eq!(json["d"]["nonce"], "n");
                break;
            }
            _ => {}
        }
    }
    assert!(simulator.ledger().shards[&0].commands[&8] >= 1);
}

#[tokio::test]
async fn what_a_client_gets_wrong_has_its_close_code() {
    let simulator = Simulator::start(scenario(1)).await.expect("a free port");
    let token = simulator.token();
    let whole = json!({ "token": token, "intents": 1, "properties": {}, "shard": [0, 1] });
    let cases = [
        (vec![json!({ "op": 77 })], 4001),
        (vec![json!("no command")], 4002),
        (vec![json!({ "op": 2, "d": { "token": token } })], 4002),
        (vec![json!({ "op": 1, "d": "x".repeat(5_000) })], 4002),
        (vec![json!({ "op": 3, "d": {} })], 4003),
        (vec![json!({ "op": 2, "d": whole }), json!({ "op": 2, "d": whole })], 4005),
        (vec![json!({ "op": 3, "d": {} }); 1], 4003),
    ];
    for (commands, code) in cases {
        let mut socket = connect(&simulator, "").await;
        for command in commands {
            let text = Message::text(command.to_string());
            socket.send(text).await.expect("an open connection");
        }
        assert_eq!(close_code(&mut socket).await, code);
    }
    for (query, code) in [("&v=5", 4012), ("&compress=gzip", 4002)] {
        let url = format!("{}/?encoding=json{query}", simulator.gateway_url());
        let (mut socket, _) = connect_async(url).await.expect("a gateway");
        assert_eq!(close_code(&mut socket).await, code);
    }
}

#[tokio::test]
async fn too_many_commands_and_an_impossible_sequence() {
    let simulator = Simulator::start(scenario(1)).await.expect("a free port");
    let mut socket = connect(&simulator, "").await;
    identify(&mut socket, simulator.token(), 0, 1, 1).await;
    for _ in 0..130 {
        let text = json!({ "op": 3, "d": {} }).to_string();
        // The last ones find the connection closed.
        let _ = socket.send(Message::text(text)).await;
    }
    assert_eq!(close_code(&mut socket).await, 4008);

    let ledger = until_ledger(&simulator, "a session", |l| l.shards[&0].sessions == 1).await;
    assert_eq!(ledger.shards[&0].commands[&3], 119, "the IDENTIFY counts too");
    let mut socket = connect(&simulator, "").await;
    identify(&mut socket, simulator.token(), 0, 1, 1).await;
    let mut decoder = Decoder::Plain;
    let session = loop {
        let message = socket.next().await.expect("more").expect("a message");
        let json: Value = serde_json::from_str(&decoder.decode(message)).expect("JSON");
        if json["t"] == "READY" {
            break json["d"]["session_id"].clone();
        }
    };
    let mut socket = connect(&simulator, "").await;
    let data = json!({ "token": simulator.token(), "session_id": session, "seq": 1_000_000 });
    send(&mut socket, 6, data).await;
    assert_eq!(close_code(&mut socket).await, 4007);
}

#[tokio::test]
async fn garbage_ends_nothing_but_itself() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let simulator = Simulator::start(scenario(1)).await.expect("a free port");
    let address = simulator.gateway_url().replace("ws://", "");
    for garbage in ["", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "GET / HTTP/1.1\r\n\r\n", "GE"] {
        let mut stream = TcpStream::connect(&address).await.expect("listening");
        stream.write_all(garbage.as_bytes()).await.expect("taken");
        stream.shutdown().await.expect("taken");
        let mut reply = Vec::new();
        // A reset is fine too.
        let _ = stream.read_to_end(&mut reply).await;
    }
    let mut socket = connect(&simulator, "").await;
    identify(&mut socket, simulator.token(), 0, 1, 1).await;
    until_ledger(&simulator, "a session", |l| l.shards[&0].sessions == 1).await;
}
