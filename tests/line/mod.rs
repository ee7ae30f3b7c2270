//! The whole line in one process, for tests: a real engine, a simulated Discord, and clusters on the real twilight client.
//!
//! Each test starts a line of its own, so tests share nothing and can run side by side.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

pub mod servers;

use std::{sync::Arc, time::Duration};

use clickhouse::{Client, RowOwned, RowRead};
use shardlake_embedded::{Clickhouse, Options, User};
use shardlake_ingest::{Config, Observed, Receipt, Recorder, Shards};
use shardlake_schema::{Table, migrate, topology::readers_database};
use shardlake_simulator::{Scenario, Simulator};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};
use twilight_gateway::{
    CloseFrame, ConfigBuilder, Event, EventTypeFlags, Intents, Shard, ShardId, StreamExt as _, queue::InMemoryQueue,
};
use twilight_model::{
    application::interaction::Interaction,
    http::interaction::{InteractionResponse, InteractionResponseType},
};

use self::servers::Servers;

/// What a condition may take to come true before the test gives up. Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_mins(1);
const DRAIN: Duration = Duration::from_secs(30);
pub const DATABASE: &str = "shardlake";

pub struct Line {
    pub clickhouse: Clickhouse,
    pub discord: Simulator,
    /// May do everything.
    pub admin: Client,
    /// The addresses that writers are given, and the database that readers use.
    urls: String,
    database: String,
    shards: u32,
    /// Of a ClickHouse cluster.
    other_servers: Vec<Clickhouse>,
    _directory: tempfile::TempDir,
}

impl Line {
    pub async fn start(scenario: Scenario) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clickhouse = Clickhouse::start(Options::new(directory.path())).await.unwrap();
        let urls = clickhouse.url().to_owned();
        migrate::apply(&client(&clickhouse, User::Admin, DATABASE), DATABASE).await.unwrap();
        Self::over(vec![clickhouse], urls, DATABASE.to_owned(), directory, scenario).await
    }

    /// The same over a ClickHouse cluster of this many shards: clusters write to their shard, everybody else reads all of them.
    pub async fn start_on_shards(count: usize, scenario: Scenario) -> Self {
        let servers = Servers::with_schema(count).await;
        let urls = servers.urls();
        let running = servers.running.into_iter().flatten().collect();
        Self::over(running, urls, readers_database(DATABASE), servers.directory, scenario).await
    }

    async fn over(
        mut servers: Vec<Clickhouse>,
        urls: String,
        database: String,
        directory: tempfile::TempDir,
        scenario: Scenario,
    ) -> Self {
        // An error means that another test of this process was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let clickhouse = servers.remove(0);
        let admin = client(&clickhouse, User::Admin, &database);
        let shards = scenario.shards;
        let discord = Simulator::start(scenario).await.unwrap();
        Self { clickhouse, discord, admin, urls, database, shards, other_servers: servers, _directory: directory }
    }

    pub fn reader(&self) -> Client {
        client(&self.clickhouse, User::Reader, &self.database)
    }

    /// Starts cluster `number` of `clusters`; the bot's shards must divide evenly.
    pub fn cluster(&self, number: u16, clusters: u16, change: impl FnOnce(&mut Config)) -> Cluster {
        let total = u16::try_from(self.shards).unwrap();
        let count = total / clusters;
        let shards = Shards { first: number * count, count, total };
        let mut config = Config::new(number.to_string(), shards, &self.urls);
        let writer = self.clickhouse.credentials(User::Writer);
        config.clickhouse.user = writer.user;
        config.clickhouse.password = writer.password.into();
        config.batch.max_age = Duration::from_millis(500);
        change(&mut config);

        let recorder = Recorder::start(config).unwrap();
        let http = twilight_http::Client::builder()
            .token(self.discord.token().to_owned())
            .proxy(host(&self.discord.rest_url()), true)
            .ratelimiter(None)
            .build();
        let bot = Arc::new(Bot { recorder: recorder.clone(), http });
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for id in shards.first..shards.first + shards.count {
            let shard = recorder.observe(self.shard(id.into()));
            tasks.spawn(Arc::clone(&bot).run(shard, stopped.clone()));
        }
        Cluster { recorder, stop, tasks }
    }

    pub fn shard(&self, id: u32) -> Shard {
        let queue = InMemoryQueue::new(0, 1000, Duration::from_mins(1), 1000); // 0: no pacing
        let config = ConfigBuilder::new(self.discord.token().to_owned(), Intents::all())
            .proxy_url(self.discord.gateway_url())
            .queue(queue)
            .build();
        Shard::with_config(ShardId::new(id, self.shards), config)
    }

    pub async fn rows<T>(&self, sql: &str) -> Vec<T>
    where
        T: RowOwned + RowRead,
    {
        self.admin.query_raw(sql).fetch_all::<T>().await.unwrap_or_else(|error| panic!("{error}\n{sql}"))
    }

    /// Waits until a query that yields one number yields at least `least`.
    pub async fn until(&self, least: u64, sql: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let rows: Vec<u64> = self.rows(sql).await;
            if rows[0] >= least {
                return;
            }
            if Instant::now() >= deadline {
                let lives = "SELECT toString(shard), arrayStringConcat(groupArray(toString(event)), ' ') FROM (SELECT * FROM shard_events ORDER BY time) GROUP BY shard ORDER BY shard";
                let lives: Vec<(String, String)> = self.rows(lives).await;
                panic!("{} of {least} after {PATIENCE:?}: {sql}\n{lives:#?}", rows[0]);
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn stop(self) {
        self.discord.stop().await;
        for server in [self.clickhouse].into_iter().chain(self.other_servers) {
            server.stop().await.unwrap();
        }
    }
}

fn client(clickhouse: &Clickhouse, user: User, database: &str) -> Client {
    let credentials = clickhouse.credentials(user);
    Client::default()
        .with_url(clickhouse.url())
        .with_database(database)
        .with_user(credentials.user)
        .with_password(credentials.password)
}

/// A bot's cluster, as its author would write it.
pub struct Cluster {
    pub recorder: Recorder,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Cluster {
    /// Waits until the cluster's own book says that at least `least` rows of a table have landed.
    pub async fn landed(&self, table: Table, least: u64) {
        let landed = || self.recorder.accounts().iter().find(|account| account.table == table).unwrap().landed;
        let deadline = Instant::now() + PATIENCE;
        while landed() < least {
            assert!(Instant::now() < deadline, "{} of {least} rows of {table} after {PATIENCE:?}", landed());
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Closes the shards, and drains.
    pub async fn stop(mut self) -> Receipt {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        self.recorder.shutdown("test is over", DRAIN).await
    }
}

struct Bot {
    recorder: Recorder,
    http: twilight_http::Client,
}

/// What a handler of the bot can fail with.
#[derive(Debug)]
pub enum HandlerError {
    /// Discord did not take the response: too late, after a replay.
    Late,
    /// See [`fails`].
    OddId,
}

impl Bot {
    async fn run(self: Arc<Self>, mut shard: Observed, mut stopped: watch::Receiver<bool>) {
        let mut handlers = JoinSet::new();
        let mut closing = false;
        loop {
            let event = tokio::select! {
                event = shard.next_event(EventTypeFlags::INTERACTION_CREATE) => event,
                _ = stopped.wait_for(|stop| *stop), if !closing => {
                    closing = true;
                    shard.close(CloseFrame::NORMAL);
                    continue;
                }
                () = sleep(Duration::from_secs(5)), if closing => break,
            };
            match event {
                Some(Ok(Event::InteractionCreate(interaction))) => {
                    let bot = Arc::clone(&self);
                    handlers.spawn(async move {
                        let handler = bot.handle(&interaction.0);
                        let _ = bot.recorder.track(&interaction.0, handler).await; // the outcome is what is recorded
                    });
                }
                Some(Ok(Event::GatewayClose(_))) if closing => break,
                Some(_) => {}
                None => break,
            }
        }
        while let Some(ended) = handlers.join_next().await {
            ended.unwrap();
        }
    }

    /// Answers, and then fails for odd ids.
    async fn handle(&self, interaction: &Interaction) -> Result<(), HandlerError> {
        let kind = InteractionResponseType::DeferredChannelMessageWithSource;
        let response = InteractionResponse { kind, data: None };
        let client = self.http.interaction(interaction.application_id);
        let sent = client.create_response(interaction.id, &interaction.token, &response).await;
        sent.map_err(|_| HandlerError::Late)?;
        self.recorder.responded(interaction.id.get());
        if fails(interaction.id.get()) { Err(HandlerError::OddId) } else { Ok(()) }
    }
}

/// Whether the bot's handler fails for this interaction.
pub fn fails(id: u64) -> bool {
    id % 2 == 1
}

/// `http://127.0.0.1:8080/api/v10` is `127.0.0.1:8080`.
fn host(url: &str) -> String {
    url.trim_start_matches("http://").split('/').next().unwrap().to_owned()
}

/// A GET over a connection of its own; the body.
pub async fn get(url: &str) -> String {
    let host = host(url);
    let path = url.split_once(&host).unwrap().1;
    let mut stream = TcpStream::connect(&host).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAccept: */*\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.unwrap();
    let response = String::from_utf8(response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{url}: {head}\n{body}");
    assert!(!head.to_lowercase().contains("transfer-encoding"), "a body with a length was expected");
    body.to_owned()
}
