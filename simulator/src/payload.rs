//! What Discord says, as JSON: the shape of every dispatch and every opcode the simulator sends.
//!
//! Field names and types are Discord's (API v10); twilight-model 0.18 parses all of it, which a test
//! holds us to. `t`, `s` and `op` stand before `d`, as Discord sends them: clients look for the first
//! `"t":` in the text. Names and texts here never need escaping.

use crate::population::{Guild, Population, ROLES, User};
use crate::random::Dice;
use crate::snowflake;
use crate::template::Template;
use std::fmt::Write as _;
use std::sync::LazyLock;
use time::OffsetDateTime;

pub(crate) mod interaction;

/// The bot's application, which is also its user.
pub(crate) const APPLICATION_ID: u64 = 1_000_000_000_000_000_001;
/// Members that a `GUILD_CREATE` lists, at most; Discord lists up to the client's `large_threshold`.
const LISTED_MEMBERS: u64 = 10;
/// Members that an answer to "request guild members" lists, at most.
const CHUNK_MEMBERS: u64 = 100;

static USER: LazyLock<Template> = LazyLock::new(|| {
    Template::new(
        r#"{"accent_color":null,"avatar":"$avatar","avatar_decoration_data":null,"banner":null,"bot":false,
        "clan":null,"collectibles":null,"discriminator":"0","display_name_styles":null,
        "global_name":"$name","id":"$id","primary_guild":null,"public_flags":0,"username":"$name"}"#,
    )
});
static MEMBER: LazyLock<Template> = LazyLock::new(|| {
    Template::new(
        r#"{$head"avatar":null,"banner":null,"communication_disabled_until":null,"deaf":false,"flags":0,
        "joined_at":"$joined","mute":false,"nick":null,"pending":false,"premium_since":null,"roles":["$role"]}"#,
    )
});
static MESSAGE: LazyLock<Template> = LazyLock::new(|| {
    Template::new(
        r#"{"type":0,"tts":false,"timestamp":"$at","pinned":false,"nonce":"$nonce","mentions":[],"mention_roles":[],
        "mention_everyone":false,$place"id":"$id","flags":0,"embeds":[],"edited_timestamp":$edited,
        "content":"$content","components":[],"channel_type":$channel_type,"channel_id":"$channel",
        "author":$user,"attachments":[]}"#,
    )
});
static TYPING: LazyLock<Template> = LazyLock::new(|| {
    Template::new(
        r#"{"user_id":"$id","timestamp":$seconds,"member":$member,"guild_id":"$guild","channel_id":"$channel"}"#,
    )
});
static VOICE: LazyLock<Template> = LazyLock::new(|| {
    Template::new(
        r#"{"member":$member,"user_id":"$id","suppress":false,"session_id":"$session","self_video":false,
        "self_mute":$muted,"self_deaf":false,"request_to_speak_timestamp":null,"mute":false,
        "guild_id":"$guild","deaf":false,"channel_id":$channel}"#,
    )
});
static MEMBER_UPDATE: LazyLock<Template> = LazyLock::new(|| {
    Template::new(
        r#"{"user":$user,"roles":["$role"],"premium_since":null,"pending":false,"nick":"$nick","mute":false,
        "joined_at":"$joined","guild_id":"$guild","flags":0,"deaf":false,"communication_disabled_until":null,
        "banner":null,"avatar":null}"#,
    )
});
static REACTION: LazyLock<Template> = LazyLock::new(|| {
    Template::new(
        r#"{"user_id":"$id","type":0,"message_id":"$message","message_author_id":"$author","member":$member,
        "guild_id":"$guild","emoji":{"name":"$emoji","id":null},"channel_id":"$channel","burst":false}"#,
    )
});
static PRESENCE: LazyLock<Template> = LazyLock::new(|| {
    Template::new(
        r#"{"user":{"id":"$id"},"status":"$status","processed_at_timestamp":$ms,"guild_id":"$guild",
        "client_status":{"$device":"$status"},"broadcast":null,"activities":[]}"#,
    )
});
static GUILD: LazyLock<Template> = LazyLock::new(|| {
    Template::new(
        r#"{"id":"$id","name":"$name","icon":null,"splash":null,"discovery_splash":null,"banner":null,
        "description":null,"home_header":null,"vanity_url_code":null,"owner_id":"$owner","application_id":null,
        "afk_channel_id":null,"afk_timeout":300,"system_channel_id":null,"system_channel_flags":0,
        "rules_channel_id":null,"public_updates_channel_id":null,"safety_alerts_channel_id":null,
        "verification_level":1,"default_message_notifications":1,"explicit_content_filter":2,"mfa_level":0,
        "nsfw":false,"nsfw_level":0,"premium_tier":0,"premium_subscription_count":0,
        "premium_progress_bar_enabled":false,"preferred_locale":"$locale","features":["COMMUNITY","NEWS"],
        "large":$large,"lazy":true,"unavailable":false,"member_count":$count,"joined_at":"$joined",
        "max_members":500000,"max_video_channel_users":25,"max_stage_video_channel_users":50,
        "roles":[$roles],"emojis":[],"stickers":[],"channels":[$channels],"threads":[],"members":[$members],
        "presences":[],"voice_states":[],"stage_instances":[],"guild_scheduled_events":[],
        "soundboard_sounds":[],"embedded_activities":[],"activity_instances":[],"hub_type":null,
        "incidents_data":null,"inventory_settings":null,"latest_onboarding_question_id":null,"version":1}"#,
    )
});
static ROLE: LazyLock<Template> = LazyLock::new(|| {
    Template::new(
        r#"{"color":0,"colors":{"primary_color":0,"secondary_color":null,"tertiary_color":null},"flags":0,
        "hoist":false,"icon":null,"id":"$id","managed":false,"mentionable":false,"name":"$name",
        "permissions":"2248473465835073","position":$position,"unicode_emoji":null}"#,
    )
});
static CHANNEL: LazyLock<Template> = LazyLock::new(|| {
    Template::new(
        r#"{"flags":0,"id":"$id","last_message_id":null,"name":"$name","nsfw":false,"parent_id":null,
        "permission_overwrites":[],"position":$position,"rate_limit_per_user":0,"topic":null,"type":0,"version":1}"#,
    )
});
static READY: LazyLock<Template> = LazyLock::new(|| {
    Template::new(
        r#"{"v":10,"user":$user,"session_type":"normal","session_id":"$session","shard":[$shard,$shards],
        "resume_gateway_url":"$url","relationships":[],"private_channels":[],"presences":[],"guilds":[$guilds],
        "guild_join_requests":[],"geo_ordered_rtc_regions":["rotterdam"],"game_relationships":[],"auth":{},
        "application":{"id":"$application","flags":565248},"_trace":["simulated"]}"#,
    )
});

/// A dispatch as it goes over the wire.
pub(crate) fn dispatch(event: &str, seq: u64, data: &str) -> String {
    format!(r#"{{"t":"{event}","s":{seq},"op":0,"d":{data}}}"#)
}

/// Anything but a dispatch.
pub(crate) fn op(op: u8, data: &str) -> String {
    format!(r#"{{"t":null,"s":null,"op":{op},"d":{data}}}"#)
}

/// HELLO's data.
pub(crate) fn hello(heartbeat_interval_ms: u64) -> String {
    format!(r#"{{"heartbeat_interval":{heartbeat_interval_ms},"_trace":["simulated"]}}"#)
}

/// READY's data.
pub(crate) fn ready(
    population: &Population,
    (shard, shards): (u32, u32),
    guilds: &[usize],
    session: &str,
    resume_url: &str,
) -> String {
    let guilds = guilds.iter().map(|guild| format!(r#"{{"unavailable":true,"id":"{}"}}"#, population.guild(*guild).id));
    READY.fill(&[
        ("user", &current_user()),
        ("session", &session),
        ("shard", &shard),
        ("shards", &shards),
        ("url", &resume_url),
        ("guilds", &guilds.collect::<Vec<_>>().join(",")),
        ("application", &APPLICATION_ID),
    ])
}

/// The bot itself.
pub(crate) fn current_user() -> String {
    format!(
        r#"{{"verified":true,"username":"simulated","mfa_enabled":true,"id":"{APPLICATION_ID}","global_name":null,"flags":0,"email":null,"discriminator":"0","bot":true,"avatar":null}}"#
    )
}

/// The bot's application.
pub(crate) fn application(guilds: u32) -> String {
    format!(
        r#"{{"id":"{APPLICATION_ID}","name":"simulated","icon":null,"description":"","summary":"","type":null,"bot":{},"bot_public":true,"bot_require_code_grant":false,"approximate_guild_count":{guilds},"team":null,"flags":565248,"tags":[],"redirect_uris":[],"verify_key":"{}","owner":{{"id":"1","username":"owner","discriminator":"0","avatar":null}}}}"#,
        current_user(),
        "0".repeat(64),
    )
}

/// `GUILD_CREATE`'s data; the bot joined at `joined_ms`.
pub(crate) fn guild(population: &Population, guild: &Guild, joined_ms: u64) -> String {
    let everyone = [(guild.id, "@everyone".to_owned())].into_iter();
    let roles = everyone.chain((0..ROLES).map(|n| (guild.role_id(n), format!("role {n}"))));
    let roles = (0..)
        .zip(roles)
        .map(|(position, (id, name)): (u64, _)| ROLE.fill(&[("id", &id), ("name", &name), ("position", &position)]));
    let channels = (0..guild.channels).map(|n| {
        CHANNEL.fill(&[("id", &guild.channel_id(n)), ("name", &format_args!("channel-{n}")), ("position", &n)])
    });
    let listed = u64::from(guild.members).min(LISTED_MEMBERS);
    let members = (0..listed).map(|rank| whole_member(guild, &population.member(guild, rank)));
    GUILD.fill(&[
        ("id", &guild.id),
        ("name", &guild.name),
        ("owner", &population.member(guild, 0).id),
        ("locale", &guild.locale),
        ("large", &(guild.members > 250)),
        ("count", &guild.members),
        ("joined", &timestamp(joined_ms)),
        ("roles", &join(roles)),
        ("channels", &join(channels)),
        ("members", &join(members)),
    ])
}

/// `GUILD_DELETE`'s data: an outage, or else a farewell.
pub(crate) fn guild_gone(guild_id: u64, unavailable: bool) -> String {
    let unavailable = if unavailable { r#","unavailable":true"# } else { "" };
    format!(r#"{{"id":"{guild_id}"{unavailable}}}"#)
}

/// `GUILD_MEMBERS_CHUNK`'s data: one chunk, with at most [`CHUNK_MEMBERS`].
pub(crate) fn member_chunk(population: &Population, guild: &Guild, limit: u64, nonce: &str) -> String {
    let most = if limit == 0 { CHUNK_MEMBERS } else { limit };
    let count = u64::from(guild.members).min(CHUNK_MEMBERS).min(most);
    let members = (0..count).map(|rank| whole_member(guild, &population.member(guild, rank)));
    format!(
        r#"{{"nonce":{nonce},"not_found":[],"members":[{}],"guild_id":"{}","chunk_index":0,"chunk_count":1}}"#,
        join(members),
        guild.id
    )
}

/// `MESSAGE_CREATE`'s data, and with `edited` `MESSAGE_UPDATE`'s. Without a guild it is a direct message.
pub(crate) fn message(guild: Option<&Guild>, user: &User, content: &str, edited: bool, dice: &mut Dice) -> String {
    let now_ms = snowflake::now_ms();
    let place = guild.map_or_else(String::new, |guild| {
        let (member, id) = (member(guild, user), guild.id);
        format!(r#""member":{member},"guild_id":"{id}","#)
    });
    let channel = guild.map_or_else(|| dm_channel(user), |guild| guild.channel(dice));
    let at = timestamp(now_ms);
    let edited = if edited { format!("\"{at}\"") } else { "null".to_owned() };
    MESSAGE.fill(&[
        ("at", &at),
        ("nonce", &snowflake::fresh(now_ms)),
        ("place", &place),
        ("id", &snowflake::fresh(now_ms)),
        ("edited", &edited),
        ("content", &content),
        ("channel_type", &u8::from(guild.is_none())),
        ("channel", &channel),
        ("user", &user_object(user)),
    ])
}

/// `TYPING_START`'s data.
pub(crate) fn typing(guild: &Guild, user: &User, dice: &mut Dice) -> String {
    TYPING.fill(&[
        ("id", &user.id),
        ("seconds", &(snowflake::now_ms() / 1_000)),
        ("member", &whole_member(guild, user)),
        ("guild", &guild.id),
        ("channel", &guild.channel(dice)),
    ])
}

/// `VOICE_STATE_UPDATE`'s data: joined, or with no channel left.
pub(crate) fn voice_state(guild: &Guild, user: &User, dice: &mut Dice) -> String {
    let channel = if dice.chance(60) { format!("\"{}\"", guild.channel(dice)) } else { "null".to_owned() };
    VOICE.fill(&[
        ("member", &whole_member(guild, user)),
        ("id", &user.id),
        ("session", &user.avatar),
        ("muted", &dice.chance(30)),
        ("guild", &guild.id),
        ("channel", &channel),
    ])
}

/// `GUILD_MEMBER_UPDATE`'s data.
pub(crate) fn member_update(guild: &Guild, user: &User, dice: &mut Dice) -> String {
    MEMBER_UPDATE.fill(&[
        ("user", &user_object(user)),
        ("role", &guild.role_id(dice.below(ROLES))),
        ("nick", &user.name),
        ("joined", &timestamp(snowflake::created_ms(guild.id))),
        ("guild", &guild.id),
    ])
}

/// `MESSAGE_REACTION_ADD`'s data.
pub(crate) fn reaction(guild: &Guild, user: &User, author: &User, dice: &mut Dice) -> String {
    REACTION.fill(&[
        ("id", &user.id),
        ("message", &snowflake::fresh(snowflake::now_ms())),
        ("author", &author.id),
        ("member", &whole_member(guild, user)),
        ("guild", &guild.id),
        ("emoji", &dice.pick(&["👍", "❤️", "😂", "🎉", "👀"])),
        ("channel", &guild.channel(dice)),
    ])
}

/// `PRESENCE_UPDATE`'s data.
pub(crate) fn presence(guild: &Guild, user: &User, dice: &mut Dice) -> String {
    PRESENCE.fill(&[
        ("id", &user.id),
        ("status", &dice.pick(&["online", "idle", "dnd", "offline"])),
        ("device", &dice.pick(&["desktop", "mobile", "web"])),
        ("ms", &snowflake::now_ms()),
        ("guild", &guild.id),
    ])
}

/// A message that a webhook or an interaction's answer made, as REST returns it.
pub(crate) fn webhook_message() -> String {
    let now_ms = snowflake::now_ms();
    let (id, at) = (snowflake::fresh(now_ms), timestamp(now_ms));
    format!(
        r#"{{"type":0,"tts":false,"timestamp":"{at}","pinned":false,"mentions":[],"mention_roles":[],"mention_everyone":false,"id":"{id}","flags":0,"embeds":[],"edited_timestamp":null,"content":"","components":[],"channel_id":"1","author":{},"attachments":[],"webhook_id":"{APPLICATION_ID}","application_id":"{APPLICATION_ID}"}}"#,
        current_user()
    )
}

fn user_object(user: &User) -> String {
    USER.fill(&[("avatar", &user.avatar), ("name", &user.name), ("id", &user.id)])
}

/// A member without its user, as in a message.
fn member(guild: &Guild, user: &User) -> String {
    member_object(guild, user, "")
}

/// A member with its user.
fn whole_member(guild: &Guild, user: &User) -> String {
    member_object(guild, user, &format!(r#""user":{},"#, user_object(user)))
}

fn member_object(guild: &Guild, user: &User, head: &str) -> String {
    let joined = snowflake::created_ms(guild.id).max(snowflake::created_ms(user.id));
    MEMBER.fill(&[("head", &head), ("joined", &timestamp(joined)), ("role", &guild.role_id(user.id % ROLES))])
}

/// The channel of direct messages with this user.
fn dm_channel(user: &User) -> u64 {
    user.id ^ 1
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(",")
}

/// As Discord writes times: microseconds and an offset.
fn timestamp(unix_ms: u64) -> String {
    let nanos = i128::from(unix_ms) * 1_000_000;
    let at = OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let mut out = String::with_capacity(32);
    write!(
        out,
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}+00:00",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.microsecond()
    )
    .expect("writing to a String cannot fail");
    out
}
