//! `shardlake demo`: the whole line on this machine, with a simulated bot.
//!
//! ClickHouse, the simulated Discord and the query service live here; the clusters are processes of their own, as they
//! are in earnest. At the end everything drains in the order of the flow, and what the simulator says it sent is held
//! against what ClickHouse holds: the exit status is 0 only if the two agree and every cluster's receipt adds up.

mod accounts;

mod clusters;

mod table;

mod verdict;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Args;
use clickhouse::Client;
use shardlake_embedded::Clickhouse;
use shardlake_queries::{Catalogue, Service};
use shardlake_schema::{TimeMs, migrate, users::Role};
use shardlake_simulator::{Profile, Scenario, Simulator, Traffic};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle, time::sleep};

use self::{accounts::Accounts, clusters::Clusters};
use crate::signals;

const DATABASE: &str = "shardlake";
/// How often the live table is printed.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Simulated Discord holds interactions back this long before it sends them, ms: what a client measures as delivery lag.
const DELIVERY_LAG_MS: (u64, u64) = (20, 180);

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long to run, such as `20s` or `5m`; without it until Ctrl-C.
    #[arg(long = "for", value_parser = duration)]
    run_for: Option<Duration>,
    /// Cluster processes.
    #[arg(long, default_value_t = 4)]
    clusters: u16,
    /// Shards of each cluster.
    #[arg(long, default_value_t = 4)]
    shards_each: u16,
    /// Seed of the simulated bot and its traffic.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Directory to keep the data in; without it the data is gone at the end.
    #[arg(long)]
    path: Option<PathBuf>,
    /// Address of the query service: a loopback one, since a demo has no keys.
    #[arg(long, default_value = "127.0.0.1:8080", value_parser = loopback)]
    listen: SocketAddr,
    /// Metrics port of cluster 0; the others follow. A port that is taken is replaced by a free one.
    #[arg(long, default_value_t = 9191)]
    metrics_port: u16,
}

/// `90s`, `5m` or `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration; write 90s, 5m or 1h");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let number: u64 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| wrong())?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        _ => return Err(wrong()),
    };
    Ok(Duration::from_secs(number.saturating_mul(seconds)))
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|error| format!("{error}; write 127.0.0.1:8080"))?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("a demo has no keys, so it is for this machine: write 127.0.0.1:8080".to_owned())
    }
}

pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let started_at = TimeMs::now();
    let temporary = tempfile::tempdir().context("no temporary directory")?;
    let path = options.path.clone().unwrap_or_else(|| temporary.path().to_owned());

    let server = path.join("clickhouse");
    let accounts = Accounts::set_up(&server)?;
    let clickhouse = Clickhouse::start(shardlake_embedded::Options::new(&server)).await?;
    migrate::apply(&accounts.client(clickhouse.url(), Role::Migrator), DATABASE).await?;
    let reader = accounts.client(clickhouse.url(), Role::Reader);

    let shards = u32::from(options.clusters) * u32::from(options.shards_each);
    let scenario = Scenario { seed: options.seed, shards, ..Scenario::default() };
    let simulator = Simulator::start(scenario).await?;
    let queries = serve_queries(&options, reader.clone()).await?;
    let clusters = Clusters::start(&options, &path.join("spool"), clickhouse.url(), &accounts, &simulator).await?;
    println!(
        "clickhouse {}  (user {}; passwords in {})",
        clickhouse.url(),
        accounts.user(Role::Reader),
        server.join("passwords").display()
    );
    println!("queries    http://{0}/  for example http://{0}/v1/interactions/by_cluster", queries.address);
    for (cluster, port) in clusters.metrics_ports().iter().enumerate() {
        println!("cluster {cluster}  http://127.0.0.1:{port}/metrics");
    }
    println!("gateway    {}  (simulated, {shards} shards)\n", simulator.gateway_url());

    let traffic = simulator.traffic(&Traffic { delivery_lag_ms: DELIVERY_LAG_MS, ..Traffic::of(Profile::Normal) });
    let reason = watch(&options, &reader).await;
    println!("\n{reason}: draining");

    // In the order of the flow, so that everything that was sent can still arrive.
    traffic.stop().await;
    let all_added_up = clusters.drain().await?;
    let sent = simulator.ledger();
    let agreed = verdict::hold(&sent, &reader, started_at).await?;
    simulator.stop().await;
    queries.stop().await?;
    clickhouse.stop().await?;

    let holds = all_added_up && agreed;
    println!("{}", if holds { "the law holds: sent = observed = landed" } else { "THE LAW DOES NOT HOLD" });
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints what arrives until it is time to stop; says why.
async fn watch(options: &Options, reader: &Client) -> &'static str {
    let end = async {
        match options.run_for {
            Some(limit) => sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(end);
    let stop = signals::stop_requested();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut end => return "time is up",
            signal = &mut stop => return signal,
            () = sleep(LOOK_EVERY) => match table::read(reader).await {
                Ok(rows) => println!("{rows}"),
                Err(error) => tracing::warn!(%error, "the table cannot be read"),
            },
        }
    }
}

/// The query service, running.
struct Queries {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

async fn serve_queries(options: &Options, reader: Client) -> anyhow::Result<Queries> {
    let listener = match TcpListener::bind(options.listen).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind((options.listen.ip(), 0)).await.context("no free port for the query service")?,
    };
    let address = listener.local_addr()?;
    let service = Service::new(reader, Catalogue::builtin());
    let (stop, stopped) = oneshot::channel();
    let served = tokio::spawn(shardlake_queries::serve(listener, None, service, async {
        let _ = stopped.await; // the sender is gone: also a reason to stop
    }));
    Ok(Queries { address, stop, served })
}

impl Queries {
    async fn stop(self) -> anyhow::Result<()> {
        let _ = self.stop.send(()); // the service may have ended by itself
        self.served.await.context("the query service failed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        for wrong in ["", "s", "5", "5d", "-1s", "1.5m", "五"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_demo_is_for_this_machine() {
        assert!(loopback("127.0.0.1:0").is_ok() && loopback("[::1]:8080").is_ok());
        assert!(loopback("0.0.0.0:8080").is_err() && loopback("8080").is_err());
    }
}
