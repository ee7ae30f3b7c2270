//! The gateway: the WebSocket side of Discord.
//!
//! * [`connection`]: one socket from HELLO to its end: identify, heartbeats, resume, faults.
//! * [`shard`]: one shard: its session and its counts, which outlive a connection.
//! * [`session`]: sequence numbers and the replay ring.
//! * [`compression`]: none, zlib-stream or zstd-stream, one context per connection.
//! * [`intents`]: who is told what.
//! * [`protocol`]: opcodes and close codes.
//!
//! One session per shard: an IDENTIFY for a shard that is connected ends the older connection with close
//! code 4009. The simulator does not end a connection that stops sending heartbeats, and heartbeats do
//! not count towards the limit of 120 commands a minute (tests beat far faster than Discord's clients).

pub(crate) mod connection;

pub(crate) mod shard;

mod session;

mod compression;

pub(crate) mod intents;

mod protocol;
