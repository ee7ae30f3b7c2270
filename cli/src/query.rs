//! `shardlake query`: a question in the terminal, answered as a table, a chart, or in a format for other programs.
//!
//! It asks a query service, or does in this process what a service does: same paths, same code, same answers. A machine's
//! format goes through as it comes; tables and charts are drawn from the JSON document. How complete and how fresh an answer
//! is, always follows: below a table or chart, on standard error for other formats.
//!
//! The exit status is 0 if there is an answer, else 1.

mod source;

mod answer;

mod number;

mod screen;

mod table;

mod chart;

mod bands;

mod words;

mod list;

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use axum::body::Body;
use clap::{Args, ValueEnum};
use console::style;
use http_body_util::BodyExt as _;
use shardlake_queries::{Catalogue, Service, router};

use self::{
    answer::{Answer, Question, Section},
    screen::Screen,
    source::Remote,
};
pub(crate) use self::{number::duration, source::Source};
use crate::{
    clickhouse_options::{ClickhouseOptions, secret},
    http::Http,
};

/// Environment variable with the key of a query service.
const KEY_VARIABLE: &str = "SHARDLAKE_KEY";

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The question, such as commands/top. A noun or any other word lists the questions about it, nothing lists all.
    question: Option<String>,
    /// Start of the range: 7d ago, an ISO 8601 moment, or epoch seconds [default: the question's].
    #[arg(long, visible_alias = "from", value_name = "WHEN", allow_hyphen_values = true)]
    since: Option<String>,
    /// End of the range, likewise [default: now].
    #[arg(long, visible_alias = "to", value_name = "WHEN", allow_hyphen_values = true)]
    until: Option<String>,
    /// Width of a bucket, such as 5m, 1h or 1d, or auto [default: the question's].
    #[arg(long)]
    step: Option<String>,
    /// Time zone, such as Europe/Berlin [default: UTC].
    #[arg(long)]
    tz: Option<String>,
    /// Only this cluster; may be repeated.
    #[arg(long)]
    cluster: Vec<String>,
    /// Most rows, or whatever the question limits.
    #[arg(long)]
    limit: Option<String>,
    /// Any other parameter of the question; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    param: Vec<(String, String)>,
    /// What to print [default: a chart of what changes over time, else a table].
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// In a chart: draw this column; may be repeated [default: the first measure].
    #[arg(long)]
    column: Vec<String>,
    /// Print what the question asks, its parameters and its columns, and do not ask it.
    #[arg(long, requires = "question")]
    explain: bool,
    /// Columns of the terminal [default: as many as it has; without a terminal, as many as it takes].
    #[arg(long)]
    width: Option<u16>,
    /// Address of a query service to ask, instead of ClickHouse. Its key, if it wants one: `SHARDLAKE_KEY`, or the file below.
    #[arg(long, env = "SHARDLAKE_QUERIES_URL", value_name = "URL")]
    service: Option<String>,
    /// File with the service's key.
    #[arg(long, env = "SHARDLAKE_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Directory with questions of your own, `<noun>/<question>.sql`, beside the built-in ones; not for a service.
    #[arg(long, env = "SHARDLAKE_CATALOGUE", value_name = "DIR")]
    catalogue: Option<PathBuf>,
    #[command(flatten)]
    clickhouse: ClickhouseOptions,
}

/// For people, or for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Chart,
    Json,
    Ndjson,
    Csv,
    Arrow,
    Parquet,
    Prometheus,
}

impl Format {
    /// The end of the service's path; `None`: the JSON document, which people's formats are drawn from.
    const fn suffix(self) -> Option<&'static str> {
        match self {
            Format::Table | Format::Chart | Format::Json => None,
            Format::Ndjson => Some("ndjson"),
            Format::Csv => Some("csv"),
            Format::Arrow => Some("arrow"),
            Format::Parquet => Some("parquet"),
            Format::Prometheus => Some("prom"),
        }
    }

    const fn is_text(self) -> bool {
        !matches!(self, Format::Arrow | Format::Parquet)
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected name=value")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let source = source(&options)?;
    let screen = Screen::of_stdout(options.width);
    let printed = match &options.question {
        Some(id) if id.contains('/') && !options.explain => ask(&source, id, &options, screen).await,
        word => list(&source, word.as_deref(), &options, screen).await,
    };
    match printed {
        Ok(()) => Ok(ExitCode::SUCCESS),
        // Whoever reads along has seen enough, as `head` does.
        Err(error)
            if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) =>
        {
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("{} {error:#}", style("error:").for_stderr().red().bold());
            Ok(ExitCode::FAILURE)
        }
    }
}

fn source(options: &Options) -> anyhow::Result<Source> {
    if let Some(url) = &options.service {
        let key = secret(KEY_VARIABLE, options.key_file.as_deref())?;
        return Ok(Source::Service(Box::new(Remote { http: Http::new()?, url: url.clone(), key })));
    }
    let mut catalogue = Catalogue::builtin();
    if let Some(folder) = &options.catalogue {
        catalogue = catalogue.with_folder(folder)?;
    }
    Ok(Source::Here(router(Service::new(options.clickhouse.client()?, catalogue))))
}

async fn list(source: &Source, word: Option<&str>, options: &Options, screen: Screen) -> anyhow::Result<()> {
    let catalogue = catalogue(source).await?;
    let questions = &catalogue.questions;
    let text = match word {
        Some(id) if options.explain => {
            if let Some(question) = questions.iter().find(|question| question.id() == id) {
                list::explained(question, screen)
            } else {
                source.get(&path(id, None, options)).await?; // says what was meant
                bail!("{id} is not in the catalogue");
            }
        }
        Some(word) => match &list::matching(questions, word)[..] {
            [] => bail!("no question is about {word}; `shardlake query` lists all of them"),
            found => list::brief(found, screen),
        },
        None => list::brief(&questions.iter().collect::<Vec<_>>(), screen),
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

async fn catalogue(source: &Source) -> anyhow::Result<answer::Catalogue> {
    serde_json::from_slice(&source.document("/v1").await?).context("the service's catalogue cannot be read")
}

async fn ask(source: &Source, id: &str, options: &Options, screen: Screen) -> anyhow::Result<()> {
    if let Some(format) = options.format {
        if !format.is_text() && io::stdout().is_terminal() {
            bail!("this format is not for eyes: send it into a file with > or a program with |");
        }
        if let Some(suffix) = format.suffix() {
            return pass_through(source, &path(id, Some(suffix), options)).await;
        }
    }
    let document = source.document(&path(id, None, options)).await?;
    let answer: Answer = serde_json::from_slice(&document).context("the service's answer cannot be read")?;
    if options.format == Some(Format::Json) {
        io::stdout().write_all(&[&document[..], b"\n"].concat())?;
        let line = words::of_document(&answer.asked.meta);
        eprintln!("{}", line.painted(true));
        return Ok(());
    }
    let catalogue = catalogue(source).await?;
    let question = catalogue.questions.iter().find(|question| question.id() == id);
    let question = question.with_context(|| format!("{id} is not in the catalogue"))?;
    let text = drawn(question, &answer, options, screen)?;
    Ok(io::stdout().write_all(text.as_bytes())?)
}

/// The question's path, with what it asks for.
fn path(id: &str, suffix: Option<&str>, options: &Options) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, when) in [("from", &options.since), ("to", &options.until)] {
        query.extend_pairs(when.iter().map(|when| (name, ago(when))));
    }
    for (name, value) in [("step", &options.step), ("tz", &options.tz), ("limit", &options.limit)] {
        query.extend_pairs(value.iter().map(|value| (name, value)));
    }
    query.extend_pairs(options.cluster.iter().map(|cluster| ("cluster", cluster)));
    query.extend_pairs(&options.param);
    let query = query.finish();
    let id: Vec<String> =
        id.split('/').map(|part| form_urlencoded::byte_serialize(part.as_bytes()).collect()).collect();
    let suffix = suffix.map(|suffix| format!(".{suffix}")).unwrap_or_default();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("/v1/{}{suffix}{mark}{query}", id.join("/"))
}

/// `7d` is 7 days ago, which the service calls `-7d`.
fn ago(when: &str) -> String {
    let is_short = when.ends_with(|unit: char| unit.is_ascii_lowercase())
        && when.trim_end_matches(|unit: char| unit.is_ascii_lowercase()).bytes().all(|byte| byte.is_ascii_digit())
        && when.starts_with(|digit: char| digit.is_ascii_digit());
    if is_short { format!("-{when}") } else { when.to_owned() }
}

/// Writes the reply's body as it comes.
async fn pass_through(source: &Source, path: &str) -> anyhow::Result<()> {
    let reply = source.get(path).await?;
    let (head, mut body): (_, Body) = reply.into_parts();
    let mut stdout = io::stdout().lock();
    while let Some(frame) = body.frame().await {
        let frame = frame.context("the answer broke off: what was written is not all of it")?;
        if let Ok(bytes) = frame.into_data() {
            stdout.write_all(&bytes)?;
        }
    }
    stdout.flush()?;
    if let Some(line) = words::of_head(&head.headers) {
        eprintln!("{}", line.painted(true));
    }
    Ok(())
}

fn drawn(question: &Question, answer: &Answer, options: &Options, screen: Screen) -> anyhow::Result<String> {
    let mut text = section(question, answer, &answer.asked, options, screen)?;
    if let Some(previous) = &answer.previous {
        text = format!("{text}\n{} {}", style("before:").bold(), section(question, answer, previous, options, screen)?);
    }
    Ok(text)
}

/// Heading, table or chart, and what is to be known of it.
fn section(
    question: &Question,
    answer: &Answer,
    section: &Section,
    options: &Options,
    screen: Screen,
) -> anyhow::Result<String> {
    let meta = &section.meta;
    let bands = || bands::draw(question, &answer.columns, section, screen);
    let rows = || table::draw(&table::columns(question, &answer.columns, &section.rows), screen);
    let mut title = question.title.clone();
    let body = match (options.format, question.panel.as_str()) {
        _ if section.rows.is_empty() => "no rows\n".to_owned(),
        (Some(Format::Chart) | None, "timeseries") => {
            let chosen = chart::choose(question, &answer.columns, section, &options.column)?;
            title = chosen.title(&title);
            chart::draw(&chosen, screen)
        }
        (Some(Format::Chart) | None, "state-timeline") => bands().unwrap_or_else(rows),
        (Some(Format::Chart), _) => bail!("{} is no series over time: ask for --format table", question.id()),
        _ => rows(),
    };
    let mut text = format!("{}{}\n\n{body}", style(title).bold(), style(words::range(meta)).dim());
    if let Some(limited) = words::limited(meta) {
        text = format!("{text}\n{}\n", style(limited).yellow());
    }
    let measured = style(words::measured(section.rows.len(), meta)).dim();
    Ok(format!("{text}\n{}{measured}\n", words::of_document(meta).painted(false)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ago_is_what_people_say() {
        for (said, meant) in [
            ("7d", "-7d"),
            ("-7d", "-7d"),
            ("90m", "-90m"),
            ("now", "now"),
            ("2026-10-01", "2026-10-01"),
            ("1790000000", "1790000000"),
            ("now-1h", "now-1h"),
            ("d", "d"),
            ("", ""),
        ] {
            assert_eq!(ago(said), meant, "{said}");
        }
    }
}
