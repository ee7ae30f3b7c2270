//! A bot with slash commands on twilight, recorded. The lines that end in `// +` are all that recording adds.
//!
//! ```sh
//! export DISCORD_TOKEN=… CLICKHOUSE_URL=http://127.0.0.1:8123 CLICKHOUSE_USER=writer CLICKHOUSE_PASSWORD=…
//! cargo run -p shardlake-ingest --example bot
//! ```
//!
//! `GATEWAY_URL` and `REST_PROXY` send it to a simulated Discord (`shardlake simulate`) instead.

#![allow(clippy::print_stdout, reason = "an example speaks to its terminal")]

use std::{env, error::Error, sync::Arc, time::Duration};

use shardlake_ingest::{Config, Recorder, Shards}; // +
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use twilight_gateway::{ConfigBuilder, Event, EventTypeFlags, Intents, Shard, ShardId, StreamExt as _};
use twilight_http::Client;
use twilight_model::{
    application::interaction::{Interaction, InteractionData},
    channel::message::MessageFlags,
    http::interaction::{InteractionResponse, InteractionResponseData, InteractionResponseType},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let _ = rustls::crypto::ring::default_provider().install_default(); // an error means that there is one already
    let token = env::var("DISCORD_TOKEN")?;
    let mut gateway = ConfigBuilder::new(token.clone(), Intents::GUILDS);
    if let Ok(url) = env::var("GATEWAY_URL") {
        gateway = gateway.proxy_url(url);
    }
    let mut http = Client::builder().token(token);
    if let Ok(address) = env::var("REST_PROXY") {
        http = http.proxy(address, true);
    }
    let http = Arc::new(http.build());

    let mut shardlake = Config::new("0", Shards { first: 0, count: 1, total: 1 }, env::var("CLICKHOUSE_URL")?); // +
    shardlake.clickhouse.user = env::var("CLICKHOUSE_USER")?; // +
    shardlake.clickhouse.password = env::var("CLICKHOUSE_PASSWORD")?.into(); // +
    let recorder = Recorder::start(shardlake)?; // +

    let shard = Shard::with_config(ShardId::ONE, gateway.build());
    let mut shard = recorder.observe(shard); // +
    let mut handlers = JoinSet::new();
    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        let event = tokio::select! {
            event = shard.next_event(EventTypeFlags::INTERACTION_CREATE) => event,
            _ = terminate.recv() => break,
        };
        match event {
            Some(Ok(Event::InteractionCreate(interaction))) => {
                let http = Arc::clone(&http);
                let recorder = recorder.clone(); // +
                handlers.spawn(async move {
                    let handled = handle(&http, &interaction);
                    let handled = recorder.track(&interaction, handled); // +
                    if let Err(error) = handled.await {
                        eprintln!("an interaction failed: {error}");
                    }
                });
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => eprintln!("gateway: {:?}", error.kind()),
            None => break,
        }
    }
    while handlers.join_next().await.is_some() {}
    drop(shard); // +
    println!("{}", recorder.shutdown("SIGTERM", Duration::from_secs(8)).await); // +
    Ok(())
}

/// What a command can fail with. Its name is what the recorder stores.
#[derive(Debug)]
enum CommandError {
    Unknown,
    Discord(twilight_http::Error),
}

impl std::fmt::Display for CommandError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CommandError::Unknown => f.write_str("there is no such command"),
            CommandError::Discord(error) => write!(f, "Discord did not take the answer: {error}"),
        }
    }
}

async fn handle(http: &Client, interaction: &Interaction) -> Result<(), CommandError> {
    let Some(InteractionData::ApplicationCommand(command)) = &interaction.data else {
        return Err(CommandError::Unknown);
    };
    let content = match command.name.as_str() {
        "ping" => "Pong!".to_owned(),
        "help" => "Try /ping.".to_owned(),
        other => format!("You said /{other}."),
    };
    let data =
        InteractionResponseData { content: Some(content), flags: Some(MessageFlags::EPHEMERAL), ..Default::default() };
    let response = InteractionResponse { kind: InteractionResponseType::ChannelMessageWithSource, data: Some(data) };
    let client = http.interaction(interaction.application_id);
    client.create_response(interaction.id, &interaction.token, &response).await.map_err(CommandError::Discord)?;
    Ok(())
}
