//! How far a long command is: a bar for a person who watches standard error, a line now and then for a log.

use std::{
    io::{IsTerminal as _, stderr},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

/// How often a log hears of it.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// So many of so many.
pub(crate) struct Progress {
    /// Draws nothing if nobody watches.
    bar: ProgressBar,
    unit: &'static str,
    done: u64,
    total: u64,
    said: Instant,
}

impl Progress {
    pub(crate) fn new(unit: &'static str, total: u64) -> Self {
        let bar = if stderr().is_terminal() { ProgressBar::new(total) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} {msg}, {eta} to go");
        bar.set_style(style.expect("the template is ours").progress_chars("##-"));
        bar.set_message(unit);
        Self { bar, unit, done: 0, total, said: Instant::now() }
    }

    /// There is more to do than was known.
    pub(crate) fn expect(&mut self, more: u64) {
        self.total += more;
        self.bar.set_length(self.total);
    }

    pub(crate) fn done(&self) -> u64 {
        self.done
    }

    pub(crate) fn add(&mut self, more: u64) {
        self.set(self.done + more);
    }

    pub(crate) fn set(&mut self, done: u64) {
        self.done = done;
        self.bar.set_position(done);
        if self.bar.is_hidden() && self.said.elapsed() >= SAY_EVERY {
            self.said = Instant::now();
            tracing::info!("{done} of {} {}", self.total, self.unit);
        }
    }

    pub(crate) fn finish(self) {
        self.bar.finish_and_clear();
    }
}
