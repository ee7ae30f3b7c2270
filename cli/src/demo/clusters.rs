//! The clusters of the demonstration: real processes of this same binary, each on a leash (its standard input), so that
//! none outlives a demonstration that is killed.

use std::{env, path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, bail};
use shardlake_schema::users::Role;
use shardlake_simulator::Simulator;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpListener,
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};

use super::{DATABASE, Options, accounts::Accounts};
use crate::clickhouse_options::PASSWORD_VARIABLE;

/// Longer than a cluster's own drain may take.
const DRAIN_DEADLINE: Duration = Duration::from_secs(20);
/// The demonstration wants to see rows soon.
const BATCH_AGE_MS: &str = "1000";
const SAMPLE_EVERY_MS: &str = "5000";

pub(super) struct Clusters {
    processes: Vec<Cluster>,
}

struct Cluster {
    process: Child,
    metrics_port: u16,
    /// What it has to say, read to the end.
    output: JoinHandle<String>,
}

impl Clusters {
    /// Starts all of them; each gets a folder of its own in `spools`.
    pub(super) async fn start(
        options: &Options,
        spools: &Path,
        clickhouse_url: &str,
        accounts: &Accounts,
        discord: &Simulator,
    ) -> anyhow::Result<Self> {
        let mut processes = Vec::new();
        for number in 0..options.clusters {
            let metrics_port = free_port(options.metrics_port.saturating_add(number)).await?;
            processes.push(Cluster::start(
                number,
                metrics_port,
                options,
                &spools.join(number.to_string()),
                clickhouse_url,
                accounts,
                discord,
            )?);
        }
        Ok(Self { processes })
    }

    pub(super) fn metrics_ports(&self) -> Vec<u16> {
        self.processes.iter().map(|cluster| cluster.metrics_port).collect()
    }

    /// Lets go of every leash, waits for the drains and prints the receipts. Whether all of them added up.
    pub(super) async fn drain(mut self) -> anyhow::Result<bool> {
        for cluster in &mut self.processes {
            drop(cluster.process.stdin.take());
        }
        let mut all_added_up = true;
        for (number, mut cluster) in self.processes.into_iter().enumerate() {
            let Ok(status) = timeout(DRAIN_DEADLINE, cluster.process.wait()).await else {
                bail!("cluster {number} did not end within {} s", DRAIN_DEADLINE.as_secs());
            };
            all_added_up &= status?.success();
            let output = cluster.output.await?;
            let receipt = output.split_once("\n\n").map_or(output.as_str(), |(_, receipt)| receipt);
            println!("\ncluster {number}\n{}", receipt.trim_end());
        }
        println!();
        Ok(all_added_up)
    }
}

impl Cluster {
    fn start(
        number: u16,
        metrics_port: u16,
        options: &Options,
        spool: &Path,
        clickhouse_url: &str,
        accounts: &Accounts,
        discord: &Simulator,
    ) -> anyhow::Result<Self> {
        let rest = discord.rest_url();
        let rest =
            rest.strip_prefix("http://").and_then(|url| url.split('/').next()).context("the simulator's address")?;
        let mut process = Command::new(env::current_exe().context("where this program is")?)
            .args(["cluster", "--answer", "--until-input-ends"])
            .args(["--cluster", &number.to_string(), "--clusters", &options.clusters.to_string()])
            .args(["--gateway-url", &discord.gateway_url(), "--rest-proxy", rest])
            .args(["--clickhouse-url", clickhouse_url, "--clickhouse-database", DATABASE])
            .args([
                "--clickhouse-user",
                &accounts.user(Role::Writer),
                "--metrics-listen",
                &format!("127.0.0.1:{metrics_port}"),
            ])
            .arg("--spool")
            .arg(spool)
            .args(["--batch-age-ms", BATCH_AGE_MS, "--sample-every-ms", SAMPLE_EVERY_MS])
            .env(PASSWORD_VARIABLE, accounts.password(Role::Writer))
            .env("DISCORD_TOKEN", discord.token())
            .env("SHARDLAKE_USER_KEY", "demonstration")
            .env("SHARDLAKE_LOG", "warn")
            // Ctrl-C in the terminal goes to this process alone, which lets the clusters drain in their turn.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("a cluster cannot be started")?;
        let output = process.stdout.take().context("the cluster's output")?;
        let output = tokio::spawn(async move {
            let mut text = String::new();
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                text.push_str(&line);
                text.push('\n');
            }
            text
        });
        Ok(Self { process, metrics_port, output })
    }
}

/// `wanted`, or a free port if that one is taken. Another process may take it before the cluster does; then the cluster
/// says so and ends.
async fn free_port(wanted: u16) -> anyhow::Result<u16> {
    for port in [wanted, 0] {
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
            return Ok(listener.local_addr()?.port());
        }
    }
    bail!("there is no free port on 127.0.0.1")
}
