//! A ClickHouse cluster: what the migrations become there, that its answers are those of one server, and what happens
//! while one of its shards is away. (`tests/flow.rs` has the whole line on two shards.)
//!
//! Its servers are real and know each other, and are not replicated: this engine cannot, and has no Keeper. What is left is
//! said at the head of `statements.rs`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../line/mod.rs"]
mod line;

#[allow(dead_code, reason = "this program needs a part of it")]
#[path = "../../queries/tests/lake/mod.rs"]
mod lake;

#[path = "../../queries/tests/rolled_up/mod.rs"]
mod rolled_up;

mod statements;

mod readers;

mod questions;

mod recording;

mod outage;

mod growth;

mod rights;
