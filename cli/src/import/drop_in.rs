//! A table of Argus's name that keeps nothing: what running bots insert into it becomes interactions.

/// What `--drop-in` prints.
pub(super) const SQL: &str = include_str!("drop_in.sql");
