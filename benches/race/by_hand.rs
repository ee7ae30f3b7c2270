//! The other contestant: what a bot's author writes with the `clickhouse` crate. Handlers send rows over a channel to a
//! task that owns the inserter, keeps the rows of the present batch, and sends them again after an error.
//!
//! It is written to be fast: names that are known beforehand are not copied, and the task takes rows off the channel by
//! the thousand.

use std::time::{Duration, Instant};

use clickhouse::{Client, Row, error::Error, insert::Insert, inserter::Inserter};
use serde::Serialize;
use shardlake_schema::TimeMs;
use tokio::{runtime, sync::mpsc, time::sleep};
use twilight_model::application::interaction::{Interaction, InteractionContextType, InteractionData};

use crate::{
    contestant::{Finish, Job, Lane, Stopwatch},
    events::Events,
};

/// As many as our queue has by default.
const CHANNEL_ROWS: usize = 16_384;
/// Rows taken off the channel at once.
const TAKEN_AT_ONCE: usize = 1_024;
/// Of a batch, beside its number of rows: as in the crate's own example.
const MAX_BYTES: u64 = 50_000_000;
const PERIOD: Duration = Duration::from_secs(5);
/// A batch is sent again so many times, after pauses that double from the first: 32 s in all.
const RETRIES: u32 = 7;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The crate has no limit of its own.
const TIMEOUT: Duration = Duration::from_mins(1);

#[derive(Row, Serialize)]
struct InteractionRow {
    cluster: &'static str,
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
    command: String,
    outcome: &'static str,
    error_type: &'static str,
    response_ms: u32,
    duration_ms: u32,
    locale: String,
    context: &'static str,
}

pub(crate) fn run(job: &Job, events: &mut Events) -> Finish {
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (rows, received) = mpsc::channel(CHANNEL_ROWS);
    let mut client = Client::default()
        .with_url(&job.url)
        .with_database("shardlake")
        .with_user(&job.user)
        .with_password(&job.password)
        .with_validation(job.lane == Lane::Inserter);
    if job.lane != Lane::Inserter {
        client.set_setting("async_insert", "0");
    }
    let writer = Writer { client, batch_rows: job.batch_rows, gave_up: 0 };
    let streamed = job.lane == Lane::Streamed;

    let mut stopwatch = Stopwatch::start();
    let boot = TimeMs::now().0.cast_unsigned();
    let task = runtime.spawn(async move {
        if streamed { writer.insert(received, boot).await } else { writer.inserter(received, boot).await }
    });
    let handle = |interaction: &Interaction| {
        let received = Instant::now();
        rows.blocking_send(row(interaction, received)).unwrap();
    };
    events.each(job.rows, job.per_second, handle, || {});
    stopwatch.recorded();
    drop(rows);
    let gave_up = runtime.block_on(task).unwrap();
    stopwatch.stop(gave_up)
}

#[allow(clippy::cast_possible_truncation, reason = "the lower bits are what the columns keep")]
fn row(interaction: &Interaction, received: Instant) -> InteractionRow {
    let (command, kind) = match &interaction.data {
        Some(InteractionData::ApplicationCommand(data)) => (data.name.clone(), "application_command"),
        Some(InteractionData::MessageComponent(data)) => {
            (data.custom_id.split(':').next().unwrap_or_default().to_owned(), "component")
        }
        _ => (String::new(), "unknown"),
    };
    let (id, time) = (interaction.id.get(), TimeMs::now());
    InteractionRow {
        cluster: "0",
        boot: 0,
        batch: 0,
        time: time.0,
        delivery_lag_ms: time.0 - TimeMs::of_snowflake(id).0,
        id_low: (id & 0x3f_ffff) as u32,
        guild_id: interaction.guild_id.map_or(0, twilight_model::id::Id::get),
        shards_total: 1,
        shard_offset: 0,
        user_key: interaction.author_id().map_or(0, |id| id.get() as u32),
        r#type: kind,
        command,
        outcome: "success",
        error_type: "",
        response_ms: 0,
        duration_ms: u32::try_from(received.elapsed().as_millis()).unwrap_or(u32::MAX).max(1),
        locale: interaction.locale.clone().unwrap_or_default(),
        context: match interaction.context {
            Some(InteractionContextType::Guild) => "guild",
            _ => "",
        },
    }
}

struct Writer {
    client: Client,
    batch_rows: usize,
    gave_up: u64,
}

impl Writer {
    async fn inserter(mut self, mut received: mpsc::Receiver<InteractionRow>, boot: u64) -> u64 {
        let mut inserter = self.new_inserter();
        let (mut taken, mut kept, mut batch) = (Vec::new(), Vec::new(), 1);
        while received.recv_many(&mut taken, TAKEN_AT_ONCE).await > 0 {
            for row in taken.drain(..) {
                let row = InteractionRow { boot, batch, ..row };
                let written = inserter.write(&row).await;
                kept.push(row);
                let committed = match written {
                    Ok(()) => inserter.commit().await,
                    Err(error) => Err(error),
                };
                match committed {
                    Ok(landed) if landed.rows == 0 => continue,
                    Ok(_) => {}
                    Err(error) => {
                        self.again(&kept, error).await;
                        inserter = self.new_inserter(); // one that failed must not be used again
                    }
                }
                kept.clear();
                batch += 1;
            }
        }
        if let Err(error) = inserter.end().await {
            self.again(&kept, error).await;
        }
        self.gave_up
    }

    fn new_inserter(&self) -> Inserter<InteractionRow> {
        self.client
            .inserter("interactions")
            .with_max_rows(self.batch_rows as u64)
            .with_max_bytes(MAX_BYTES)
            .with_period(Some(PERIOD))
            .with_timeouts(Some(TIMEOUT), Some(TIMEOUT))
    }

    /// As above, with the crate's `Insert`, which sends while rows are written.
    async fn insert(mut self, mut received: mpsc::Receiver<InteractionRow>, boot: u64) -> u64 {
        let (mut taken, mut kept, mut batch) = (Vec::new(), Vec::with_capacity(self.batch_rows), 1);
        let mut open = None;
        loop {
            let count = received.recv_many(&mut taken, TAKEN_AT_ONCE).await;
            let before = kept.len();
            kept.extend(taken.drain(..).map(|row| InteractionRow { boot, batch, ..row }));
            let mut result = self.write(&mut open, &kept[before..]).await;
            if result.is_ok() && kept.len() < self.batch_rows && count > 0 {
                continue;
            }
            if result.is_ok()
                && let Some(insert) = open.take()
            {
                result = insert.end().await;
            }
            if let Err(error) = result {
                open = None;
                self.again(&kept, error).await;
            }
            kept.clear();
            batch += 1;
            if count == 0 {
                return self.gave_up;
            }
        }
    }

    async fn write(&self, open: &mut Option<Insert<InteractionRow>>, rows: &[InteractionRow]) -> Result<(), Error> {
        for row in rows {
            if open.is_none() {
                let insert = self.client.insert::<InteractionRow>("interactions").await?;
                *open = Some(insert.with_timeouts(Some(TIMEOUT), Some(TIMEOUT)));
            }
            if let Some(insert) = open {
                insert.write(row).await?;
            }
        }
        Ok(())
    }

    /// Sends the rows of a batch that failed until they are there, or it is enough.
    async fn again(&mut self, rows: &[InteractionRow], mut error: Error) {
        for retry in 0..RETRIES {
            sleep(FIRST_PAUSE * (1 << retry)).await;
            match self.send(rows).await {
                Ok(()) => return,
                Err(again) => error = again,
            }
        }
        eprintln!("{} rows are given up: {error}", rows.len());
        self.gave_up += rows.len() as u64;
    }

    async fn send(&self, rows: &[InteractionRow]) -> Result<(), Error> {
        let mut insert = None;
        self.write(&mut insert, rows).await?;
        match insert {
            Some(insert) => insert.end().await,
            None => Ok(()),
        }
    }
}
