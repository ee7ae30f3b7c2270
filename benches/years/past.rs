//! A past interaction as a row of `interactions`.

use clickhouse::Row;
use serde::Serialize;
use shardlake_schema::{TimeMs, rows};
use shardlake_simulator::{InteractionKind, PastInteraction};

const CLUSTERS: u32 = 100;
pub(crate) const SHARDS: u32 = 1_600;
/// The age of a batch in a fleet of this size (`BatchLimits::for_fleet`).
const BATCH_MS: u64 = 25_000;

#[derive(Row, Serialize)]
pub(crate) struct PastRow {
    cluster: String,
    boot: u64,
    batch: u64,
    time: i64,
    delivery_lag_ms: i64,
    id_low: u32,
    guild_id: u64,
    shards_total: u16,
    shard_offset: u16,
    user_key: u32,
    r#type: &'static str,
    command: &'static str,
    outcome: &'static str,
    error_type: &'static str,
    response_ms: u32,
    duration_ms: u32,
    locale: &'static str,
    context: &'static str,
}

impl PastRow {
    #[allow(clippy::cast_possible_truncation, reason = "a key has 32 bits, of whatever hash")]
    pub(crate) fn of(past: &PastInteraction, start_ms: u64) -> Self {
        let received = TimeMs(past.received_ms.cast_signed());
        let (lag, id_low) = rows::Interaction::snowflake_parts(past.id, received);
        let cluster = past.shard / (SHARDS / CLUSTERS);
        Self {
            cluster: cluster.to_string(),
            boot: u64::from(cluster) << 22 | start_ms << 12,
            batch: 1 + (past.received_ms - start_ms + u64::from(cluster) * 250) / BATCH_MS,
            time: received.0,
            delivery_lag_ms: lag,
            id_low,
            guild_id: past.guild_id,
            shards_total: u16::try_from(SHARDS).unwrap(),
            shard_offset: 0,
            user_key: ((past.user_id ^ past.user_id >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) as u32,
            r#type: match past.kind {
                InteractionKind::Component => "component",
                InteractionKind::Autocomplete => "autocomplete",
                InteractionKind::Modal => "modal_submit",
                _ => "application_command",
            },
            command: past.command,
            outcome: if past.failed { "error" } else { "success" },
            error_type: if past.failed { "HandlerError" } else { "" },
            response_ms: past.response_ms,
            duration_ms: past.duration_ms,
            locale: past.locale,
            context: "guild",
        }
    }
}
