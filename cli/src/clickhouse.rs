//! `shardlake clickhouse`: a real ClickHouse server on this machine.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use shardlake_embedded::{Clickhouse, User};

use crate::signals;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Directory for its data, configuration, passwords and log; made if it is missing.
    #[arg(long, env = "SHARDLAKE_CLICKHOUSE_PATH")]
    path: PathBuf,
    /// Port of the HTTP interface, on 127.0.0.1; 0: a free one.
    #[arg(long, default_value_t = 8123)]
    http_port: u16,
    /// Port of the native TCP interface, on 127.0.0.1; without it there is none.
    #[arg(long)]
    tcp_port: Option<u16>,
    /// Databases that the users `writer` and `reader` may use.
    #[arg(long, default_value = "shardlake", value_delimiter = ',')]
    databases: Vec<String>,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let mut server = shardlake_embedded::Options::new(&options.path)
        .with_http_port(options.http_port)
        .with_databases(options.databases);
    if let Some(port) = options.tcp_port {
        server = server.with_tcp_port(port);
    }
    let mut clickhouse = Clickhouse::start(server).await?;
    println!("clickhouse {} (pid {})", clickhouse.url(), clickhouse.pid());
    if let Some(port) = clickhouse.tcp_port() {
        println!("native TCP 127.0.0.1:{port}");
    }
    let users = [User::Admin, User::Writer, User::Reader].map(User::name).join(", ");
    println!("users      {users}; passwords in {}", options.path.join("passwords").display());

    tokio::select! {
        signal = signals::stop_requested() => tracing::info!(signal, "stopping"),
        error = clickhouse.exited() => return Err(error.into()),
    }
    clickhouse.stop().await?;
    Ok(ExitCode::SUCCESS)
}
