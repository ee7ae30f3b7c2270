//! The catalogue of questions and the service that answers them.
//!
//! A question is a file, `catalogue/<noun>/<question>.sql`: its header says what it asks, which parameters it takes and what
//! each column means; below is the SQL, which runs unchanged in ClickHouse's own client. The service makes an endpoint of
//! each file. On its way to an answer, a request passes through the modules below, from top to bottom:
//!
//! 1. `server` takes connections, `gate` and `access` say who may ask and how often, `routes` speaks HTTP, `error` says why
//!    there is no answer;
//! 2. [`catalogue`] finds the question, `format` the form that the answer shall have;
//! 3. `service` leads it through the rest; `sharing` makes one query of several that are the same:
//! 4. [`parameter`] and `moment` turn words into typed values, `resolution` the range and the step into buckets;
//! 5. `execute` sends the file and the values to ClickHouse, within [`limits`], cancelled when the client goes away;
//! 6. `completeness` asks, at the same time, how fresh and how complete the data behind the answer is;
//! 7. `answer` puts both into one JSON document; `export` sends rows while they come, `samples` makes gauges of them,
//!    and `reply` gives all of it to HTTP;
//! 8. `metrics` counts.
//!
//! `openapi` describes all of it to programs.
//!
//! # What ClickHouse's reader user needs
//! `SELECT` on the database, `readonly` = 1 or 2, `cancel_http_readonly_queries_on_client_close` = 1 so that a query ends when
//! its client leaves, and limits that suit the machine. Whatever the profile lets a reader change, the service sets itself
//! for every query: see [`limits`].

mod server;

mod gate;

mod access;

mod following;

mod routes;

mod error;

pub mod catalogue;

mod format;

mod service;

mod sharing;

pub mod parameter;

mod moment;

mod resolution;

pub mod limits;

mod execute;

mod completeness;

mod answer;

mod export;

mod samples;

mod reply;

mod sql;

mod openapi;

mod metrics;

pub use access::{Keys, KeysError, NewKey};
pub use catalogue::{Catalogue, CatalogueError, Column, Panel, Question, Unit};
pub use parameter::{Kind, Parameter, Scalar};
pub use routes::router;
pub use server::{Tls, TlsError, serve};
pub use service::{Access, Service};
