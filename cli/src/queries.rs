//! `shardlake queries`: the service that answers questions.

mod key;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use shardlake_queries::{Access, Catalogue, Keys, Service, Tls};
use tokio::net::TcpListener;

use crate::{clickhouse_options::ClickhouseOptions, signals};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    clickhouse: ClickhouseOptions,
    /// Address to serve on. Without keys only a loopback address is taken.
    #[arg(long, env = "SHARDLAKE_QUERIES_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Directory with questions of your own, `<noun>/<question>.sql`, served beside the built-in ones. A change of a file counts
    /// within seconds; one with a fault changes nothing, and the log says which line.
    #[arg(long, env = "SHARDLAKE_CATALOGUE")]
    catalogue: Option<PathBuf>,
    /// File of keys; with one, every question needs a key. A change of the file counts at once.
    #[arg(long, env = "SHARDLAKE_QUERIES_KEYS")]
    keys: Option<PathBuf>,
    /// Let keys with `sql = true` send SQL of their own, which only reads.
    #[arg(long, env = "SHARDLAKE_QUERIES_SQL", requires = "keys")]
    sql: bool,
    /// File with the certificate, PEM, those that lead to its authority after it: serve with TLS. A renewed one is taken up.
    #[arg(long, env = "SHARDLAKE_QUERIES_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// File with the certificate's private key, PEM.
    #[arg(long, env = "SHARDLAKE_QUERIES_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Serve on any address without keys: whoever reaches it may ask everything.
    #[arg(long, conflicts_with = "keys")]
    allow_anonymous: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Keys of the service.
    #[command(subcommand)]
    Key(key::Command),
}

pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    if let Some(Command::Key(command)) = options.command {
        return key::run(&command);
    }
    if !options.listen.ip().is_loopback() && options.keys.is_none() && !options.allow_anonymous {
        bail!(
            "{} can be reached from elsewhere, and there are no keys: whoever reaches it could ask everything. Name a file \
             with --keys, listen on 127.0.0.1, or say --allow-anonymous",
            options.listen
        );
    }
    let mut catalogue = Catalogue::builtin();
    if let Some(folder) = &options.catalogue {
        catalogue = catalogue.with_folder(folder)?;
    }
    let access = Access { keys: options.keys.as_deref().map(Keys::open).transpose()?, sql: options.sql };
    let service = Service::with_access(options.clickhouse.client()?, catalogue, access);
    let listener =
        TcpListener::bind(options.listen).await.with_context(|| format!("cannot listen on {}", options.listen))?;
    let tls = options.tls_cert.as_deref().zip(options.tls_key.as_deref());
    let tls = tls.map(|(certificate, key)| Tls::open(certificate, key)).transpose()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    println!("queries    {scheme}://{}", listener.local_addr()?);
    shardlake_queries::serve(listener, tls, service, async {
        signals::stop_requested().await;
    })
    .await;
    Ok(ExitCode::SUCCESS)
}
