//! What was done, for people and for machines. It holds no user id: a receipt is kept for longer than what it is about.

use std::fmt;

use serde_json::{Value, json};
use shardlake_schema::TimeMs;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Whom,
    tables::{States, Target},
};

/// Keys that 32 bits can tell apart.
const KEYS: f64 = 4_294_967_296.0;

/// What happened to one table.
pub(super) struct Forgotten {
    pub(super) target: Target,
    pub(super) found: u64,
    pub(super) left: u64,
}

impl Forgotten {
    /// Rows that came meanwhile hide as many that were deleted.
    fn deleted(&self) -> u64 {
        self.found.saturating_sub(self.left)
    }

    fn kind(&self) -> &'static str {
        if self.target.is_rollup { "rollup" } else { "raw" }
    }
}

pub(super) struct Receipt {
    pub(super) at: TimeMs,
    pub(super) database: String,
    pub(super) whom: Whom,
    pub(super) dry_run: bool,
    pub(super) forgotten: Vec<Forgotten>,
    pub(super) states: Vec<States>,
    /// How many users have rows, if a user was forgotten.
    pub(super) users: Option<u64>,
}

impl Receipt {
    fn at(&self) -> String {
        let at = OffsetDateTime::from_unix_timestamp(self.at.0 / 1000).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        at.format(&Rfc3339).unwrap_or_default()
    }

    /// How likely it is that some other user's rows have the same key.
    fn shared_key_chance(&self) -> Option<f64> {
        #[allow(clippy::cast_precision_loss, reason = "a chance needs no more digits than a double has")]
        self.users.map(|users| users as f64 / KEYS)
    }

    fn not_reached() -> [&'static str; 3] {
        [
            "rows in the spools of clusters: run it again when these have landed",
            "other servers of a ClickHouse cluster, and backups: run it on each",
            "states of unique counts: nothing can be taken out of them",
        ]
    }

    pub(super) fn json(&self) -> Value {
        let whom = match self.whom {
            Whom::Guild(id) => json!({ "guild_id": id.to_string() }),
            Whom::User { key } => json!({ "user_key": key, "shared_key_chance": self.shared_key_chance() }),
        };
        let table = |table: &Forgotten| {
            json!({
                "table": table.target.table, "kind": table.kind(), "rows_found": table.found,
                "rows_deleted": table.deleted(), "rows_left": table.left,
            })
        };
        json!({
            "at": self.at(),
            "database": self.database,
            "forgotten": whom,
            "dry_run": self.dry_run,
            "tables": self.forgotten.iter().map(table).collect::<Vec<_>>(),
            "states_left": self.states,
            "not_reached": Self::not_reached(),
        })
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whom = match self.whom {
            Whom::Guild(id) => format!("guild {id}"),
            Whom::User { key } => format!("the user with the key {key}"),
        };
        let what = if self.dry_run { "would forget" } else { "forgot" };
        writeln!(f, "{} {what} {whom} in {}\n", self.at(), self.database)?;
        writeln!(f, "{:<32} {:<6} {:>12} {:>12} {:>12}", "table", "kind", "found", "deleted", "left")?;
        for table in &self.forgotten {
            let (name, kind, found, left) = (&table.target.table, table.kind(), table.found, table.left);
            writeln!(f, "{name:<32} {kind:<6} {found:>12} {:>12} {left:>12}", table.deleted())?;
        }
        if let Some(chance) = self.shared_key_chance() {
            let users = self.users.unwrap_or_default();
            writeln!(
                f,
                "\nOf {users} users, another one has this key by a chance of {:.6} %: such rows go too.",
                chance * 100.0
            )?;
        }
        writeln!(f, "\nNot reached:")?;
        for what in Self::not_reached() {
            writeln!(f, "- {what}")?;
        }
        for States { table, columns } in &self.states {
            writeln!(f, "  {table}: {}", columns.join(", "))?;
        }
        Ok(())
    }
}
