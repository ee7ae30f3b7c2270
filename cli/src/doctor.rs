//! `shardlake doctor`: looks at every part of an installation that it is told of, and says what is, and what to do about it.
//!
//! It changes nothing: rights are tried with inserts of no rows, and the schema is compared in a scratch database that is
//! dropped again. What one check finds does not keep others from being made, except where ClickHouse does not answer at all.
//!
//! The exit status is 0 if nothing failed (there may be warnings), 1 if something did, 2 if the command line was wrong.

mod finding;

mod server;

mod schema;

mod pipeline;

mod metrics;

mod gateway;

mod spool;

use std::{
    fmt,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Args;
use clickhouse::Client;
use console::style;
use serde_json::json;
use shardlake_queries::{Catalogue, Service, router};

use self::finding::{Finding, Findings, Level, count};
use crate::{
    clickhouse_options::{ClickhouseOptions, secret},
    http::Http,
    query::Source,
};

const TOKEN_VARIABLE: &str = "DISCORD_TOKEN";
const READER_PASSWORD_VARIABLE: &str = "SHARDLAKE_READER_PASSWORD";
const WRITER_PASSWORD_VARIABLE: &str = "SHARDLAKE_WRITER_PASSWORD";

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    clickhouse: ClickhouseOptions,
    /// User of the query service, whose rights are tried. Its password: `SHARDLAKE_READER_PASSWORD`, or the file below.
    #[arg(long, env = "SHARDLAKE_READER_USER", value_name = "USER")]
    reader_user: Option<String>,
    /// File with the reader's password.
    #[arg(long, env = "SHARDLAKE_READER_PASSWORD_FILE", value_name = "FILE")]
    reader_password_file: Option<PathBuf>,
    /// User of the clusters, whose rights are tried. Its password: `SHARDLAKE_WRITER_PASSWORD`, or the file below.
    #[arg(long, env = "SHARDLAKE_WRITER_USER", value_name = "USER")]
    writer_user: Option<String>,
    /// File with the writer's password.
    #[arg(long, env = "SHARDLAKE_WRITER_PASSWORD_FILE", value_name = "FILE")]
    writer_password_file: Option<PathBuf>,
    /// Spool of a cluster on this machine; may be repeated.
    #[arg(long, value_name = "DIR")]
    spool_dir: Vec<PathBuf>,
    /// Address of the Prometheus that scrapes the clusters.
    #[arg(long, env = "SHARDLAKE_PROMETHEUS_URL", value_name = "URL")]
    prometheus_url: Option<String>,
    /// File with the bot's token, to ask Discord; without it the token is read from `DISCORD_TOKEN`.
    #[arg(long, env = "DISCORD_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// REST address, as `host:port` without TLS; only for a simulated Discord or a proxy.
    #[arg(long, env = "SHARDLAKE_REST_PROXY", value_name = "ADDRESS")]
    rest_proxy: Option<String>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let mut report = Report { is_printed: !options.json, ..Report::default() };
    let http = Http::new()?;
    let running = clickhouse(&options, &http, &mut report).await?;
    for directory in &options.spool_dir {
        report.add(spool::check(directory));
    }
    report.skip_unless(!options.spool_dir.is_empty(), "spools (--spool-dir)");
    if let Some(url) = &options.prometheus_url {
        let names: Vec<String> = running.iter().map(|cluster| cluster.name.clone()).collect();
        report.add(metrics::prometheus(&http, url, &names).await);
    }
    report.skip_unless(options.prometheus_url.is_some(), "Prometheus (--prometheus-url)");
    let token = secret(TOKEN_VARIABLE, options.token_file.as_deref())?;
    if let Some(token) = &token {
        let shards_total = running.iter().map(|cluster| cluster.shards_total).max();
        report.add(gateway::check(token, options.rest_proxy.as_deref(), shards_total).await);
    }
    report.skip_unless(token.is_some(), "the gateway (DISCORD_TOKEN)");
    report.finish()
}

/// Everything that ClickHouse is asked about; the clusters that run.
async fn clickhouse(options: &Options, http: &Http, report: &mut Report) -> anyhow::Result<Vec<pipeline::Cluster>> {
    let (client, database) = (options.clickhouse.client()?, options.clickhouse.database());
    let (reached, is_there) = server::reach(&client, options.clickhouse.url()).await;
    report.add(reached);
    if !is_there {
        report.skip_unless(false, "all that ClickHouse knows");
        return Ok(Vec::new());
    }
    report.add(server::health(&client, database, options.clickhouse.user()).await);
    report.add(schema::schema(&client, database, options.clickhouse.user()).await);
    if let Some(user) = &options.reader_user {
        let password = secret(READER_PASSWORD_VARIABLE, options.reader_password_file.as_deref())?.unwrap_or_default();
        report.add(schema::reader(&as_user(&client, user, password.reveal()), user).await);
    }
    report.skip_unless(options.reader_user.is_some(), "the reader's rights (--reader-user)");
    if let Some(user) = &options.writer_user {
        let password = secret(WRITER_PASSWORD_VARIABLE, options.writer_password_file.as_deref())?.unwrap_or_default();
        report.add(schema::writer(&as_user(&client, user, password.reveal()), user).await);
    }
    report.skip_unless(options.writer_user.is_some(), "the writer's rights (--writer-user)");
    let source = Source::Here(router(Service::new(client.clone(), Catalogue::builtin())));
    let (found, running) = pipeline::check(&source).await;
    report.add(found);
    report.add(metrics::pages(&client, http).await);
    Ok(running)
}

fn as_user(client: &Client, user: &str, password: &str) -> Client {
    client.clone().with_user(user).with_password(password)
}

/// A line of the report. Whoever reads along may have seen enough, as `head` has; the exit status still counts.
fn say(line: &dyn fmt::Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// The findings, printed as they come.
#[derive(Default)]
struct Report {
    is_printed: bool,
    findings: Vec<Finding>,
    /// What was not looked at, and what it would take.
    skipped: Vec<&'static str>,
}

impl Report {
    fn add(&mut self, found: Findings) {
        for finding in found.all {
            if self.is_printed {
                self.print(&finding);
            }
            self.findings.push(finding);
        }
    }

    fn print(&self, finding: &Finding) {
        if self.findings.last().is_none_or(|last| last.about != finding.about) {
            say(&style(finding.about).bold());
        }
        say(&format_args!("  {} {}", finding.level, finding.what));
        if let Some(advice) = &finding.advice {
            say(&format_args!("            {} {advice}", style("→").cyan()));
        }
    }

    fn skip_unless(&mut self, was_done: bool, what: &'static str) {
        if !was_done {
            self.skipped.push(what);
        }
    }

    fn finish(self) -> anyhow::Result<ExitCode> {
        let of = |level: Level| self.findings.iter().filter(|finding| finding.level == level).count();
        let (ok, warnings, failed) = (of(Level::Ok), of(Level::Warning), of(Level::Failed));
        if self.is_printed {
            if !self.skipped.is_empty() {
                say(&format_args!("\n{}", style(format!("Not looked at: {}", self.skipped.join(", "))).dim()));
            }
            say(&format_args!("\n{ok} ok, {}, {failed} failed", count(warnings, "warning", "warnings")));
        } else {
            let document = json!({ "ok": ok, "warnings": warnings, "failed": failed, "findings": self.findings, "not_looked_at": self.skipped });
            say(&serde_json::to_string_pretty(&document).context("findings as JSON")?);
        }
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
