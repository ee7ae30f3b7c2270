//! A struct per raw table. Meaning, unit and range of each field: the column comments in `migrations/`.
//!
//! [`rows!`](self) declares a struct once and derives from it everything an insert needs, so a field cannot be forgotten
//! in one of four places. The fields stand in the table's column order.

use std::cmp::Ordering;

use arrow::{array::ArrayRef, datatypes::DataType};

use crate::{
    cell::{Cell, Labels, Name, Repeating, TimeMs},
    table::{self, Row, Table},
};

macro_rules! rows {
    (
        $(#[$attribute:meta])*
        $struct:ident in $table:ident, sorted by ($($key:ident),+) {
            $($field:ident: $type:ty,)+
        }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs, reason = "documented once, by the column comments in migrations/")]
        pub struct $struct {
            $(pub $field: $type,)+
        }

        impl Row for $struct {
            const TABLE: Table = Table::$table;

            fn time(&self) -> TimeMs {
                self.time
            }

            fn cmp_by_key(&self, other: &Self) -> Ordering {
                Ordering::Equal$(.then_with(|| self.$key.cmp(&other.$key)))+
            }

            fn columns() -> Vec<(&'static str, &'static str, DataType)> {
                vec![$((column_name(stringify!($field)), <$type>::CLICKHOUSE, <$type>::arrow_type()),)+]
            }

            fn own_bytes(&self) -> usize {
                size_of::<Self>()$( + self.$field.own_bytes())+
            }

            fn put(&self, out: &mut Vec<u8>) {
                $(self.$field.put(out);)+
            }

            fn take(mut bytes: &[u8]) -> Option<Self> {
                let row = Self { $($field: <$type>::take(&mut bytes)?,)+ };
                bytes.is_empty().then_some(row)
            }

            fn arrays(rows: &[&Self]) -> Vec<ArrayRef> {
                vec![$(<$type>::array(rows.iter().map(|row| &row.$field)),)+]
            }
        }
    };
}

rows! {
    /// One finished interaction, or one given up on.
    Interaction in Interactions, sorted by (time) {
        time: TimeMs,
        delivery_lag_ms: i64,
        id_low: u32,
        guild_id: Repeating<u64>,
        shards_total: u16,
        shard_offset: u16,
        user_key: Repeating<u32>,
        r#type: Name,
        command: Name,
        outcome: Name,
        error_type: Name,
        response_ms: u32,
        duration_ms: u32,
        locale: Name,
        context: Name,
    }
}

rows! {
    /// One change in the life of a shard.
    ShardEvent in ShardEvents, sorted by (shard, time) {
        time: TimeMs,
        shard: u16,
        event: Name,
        state: Name,
        cause: Name,
        initiator: Name,
        close_code: u16,
        close_reason: Name,
        resumable: u8,
        in_state_ms: u32,
        downtime_ms: u32,
        replayed: u32,
        latency_ms: f32,
    }
}

rows! {
    /// Dispatches of one type on one shard in one window of 10 s.
    GatewayCount in GatewayCounts, sorted by (event, shard, time) {
        time: TimeMs,
        shard: u16,
        event: Name,
        dispatches: u32,
        replayed: u32,
        bytes: u64,
    }
}

rows! {
    /// A guild that joined, left, became unavailable or available again, or the count of a shard's guilds.
    GuildEvent in GuildEvents, sorted by (guild_id, time) {
        time: TimeMs,
        shard: u16,
        guild_id: u64,
        event: Name,
        member_count: u32,
        guilds: u32,
        joined_at: TimeMs,
    }
}

rows! {
    /// One series of the process's own metrics at one moment.
    Sample in Samples, sorted by (name, time) {
        time: TimeMs,
        name: Name,
        kind: Name,
        labels: Labels,
        value: f64,
    }
}

rows! {
    /// One start of a cluster process, as it looked at `last_seen_at`.
    Process in Processes, sorted by (last_seen_at) {
        time: TimeMs,
        last_seen_at: TimeMs,
        stopped_at: TimeMs,
        stop_reason: Name,
        host: Name,
        pid: u32,
        version: Name,
        shard_first: u16,
        shard_count: u16,
        shards_total: u16,
        metrics_address: Name,
        rows_observed: u64,
        rows_landed: u64,
        rows_spooled: u64,
        rows_dropped: u64,
    }
}

/// A snowflake's lowest bits, which are not its time
/// (<https://discord.com/developers/docs/reference#snowflakes>).
const SNOWFLAKE_LOW_BITS: u32 = 22;

impl Interaction {
    /// What the row keeps of the interaction's snowflake: the time from its creation to `received`, and its lower bits.
    #[allow(clippy::cast_possible_truncation, reason = "22 bits fit")]
    pub fn snowflake_parts(interaction_id: u64, received: TimeMs) -> (i64, u32) {
        let lag_ms = received.0 - TimeMs::of_snowflake(interaction_id).0;
        (lag_ms, (interaction_id & ((1 << SNOWFLAKE_LOW_BITS) - 1)) as u32)
    }

    /// The snowflake that [`Interaction::snowflake_parts`] took apart.
    pub fn interaction_id(&self) -> u64 {
        let created_ms = self.time.0 - self.delivery_lag_ms - TimeMs::DISCORD_EPOCH.0;
        (created_ms.cast_unsigned() << SNOWFLAKE_LOW_BITS) + u64::from(self.id_low)
    }

    /// What the row keeps of the shard: how many shards it lies behind the one that Discord's formula
    /// `(guild_id >> 22) % shards_total` names (<https://discord.com/developers/docs/events/gateway#sharding-sharding-formula>).
    /// Nearly always 0, so that it takes no room. `shards_total` must be above 0 and `shard` below it.
    ///
    /// # Panics
    /// If `shards_total` is 0.
    #[allow(clippy::cast_possible_truncation, reason = "it is below `shards_total`")]
    pub fn shard_offset(guild_id: u64, shard: u16, shards_total: u16) -> u16 {
        let total = u64::from(shards_total);
        ((u64::from(shard) + total - (guild_id >> SNOWFLAKE_LOW_BITS) % total) % total) as u16
    }
}

/// `type` is a keyword, so its field is spelt `r#type`; the column is not.
fn column_name(field: &'static str) -> &'static str {
    field.trim_start_matches("r#")
}

/// Name and ClickHouse type of every column that an insert into `table` fills, in the table's order.
pub fn insert_columns(table: Table) -> Vec<(&'static str, &'static str)> {
    match table {
        Table::Interactions => table::insert_columns::<Interaction>(),
        Table::ShardEvents => table::insert_columns::<ShardEvent>(),
        Table::GatewayCounts => table::insert_columns::<GatewayCount>(),
        Table::GuildEvents => table::insert_columns::<GuildEvent>(),
        Table::Samples => table::insert_columns::<Sample>(),
        Table::Processes => table::insert_columns::<Process>(),
    }
}
