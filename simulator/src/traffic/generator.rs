//! One shard's sequence of events, drawn from the seed.

use super::{Event, Mix, Traffic};
use crate::commands;
use crate::gateway::intents;
use crate::gateway::shard::Happening;
use crate::ledger::InteractionRecord;
use crate::payload;
use crate::payload::interaction::{Parts, interaction};
use crate::population::{Guild, Population, User};
use crate::random::{Dice, Weighted};
use crate::snowflake;
use crate::world::World;

/// Of shard 0's interactions and messages so many in 100 are direct messages: Discord sends those to
/// shard 0 only.
const DIRECT_PERCENT: u64 = 20;

/// One shard's sequence.
pub(super) struct Generator<'a> {
    world: &'a World,
    shard: u32,
    dice: Dice,
    events: Weighted,
    delivery_lag_ms: (u64, u64),
}

impl<'a> Generator<'a> {
    pub(super) fn new(world: &'a World, shard: u32, traffic: &Traffic) -> Self {
        let seed = traffic.seed.unwrap_or(world.scenario.seed);
        Self {
            world,
            shard,
            dice: Dice::new(seed, u64::from(shard)),
            events: Weighted::new(traffic.mix.weights()),
            delivery_lag_ms: traffic.delivery_lag_ms,
        }
    }

    /// The next that happens. Draws the same whatever the intents, which only empty messages.
    pub(super) fn next(&mut self, intents: u64) -> Happening {
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
        let kind = commands::kind(guild.is_some(), dice);
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

fn user(population: &Population, guild: Option<&Guild>, dice: &mut Dice) -> User {
    match guild {
        Some(guild) => population.draw_member(guild, dice),
        None => population.draw_user(dice),
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
