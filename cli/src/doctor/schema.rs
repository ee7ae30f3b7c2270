//! Is the schema that of this build, and can each user do what its work needs and no more?

use std::time::Duration;

use clickhouse::Client;
use shardlake_schema::{
    Table,
    answer::exception_code,
    migrate::MIGRATIONS,
    verify::{VerifyError, verify},
};

use super::{
    finding::{Findings, count, some},
    server::{first_line, read},
};

/// Comparing schemas makes a scratch database with every table.
const VERIFY_DEADLINE: Duration = Duration::from_mins(1);
const DEADLINE: Duration = Duration::from_secs(10);

/// `READONLY` and `ACCESS_DENIED` in `src/Common/ErrorCodes.cpp` of ClickHouse.
const REFUSED: [u32; 2] = [164, 497];

const APPLY: &str = "run `shardlake schema plan`, and then `shardlake schema apply`, as the migrator";

pub(super) async fn schema(client: &Client, database: &str, user: &str) -> Findings {
    let mut found = Findings::about("schema");
    let sql = "SELECT toUInt32(uniqExact(version)) FROM {database:Identifier}.migrations";
    let asked = client.clone().with_database("system").query_raw(sql).param("database", database).fetch_one::<u32>();
    let applied = match read(asked, DEADLINE).await {
        Ok(applied) => applied as usize,
        Err(why) => {
            found.fail(format!("{database} has no schema of ours that {user} could see: {why}"), APPLY);
            return found;
        }
    };
    match MIGRATIONS.len().checked_sub(applied) {
        Some(0) => found.ok(format!("all {applied} migrations are applied to {database}")),
        Some(lack) => {
            found.fail(format!("{} not applied to {database}", count(lack, "migration is", "migrations are")), APPLY);
        }
        None => found.fail(
            format!("{database} is at schema {applied:04}, and this build knows only {:04}", MIGRATIONS.len()),
            "use the build that migrated it, or a newer one",
        ),
    }
    if !found.has_failed() {
        drift(client, database, user, &mut found).await;
    }
    found
}

async fn drift(client: &Client, database: &str, user: &str, found: &mut Findings) {
    match tokio::time::timeout(VERIFY_DEADLINE, verify(client, database)).await {
        Ok(Ok(verified)) if verified.drift.is_empty() => found.ok("its tables are as this build makes them"),
        Ok(Ok(verified)) => found.fail(
            format!("its tables are not as this build makes them: {}", some(&verified.drift)),
            "undo what was altered by hand; `shardlake schema verify` names all of it",
        ),
        Ok(Err(error)) if is_refused(&error) => found.warn(
            format!("{user} may not compare its tables with what this build makes"),
            "run doctor as the migrator, who may make the scratch database that takes",
        ),
        Ok(Err(error)) => found.warn(
            format!("its tables cannot be compared: {:#}", anyhow::Error::new(error)),
            "run `shardlake schema verify`",
        ),
        Err(_) => found.warn("its tables cannot be compared within a minute", "run `shardlake schema verify`"),
    }
}

fn is_refused(error: &VerifyError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if exception_code(&error.to_string()).is_some_and(|code| REFUSED.contains(&code)) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The reader reads every table and writes none.
pub(super) async fn reader(client: &Client, user: &str) -> Findings {
    let mut found = Findings::about("rights");
    let mut unreadable = Vec::new();
    let tables = Table::ALL.iter().map(|table| table.name()).chain(["batches"]);
    for table in tables {
        let asked =
            client.query_raw("SELECT count() FROM {table:Identifier} WHERE 0").param("table", table).fetch_one::<u64>();
        if let Err(why) = read(asked, DEADLINE).await {
            unreadable.push(format!("{table} ({why})"));
        }
    }
    if unreadable.is_empty() {
        found.ok(format!("{user} reads every table"));
    } else {
        found.fail(format!("{user} cannot read {}", some(&unreadable)), USERS);
    }
    match insert_nothing(client, Table::Interactions).await {
        Inserted::Refused => found.ok(format!("{user} cannot write")),
        Inserted::Taken => found.fail(
            format!("{user} may write"),
            "let the query service and Grafana ask as a user that only reads; `shardlake schema users` makes one",
        ),
        Inserted::Failed(why) => found.warn(format!("whether {user} may write is not clear: {why}"), USERS),
    }
    found
}

const USERS: &str = "give it the rights of its work: `shardlake schema users --apply`, as an administrator";

/// The writer inserts into every raw table, and sees what has landed.
pub(super) async fn writer(client: &Client, user: &str) -> Findings {
    let mut found = Findings::about("rights");
    let mut refused = Vec::new();
    for table in Table::ALL {
        match insert_nothing(client, table).await {
            Inserted::Taken => {}
            Inserted::Refused => refused.push(format!("{} (not allowed)", table.name())),
            Inserted::Failed(why) => refused.push(format!("{} ({why})", table.name())),
        }
    }
    if refused.is_empty() {
        found.ok(format!("{user} can insert into every raw table"));
    } else {
        found.fail(format!("{user} cannot insert into {}", some(&refused)), USERS);
    }
    let asked = client
        .query_raw("SELECT count() FROM batches WHERE cluster = '' AND boot = 0 AND batch = 0 AND table = ''")
        .fetch_one::<u64>();
    match read(asked, DEADLINE).await {
        Ok(_) => found.ok(format!("{user} sees which batches have landed")),
        Err(why) => found.fail(format!("{user} does not see which batches have landed: {why}"), USERS),
    }
    found
}

enum Inserted {
    Taken,
    Refused,
    Failed(String),
}

/// An insert of no rows: it needs the right and a table that takes rows, and leaves nothing behind.
async fn insert_nothing(client: &Client, table: Table) -> Inserted {
    let sql = "INSERT INTO {table:Identifier} (cluster) FORMAT JSONEachRow";
    let insert = client.query_raw(sql).param("table", table.name()).with_setting("async_insert", "0");
    match tokio::time::timeout(DEADLINE, insert.execute()).await {
        Ok(Ok(())) => Inserted::Taken,
        Ok(Err(error)) if exception_code(&error.to_string()).is_some_and(|code| REFUSED.contains(&code)) => {
            Inserted::Refused
        }
        Ok(Err(error)) => Inserted::Failed(first_line(&error.to_string())),
        Err(_) => Inserted::Failed("no answer".to_owned()),
    }
}
