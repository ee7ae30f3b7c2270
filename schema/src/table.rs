//! The raw tables, and what every row of them has in common.

use std::{cmp::Ordering, fmt, iter, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch},
    datatypes::{DataType, Field, Schema},
    error::ArrowError,
};
use time::OffsetDateTime;

use crate::cell::{Cell, Name, TimeMs};

/// A raw table that cluster processes write to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Finished interactions.
    Interactions,
    /// Changes in the life of shards.
    ShardEvents,
    /// Dispatches per shard, type and window.
    GatewayCounts,
    /// Guilds that came and went, and their daily count.
    GuildEvents,
    /// Series of the process's own metrics.
    Samples,
    /// Starts of cluster processes.
    Processes,
}

/// How often a table starts a new partition. A batch lies in one partition, so that it lands atomically.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Partitions {
    None,
    Yearly,
    Monthly,
    Daily,
}

impl Table {
    /// Every raw table.
    pub const ALL: [Table; 6] = [
        Table::Interactions,
        Table::ShardEvents,
        Table::GatewayCounts,
        Table::GuildEvents,
        Table::Samples,
        Table::Processes,
    ];

    /// Its name in ClickHouse.
    pub const fn name(self) -> &'static str {
        match self {
            Table::Interactions => "interactions",
            Table::ShardEvents => "shard_events",
            Table::GatewayCounts => "gateway_counts",
            Table::GuildEvents => "guild_events",
            Table::Samples => "samples",
            Table::Processes => "processes",
        }
    }

    const fn partitions(self) -> Partitions {
        match self {
            Table::Interactions | Table::ShardEvents => Partitions::Monthly,
            Table::GatewayCounts | Table::Samples => Partitions::Daily,
            Table::GuildEvents => Partitions::Yearly,
            Table::Processes => Partitions::None,
        }
    }

    /// The partition that a row of this time falls into, as the table's `PARTITION BY` computes it
    /// (`toYear`, `toYYYYMM`, `toYYYYMMDD`, or 0 for a table without partitions).
    pub fn partition(self, time: TimeMs) -> u32 {
        let date = OffsetDateTime::from_unix_timestamp(time.0.div_euclid(1000)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let year = date.year().unsigned_abs();
        let year_month = year * 100 + u32::from(u8::from(date.month()));
        match self.partitions() {
            Partitions::None => 0,
            Partitions::Yearly => year,
            Partitions::Monthly => year_month,
            Partitions::Daily => year_month * 100 + u32::from(date.day()),
        }
    }

    /// The statement that every batch for this table is sent with. It names no columns: Arrow carries them by name.
    pub fn insert_sql(self) -> String {
        format!("INSERT INTO {} FORMAT ArrowStream", self.name())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Settings of every insert of a batch, the same on each attempt; spelt out because the server's defaults changed in 26.2 and may again.
pub const INSERT_SETTINGS: &[(&str, &str)] = &[
    ("async_insert", "0"),
    ("insert_deduplicate", "1"),
    ("deduplicate_blocks_in_dependent_materialized_views", "1"),
    // One batch is one block: it lands as a whole or not at all.
    ("max_insert_block_size", "1048449"),
    ("min_insert_block_size_rows", "1048449"),
    ("min_insert_block_size_bytes", "268402944"),
    // What a view makes of a block has each key once: merging it before it is written would only copy its states.
    ("optimize_on_insert", "0"),
    // A column that we misspell must fail, not be filled with defaults.
    ("input_format_arrow_allow_missing_columns", "0"),
    ("input_format_null_as_default", "0"),
];

/// Which insert carried a row: the first three columns of every raw table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchId {
    /// The cluster that recorded the rows.
    pub cluster: Name,
    /// The start of that cluster's process; see the column comment of `processes.boot`.
    pub boot: u64,
    /// Sequence per cluster, boot and table, from 1 without gaps.
    pub batch: u64,
}

/// A row of a raw table.
pub trait Row: Clone + fmt::Debug + Send + Sync + 'static {
    /// The table it belongs to.
    const TABLE: Table;

    /// Its time column, which decides the partition.
    fn time(&self) -> TimeMs;

    /// Compares by the table's sorting key, without `cluster`, which is the same for all rows of a batch.
    fn cmp_by_key(&self, other: &Self) -> Ordering;

    /// Name, ClickHouse type and Arrow type of each column after the [`BatchId`], in the table's order.
    fn columns() -> Vec<(&'static str, &'static str, DataType)>;

    /// The values of [`Row::columns`], one array each.
    fn arrays(rows: &[&Self]) -> Vec<ArrayRef>;

    /// Memory that the row takes, names that it shares with others aside, in bytes.
    fn own_bytes(&self) -> usize;

    /// Appends the row to `out`, for a journal that the same build reads back: see [`Cell::put`].
    fn put(&self, out: &mut Vec<u8>);

    /// Reads a row that [`Row::put`] wrote; `None` if `bytes` is not exactly one.
    fn take(bytes: &[u8]) -> Option<Self>;
}

/// All columns of `R`'s table that an insert fills: name and ClickHouse type, in the table's order.
pub(crate) fn insert_columns<R: Row>() -> Vec<(&'static str, &'static str)> {
    let id = [("cluster", Name::CLICKHOUSE), ("boot", u64::CLICKHOUSE), ("batch", u64::CLICKHOUSE)];
    let own = R::columns().into_iter().map(|(name, clickhouse, _)| (name, clickhouse));
    id.into_iter().chain(own).collect()
}

impl BatchId {
    /// `rows` as one Arrow batch, each row marked with this id.
    ///
    /// # Errors
    /// Never for arrays built by [`crate::rows`]; the type is Arrow's own.
    pub fn record_batch<R: Row>(&self, rows: &[&R]) -> Result<RecordBatch, ArrowError> {
        let mut fields = vec![
            Field::new("cluster", Name::arrow_type(), false),
            Field::new("boot", DataType::UInt64, false),
            Field::new("batch", DataType::UInt64, false),
        ];
        let own = R::columns().into_iter();
        fields.extend(own.map(|(name, _, arrow_type)| Field::new(name, arrow_type, false)));

        let mut arrays = vec![
            Name::array(iter::repeat_n(&self.cluster, rows.len())),
            u64::array(iter::repeat_n(&self.boot, rows.len())),
            u64::array(iter::repeat_n(&self.batch, rows.len())),
        ];
        arrays.extend(R::arrays(rows));
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_follow_the_calendar() {
        let last_of_february_2028 = TimeMs(1_835_481_599_999);
        let next_millisecond = TimeMs(1_835_481_600_000);
        assert_eq!(Table::Samples.partition(last_of_february_2028), 20_280_229);
        assert_eq!(Table::Samples.partition(next_millisecond), 20_280_301);
        assert_eq!(Table::Interactions.partition(next_millisecond), 202_803);
        assert_eq!(Table::GuildEvents.partition(next_millisecond), 2_028);
        assert_eq!(Table::Processes.partition(next_millisecond), 0);
    }
}
