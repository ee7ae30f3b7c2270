//! A real ClickHouse server on this machine, started by one call.
//!
//! ```no_run
//! # async fn example() -> Result<(), shardlake_embedded::Error> {
//! use shardlake_embedded::{Clickhouse, Options, User};
//!
//! let clickhouse = Clickhouse::start(Options::new("lake")).await?;
//! let reader = clickhouse.credentials(User::Reader);
//! println!("{} as {}", clickhouse.url(), reader.user);
//! clickhouse.stop().await
//! # }
//! ```
//!
//! # How it works
//!
//! ClickHouse's engine comes as a library (`fetch-engine.sh` gets it). Run as `clickhouse-local` it can open ClickHouse's own HTTP
//! and native TCP listeners, so nothing here speaks for the server: every client, format and setting works as it does elsewhere.
//!
//! ```text
//!  this process                              child process: the same binary again, in a session of its own
//!  ┌────────────────┐   leash: a pipe        ┌───────────────┐  pseudo-terminal   ┌─────────────────────────┐
//!  │ Clickhouse     │ ─────────────────────► │ child.rs      │ ─────────────────► │ engine.rs: libchdb.so   │
//!  │ (supervise.rs) │   its end means: stop  │ "exit" = stop │   standard input   │ HTTP (and TCP) listener │
//!  └────────────────┘                        └───────────────┘                    └─────────────────────────┘
//! ```
//!
//! - **A child process**, because the library allows one engine per process life, takes over signal handlers, and may die of its
//!   own faults without taking the bot along.
//! - **A pseudo-terminal**, because without one the engine believes it is part of a script and aborts on the first exception that
//!   leaves a connection: half an HTTP header, or one wrong password over TCP, would end it (`tests/server/hostile.rs`).
//! - **A leash**, because a parent that is killed cannot clean up: the pipe ends with it, and the child then stops its engine.
//!
//! # What is not as in a ClickHouse server
//!
//! - Before each start, tokens of inserts that a killed server noted without keeping their rows are taken back (`tokens.rs`), so that a
//!   retry with the same token stores them. A ClickHouse server needs `shardlake tokens` for that.
//! - An asynchronous insert is executed at once, as if it were not. It means the same to the client, but makes one part each.
//! - Tables can be distributed over several of these servers, not replicated; `ON CLUSTER` is refused.
//! - Users come from the configuration only: `CREATE USER` is refused. The administrator is called `admin`, not `default`.
//! - `/ping` and queries are all of the HTTP interface.
//! - The engine opens no files but its own (Linux; `sandbox.rs`), so there is no importing with `file()`.
//!
//! # The data directory
//!
//! | path | what |
//! |---|---|
//! | `lock` | held while a server is up, so that a second one is refused |
//! | `passwords/` | one file per [`User`], readable by the owner only, made once |
//! | `config/` | the generated configuration, written anew at each start; drop-ins in its `config.d/` and `users.d/` are kept |
//! | `log/` | warnings of the server, and what the engine wrote to its standard error |
//! | `engine/` | ClickHouse's own path: tables, metadata |
//!
//! Listeners are bound to 127.0.0.1 only. Stop it with [`Clickhouse::stop`]; under systemd use `KillMode=mixed`, or the engine gets
//! its SIGTERM while its parent still wants to write.

mod error;

mod options;

mod cluster;

mod launch;

mod users;

mod data_dir;

mod config;

mod tokens;

mod supervise;

mod probe;

mod child;

mod sandbox;

mod engine;

pub use child::engine_main;
pub use cluster::Cluster;
pub use error::Error;
pub use launch::{ENGINE_VERSION, Launcher, library};
pub use options::{LogLevel, Options};
pub use supervise::Clickhouse;
pub use tokens::take_back_spent_tokens;
pub use users::{Credentials, User};
