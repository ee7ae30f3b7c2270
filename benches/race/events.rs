//! What the contestants record: interactions of a bot with 40 commands, made before the clock starts.

use std::{
    thread,
    time::{Duration, Instant},
};

use twilight_model::{application::interaction::Interaction, id::Id};

/// Distinct models. Each is recorded many times, with an id of its own each time: parsing is not part of the race.
const MODELS: u64 = 4_096;
/// Interactions in the same millisecond, by their snowflakes.
const PER_MS: u64 = 64;
/// The first millisecond, since Discord's epoch: in 2026.
const FIRST_MS: u64 = 367_000_000_000;
/// Interactions between two looks at the clock, and between two looks of a contestant at its own state.
pub(crate) const BURST: u64 = 1_000;

pub(crate) struct Events {
    models: Vec<Interaction>,
}

impl Events {
    pub(crate) fn new() -> Self {
        Self { models: (0..MODELS).map(model).collect() }
    }

    /// Records `rows` interactions, `per_second` of them a second, or as fast as `record` takes them if that is 0. `pause`
    /// is called between bursts.
    #[allow(clippy::disallowed_methods, reason = "the thread that records is none of a runtime's")]
    pub(crate) fn each(
        &mut self,
        rows: u64,
        per_second: u64,
        mut record: impl FnMut(&Interaction),
        mut pause: impl FnMut(),
    ) {
        let started = Instant::now();
        let models = (0..self.models.len()).cycle();
        for (number, model) in (0..rows).zip(models) {
            if number % BURST == 0 {
                if let Some(due) = (number * 1_000_000).checked_div(per_second) {
                    thread::sleep(Duration::from_micros(due).saturating_sub(started.elapsed()));
                }
                pause();
            }
            let interaction = &mut self.models[model];
            interaction.id = Id::new(snowflake(number));
            record(interaction);
        }
    }
}

/// Distinct for each number; the bits of worker and process look as they do in life.
fn snowflake(number: u64) -> u64 {
    let worker = scattered(number) & 0x3ff;
    (FIRST_MS + number / PER_MS) << 22 | worker << 12 | (number % PER_MS)
}

fn model(number: u64) -> Interaction {
    let (guild, user) = ((FIRST_MS << 20) + scattered(number) % 2_000, (FIRST_MS << 19) + scattered(number) % 50_000);
    let locale = ["en-US", "en-GB", "de", "fr", "pt-BR", "ja"][usize::try_from(scattered(number) % 6).unwrap()];
    // Two of ten are buttons.
    let (kind, data) = if number % 10 < 8 {
        let name = format!("command{}", scattered(number) % 40);
        (2, serde_json::json!({ "id": "5", "name": name, "type": 1 }))
    } else {
        (3, serde_json::json!({ "custom_id": format!("page:{}", number % 20), "component_type": 2 }))
    };
    serde_json::from_value(serde_json::json!({
        "id": "1", "type": kind, "token": "t", "version": 1, "application_id": "1", "attachment_size_limit": 1,
        "authorizing_integration_owners": {}, "entitlements": [], "guild_id": guild.to_string(), "locale": locale,
        "context": 0, "app_permissions": "0", "data": data,
        "user": { "id": user.to_string(), "username": "a", "discriminator": "0", "avatar": null },
    }))
    .unwrap()
}

/// The same for the same number, and looks like chance.
fn scattered(number: u64) -> u64 {
    number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
}
