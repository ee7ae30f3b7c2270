//! The simulator against real clients: twilight-gateway, which the recorder is built on, and
//! tokio-tungstenite as an independent one.
//!
//! Rules: a simulator and a port of its own per test; wait for a condition, never for a time; what a
//! client counted is held against the ledger, exactly.

mod client;

mod connect;

mod traffic;

mod faults;

mod silences;

mod independent;

mod rest;
