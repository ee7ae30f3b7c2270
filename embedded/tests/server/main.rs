//! The embedded server, tried from outside: with the real engine, each test with servers and directories of its own.
//!
//! No test depends on how fast anything is: they wait for conditions, for as long as a busy machine may need.

#![allow(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

mod ask;

mod parent;

mod lifecycle;

mod access;

mod cluster;

mod client;

mod hostile;

mod tokens;
