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

use crate::commands;
use crate::gateway::intents;
use crate::gateway::session::{Happening, Shard};
use crate::ledger::{InteractionKind, InteractionRecord};
use crate::payload;
use crate::payload::interaction::{Parts, interaction};
use crate::population::{Guild, Population};
use crate::random::{Dice, Weighted};
use crate::snowflake;
use crate::world::World;
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
/// Of shard 0's interactions and messages so many in 100 are direct messages: Discord sends those to
/// shard 0 only.
const DIRECT_PERCENT: u64 = 20;

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
                Generator::new(&world, id, &traffic).run(shard, &traffic).await;
                shard.drained().await;
            });
        }
        Self { shards }
    }

    /// Waits until the budget of every shard was handed to its connection. Never, without a budget.
    /// Cancel safe.
    pub async fn sent(&mut self) {
        while self.shards.join_next().await.is_some() {}
    }

    /// Ends it now. Whatever came up already is still sent.
    pub async fn stop(mut self) {
        self.shards.shutdown().await;
    }
}

/// One shard's sequence.
struct Generator<'a> {
    world: &'a World,
    shard: u32,
    dice: Dice,
    events: Weighted,
    delivery_lag_ms: (u64, u64),
}

impl<'a> Generator<'a> {
    fn new(world: &'a World, shard: u32, traffic: &Traffic) -> Self {
        let seed = traffic.seed.unwrap_or(world.scenario.seed);
        Self {
            world,
            shard,
            dice: Dice::new(seed, u64::from(shard)),
            events: Weighted::new(traffic.mix.weights()),
            delivery_lag_ms: traffic.delivery_lag_ms,
        }
    }

    async fn run(mut self, shard: &Shard, traffic: &Traffic) {
        let mut left = traffic.events_per_shard.unwrap_or(u64::MAX);
        // Nothing is owed for the time before the first session.
        shard.ready_for_traffic().await;
        let mut pace = Pace::new(traffic.events_per_second);
        while left > 0 {
            let due = pace.due().await.min(left);
            for _ in 0..due {
                let intents = shard.ready_for_traffic().await;
                shard.push(self.next(intents));
            }
            left -= due;
        }
    }

    /// The next that happens. Draws the same whatever the intents, which only empty messages.
    fn next(&mut self, intents: u64) -> Happening {
        let event = Mix::EVENTS[self.events.draw(&mut self.dice)];
        let direct = self.shard == 0 && self.dice.chance(DIRECT_PERCENT);
        let world: &'a World = self.world;
        let population = &world.population;
        let guild = population.draw_guild(self.shard, &mut self.dice);
        let dice = &mut self.dice;
        let (event, data) = match event {
            Event::Interaction => return self.interaction((!direct).then_some(guild)),
            Event::Message => return self.message((!direct).then_some(guild), false, intents),
            Event::MessageUpdate => return self.message(Some(guild), true, intents),
            Event::Typing => {
                let user = population.draw_member(guild, dice);
                ("TYPING_START", payload::typing(guild, &user, dice))
            }
            Event::Voice => {
                let user = population.draw_member(guild, dice);
                ("VOICE_STATE_UPDATE", payload::voice_state(guild, &user, dice))
            }
            Event::MemberUpdate => {
                let user = population.draw_member(guild, dice);
                ("GUILD_MEMBER_UPDATE", payload::member_update(guild, &user, dice))
            }
            Event::Reaction => {
                let user = population.draw_member(guild, dice);
                let author = population.draw_member(guild, dice);
                let data = payload::reaction(guild, &user, &author, dice);
                ("MESSAGE_REACTION_ADD", data)
            }
            Event::Presence => {
                let user = population.draw_member(guild, dice);
                ("PRESENCE_UPDATE", payload::presence(guild, &user, dice))
            }
        };
        Happening { event, data, in_guild: true, interaction: None }
    }

    /// A message, or the edit of one.
    fn message(&mut self, guild: Option<&Guild>, edited: bool, intents: u64) -> Happening {
        let dice = &mut self.dice;
        let user = user(&self.world.population, guild, dice);
        let content = content(dice);
        let hidden = guild.is_some() && intents & intents::MESSAGE_CONTENT == 0;
        let content = if hidden { "" } else { &content };
        Happening {
            event: if edited { "MESSAGE_UPDATE" } else { "MESSAGE_CREATE" },
            data: payload::message(guild, &user, content, edited, dice),
            in_guild: guild.is_some(),
            interaction: None,
        }
    }

    fn interaction(&mut self, guild: Option<&Guild>) -> Happening {
        let dice = &mut self.dice;
        let kind = kind(guild.is_some(), dice);
        let command = commands::draw(kind, dice);
        let user = user(&self.world.population, guild, dice);
        let (least, most) = self.delivery_lag_ms;
        let lag_ms = least + dice.below(most.saturating_sub(least) + 1);
        let id = snowflake::fresh(snowflake::now_ms() - lag_ms);
        let token = self.world.interaction_token(id);
        let parts = Parts { id, token: &token, kind, command, guild, user: &user };
        Happening {
            event: "INTERACTION_CREATE",
            data: interaction(&parts, dice),
            in_guild: guild.is_some(),
            interaction: Some(Box::new(InteractionRecord {
                id,
                shard: self.shard,
                kind,
                command: command.into(),
                guild_id: guild.map(|guild| guild.id),
                user_id: user.id,
                sent_at_ms: 0,
                answered_at_ms: None,
                answer_type: None,
                followups: 0,
            })),
        }
    }
}

fn user(population: &Population, guild: Option<&Guild>, dice: &mut Dice) -> crate::population::User {
    match guild {
        Some(guild) => population.draw_member(guild, dice),
        None => population.draw_user(dice),
    }
}

/// Slash commands mostly, then buttons. A message's menu needs a guild's message here.
fn kind(in_guild: bool, dice: &mut Dice) -> InteractionKind {
    match dice.below(100) {
        0..60 => InteractionKind::Slash,
        60..78 => InteractionKind::Component,
        78..88 => InteractionKind::Autocomplete,
        88..94 => InteractionKind::Modal,
        94..97 => InteractionKind::User,
        _ if in_guild => InteractionKind::Message,
        _ => InteractionKind::Slash,
    }
}

/// What somebody writes: up to 50 words, mostly few.
fn content(dice: &mut Dice) -> String {
    const WORDS: [&str; 16] = [
        "anyone", "up", "for", "a", "round", "tonight", "who", "was", "that", "lol", "nice", "the", "build", "works",
        "now", "😄",
    ];
    let most = 1 + dice.below(50);
    let count = 1 + dice.below(most);
    let words: Vec<&str> = (0..count).map(|_| dice.pick(&WORDS)).collect();
    words.join(" ")
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
