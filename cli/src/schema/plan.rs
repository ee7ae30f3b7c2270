//! What `shardlake schema plan` prints.

use std::fmt;

use shardlake_schema::{
    plan::{Pending, Plan},
    retention::{Change, Keep},
};

/// A plan for a database, as text.
pub(super) struct Printed<'a> {
    pub(super) plan: &'a Plan,
    pub(super) database: &'a str,
}

impl fmt::Display for Printed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.plan.is_empty() {
            return writeln!(f, "nothing to do: {} is as it should be", self.database);
        }
        for pending in &self.plan.migrations {
            migration(f, pending)?;
        }
        for change in &self.plan.retention {
            writeln!(f, "{}", retention_line(change))?;
            for warning in &change.warnings {
                writeln!(f, "    note: {warning}")?;
            }
        }
        for coming in &self.plan.retention_to_come {
            writeln!(f, "{} will keep its rows {}, once the migrations have made it", coming.table, time(coming.keep))?;
        }
        Ok(())
    }
}

fn migration(f: &mut fmt::Formatter<'_>, pending: &Pending) -> fmt::Result {
    write!(f, "apply {:04}_{}", pending.version, pending.name)?;
    match pending.done {
        0 => writeln!(f)?,
        done => writeln!(f, ", from statement {} on: an earlier run was interrupted", done + 1)?,
    }
    for statement in &pending.statements {
        writeln!(f, "    {statement}")?;
    }
    for rewrite in &pending.rewrites {
        writeln!(f, "    goes through all of {}: {} rows, {} bytes", rewrite.table, rewrite.rows, rewrite.bytes)?;
    }
    Ok(())
}

/// `samples keeps its rows for 14d, before for 30d: 1000 rows are past that …`
pub(super) fn retention_line(change: &Change) -> String {
    let dropped = match (change.rows, change.bytes) {
        (0, _) => String::new(),
        (rows, 0) => format!(": {rows} rows are past that and go as parts are merged"),
        (rows, bytes) => format!(": {rows} rows in {bytes} bytes are past that and go within hours"),
    };
    format!("{} keeps its rows {}, before {}{dropped}", change.table, time(change.to), change.from)
}

fn time(keep: Keep) -> String {
    match keep {
        Keep::Forever => "forever".to_owned(),
        Keep::For(..) => format!("for {keep}"),
    }
}
