//! What the query service adds to a query: the same question, asked of the service and of ClickHouse directly, in turn.
//!
//! Both get the same statement with the same typed parameters over kept connections, as the same user, from the same client in
//! this process. Every request has a range of its own, so nobody is given an answer that was made for another. The service
//! also gives the answer its form, and says how fresh and complete the data is, which it looks up once a second.
//!
//! `make bench BENCH="--bench overhead"`; `-- 4000`: so many requests per row of the table.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints its result, and may panic")]

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use clickhouse::Client;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use shardlake_embedded::{Clickhouse, Options, User};
use shardlake_queries::{Catalogue, Service, serve};
use shardlake_schema::{TimeMs, migrate};
use tokio::{net::TcpListener, sync::oneshot, task::JoinSet};

const REQUESTS: usize = 200;
const CLIENTS: [usize; 3] = [1, 16, 64];
/// Many, each short: what the machine does meanwhile meets both of the two.
const ROUNDS: usize = 9;
const QUESTION: &str = "interactions/by_cluster";
/// What is asked about, up to now: a short query and a long one.
const RANGES: [(&str, i64); 2] = [("1m", 60_000), ("1h", 3_600_000)];

/// A day of 100 clusters with 10 interactions a second.
const ROWS: &str = "INSERT INTO interactions
    SELECT toString(number % 100), 1 + number % 100, 1 + intDiv(number, 100000), now64(3) - toIntervalMillisecond(100 * number), 50,
        number % 4194304, 1 + number % 7919, 1600, 0, number % 65537, 'application_command', concat('command', toString(number % 40)),
        if(number % 33 = 0, 'error', 'success'), '', 20 + number % 300, 30 + number % 300, 'en-US', 'guild'
    FROM numbers(864000)";

type Http = HttpClient<HttpConnector, Full<Bytes>>;

/// Where the question is asked.
#[derive(Clone)]
enum Asked {
    Service { url: String },
    Clickhouse { url: String, sql: Bytes, user: String, password: String },
}

impl Asked {
    /// The last so many milliseconds.
    fn request(&self, range_ms: i64) -> Request<Full<Bytes>> {
        let to = TimeMs::now().0;
        let from = to - range_ms;
        match self {
            Self::Service { url } => {
                Request::get(format!("{url}/v1/{QUESTION}?from={from}&to=now")).body(Full::default()).unwrap()
            }
            Self::Clickhouse { url, sql, user, password } => {
                let seconds = |ms: i64| format!("{}.{:03}", ms / 1_000, ms % 1_000);
                let parameters = format!("param_from={}&param_to={}", seconds(from), seconds(to));
                let url = format!(
                    "{url}/?database=shardlake&default_format=JSONCompact&{parameters}&param_cluster=[]&param_shard=[]&param_command=[]"
                );
                Request::post(url)
                    .header("x-clickhouse-user", user)
                    .header("x-clickhouse-key", password)
                    .body(Full::new(sql.clone()))
                    .unwrap()
            }
        }
    }
}

/// What a row of the table says of one of the two.
struct Measured {
    median_ms: f64,
    p99_ms: f64,
    per_s: f64,
}

#[tokio::main]
async fn main() {
    let requests = env::args().find_map(|argument| argument.parse().ok()).unwrap_or(REQUESTS);
    let directory = tempfile::tempdir().unwrap();
    let clickhouse = Clickhouse::start(Options::new(directory.path())).await.unwrap();
    let client = |user| {
        let credentials = clickhouse.credentials(user);
        let client = Client::default().with_url(clickhouse.url()).with_database("shardlake");
        client.with_user(credentials.user).with_password(credentials.password)
    };
    let admin = client(User::Admin);
    migrate::apply(&admin, "shardlake").await.unwrap();
    admin.query_raw(ROWS).execute().await.unwrap();
    admin.query_raw("OPTIMIZE TABLE interactions FINAL").execute().await.unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let catalogue = Catalogue::builtin();
    let sql = Bytes::from(catalogue.get(QUESTION).unwrap().sql.clone());
    let served = tokio::spawn(serve(listener, None, Service::new(client(User::Reader), catalogue), async {
        let _ = stopped.await;
    }));
    let reader = clickhouse.credentials(User::Reader);
    let service = Asked::Service { url: format!("http://{address}") };
    let direct = Asked::Clickhouse {
        url: clickhouse.url().to_owned(),
        sql,
        user: reader.user.clone(),
        password: reader.password.clone(),
    };

    println!("| range | clients | asked | median ms | p99 ms | requests/s | median added ms | of the throughput |");
    println!("|---|---|---|---|---|---|---|---|");
    for (range, range_ms) in RANGES {
        for clients in CLIENTS {
            let mut rounds: Vec<(Measured, Measured)> = Vec::new();
            for _ in 0..ROUNDS {
                let direct = measure(&direct, range_ms, clients, requests).await;
                rounds.push((direct, measure(&service, range_ms, clients, requests).await));
            }
            rounds.sort_by(|a, b| (a.1.median_ms - a.0.median_ms).total_cmp(&(b.1.median_ms - b.0.median_ms)));
            let (direct, service) = &rounds[ROUNDS / 2];
            for (name, measured) in [("ClickHouse", direct), ("service", service)] {
                let added = measured.median_ms - direct.median_ms;
                let Measured { median_ms, p99_ms, per_s } = measured;
                let share = per_s / direct.per_s;
                println!(
                    "| {range} | {clients} | {name} | {median_ms:.2} | {p99_ms:.2} | {per_s:.0} | {added:.2} | {share:.2} |"
                );
            }
        }
    }
    stop.send(()).unwrap();
    served.await.unwrap();
    clickhouse.stop().await.unwrap();
}

/// `requests` requests by so many clients, each asking anew once it has its answer.
async fn measure(asked: &Asked, range_ms: i64, clients: usize, requests: usize) -> Measured {
    let http: Http = HttpClient::builder(TokioExecutor::new()).build_http();
    let number = Arc::new(AtomicI64::new(0));
    let mut asking = JoinSet::new();
    let started = Instant::now();
    for _ in 0..clients {
        let (http, number, asked) = (http.clone(), Arc::clone(&number), asked.clone());
        asking.spawn(async move {
            let mut durations = Vec::new();
            loop {
                let more_ms = number.fetch_add(1, Ordering::Relaxed);
                if more_ms >= i64::try_from(requests).unwrap() {
                    return durations;
                }
                let asked_at = Instant::now();
                let reply = http.request(asked.request(range_ms + more_ms)).await.unwrap();
                let status = reply.status();
                let body = reply.into_body().collect().await.unwrap().to_bytes();
                assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
                durations.push(asked_at.elapsed());
            }
        });
    }
    let mut durations: Vec<Duration> = asking.join_all().await.into_iter().flatten().collect();
    let elapsed_s = started.elapsed().as_secs_f64();
    durations.sort_unstable();
    let at = |share: usize| durations[(durations.len() * share / 100).min(durations.len() - 1)].as_secs_f64() * 1_000.0;
    #[allow(clippy::cast_precision_loss, reason = "a few thousand requests")]
    Measured { median_ms: at(50), p99_ms: at(99), per_s: durations.len() as f64 / elapsed_s }
}
