//! Which intent an event needs. Interactions, READY and RESUMED need none.

const GUILDS: u64 = 1;
const GUILD_MEMBERS: u64 = 1 << 1;
const GUILD_VOICE_STATES: u64 = 1 << 7;
const GUILD_PRESENCES: u64 = 1 << 8;
const GUILD_MESSAGES: u64 = 1 << 9;
const GUILD_MESSAGE_REACTIONS: u64 = 1 << 10;
const GUILD_MESSAGE_TYPING: u64 = 1 << 11;
const DIRECT_MESSAGES: u64 = 1 << 12;
/// Without it a guild's messages come with empty content.
pub(crate) const MESSAGE_CONTENT: u64 = 1 << 15;

/// Every intent that API v10 defines; another bit is close code 4013.
pub(super) const DEFINED: u64 = 0x1ff_ffff & !(0b111 << 17) & !(1 << 22) & !(1 << 23) | (1 << 25);

/// The intents of which one has to be there, or None when the event is for everybody.
pub(crate) fn needed(event: &str, in_guild: bool) -> Option<u64> {
    Some(match (event, in_guild) {
        ("GUILD_CREATE" | "GUILD_DELETE", _) => GUILDS,
        ("GUILD_MEMBER_UPDATE", _) => GUILD_MEMBERS,
        ("VOICE_STATE_UPDATE", _) => GUILD_VOICE_STATES,
        ("PRESENCE_UPDATE", _) => GUILD_PRESENCES,
        ("MESSAGE_CREATE" | "MESSAGE_UPDATE", true) => GUILD_MESSAGES,
        ("MESSAGE_CREATE" | "MESSAGE_UPDATE", false) => DIRECT_MESSAGES,
        ("MESSAGE_REACTION_ADD", _) => GUILD_MESSAGE_REACTIONS,
        ("TYPING_START", _) => GUILD_MESSAGE_TYPING,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::DEFINED;

    #[test]
    fn the_defined_intents_are_those_of_api_v10() {
        let bits: Vec<u32> = (0..64).filter(|bit| DEFINED & (1 << bit) != 0).collect();
        assert_eq!(bits, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 20, 21, 24, 25]);
    }
}
