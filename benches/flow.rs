//! Rows per second from a gateway event to a landed row, everything on one machine: simulated Discord, the real twilight
//! client, the recorder, the real engine.
//!
//! Discord sends interactions as fast as they are read. The clock runs from the first one to the moment when the last one
//! has landed. The engine's CPU is that of its own process.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints its result, and may panic")]

use std::{
    fs,
    time::{Duration, Instant},
};

use clickhouse::Client;
use shardlake_embedded::{Clickhouse, Options, User};
use shardlake_ingest::{Account, Config, Interactions, Recorder, Shards, WhenFull};
use shardlake_schema::{Table, migrate};
use shardlake_simulator::{Mix, Profile, Scenario, Simulator, Traffic};
use tokio::task::JoinSet;
use twilight_gateway::{
    CloseFrame, ConfigBuilder, Event, EventTypeFlags, Intents, Shard, ShardId, StreamExt as _, queue::InMemoryQueue,
};

const SHARDS: u16 = 4;
const EVENTS_PER_SHARD: u32 = 100_000;
const ROUNDS: usize = 3;
/// Ticks per second of `/proc/<pid>/stat` on every Linux that this runs on (`getconf CLK_TCK`).
const TICKS_PER_S: f64 = 100.0;

#[tokio::main]
async fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default(); // an error means that there is one already
    println!("{:>10}{:>12}{:>22}{:>22}", "rows", "rows/s", "engine CPU s/M rows", "all else CPU s/M rows");
    for _ in 0..ROUNDS {
        round().await;
    }
}

async fn round() {
    let directory = tempfile::tempdir().unwrap();
    let clickhouse = Clickhouse::start(Options::new(directory.path())).await.unwrap();
    let admin = clickhouse.credentials(User::Admin);
    let client = Client::default().with_url(clickhouse.url()).with_user(admin.user).with_password(admin.password);
    migrate::apply(&client, "shardlake").await.unwrap();
    let scenario = Scenario {
        shards: SHARDS.into(),
        guilds: 1_000,
        max_concurrency: SHARDS.into(),
        replay_limit: 1_000,
        ..Scenario::default()
    };
    let discord = Simulator::start(scenario).await.unwrap();
    let recorder = Recorder::start(config(&clickhouse)).unwrap();
    let mut shards = JoinSet::new();
    for id in 0..SHARDS {
        shards.spawn(run_shard(recorder.clone(), shard(&discord, id)));
    }
    while discord.ledger().distinct("READY") < u64::from(SHARDS) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    let rows = u32::from(SHARDS) * EVENTS_PER_SHARD;
    let (engine_s, own_s) = (cpu_s(&clickhouse.pid().to_string()), cpu_s("self"));
    let started = Instant::now();
    let traffic =
        Traffic { mix: Mix::Interactions, ..Traffic::of(Profile::Stress).unpaced().budget(EVENTS_PER_SHARD.into()) };
    let run = discord.traffic(&traffic);
    while landed(&recorder) < u64::from(rows) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let took_s = started.elapsed().as_secs_f64();
    drop(run);
    let millions = f64::from(rows) / 1e6;
    let engine = (cpu_s(&clickhouse.pid().to_string()) - engine_s) / millions;
    let own = (cpu_s("self") - own_s) / millions;
    println!("{rows:>10}{:>12.0}{engine:>22.2}{own:>22.2}", f64::from(rows) / took_s);

    shards.shutdown().await;
    let receipt = recorder.shutdown("bench is over", Duration::from_secs(10)).await;
    assert!(receipt.holds() && receipt.dropped() == 0, "{receipt}");
    discord.stop().await;
    clickhouse.stop().await.unwrap();
}

fn config(clickhouse: &Clickhouse) -> Config {
    let writer = clickhouse.credentials(User::Writer);
    let mut config = Config::new("0", Shards { first: 0, count: SHARDS, total: SHARDS }, clickhouse.url());
    config.clickhouse.user = writer.user;
    config.clickhouse.password = writer.password.into();
    config.interactions = Interactions::OnReceipt;
    config.when_full = WhenFull::DropNewest;
    config.batch.max_age = Duration::from_secs(1);
    config.user_key = Some("key".into());
    config
}

fn shard(discord: &Simulator, id: u16) -> Shard {
    let queue = InMemoryQueue::new(0, 1_000, Duration::from_mins(1), 1_000);
    let config = ConfigBuilder::new(discord.token().to_owned(), Intents::all())
        .proxy_url(discord.gateway_url())
        .queue(queue)
        .build();
    Shard::with_config(ShardId::new(id.into(), SHARDS.into()), config)
}

async fn run_shard(recorder: Recorder, shard: Shard) {
    let mut shard = recorder.observe(shard);
    while let Some(event) = shard.next_event(EventTypeFlags::empty()).await {
        if matches!(event, Ok(Event::GatewayClose(_))) {
            shard.close(CloseFrame::NORMAL);
        }
    }
}

fn landed(recorder: &Recorder) -> u64 {
    let accounts = recorder.accounts();
    accounts.iter().find(|account: &&Account| account.table == Table::Interactions).map_or(0, |account| account.landed)
}

/// User and system time of a process so far.
fn cpu_s(process: &str) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name in parentheses may hold spaces; utime and stime are the 12th and 13th fields after it.
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks = |index: usize| fields[index].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / TICKS_PER_S
}
