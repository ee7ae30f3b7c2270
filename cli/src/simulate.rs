//! `shardlake simulate`: a Discord that is not there, for bots under test.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use shardlake_simulator::{Profile, Scenario, Simulator, Traffic};

use crate::signals;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Port for gateway and REST, on 127.0.0.1; 0: a free one.
    #[arg(long, default_value_t = 8900)]
    port: u16,
    /// Seed of the population and the traffic.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Shards of the bot.
    #[arg(long, default_value_t = 16)]
    shards: u32,
    /// Guilds of the bot.
    #[arg(long, default_value_t = 1_000)]
    guilds: u32,
    /// Load of each shard: quiet, normal, presence, peak or stress (1, 20, 100, 500, 4,000 events a second).
    #[arg(long, default_value = "normal", value_parser = profile)]
    profile: Profile,
}

fn profile(name: &str) -> Result<Profile, String> {
    match name {
        "quiet" => Ok(Profile::Quiet),
        "normal" => Ok(Profile::Normal),
        "presence" => Ok(Profile::Presence),
        "peak" => Ok(Profile::Peak),
        "stress" => Ok(Profile::Stress),
        _ => Err("expected quiet, normal, presence, peak or stress".into()),
    }
}

pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let scenario = Scenario {
        seed: options.seed,
        shards: options.shards,
        guilds: options.guilds,
        port: options.port,
        ..Scenario::default()
    };
    let simulator = Simulator::start(scenario).await.context("the simulator cannot start")?;
    println!("gateway    {}", simulator.gateway_url());
    println!("rest       {}", simulator.rest_url());
    println!("token      {}", simulator.token());
    println!("ledger     {}", simulator.ledger_url());

    let traffic = simulator.traffic(&Traffic::of(options.profile));
    signals::stop_requested().await;
    traffic.stop().await;
    let ledger = simulator.ledger();
    println!("delivered  {} dispatches, {} of them interactions", ledger.distinct_total(), ledger.interactions_sent());
    simulator.stop().await;
    Ok(ExitCode::SUCCESS)
}
