//! The demonstration bot: it answers every interaction after some work, and some of its commands fail now and then, so
//! that there is something to look at. How long and how often follows from the command's name and the interaction's id.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::Duration,
};

use shardlake_ingest::Recorder;
use tokio::time::sleep;
use twilight_http::Client;
use twilight_model::{
    application::interaction::{Interaction, InteractionData},
    http::interaction::{InteractionResponse, InteractionResponseType},
};

/// Slowest command's mean work. Below 3 s, after which Discord takes no first response.
const SLOWEST_MS: u64 = 400;
/// Of the interactions of the worst command, so many in 100 fail.
const WORST_FAILS_PERCENT: u64 = 8;

pub(super) struct Answerer {
    http: Client,
    recorder: Recorder,
}

/// What goes wrong in a demonstration.
#[derive(Debug)]
enum Failure {
    Database,
    Discord,
}

impl Failure {
    const fn kind(&self) -> &'static str {
        match self {
            Failure::Database => "database",
            Failure::Discord => "discord",
        }
    }
}

impl Answerer {
    pub(super) fn new(http: Client, recorder: Recorder) -> Self {
        Self { http, recorder }
    }

    /// Handles one interaction, as a bot's handler does.
    pub(super) async fn answer(self: Arc<Self>, interaction: Interaction) {
        let timer = self.recorder.timer(&interaction);
        let command = command_hash(&interaction);
        sleep(Duration::from_millis(work_ms(command, interaction.id.get()))).await;

        let outcome = self.respond(&interaction).await;
        if outcome.is_ok() {
            timer.responded();
        }
        match outcome.and_then(|()| finish(command, interaction.id.get())) {
            Ok(()) => timer.success(),
            Err(failure) => timer.error(failure.kind()),
        }
    }

    async fn respond(&self, interaction: &Interaction) -> Result<(), Failure> {
        let response =
            InteractionResponse { kind: InteractionResponseType::DeferredChannelMessageWithSource, data: None };
        let client = self.http.interaction(interaction.application_id);
        let sent = client.create_response(interaction.id, &interaction.token, &response).await;
        sent.map(|_| ()).map_err(|_| Failure::Discord)
    }
}

/// A number that is the same for every use of one command or custom id.
fn command_hash(interaction: &Interaction) -> u64 {
    let mut hasher = DefaultHasher::new();
    match &interaction.data {
        Some(InteractionData::ApplicationCommand(data)) => data.name.hash(&mut hasher),
        Some(InteractionData::MessageComponent(data)) => data.custom_id.hash(&mut hasher),
        Some(InteractionData::ModalSubmit(data)) => data.custom_id.hash(&mut hasher),
        _ => {}
    }
    hasher.finish()
}

/// Work takes half to three halves of the command's mean.
fn work_ms(command: u64, id: u64) -> u64 {
    let mean_ms = 1 + command % SLOWEST_MS;
    mean_ms / 2 + scatter(id) % mean_ms
}

fn finish(command: u64, id: u64) -> Result<(), Failure> {
    let fails_percent = (command >> 16) % (WORST_FAILS_PERCENT + 1);
    if (scatter(id) >> 32) % 100 < fails_percent { Err(Failure::Database) } else { Ok(()) }
}

/// Spreads consecutive ids evenly (Fibonacci hashing: 2^64 divided by the golden ratio).
const fn scatter(id: u64) -> u64 {
    id.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
