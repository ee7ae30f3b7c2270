//! What a client sends, and the answer.

use super::{Connection, End, Phase, Quiet};
use crate::gateway::intents;
use crate::gateway::protocol::{self, Close, Command, Identify, RequestGuildMembers, Resume};
use crate::gateway::session::NotResumed;
use crate::ledger::ShardLedger;
use crate::world::Admission;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_websockets::Message;

/// Discord's limit for one command, in bytes (close code 4002 past it).
const MOST_COMMAND_BYTES: usize = 4_096;
/// Discord's limit for one connection: so many commands in [`LIMIT_WINDOW`] (close code 4008 past it).
const MOST_COMMANDS: usize = 120;
const LIMIT_WINDOW: Duration = Duration::from_mins(1);

/// When the last commands came.
pub(super) struct Limit(VecDeque<Instant>);

impl Limit {
    pub(super) fn new() -> Self {
        Self(VecDeque::new())
    }

    /// False when there have been too many.
    fn allows(&mut self, now: Instant) -> bool {
        while self.0.front().is_some_and(|at| now.duration_since(*at) >= LIMIT_WINDOW) {
            self.0.pop_front();
        }
        self.0.push_back(now);
        self.0.len() <= MOST_COMMANDS
    }
}

impl Connection {
    /// Takes a message; an end when the connection is over because of it.
    pub(super) fn receive(&mut self, message: &Message) -> Option<End> {
        if let Some((code, _)) = message.as_close() {
            let code = u16::from(code);
            self.count(|ledger| *ledger.closes_received.entry(code).or_default() += 1);
            // The socket answers by itself, and says then that it is gone. It takes nothing more.
            self.quiet = Quiet::Everything;
            return None;
        }
        let payload = message.as_payload();
        if message.is_ping() || message.is_pong() {
            return None;
        }
        if payload.len() > MOST_COMMAND_BYTES {
            return Some(End::Close(protocol::DECODE_ERROR));
        }
        let Ok(command) = serde_json::from_slice::<Command>(payload) else {
            return Some(End::Close(protocol::DECODE_ERROR));
        };
        if command.op != protocol::HEARTBEAT && !self.commands.allows(Instant::now()) {
            return Some(End::Close(protocol::RATE_LIMITED));
        }
        self.answer(command).err().map(End::Close)
    }

    fn answer(&mut self, command: Command) -> Result<(), Close> {
        let Command { op, d } = command;
        match op {
            protocol::HEARTBEAT => {
                self.heartbeat();
                Ok(())
            }
            protocol::IDENTIFY | protocol::RESUME if self.phase != Phase::Unidentified => {
                Err(protocol::ALREADY_AUTHENTICATED)
            }
            protocol::IDENTIFY => self.identify(&decode(d)?),
            protocol::RESUME => self.resume(&decode(d)?),
            protocol::PRESENCE_UPDATE
            | protocol::VOICE_STATE_UPDATE
            | protocol::REQUEST_SOUNDBOARD_SOUNDS
            | protocol::REQUEST_GUILD_MEMBERS => {
                if self.phase == Phase::Unidentified {
                    return Err(protocol::NOT_AUTHENTICATED);
                }
                self.count(|ledger| *ledger.commands.entry(op).or_default() += 1);
                if op == protocol::REQUEST_GUILD_MEMBERS {
                    self.send_members(&decode(d)?);
                }
                Ok(())
            }
            _ => Err(protocol::UNKNOWN_OPCODE),
        }
    }

    fn identify(&mut self, identify: &Identify) -> Result<(), Close> {
        let world = Arc::clone(&self.world);
        let scenario = &world.scenario;
        let (shard, total) = identify.shard;
        if shard < scenario.shards {
            self.known(shard, |ledger| ledger.identifies += 1);
        }
        if !scenario.knows(&identify.token) {
            return Err(protocol::AUTHENTICATION_FAILED);
        }
        if total != scenario.shards || shard >= total {
            return Err(protocol::INVALID_SHARD);
        }
        if identify.intents & !intents::DEFINED != 0 {
            return Err(protocol::INVALID_INTENTS);
        }
        if identify.intents & scenario.disallowed_intents != 0 {
            return Err(protocol::DISALLOWED_INTENTS);
        }
        let shard = &world.shards[shard as usize];
        if let Some(code) = shard.claim(|armed| armed.reject_identify.take()) {
            return Err((code, "Simulated."));
        }
        match world.admit(shard.id) {
            Admission::Granted => {}
            Admission::Exhausted => return Err(protocol::AUTHENTICATION_FAILED),
            Admission::TooEarly => {
                self.send_counted(protocol::INVALID_SESSION, "false");
                return Ok(());
            }
        }
        self.attach(shard.id);
        self.phase = Phase::Identified;
        if shard.claim(|armed| std::mem::take(&mut armed.identify)) {
            shard.forget();
            return Ok(());
        }
        shard.start_session(&world, identify.intents);
        self.phase = Phase::Dispatching;
        self.news = true;
        Ok(())
    }

    fn resume(&mut self, resume: &Resume) -> Result<(), Close> {
        let world = Arc::clone(&self.world);
        if !world.scenario.knows(&resume.token) {
            return Err(protocol::AUTHENTICATION_FAILED);
        }
        // A session's id begins with its shard's number.
        let shard = resume.session_id.get(..8);
        let shard = shard.and_then(|hex| usize::from_str_radix(hex, 16).ok());
        let Some(shard) = shard.and_then(|shard| world.shards.get(shard)) else {
            self.send_counted(protocol::INVALID_SESSION, "false");
            return Ok(());
        };
        self.known(shard.id, |ledger| ledger.resumes += 1);
        // Before the session goes on: an older connection must not pull the replay.
        self.attach(shard.id);
        if shard.claim(|armed| std::mem::take(&mut armed.resume)) {
            self.phase = Phase::Identified;
            return Ok(());
        }
        match shard.resume(&resume.session_id, resume.seq) {
            Ok(()) => {
                self.phase = Phase::Dispatching;
                self.news = true;
                Ok(())
            }
            Err(NotResumed::InvalidSeq) => Err(protocol::INVALID_SEQ),
            Err(NotResumed::Gone) => {
                self.send_counted(protocol::INVALID_SESSION, "false");
                Ok(())
            }
        }
    }

    /// The client says which shard it is.
    fn known(&mut self, shard: u32, count: impl FnOnce(&mut ShardLedger)) {
        self.shard = Some(shard);
        self.count(|ledger| {
            ledger.connections += 1;
            count(ledger);
        });
    }

    fn send_members(&self, request: &RequestGuildMembers) {
        let guild = match &request.guild_id {
            Value::Array(list) => list.first(),
            single => Some(single),
        };
        let guild = guild.and_then(Value::as_str).and_then(|id| id.parse().ok());
        if let (Some(shard), Some(guild)) = (self.shard, guild) {
            let nonce = request.nonce.to_string();
            let shard = &self.world.shards[shard as usize];
            shard.push_members(&self.world, guild, request.limit, &nonce);
        }
    }
}

fn decode<T: serde::de::DeserializeOwned>(data: Value) -> Result<T, Close> {
    serde_json::from_value(data).map_err(|_| protocol::DECODE_ERROR)
}

#[cfg(test)]
mod tests {
    use super::{LIMIT_WINDOW, Limit, MOST_COMMANDS};
    use std::time::Instant;

    #[test]
    fn the_limit_forgets_after_a_minute() {
        let (mut limit, start) = (Limit::new(), Instant::now());
        assert!((0..MOST_COMMANDS).all(|_| limit.allows(start)));
        assert!(!limit.allows(start));
        assert!(limit.allows(start + LIMIT_WINDOW));
    }
}
