//! A ClickHouse that is as good as the writer may rely on, and no better.
//!
//! An insert lands in three steps, one after the other: the raw rows, `batches`, then a rollup that no look shows. Each
//! step does nothing if it knows the token. A kill comes between them, or in the midst of one: the token is noted then,
//! and the rows are not there. Tables and tokens survive it; what was under way does not go on.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use hyper::body::Bytes;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::time::sleep;

use super::{
    outside::{count, note},
    request::{self, Insert, Look},
};

/// Longest time between the start of the process and the opening of its port.
const STARTUP_MS: u64 = 3_000;
/// How probable it is that a kill leaves a token without rows, of an insert that it comes in the midst of.
const HOLE: f64 = 0.4;

/// What an answer to a request is.
pub(super) enum Answer {
    Says(u16, Vec<u8>),
    /// The connection is closed instead.
    Cut,
    /// The connection stays open, and that is all.
    Never,
}

/// How probable faults are, 0 to 1.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mood {
    pub(super) refuses: f64,
    pub(super) loses_answers: f64,
    pub(super) is_slow: f64,
}

/// A batch, as the raw table, `batches` and the rollup have it.
#[derive(Debug, Clone, Default)]
pub(super) struct Counted {
    raw: u64,
    in_batches: u64,
    rollup: u64,
    /// Rows that it has, as its inserts say.
    rows: u64,
    ids: Vec<u64>,
}

#[derive(Default)]
struct Stored {
    tokens: BTreeSet<String>,
    counted_tokens: BTreeSet<String>,
    rollup_tokens: BTreeSet<String>,
    /// Ids of the rows, and the batches they came with.
    rows: BTreeMap<u64, request::Key>,
    /// Ids of rows that were stored once more.
    twice: Vec<u64>,
    batches: BTreeMap<request::Key, Counted>,
    /// Batches with a token whose rows are not there.
    holes: BTreeSet<request::Key>,
    /// Batches that a kill cut off between `batches` and the rollup.
    cut_off: BTreeSet<request::Key>,
    /// The writer's machine has lost its power.
    power_was_lost: bool,
    /// Inserts that have arrived and not ended, with the step they are at.
    under_way: BTreeMap<u64, (Rc<Insert>, Step)>,
    inserts: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Step {
    Raw,
    Views,
}

pub(super) struct Clickhouse {
    chance: RefCell<StdRng>,
    stored: RefCell<Stored>,
    started_at: Cell<Duration>,
    pub(super) mood: Cell<Mood>,
}

impl Clickhouse {
    pub(super) fn new(seed: u64) -> Rc<Self> {
        Rc::new(Self {
            chance: RefCell::new(StdRng::seed_from_u64(seed ^ 1 << 62)),
            stored: RefCell::default(),
            started_at: Cell::default(),
            mood: Cell::default(),
        })
    }

    pub(super) fn start(&self) {
        self.started_at.set(turmoil::sim_elapsed().unwrap_or_default());
    }

    pub(super) fn startup(&self) -> Duration {
        Duration::from_millis(self.chance.borrow_mut().random_range(0..=STARTUP_MS))
    }

    /// The process is killed.
    pub(super) fn kill(&self) {
        let mut stored = self.stored.borrow_mut();
        for (insert, step) in std::mem::take(&mut stored.under_way).into_values() {
            let hole = self.chance.borrow_mut().random_bool(HOLE);
            if hole && step == Step::Raw && stored.tokens.insert(insert.token.clone()) {
                count("tokens without their rows");
                stored.holes.insert(insert.key.clone());
            }
            if step == Step::Views {
                stored.cut_off.insert(insert.key.clone());
            }
            note(format!("killed during {} {}", insert.token, hole));
        }
    }

    /// The answer to a request that has arrived as a whole.
    pub(super) async fn answer(self: Rc<Self>, query: String, body: Bytes) -> Answer {
        match request::parse(&query, &body) {
            Some(request::Request::Insert(insert)) => self.insert(Rc::new(insert)).await,
            Some(request::Request::Look(look)) => self.look(&look).await,
            None => Answer::Says(400, b"Code: 62. DB::Exception: Syntax error".to_vec()),
        }
    }

    async fn insert(&self, insert: Rc<Insert>) -> Answer {
        if let Some(refusal) = self.refusal() {
            return refusal;
        }
        let number = {
            let mut stored = self.stored.borrow_mut();
            stored.inserts += 1;
            let number = stored.inserts;
            stored.under_way.insert(number, (Rc::clone(&insert), Step::Raw));
            number
        };
        sleep(self.takes("inserts that were slow")).await;
        self.land_raw(&insert);
        if let Some((_, step)) = self.stored.borrow_mut().under_way.get_mut(&number) {
            *step = Step::Views;
        }
        sleep(self.takes("views that were slow")).await;
        self.count_batch(&insert);
        sleep(self.takes("rollups that were slow")).await;
        self.roll_up(&insert);
        self.stored.borrow_mut().under_way.remove(&number);
        if !self.happens(self.mood.get().loses_answers) {
            return Answer::Says(200, Vec::new());
        }
        count("answers that were lost");
        match self.chance.borrow_mut().random_range(0..3) {
            0 => Answer::Cut,
            1 => Answer::Never,
            _ => Answer::Says(502, b"<html>Bad Gateway</html>".to_vec()),
        }
    }

    fn land_raw(&self, insert: &Insert) {
        let mut stored = self.stored.borrow_mut();
        let is_new = stored.tokens.insert(insert.token.clone());
        stored.batches.entry(insert.key.clone()).or_default().rows = insert.rows;
        if is_new {
            for id in &insert.ids {
                if stored.rows.insert(*id, insert.key.clone()).is_some() {
                    stored.twice.push(*id);
                }
            }
            let batch = stored.batches.entry(insert.key.clone()).or_default();
            batch.raw += insert.rows;
            batch.ids.extend(&insert.ids);
        }
        note(format!("raw {} {} {is_new}", insert.token, insert.rows));
    }

    fn count_batch(&self, insert: &Insert) {
        let mut stored = self.stored.borrow_mut();
        let is_new = stored.counted_tokens.insert(insert.token.clone());
        if is_new {
            stored.batches.entry(insert.key.clone()).or_default().in_batches += insert.rows;
        }
        note(format!("batches {} {} {is_new}", insert.token, insert.rows));
    }

    fn roll_up(&self, insert: &Insert) {
        let mut stored = self.stored.borrow_mut();
        let is_new = stored.rollup_tokens.insert(insert.token.clone());
        if is_new {
            stored.batches.entry(insert.key.clone()).or_default().rollup += insert.rows;
        }
        note(format!("rollup {} {} {is_new}", insert.token, insert.rows));
    }

    async fn look(&self, look: &Look) -> Answer {
        if let Some(refusal) = self.refusal() {
            return refusal;
        }
        sleep(self.takes("looks that were slow")).await;
        let found = self.stored.borrow().batches.get(&look.key).map_or((0, 0), |batch| (batch.raw, batch.in_batches));
        let up = turmoil::sim_elapsed().unwrap_or_default().saturating_sub(self.started_at.get());
        note(format!("look {:?} {found:?} {}", look.key, up.as_secs()));
        Answer::Says(200, request::found(found.0, found.1, up.as_secs()))
    }

    /// The request is answered before anything is done about it.
    fn refusal(&self) -> Option<Answer> {
        if !self.happens(self.mood.get().refuses) {
            return None;
        }
        count("requests that were refused");
        let says = |status, text: &str| Answer::Says(status, text.into());
        Some(match self.chance.borrow_mut().random_range(0..6) {
            0 => says(500, "Code: 241. DB::Exception: Memory limit (total) exceeded"),
            1 => says(500, "Code: 252. DB::Exception: Too many parts (3001)"),
            2 => says(503, "<html>Service Unavailable</html>"),
            3 => says(500, "Code: 497. DB::Exception: not enough privileges"),
            4 => says(429, "Code: 202. DB::Exception: Too many simultaneous queries for user"),
            _ => Answer::Cut,
        })
    }

    fn takes(&self, slow: &'static str) -> Duration {
        let is_slow = self.happens(self.mood.get().is_slow);
        let longest_ms = if is_slow { 40_000 } else { 50 };
        if is_slow {
            count(slow);
        }
        Duration::from_millis(self.chance.borrow_mut().random_range(0..=longest_ms))
    }

    fn happens(&self, probability: f64) -> bool {
        self.chance.borrow_mut().random_bool(probability)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.stored.borrow().under_way.is_empty()
    }

    pub(super) fn has(&self, id: u64) -> bool {
        self.stored.borrow().rows.contains_key(&id)
    }

    /// Whether the row is stored, and its batch in the rollup too.
    pub(super) fn has_all_of(&self, id: u64) -> bool {
        let stored = self.stored.borrow();
        let batch = stored.rows.get(&id).and_then(|key| stored.batches.get(key));
        batch.is_some_and(|batch| batch.raw == batch.rollup)
    }

    pub(super) fn note_power_loss(&self) {
        self.stored.borrow_mut().power_was_lost = true;
    }

    /// Rows that are stored more than once.
    pub(super) fn twice(&self) -> Vec<u64> {
        self.stored.borrow().twice.clone()
    }

    /// Batches of which the raw table and the rollup have different numbers of rows, raw first. A batch that was lost
    /// with its process before it had landed as a whole, and was never promised, is nobody's to complete.
    pub(super) fn mismatches(&self, promised: &BTreeSet<u64>) -> Vec<(request::Key, u64, u64)> {
        let stored = self.stored.borrow();
        let newest_boot = stored.batches.keys().map(|(_, boot, _)| *boot).max();
        let is_wrong = |key: &request::Key, batch: &Counted| {
            // What the writer cannot know is not promised: see the head of `simulation.rs`.
            if stored.holes.contains(key) && batch.raw == batch.rows && batch.rollup == 2 * batch.raw {
                count("tokens without their rows, in doubt: the rollup counted the batch twice");
                return false;
            }
            if stored.power_was_lost && batch.rollup < batch.raw {
                count("power losses that left less of a batch than had landed: the rollup is short");
                return false;
            }
            // Its process is dead, too: only the journal knew of the batch, and not under which token it went.
            if stored.cut_off.contains(key)
                && batch.in_batches == batch.raw
                && batch.rollup < batch.raw
                && Some(key.1) < newest_boot
            {
                count("deaths between two views, and of the process: the rollup is short");
                return false;
            }
            let is_promised = batch.ids.iter().any(|id| promised.contains(id));
            batch.raw != batch.rollup && (is_promised || batch.raw.max(batch.rollup) > batch.rows)
        };
        let wrong = stored.batches.iter().filter(|(key, batch)| is_wrong(key, batch));
        wrong.map(|(key, batch)| (key.clone(), batch.raw, batch.rollup)).collect()
    }
}
