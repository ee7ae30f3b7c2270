//! Opcodes and close codes, by Discord's names.

use serde::Deserialize;
use serde_json::Value;

pub(super) const HEARTBEAT: u64 = 1;
pub(super) const IDENTIFY: u64 = 2;
pub(super) const PRESENCE_UPDATE: u64 = 3;
pub(super) const VOICE_STATE_UPDATE: u64 = 4;
pub(super) const RESUME: u64 = 6;
pub(super) const RECONNECT: u8 = 7;
pub(super) const REQUEST_GUILD_MEMBERS: u64 = 8;
pub(super) const INVALID_SESSION: u8 = 9;
pub(super) const HELLO: u8 = 10;
pub(super) const HEARTBEAT_ACK: u8 = 11;
pub(super) const REQUEST_SOUNDBOARD_SOUNDS: u64 = 31;

/// A close code and Discord's words for it.
pub(super) type Close = (u16, &'static str);

pub(super) const UNKNOWN_OPCODE: Close = (4001, "Unknown opcode.");
pub(super) const DECODE_ERROR: Close = (4002, "Error while decoding payload.");
pub(super) const NOT_AUTHENTICATED: Close = (4003, "Not authenticated.");
pub(super) const AUTHENTICATION_FAILED: Close = (4004, "Authentication failed.");
pub(super) const ALREADY_AUTHENTICATED: Close = (4005, "Already authenticated.");
pub(super) const INVALID_SEQ: Close = (4007, "Invalid sequence.");
pub(super) const RATE_LIMITED: Close = (4008, "Rate limited.");
pub(super) const SESSION_TIMED_OUT: Close = (4009, "Session timed out.");
pub(super) const INVALID_SHARD: Close = (4010, "Invalid shard.");
pub(super) const INVALID_API_VERSION: Close = (4012, "Invalid API version.");
pub(super) const INVALID_INTENTS: Close = (4013, "Invalid intent(s).");
pub(super) const DISALLOWED_INTENTS: Close = (4014, "Disallowed intent(s).");

/// Anything a client sends.
#[derive(Deserialize)]
pub(super) struct Command {
    pub(super) op: u64,
    #[serde(default)]
    pub(super) d: Value,
}

/// IDENTIFY's data, as far as it decides anything.
#[derive(Deserialize)]
pub(super) struct Identify {
    pub(super) token: String,
    pub(super) intents: u64,
    /// Number and total; one shard when it is missing.
    #[serde(default = "one_shard")]
    pub(super) shard: (u32, u32),
}

/// RESUME's data.
#[derive(Deserialize)]
pub(super) struct Resume {
    pub(super) token: String,
    pub(super) session_id: String,
    pub(super) seq: u64,
}

/// "Request guild members"' data, as far as it decides anything.
#[derive(Deserialize)]
pub(super) struct RequestGuildMembers {
    /// A string, or a list with one.
    pub(super) guild_id: Value,
    #[serde(default)]
    pub(super) limit: u64,
    #[serde(default)]
    pub(super) nonce: Value,
}

const fn one_shard() -> (u32, u32) {
    (0, 1)
}
