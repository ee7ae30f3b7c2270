//! What happens in this Discord: messages, typing, voice, reactions, interactions, at a rate and in a mix.
//!
//! **What happens is drawn from the seed alone**, one sequence per shard, whoever listens and however
//! fast: which event types, guilds, users, commands. The intents of a client then decide what of it it is
//! told, and the clock what times and ids say. So with a budget the multiset of (shard, event type,
//! interaction kind, command) is the same in every run with the same seed, as long as no session is lost.
//!
//! A shard without a session has no traffic yet: the sequence waits for the first READY and its guilds,
//! and goes on from where it was. The same happens when a client is so slow, or away so long, that its
//! session holds `replay_limit` unsent dispatches.

mod generator;

use crate::gateway::shard::Shard;
use crate::world::World;
use generator::Generator;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How long traffic sleeps between two looks at the clock: shorter costs wake-ups, longer makes bursts.
/// At 4,000 events a second this is 20 events at a time.
const TICK: Duration = Duration::from_millis(5);
/// Traffic that is late is made up for, up to this.
const CATCH_UP: Duration = Duration::from_secs(1);
/// Happenings between two breaks when there is no pace, so that a runtime with one thread goes on.
const UNPACED_BURST: u64 = 64;
/// The load of one shard, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// 1 event a second: a small bot at night.
    Quiet,
    /// 20 events a second: a thousand guilds, without presences.
    Normal,
    /// 100 events a second: the same with presences.
    Presence,
    /// 500 events a second: the busiest that chat bots report.
    Peak,
    /// 4,000 events a second: 16 such shards keep one core of a client busy.
    Stress,
}

impl Profile {
    /// Events a second on each shard.
    pub const fn events_per_second(self) -> f64 {
        match self {
            Self::Quiet => 1.0,
            Self::Normal => 20.0,
            Self::Presence => 100.0,
            Self::Peak => 500.0,
            Self::Stress => 4_000.0,
        }
    }

    /// What they are.
    pub const fn mix(self) -> Mix {
        match self {
            Self::Presence => Mix::WithPresences,
            _ => Mix::Typical,
        }
    }
}

/// What events are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mix {
    /// 55 % `MESSAGE_CREATE`, 14 % typing, 8 % voice, 6 % each of member updates, reactions and message
    /// updates, 5 % interactions.
    Typical,
    /// 80 % presences, the rest typical.
    WithPresences,
    /// Interactions only.
    Interactions,
    /// Typical without interactions.
    NoInteractions,
}

impl Mix {
    const EVENTS: [Event; 8] = [
        Event::Message,
        Event::Typing,
        Event::Voice,
        Event::MemberUpdate,
        Event::Reaction,
        Event::MessageUpdate,
        Event::Interaction,
        Event::Presence,
    ];

    /// In the order of [`Self::EVENTS`].
    const fn weights(self) -> [u64; 8] {
        match self {
            Self::Typical => [55, 14, 8, 6, 6, 6, 5, 0],
            Self::WithPresences => [55, 14, 8, 6, 6, 6, 5, 400],
            Self::Interactions => [0, 0, 0, 0, 0, 0, 1, 0],
            Self::NoInteractions => [55, 14, 8, 6, 6, 6, 0, 0],
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Message,
    Typing,
    Voice,
    MemberUpdate,
    Reaction,
    MessageUpdate,
    Interaction,
    Presence,
}

/// A stretch of traffic on every shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// What it is made of.
    pub mix: Mix,
    /// Events a second on each shard; None sends as fast as the clients read.
    pub events_per_second: Option<f64>,
    /// Ends after so many events on each shard, counted before intents; None goes on until it is stopped.
    pub events_per_shard: Option<u64>,
    /// A seed of its own; None takes the scenario's. Two stretches with one seed are the same traffic.
    pub seed: Option<u64>,
    /// How long an interaction is under way inside Discord before it is dispatched, in milliseconds: drawn
    /// evenly from these two. Its id says when it was created, so this is what a client measures as
    /// delivery lag. Default 0 to 0.
    pub delivery_lag_ms: (u64, u64),
}

impl Traffic {
    /// Endless, at the profile's rate.
    pub const fn of(profile: Profile) -> Self {
        Self {
            mix: profile.mix(),
            events_per_second: Some(profile.events_per_second()),
            events_per_shard: None,
            seed: None,
            delivery_lag_ms: (0, 0),
        }
    }

    /// Ends after `events_per_shard`.
    #[must_use]
    pub const fn budget(mut self, events_per_shard: u64) -> Self {
        self.events_per_shard = Some(events_per_shard);
        self
    }

    /// As fast as the clients read.
    #[must_use]
    pub const fn unpaced(mut self) -> Self {
        self.events_per_second = None;
        self
    }
}

/// Traffic that is going on; dropping it stops it.
#[derive(Debug)]
#[must_use = "traffic stops when this is dropped"]
pub struct TrafficRun {
    shards: JoinSet<()>,
}

impl TrafficRun {
    pub(crate) fn start(world: &Arc<World>, traffic: &Traffic) -> Self {
        let mut shards = JoinSet::new();
        for id in 0..world.scenario.shards {
            let (world, traffic) = (Arc::clone(world), traffic.clone());
            shards.spawn(async move {
                let shard = &world.shards[id as usize];
                run(Generator::new(&world, id, &traffic), shard, &traffic).await;
                shard.drained().await;
            });
        }
        Self { shards }
    }

    /// Waits until the budget of every shard was handed to its connection. That is never without a budget,
    /// without a client for each shard, or once the simulator was stopped. Cancel safe.
    ///
    /// # Panics
    ///
    /// When what makes the traffic has panicked: a defect of the simulator.
    pub async fn sent(&mut self) {
        while let Some(ended) = self.shards.join_next().await {
            ended.expect("traffic does not panic");
        }
    }

    /// Ends it now. Whatever came up already is still sent.
    pub async fn stop(mut self) {
        self.shards.shutdown().await;
    }
}

/// One shard's traffic, up to its budget.
async fn run(mut generator: Generator<'_>, shard: &Shard, traffic: &Traffic) {
    let mut left = traffic.events_per_shard.unwrap_or(u64::MAX);
    // Nothing is owed for the time before the first session.
    shard.ready_for_traffic().await;
    let mut pace = Pace::new(traffic.events_per_second);
    while left > 0 {
        let due = pace.due().await.min(left);
        for _ in 0..due {
            let intents = shard.ready_for_traffic().await;
            shard.push(generator.next(intents));
        }
        left -= due;
    }
}

/// Says how many events are due.
enum Pace {
    Unpaced,
    Paced { events_per_second: f64, start: Instant, sent: u64, ticks: tokio::time::Interval },
}

impl Pace {
    fn new(events_per_second: Option<f64>) -> Self {
        let Some(events_per_second) = events_per_second else {
            return Self::Unpaced;
        };
        let mut ticks = interval(TICK.max(Duration::from_secs_f64(0.5 / events_per_second.max(0.001))));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self::Paced { events_per_second, start: Instant::now(), sent: 0, ticks }
    }

    /// How many are due now; waits a moment when none are. What a busy machine missed is made up for, up
    /// to [`CATCH_UP`]; what was missed beyond that, for want of a session mostly, does not happen.
    async fn due(&mut self) -> u64 {
        match self {
            Self::Unpaced => {
                tokio::task::yield_now().await;
                UNPACED_BURST
            }
            Self::Paced { events_per_second, start, sent, ticks } => {
                ticks.tick().await;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a count of events, far below 2^53"
                )]
                let events_in = |time: Duration| (time.as_secs_f64() * *events_per_second) as u64;
                let total = events_in(start.elapsed());
                let due = total - *sent;
                *sent = total;
                due.min(events_in(CATCH_UP).max(1))
            }
        }
    }
}
