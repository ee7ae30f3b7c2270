//! A Discord that is not there: a gateway and the REST calls around it, to which an unmodified client
//! connects over plain TCP on loopback.
//!
//! ```text
//!   scenario ─► population ─► traffic ─► session ─► connection ─► client
//!                                faults ────┴───────────┘            │
//!                                ledger ◄── counts all of it ◄─ rest ◄┘
//! ```
//!
//! It writes down what it sent and what it got ([`LedgerSnapshot`]), so that a test can hold a recorder's
//! claims against the truth. Seeded: the same [`Scenario`] is the same population, and [`Traffic`] with a
//! budget the same events.
//!
//! Not simulated: TLS, ETF, voice, and every event that [`Mix`] does not name.

mod error;

mod scenario;

mod random;

mod snowflake;

mod population;

mod commands;

mod template;

mod payload;

mod traffic;

mod history;

mod world;

mod listen;

mod gateway;

mod rest;

mod faults;

mod ledger;

pub use error::Error;
pub use faults::{Fault, GuildChange, ScheduledFault, Shards};
pub use history::{History, PastInteraction};
pub use ledger::{
    DispatchTally, FaultRecord, GuildRecord, InteractionCount, InteractionKind, InteractionRecord, LedgerSnapshot,
    MOST_INTERACTIONS, ShardLedger,
};
pub use scenario::Scenario;
pub use traffic::{Mix, Profile, Traffic, TrafficRun};

use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use world::World;

/// A running simulator. Dropping it ends it.
#[derive(Debug)]
pub struct Simulator {
    world: Arc<World>,
    tasks: JoinSet<()>,
}

impl Simulator {
    /// Starts to listen on 127.0.0.1; the schedule of faults starts now too. Must be called within a
    /// tokio runtime.
    #[expect(clippy::unused_async, reason = "a start is I/O; it may have to wait one day")]
    pub async fn start(scenario: Scenario) -> Result<Self, Error> {
        scenario.check()?;
        let port = scenario.port;
        let (listener, address) = listen::bind(port).map_err(|source| Error::Listen { port, source })?;
        let world = Arc::new(World::new(scenario, address));
        let mut tasks = JoinSet::new();
        tasks.spawn(listen::listen(Arc::clone(&world), listener));
        tasks.spawn(follow_schedule(Arc::clone(&world)));
        tracing::info!(%address, "simulated Discord is listening");
        Ok(Self { world, tasks })
    }

    /// `ws://127.0.0.1:PORT`, without a trailing slash.
    pub fn gateway_url(&self) -> String {
        self.world.gateway_url()
    }

    /// `http://127.0.0.1:PORT/api/v10`.
    pub fn rest_url(&self) -> String {
        format!("http://{}/api/v10", self.world.address)
    }

    /// `http://127.0.0.1:PORT/ledger`: [`Self::ledger`] as JSON, for other processes. With
    /// `/interactions` after it [`Self::interactions`].
    pub fn ledger_url(&self) -> String {
        format!("http://{}/ledger", self.world.address)
    }

    /// The bot's token, as a client has to give it. A secret by name only.
    pub fn token(&self) -> &str {
        self.world.scenario.bare_token()
    }

    /// The ground truth up to now.
    pub fn ledger(&self) -> LedgerSnapshot {
        self.world.snapshot()
    }

    /// Single interactions, oldest first: the newest [`MOST_INTERACTIONS`].
    pub fn interactions(&self) -> Vec<InteractionRecord> {
        self.world.ledger.interactions()
    }

    /// Makes something go wrong now: on the shard's connection, or for its next one, as each [`Fault`]
    /// says. A shard that the scenario does not have is ignored.
    pub fn inject(&self, shard: u32, fault: Fault) {
        self.world.inject(shard, fault);
    }

    /// Starts traffic on every shard; it goes on until the budget is used up or the run is dropped.
    /// Several may go on at once.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn traffic(&self, traffic: &Traffic) -> TrafficRun {
        TrafficRun::start(&self.world, traffic)
    }

    /// Ends it as a crash of Discord would: every socket is closed, without a close frame.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Injects the scheduled faults when their time comes.
async fn follow_schedule(world: Arc<World>) {
    let start = Instant::now();
    let mut hits: Vec<_> = world
        .scenario
        .faults
        .iter()
        .flat_map(|scheduled| {
            let hits = scheduled.hits(world.scenario.shards).into_iter();
            hits.map(|(at_ms, shard)| (at_ms, shard, scheduled.fault))
        })
        .collect();
    hits.sort_by_key(|(at_ms, ..)| *at_ms);
    for (at_ms, shard, fault) in hits {
        sleep_until(start + Duration::from_millis(at_ms)).await;
        world.inject(shard, fault);
    }
}
