//! The contract between those who write to ClickHouse and those who read: tables, row types, migrations, and what
//! ClickHouse's answers mean.
//!
//! `migrations/` is the only place that describes a table; [`rows`] mirrors it as typed structs, and a test compares the
//! two column by column on a real server. Every raw row starts with the same three columns, its [`BatchId`]: they say
//! which insert carried it, so that what landed can be counted and what is missing can be named.

mod cell;
mod quote;
mod table;

pub mod rows;

pub mod migrate;

pub mod topology;

pub mod retention;

pub mod plan;

pub mod verify;

pub mod users;

pub mod answer;

pub use cell::{Cell, Labels, Name, Repeating, TimeMs};
pub use table::{BatchId, INSERT_SETTINGS, Row, Table};
