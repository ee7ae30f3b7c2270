//! A ClickHouse with our schema, the query service over it on a real socket, and somebody who asks.

use std::net::SocketAddr;

use clickhouse::Client;
use serde_json::Value;
use shardlake_embedded::{Clickhouse, Options, User};
use shardlake_queries::{Catalogue, Service, serve};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

/// A ClickHouse of our own.
pub(crate) struct Lake {
    clickhouse: Clickhouse,
    _folder: tempfile::TempDir,
}

impl Lake {
    /// Starts it; its reader may read `databases`.
    pub(crate) async fn start<S: Into<String>>(databases: impl IntoIterator<Item = S>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::new(folder.path()).with_databases(databases);
        Self { clickhouse: Clickhouse::start(options).await.unwrap(), _folder: folder }
    }

    pub(crate) fn client(&self, user: User, database: &str) -> Client {
        let credentials = self.clickhouse.credentials(user);
        Client::default()
            .with_url(self.clickhouse.url())
            .with_user(credentials.user)
            .with_password(credentials.password)
            .with_database(database)
    }

    /// Makes `database` with our tables, and none of their times to live: fixtures have dates that stay what they are.
    pub(crate) async fn with_schema(&self, database: &str) -> Client {
        let admin = self.client(User::Admin, "system");
        shardlake_schema::migrate::apply(&admin, database).await.unwrap();
        let admin = admin.with_database(database);
        for table in ["interactions", "shard_events", "gateway_counts", "samples", "batches"] {
            run(&admin, &format!("ALTER TABLE {table} REMOVE TTL")).await;
        }
        admin
    }

    /// The query service over `database`, asked as its reader.
    pub(crate) async fn api(&self, database: &str, catalogue: Catalogue) -> Api {
        Api::start(self.client(User::Reader, database), catalogue).await
    }

    pub(crate) async fn stop(self) {
        self.clickhouse.stop().await.unwrap();
    }
}

/// Runs a statement as it is.
pub(crate) async fn run(client: &Client, sql: &str) {
    client.query_raw(sql).execute().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// Inserts `rows` into `table` at once.
pub(crate) async fn insert(client: &Client, table: &str, rows: &[Value]) {
    let lines: String = rows.iter().flat_map(|row| [row.to_string(), "\n".to_owned()]).collect();
    let query = client.query_raw(&format!("INSERT INTO {table} FORMAT JSONEachRow\n{lines}"));
    let query = query.with_setting("date_time_input_format", "best_effort").with_setting("async_insert", "0");
    query.execute().await.unwrap_or_else(|error| panic!("insert into {table}: {error}"));
}

/// A running query service.
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

impl Api {
    pub(crate) async fn start(client: Client, catalogue: Catalogue) -> Self {
        Self::serve(Service::new(client, catalogue)).await
    }

    pub(crate) async fn serve(service: Service) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await;
        };
        let served = tokio::spawn(serve(listener, None, service, shutdown));
        Self { address, stop, served }
    }

    /// Status and body of `GET path`.
    pub(crate) async fn text(&self, path: &str) -> (u16, String) {
        let mut stream = self.request(path).await;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path}: {reply}"));
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// Status and JSON of `GET path`.
    pub(crate) async fn json(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.text(path).await;
        (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}")))
    }

    /// The answer to a question, which must succeed.
    pub(crate) async fn answer(&self, question: &str, query: &str) -> Value {
        let (status, answer) = self.json(&format!("/v1/{question}?{query}")).await;
        assert_eq!(status, 200, "{question}?{query}: {answer:#}");
        answer
    }

    /// Sends `GET path` and leaves the answer to the caller.
    pub(crate) async fn request(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let path = path.replace(' ', "%20");
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        stream
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.served.await.unwrap();
    }
}
