//! A process that records interactions one after the other and says which ones it has recorded: for tests that kill it.
//!
//! `steady <ClickHouse> <user> <spool> <journal> <said> <first id> <interactions per second> <age of a batch in ms>`; the
//! password is in `CLICKHOUSE_PASSWORD`. Each id is appended to the file `said` after its interaction was recorded, so an
//! id in there is a promise. It runs until it is killed or its standard input ends, and drains then.

#![allow(clippy::print_stdout, reason = "an example speaks to its terminal")]

use std::{env, error::Error, fs::OpenOptions, io::Write as _, time::Duration};

use shardlake_ingest::{Config, Journal, Recorder, Shards};
use tokio::{io::AsyncReadExt as _, time::interval};
use twilight_model::application::interaction::Interaction;

/// Interactions are recorded in bursts of this length, as a gateway delivers them.
const BURST: Duration = Duration::from_millis(10);
/// What it may take at its end to land what it still holds.
const DRAIN: Duration = Duration::from_secs(45);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let _ = rustls::crypto::ring::default_provider().install_default(); // an error means that there is one already
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [url, user, spool, journal, said, first_id, per_second, batch_ms] = arguments.as_slice() else {
        return Err("eight arguments are needed, see the head of the source".into());
    };
    let mut config = Config::new("0", Shards { first: 0, count: 1, total: 1 }, url);
    config.clickhouse.user.clone_from(user);
    config.clickhouse.password = env::var("CLICKHOUSE_PASSWORD")?.into();
    config.spool.directory = Some(spool.into());
    config.spool.journal = if journal == "always" { Journal::Always } else { Journal::Spill };
    config.batch.max_age = Duration::from_millis(batch_ms.parse()?);
    let recorder = Recorder::start(config)?;

    let mut said = OpenOptions::new().create(true).append(true).open(said)?;
    let (mut id, per_second): (u64, f64) = (first_id.parse()?, per_second.parse()?);
    let mut bursts = interval(BURST);
    let mut due = 0.0;
    let mut input = tokio::io::stdin();
    let mut ignored = [0; 1];
    loop {
        tokio::select! {
            _ = bursts.tick() => {}
            _ = input.read(&mut ignored) => break,
        }
        due += per_second * BURST.as_secs_f64();
        while due >= 1.0 {
            recorder.timer(&interaction(id)?).success();
            writeln!(said, "{id}")?;
            (id, due) = (id + 1, due - 1.0);
        }
    }
    let receipt = recorder.shutdown("its input ended", DRAIN).await;
    println!("{receipt}");
    if receipt.holds() { Ok(()) } else { Err("the receipt does not add up".into()) }
}

fn interaction(id: u64) -> serde_json::Result<Interaction> {
    serde_json::from_value(serde_json::json!({
        "id": id.to_string(), "type": 2, "token": "t", "version": 1, "application_id": "1", "attachment_size_limit": 1,
        "authorizing_integration_owners": {}, "entitlements": [], "guild_id": "77", "locale": "en-GB", "context": 0,
        "app_permissions": "0", "data": { "id": "5", "name": format!("command{}", id % 40), "type": 1 },
        "user": { "id": "9", "username": "a", "discriminator": "0", "avatar": null },
    }))
}
