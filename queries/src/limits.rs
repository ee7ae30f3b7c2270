//! What a query may cost, and what ClickHouse's reader lets us say about it.
//!
//! A reader with `readonly = 1` may change only the settings that its profile marks `CHANGEABLE_IN_READONLY`; sending any
//! other fails the query. So the service asks once, at its first query, which of its wishes it may send
//! (`system.settings.readonly`), sends those with every query, and logs a warning for each of the others that the profile
//! itself does not meet. Two limits hold whatever the profile says, because they are kept on this side:
//! [`MAX_REPLY_BYTES`] and [`REPLY_DEADLINE`].

use std::time::Duration;

use clickhouse::{Client, query::Query};

/// Most rows of an answer. More is an export, and no screen shows it; the answer is held in memory while it is shaped.
pub const MAX_ROWS: u64 = 100_000;

/// Most rows of an export: what is sent while ClickHouse writes it, and held by nobody. A month of a busy bot's interactions.
pub const MAX_EXPORT_ROWS: u64 = 20_000_000;

/// Most bytes of an answer as ClickHouse writes it: [`MAX_ROWS`] rows of some 300 bytes.
pub const MAX_REPLY_BYTES: usize = 32 << 20;

/// Requests that are answered at a time. Each asks ClickHouse up to three things at once, and `shardlake schema users` lets a
/// reader have 100 queries.
pub const MAX_AT_ONCE: usize = 32;

/// How long a request waits until another is done, before it is refused: most answers take less.
pub const ROOM_WAIT: Duration = Duration::from_secs(2);

/// How long a query may run in ClickHouse, seconds: longer than people wait for a page, shorter than their proxies do.
const MAX_EXECUTION_S: u64 = 30;

/// When to give up on an answer: after ClickHouse should have given up itself, so that its reason is what people read.
pub const REPLY_DEADLINE: Duration = Duration::from_secs(MAX_EXECUTION_S + 5);

/// How long an export may take, seconds: the most that `shardlake schema users` lets a reader ask for. A client that reads
/// more slowly does not get all of it.
const MAX_EXPORT_S: u64 = 300;

/// When to give up on an export.
pub const EXPORT_DEADLINE: Duration = Duration::from_secs(MAX_EXPORT_S + 5);

/// What an export may have more of than an answer.
const EXPORT_WISHES: [(&str, u64); 2] = [("max_execution_time", MAX_EXPORT_S), ("max_result_rows", MAX_EXPORT_ROWS)];

/// Setting, wished value, and whether a profile meets the wish by naming any limit of its own.
const WISHES: [Wish; 7] = [
    // First: it makes a query of a user that could write one that cannot, and only such are cancelled.
    Wish { setting: "readonly", value: "1", own_limit_will_do: true },
    Wish { setting: "cancel_http_readonly_queries_on_client_close", value: "1", own_limit_will_do: false },
    Wish { setting: "max_execution_time", value: "30", own_limit_will_do: true },
    Wish { setting: "max_result_rows", value: "100000", own_limit_will_do: true },
    Wish { setting: "result_overflow_mode", value: "throw", own_limit_will_do: false },
    // A quarter of a small server: enough for a year of one machine's rows, and three more people can ask.
    Wish { setting: "max_memory_usage", value: "2000000000", own_limit_will_do: true },
    // Over the shards of a ClickHouse cluster a subquery is asked of all of them; elsewhere it means nothing.
    Wish { setting: "distributed_product_mode", value: "global", own_limit_will_do: true },
];

struct Wish {
    setting: &'static str,
    value: &'static str,
    own_limit_will_do: bool,
}

/// The settings that go with every query.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    settings: Vec<(&'static str, &'static str)>,
    export: Vec<(&'static str, u64)>,
    may_comment: bool,
    is_readonly: bool,
}

/// What ClickHouse's query log says about a query, beside its id.
const COMMENT: &str = "log_comment";

impl Limits {
    /// Asks ClickHouse which wishes its user may send.
    pub(crate) async fn learn(client: &Client) -> clickhouse::error::Result<Self> {
        let names: Vec<&str> = WISHES.iter().map(|wish| wish.setting).chain([COMMENT]).collect();
        let known = client
            .query_raw("SELECT name, value, readonly, ifNull(max, '') FROM system.settings WHERE name IN {names:Array(String)}")
            .param("names", names)
            .fetch_all::<(String, String, u8, String)>()
            .await?;
        let find = |setting: &str| known.iter().find(|(name, ..)| name == setting);
        let mut settings = Vec::new();
        for wish in WISHES {
            match find(wish.setting) {
                Some((_, _, fixed, _)) if *fixed == 0 => settings.push((wish.setting, wish.value)),
                Some((_, value, ..)) if value == wish.value || (wish.own_limit_will_do && value != "0") => {}
                known => tracing::warn!(
                    setting = wish.setting,
                    value = known.map_or("unknown", |(_, value, ..)| value),
                    wished = wish.value,
                    "ClickHouse's reader does not let this limit be set: set it in the reader's profile, or mark it CHANGEABLE_IN_READONLY there"
                ),
            }
        }
        let mut export = Vec::new();
        for (setting, wished) in EXPORT_WISHES {
            if let Some((_, _, 0, most)) = find(setting) {
                export.push((setting, most.parse().map_or(wished, |most: u64| wished.min(most))));
            }
        }
        let may_comment = matches!(find(COMMENT), Some((_, _, 0, _)));
        let is_readonly = matches!(find("readonly"), Some((_, value, fixed, _)) if *fixed == 0 || value == "1");
        Ok(Self { settings, export, may_comment, is_readonly })
    }

    /// `query` within these limits, with a comment for ClickHouse's query log where the profile allows one.
    pub(crate) fn apply(&self, query: Query, comment: &str) -> Query {
        let query = if self.may_comment { query.with_setting(COMMENT, comment) } else { query };
        self.settings.iter().fold(query, |query, (setting, value)| query.with_setting(*setting, *value))
    }

    /// Whether every query is held to `readonly` = 1, by its profile or by us.
    pub(crate) fn is_readonly(&self) -> bool {
        self.is_readonly
    }

    /// `query` within the limits of an export, as far as the profile allows them.
    pub(crate) fn apply_to_export(&self, query: Query) -> Query {
        self.export.iter().fold(query, |query, (setting, value)| query.with_setting(*setting, value.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wishes_say_what_the_constants_say() {
        let value = |setting| WISHES.iter().find(|wish| wish.setting == setting).unwrap().value;
        assert_eq!(value("max_execution_time"), MAX_EXECUTION_S.to_string());
        assert_eq!(value("max_result_rows"), MAX_ROWS.to_string());
    }
}
