//! `shardlake queries`: the service that answers questions.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;
use shardlake_queries::{Catalogue, Service};
use tokio::net::TcpListener;

use crate::{clickhouse_options::ClickhouseOptions, signals};

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    clickhouse: ClickhouseOptions,
    /// Address to serve on.
    #[arg(long, env = "SHARDLAKE_QUERIES_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Directory with questions of your own, `<noun>/<question>.sql`, served beside the built-in ones.
    #[arg(long, env = "SHARDLAKE_CATALOGUE")]
    catalogue: Option<PathBuf>,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let mut catalogue = Catalogue::builtin();
    if let Some(folder) = &options.catalogue {
        catalogue = catalogue.with_folder(folder)?;
    }
    let service = Service::new(options.clickhouse.client()?, catalogue);
    let listener =
        TcpListener::bind(options.listen).await.with_context(|| format!("cannot listen on {}", options.listen))?;
    println!("queries    http://{}", listener.local_addr()?);
    shardlake_queries::serve(listener, service, async {
        signals::stop_requested().await;
    })
    .await?;
    Ok(ExitCode::SUCCESS)
}
