//! A frozen batch goes to ClickHouse until it has landed, or until it is known that it never can.
//!
//! A failed attempt says little: the rows may have landed before the connection broke, or may land later, when what is
//! under way arrives. So the same bytes go again with the same token, which adds what is missing and nothing else, however
//! late the first attempt comes. But a token alone does not settle it: a server that crashed between recording the token
//! and keeping the rows answers the retry with 200 and stores nothing. Nor does a server remember tokens for ever. So
//! doubt is settled by looking, before and after a retry (insert/look.rs):
//!
//! - Are the raw rows there? Then the same token adds what views are missing, while the server remembers it. That
//!   `batches` has the batch does not prove that all rollups have it: a server can die between two views. Once the server
//!   may have forgotten the token, the batch has landed, and is complained of if `batches` has not counted it. It has
//!   landed, too, if `batches` has it and no ledger says under which token: another one would store it twice.
//! - Is nothing there, and the server was started anew since the last attempt? Then nothing is under way any more, and the
//!   token may be spent: it goes again with a fresh one.
//! - Was a retry answered 200, and yet nothing is there? Then too.
//!
//! A server that turns an insert away because it has enough to do has done nothing of it (`Verdict::Busy`), so no doubt
//! comes of that, and it may be asked again sooner: it costs the server little. This is what ends the rush of a large fleet
//! that comes back, or stops, all at once; looks and inserts without an end would keep the server from either.
//!
//! When a batch was sent last is noted in the spool's ledger. What cannot be known: whether a server that is back within
//! some milliseconds of a sending was started after it, or after a sending whose note went with the power. Then the same
//! token goes first; if it was spent without its rows, the views may count the batch twice, and the raw rows are right. Nor
//! can it be known from here whether a view's table spent the token without its rows. So what was spent is taken back before a
//! server starts (`embedded/src/tokens.rs`; `shardlake tokens` for others); of one that nobody prepares, that rollup lacks them.
//!
//! What a proxy or the server calls too large goes in pieces, one after the other, each with a token of its own, so that
//! the number of rows that are there says which pieces they are (insert/piece.rs). It is split only when nothing of it is
//! there and no earlier attempt can still arrive.

pub(crate) mod heard;

mod look;

mod piece;

use std::{sync::Arc, time::Duration};

use clickhouse::{Client, Compression, error::Error as ClickhouseError};
use shardlake_schema::{
    BatchId, INSERT_SETTINGS, TimeMs,
    answer::{self, Verdict},
};
use tokio::time::{Instant, sleep};

use self::{
    heard::Heard,
    look::Found,
    piece::{Piece, pieces},
};
use crate::{
    batch::Frozen,
    config::{Config, LONGEST_AGE},
    metrics::InsertMetrics,
    outside,
    spool::{Lent, Sent, Spool},
};

/// What the server may spend on one insert, in seconds. A healthy one takes milliseconds.
const SERVER_LIMIT_S: u64 = 45;
/// What we wait for an answer. Longer than the server's limit: giving up first would make every slow insert an unknown
/// outcome.
const CLIENT_LIMIT: Duration = Duration::from_secs(SERVER_LIMIT_S + 15);

/// A batch is given up after so many refusals of its content in a row. Not after the first: a body that was cut on its way
/// is refused with the same words as one that is wrong.
const REFUSALS: u32 = 5;

/// First pause after a failure; doubles with each further one.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
/// Longest pause of a small fleet, and of any after the server was busy: a returned server is noticed within half a minute,
/// without any traffic. In a large one it is the age of a batch, so that attempts too keep to the fleet's budget: at 1,000
/// clusters every half a minute, each with its look, those that failed keep a server so busy that they fail again. What is
/// turned away costs too little for that, and the last ones of a drain should not sleep through its end.
const BACKOFF_LONGEST: Duration = Duration::from_secs(30);
/// Longest pause that an answer may ask for with `Retry-After`: a proxy that asks for a day has lost its mind.
const RETRY_AFTER_LONGEST: Duration = Duration::from_mins(5);
/// A token is used again for so long. The tables remember 10,000: 41 minutes of a fleet that keeps to its budget
/// (`BatchLimits::for_fleet`). One that drains after an outage takes less, which is why this is no longer.
const TOKENS_LAST: Duration = Duration::from_mins(30);
/// For so long, and in such steps, it is looked whether the server was started anew: `uptime()` counts whole seconds, so
/// only the moment at which it counts on tells a start that came this soon after an attempt.
const LOOK_FOR: Duration = Duration::from_millis(1_200);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The client for one table's inserts.
#[derive(Clone)]
pub(crate) struct Inserter {
    client: Client,
    heard: Arc<Heard>,
    spool: Arc<Spool>,
    metrics: InsertMetrics,
    longest_pause: Duration,
}

/// The state of a batch on its way.
struct Way {
    attempt: u32,
    pieces_log2: u8,
    /// When anything of it was sent last: something may have landed, or may be under way.
    sent: Option<Instant>,
    /// Whether `attempt` is the last one that was made; a journal alone does not say.
    knows_token: bool,
    /// When an attempt last ended without an answer.
    unanswered: Option<Instant>,
    too_large: bool,
    failures: u32,
    /// Refusals of its content in a row.
    refusals: u32,
}

impl Way {
    fn after(lent: &Lent) -> Self {
        let sent = lent.sent.map(|sent| ago(last_sending(sent.at, lent.batch.sealed_at, outside::machine_started())));
        let Sent { attempt, pieces_log2, .. } = lent.sent.unwrap_or(Sent::PERHAPS);
        let knows_token = lent.sent.is_none_or(|sent| sent.at != Sent::UNKNOWN);
        Self { attempt, pieces_log2, sent, knows_token, unanswered: sent, too_large: false, failures: 0, refusals: 0 }
    }

    /// Whether no earlier attempt can arrive any more.
    fn is_quiet(&self) -> bool {
        self.unanswered.is_none_or(|unanswered| unanswered.elapsed() > CLIENT_LIMIT)
    }

    async fn pause(&mut self, longest: Duration) {
        self.failures = self.failures.saturating_add(1);
        sleep(backoff(self.failures, longest)).await;
    }
}

/// What to do before the next attempt.
enum Doubt {
    Landed,
    SameToken,
    FreshToken,
    Split,
}

impl Inserter {
    pub(crate) fn new(config: &Config, spool: Arc<Spool>, metrics: InsertMetrics) -> Self {
        let heard = Arc::new(Heard::default());
        let longest_pause = config.batch.max_age.clamp(BACKOFF_LONGEST, LONGEST_AGE);
        let mut client = config.clickhouse.reach(outside::client(&heard)).with_compression(Compression::None);
        client.set_setting("max_execution_time", SERVER_LIMIT_S.to_string());
        Self { client, heard, spool, metrics, longest_pause }
    }

    /// Lands every batch of the spool, oldest first, one at a time; ends when the spool is closed and empty.
    ///
    /// Cancel safe: the batch at hand stays in the spool.
    pub(crate) async fn run(self) {
        while let Some(lent) = self.spool.next().await {
            match self.land(&lent).await {
                Landing::Landed => self.spool.landed(),
                Landing::Refused | Landing::TooLarge => self.spool.refused(&lent.batch),
            }
        }
    }

    async fn land(&self, lent: &Lent) -> Landing {
        let mut way = Way::after(lent);
        let mut landed = 0;
        while landed < lent.batch.rows {
            let pieces = match pieces(&lent.batch, way.pieces_log2) {
                Ok(pieces) => pieces,
                Err(error) => {
                    tracing::error!(table = %lent.batch.table, batch = lent.batch.id.batch, %error, "a batch cannot be split");
                    return Landing::Refused;
                }
            };
            for piece in pieces {
                if piece.rows.end <= landed {
                    continue;
                }
                match self.land_piece(&lent.batch, &piece, &mut way).await {
                    Landing::Landed => landed = piece.rows.end,
                    Landing::TooLarge if piece.count() > 1 => {
                        (way.pieces_log2, way.too_large) = (way.pieces_log2 + 1, false);
                        break;
                    }
                    never => return never,
                }
            }
        }
        Landing::Landed
    }

    async fn land_piece(&self, batch: &Frozen, piece: &Piece, way: &mut Way) -> Landing {
        loop {
            let retried = way.sent.is_some();
            match self.settle_doubt(batch, piece, way).await {
                Doubt::Landed => return Landing::Landed,
                Doubt::Split => return Landing::TooLarge,
                Doubt::FreshToken => way.attempt = way.attempt.saturating_add(1),
                Doubt::SameToken => {}
            }
            self.note_sending(way).await;
            let before = (way.sent, way.knows_token);
            let started = Instant::now();
            (way.sent, way.knows_token) = (Some(started), true);
            self.heard.forget();
            let outcome = self.attempt(batch, piece, way).await;
            let verdict = outcome.as_ref().err().map(|error| answer::classify(error, self.heard.status()));
            self.metrics.attempted(verdict, piece.count(), piece.body.len(), started.elapsed());

            if let (Err(error), Some(verdict)) = (&outcome, verdict) {
                if answer::code(error).is_none() && verdict != Verdict::Split {
                    way.unanswered = Some(Instant::now());
                }
                if verdict == Verdict::Busy {
                    (way.sent, way.knows_token) = before;
                }
                way.too_large = verdict == Verdict::Split;
                way.refusals = if verdict == Verdict::Quarantine { way.refusals + 1 } else { 0 };
                self.spool.in_trouble();
                complain(batch, verdict, way.failures == 0, error);
                if way.refusals == REFUSALS {
                    return Landing::Refused;
                }
                sleep(self.heard.retry_after().unwrap_or_default().min(RETRY_AFTER_LONGEST)).await;
                way.pause(self.longest_pause_after(verdict)).await;
            } else if !retried || self.find(batch, way).await.rows >= piece.rows.end {
                return Landing::Landed;
            } else {
                way.attempt = way.attempt.saturating_add(1);
            }
        }
    }

    /// Looks what became of the attempts so far, if there were any.
    async fn settle_doubt(&self, batch: &Frozen, piece: &Piece, way: &mut Way) -> Doubt {
        let Some(sent) = way.sent else { return Doubt::SameToken };
        let mut in_doubt_since = None;
        loop {
            let found = self.find(batch, way).await;
            let counted_once = found.counted >= piece.rows.end && !way.knows_token;
            if found.rows >= piece.rows.end && (counted_once || sent.elapsed() > TOKENS_LAST) {
                if found.counted < piece.rows.end {
                    tracing::error!(table = %batch.table, batch = batch.id.batch, "a batch is there, but views have not counted it");
                }
                return Doubt::Landed;
            }
            if found.rows > piece.rows.start {
                return Doubt::SameToken; // adds what the views are missing
            }
            if way.too_large && way.is_quiet() {
                return Doubt::Split;
            }
            match found.started_after(sent) {
                Some(true) => return Doubt::FreshToken,
                Some(false) => return Doubt::SameToken,
                None if in_doubt_since.get_or_insert_with(Instant::now).elapsed() > LOOK_FOR => {
                    return Doubt::SameToken;
                }
                None => sleep(LOOK_AGAIN).await,
            }
        }
    }

    async fn attempt(&self, batch: &Frozen, piece: &Piece, way: &Way) -> Result<(), ClickhouseError> {
        let BatchId { cluster, boot, batch: sequence } = &batch.id;
        let (table, Way { attempt, failures, .. }, piece_name) = (batch.table, way, &piece.name);
        // While an attempt of an earlier process runs, the server refuses another one with its id.
        let query_id = format!("{cluster}-{boot}-{table}-{sequence}-{attempt}-{failures}{piece_name}");
        let mut insert = self
            .client
            .clone()
            .with_header("Content-Encoding", "lz4")
            .insert_formatted_with(table.insert_sql())
            .with_timeouts(Some(CLIENT_LIMIT), Some(CLIENT_LIMIT))
            .with_setting("query_id", query_id)
            .with_setting("insert_deduplication_token", format!("{}{piece_name}", batch.token(*attempt)));
        for (name, value) in INSERT_SETTINGS {
            insert = insert.with_setting(*name, *value);
        }
        insert.send(piece.body.clone()).await?;
        insert.end().await
    }

    fn longest_pause_after(&self, verdict: Verdict) -> Duration {
        if verdict == Verdict::Busy { BACKOFF_LONGEST } else { self.longest_pause }
    }

    /// Looks for a batch until there is an answer.
    async fn find(&self, batch: &Frozen, way: &mut Way) -> Found {
        loop {
            let error = match look::look(&self.client, batch).await {
                Ok(found) => return found,
                Err(error) => error,
            };
            tracing::debug!(table = %batch.table, %error, "cannot look for a batch yet");
            way.pause(self.longest_pause_after(answer::classify(&error, None))).await;
        }
    }

    /// Waits until the spool knows of the attempt that is about to be made.
    async fn note_sending(&self, way: &mut Way) {
        loop {
            match self.spool.sending(Sent { attempt: way.attempt, pieces_log2: way.pieces_log2, at: outside::now() }) {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "the spool's ledger cannot be written, the batch waits"),
            }
            way.pause(self.longest_pause).await;
        }
    }
}

/// When a batch was sent last, at the latest. Of what is from before the machine was started, a power loss may have taken
/// the note of a later sending; no process that could have sent it outlived that.
fn last_sending(noted: TimeMs, sealed: TimeMs, machine_started: TimeMs) -> TimeMs {
    if noted == Sent::UNKNOWN && sealed < machine_started { machine_started } else { noted.max(machine_started) }
}

/// The moment `time`. Of one that is not known, or that is still to come, all that is sure is that it has passed.
fn ago(time: TimeMs) -> Instant {
    let age = Duration::from_millis(u64::try_from(outside::now().0 - time.0).unwrap_or(0));
    Instant::now().checked_sub(age).unwrap_or_else(Instant::now)
}

/// Says once that a batch is in trouble.
fn complain(batch: &Frozen, verdict: Verdict, first: bool, error: &ClickhouseError) {
    let (table, sequence, rows) = (batch.table, batch.id.batch, batch.rows);
    match verdict {
        Verdict::Quarantine => {
            tracing::error!(%table, batch = sequence, rows, %error, "ClickHouse refuses the content of a batch");
        }
        Verdict::Split => {
            tracing::warn!(%table, batch = sequence, rows, %error, "a batch is too large, it will be split");
        }
        Verdict::Stop if first => {
            tracing::error!(%table, %error, "ClickHouse takes nothing for this table until its settings are mended; batches wait");
        }
        _ if first => {
            tracing::warn!(%table, batch = sequence, %error, "insert failed, it will be tried again");
        }
        _ => tracing::debug!(%table, batch = sequence, %error, "insert failed again"),
    }
}

/// What became of a batch, or of a piece of it.
enum Landing {
    Landed,
    Refused,
    TooLarge,
}

/// Full jitter: anything between zero and the doubled pause, so that a fleet that failed together does not come back
/// together (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter>).
fn backoff(failures: u32, longest: Duration) -> Duration {
    let doubled = BACKOFF_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16));
    outside::random(Duration::ZERO..=doubled.min(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sending_is_dated_no_earlier_than_it_can_have_been() {
        let [early, started, late] = [5, 10, 15].map(TimeMs);
        assert_eq!(last_sending(late, early, started), late);
        assert_eq!(last_sending(early, early, started), started, "a later note may be gone with the power");
        assert_eq!(last_sending(Sent::UNKNOWN, early, started), started);
        assert_eq!(last_sending(Sent::UNKNOWN, late, started), Sent::UNKNOWN);
    }

    #[test]
    fn pauses_grow_and_stay_bounded() {
        for failures in [0, 1, 2, 8, 40, u32::MAX] {
            assert!(backoff(failures, BACKOFF_LONGEST) <= BACKOFF_LONGEST);
        }
        let longest = |failures, limit| (0..1000).map(|_| backoff(failures, limit)).max().unwrap();
        assert!(longest(1, BACKOFF_LONGEST) <= BACKOFF_FIRST && longest(6, BACKOFF_LONGEST) > BACKOFF_FIRST);
        assert!(longest(12, LONGEST_AGE) > 2 * BACKOFF_LONGEST, "those of a large fleet are longer");
    }
}
