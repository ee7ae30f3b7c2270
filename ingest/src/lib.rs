//! From a gateway event to a landed row, without ever hurting the bot.
//!
//! ```text
//! twilight ─► observe ─► row ─► queue ─► batch ─► spool ─► insert ─► ClickHouse
//!                │                 (one lane per table, pipeline.rs)
//!                └─► gauges ─► exporter (/metrics)
//! ```
//!
//! A [`Recorder`] is the front door. [`Recorder::observe`] wraps a twilight `Shard` and leaves the bot's loop as it is;
//! [`Recorder::track`] wraps a handler. Neither blocks, awaits, panics or returns an error of its own into the bot. What
//! cannot be kept is counted, with its reason, so that for every table and at every moment
//! `observed + recovered = landed + spooled + in memory + dropped` ([`Account`]).
//!
//! The modules below are listed in the order in which an event passes through them.

// What the bot touches.
mod recorder;

mod observe;

mod lifecycle;

mod dispatches;

mod guilds;

mod track;

// What turns it into rows.
mod names;

mod row;

// What carries the rows to ClickHouse: a lane per table.
mod queue;

mod journal;

mod batch;

mod spool;

mod placement;

mod insert;

mod pipeline;

mod writer;

mod account;

mod outside;

#[cfg(test)]
mod simulation;

// What people look at while it runs.
mod metrics;

mod watch;

mod sample;

mod exporter;

// How it is set up and how it ends.
mod config;

mod error;

mod shutdown;

mod replay;

pub use account::{Account, DropReason};
pub use config::{BatchLimits, Clickhouse, Config, Interactions, Journal, Secret, Shards, Spool, WhenFull};
pub use error::Error;
pub use exporter::DEFAULT_PORT as DEFAULT_METRICS_PORT;
pub use observe::Observed;
pub use recorder::{Recorder, user_key};
pub use replay::Replay;
pub use shutdown::Receipt;
pub use spool::{SpoolError, inspect};
pub use track::Timer;
