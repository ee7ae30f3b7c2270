//! `INTERACTION_CREATE`: a user of the bot did something and waits for the answer.

use super::{APPLICATION_ID, dm_channel, member_object, user_object};
use crate::ledger::InteractionKind;
use crate::population::{Guild, User};
use crate::random::{Dice, mix};
use crate::snowflake;
use crate::template::Template;
use std::sync::LazyLock;

/// What an interaction is made of.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) id: u64,
    pub(crate) token: &'a str,
    pub(crate) kind: InteractionKind,
    pub(crate) command: &'static str,
    /// None in a direct message.
    pub(crate) guild: Option<&'a Guild>,
    pub(crate) user: &'a User,
}

static INTERACTION: LazyLock<Template> = LazyLock::new(|| {
    Template::new(
        r#"{"version":1,"type":$type,"token":"$token",$place$message"locale":"$locale","id":"$id","entitlements":[],
        "entitlement_sku_ids":[],"data":$data,"context":$context,"channel_id":"$channel_id","channel":$channel,
        "authorizing_integration_owners":$owners,"attachment_size_limit":10485760,
        "application_id":"$application","app_permissions":"2248473465835073"}"#,
    )
});
static IN_GUILD: LazyLock<Template> = LazyLock::new(|| {
    Template::new(
        r#""member":$member,"guild_locale":"$locale","guild_id":"$guild",
        "guild":{"locale":"$locale","id":"$guild","features":["COMMUNITY","NEWS"]},"#,
    )
});
static MESSAGE: LazyLock<Template> = LazyLock::new(|| {
    Template::new(
        r#"{"type":20,"tts":false,"timestamp":"2024-01-01T00:00:00.000000+00:00","pinned":false,"mentions":[],
        "mention_roles":[],"mention_everyone":false,"id":"$id","flags":0,"embeds":[],"edited_timestamp":null,
        "content":"","components":[],"channel_id":"$channel","author":$user,"attachments":[]}"#,
    )
});

/// The data of the dispatch.
pub(crate) fn interaction(parts: &Parts<'_>, dice: &mut Dice) -> String {
    let (guild, user) = (parts.guild, parts.user);
    let channel = guild.map_or_else(|| dm_channel(user), |guild| guild.channel(dice));
    let message = MESSAGE.fill(&[
        ("id", &snowflake::fresh(snowflake::created_ms(parts.id))),
        ("channel", &channel),
        ("user", &user_object(user)),
    ]);
    let attached = match parts.kind {
        InteractionKind::Component => format!(r#""message":{message},"#),
        _ => String::new(),
    };
    let owners =
        guild.map_or_else(|| format!(r#"{{"1":"{}"}}"#, user.id), |guild| format!(r#"{{"0":"{}"}}"#, guild.id));
    INTERACTION.fill(&[
        ("type", &parts.kind.discord_type()),
        ("token", &parts.token),
        ("place", &place(parts)),
        ("message", &attached),
        ("locale", &user.locale),
        ("id", &parts.id),
        ("data", &data(parts, &message, dice)),
        ("context", &u8::from(guild.is_none())),
        ("channel_id", &channel),
        ("channel", &channel_object(channel, guild)),
        ("owners", &owners),
        ("application", &APPLICATION_ID),
    ])
}

/// Who did it and where: a member of a guild, or a user.
fn place(parts: &Parts<'_>) -> String {
    let user = user_object(parts.user);
    let Some(guild) = parts.guild else {
        return format!(r#""user":{user},"#);
    };
    let head = format!(r#""user":{user},"permissions":"2248473465835073","#);
    IN_GUILD.fill(&[
        ("member", &member_object(guild, parts.user, &head)),
        ("locale", &guild.locale),
        ("guild", &guild.id),
    ])
}

fn channel_object(id: u64, guild: Option<&Guild>) -> String {
    guild.map_or_else(
        || format!(r#"{{"type":1,"id":"{id}","flags":0,"last_message_id":null}}"#),
        |guild| {
            let guild = guild.id;
            format!(
                r#"{{"type":0,"id":"{id}","guild_id":"{guild}","name":"channel","nsfw":false,"parent_id":null,"permissions":"2248473465835073","position":0,"rate_limit_per_user":0,"topic":null,"flags":0,"last_message_id":null}}"#
            )
        },
    )
}

/// The part that differs by kind.
fn data(parts: &Parts<'_>, message: &str, dice: &mut Dice) -> String {
    let name = parts.command;
    match parts.kind {
        InteractionKind::Slash => {
            let option = r#"{"value":"something","type":3,"name":"query"}"#;
            command(name, if dice.chance(60) { option } else { "" })
        }
        InteractionKind::Autocomplete => command(name, r#"{"value":"some","type":3,"name":"query","focused":true}"#),
        InteractionKind::User => {
            let (id, user) = (parts.user.id, user_object(parts.user));
            menu_command(name, 2, id, &format!(r#"{{"users":{{"{id}":{user}}}}}"#))
        }
        InteractionKind::Message => {
            let id = snowflake::fresh(snowflake::created_ms(parts.id));
            menu_command(name, 3, id, &format!(r#"{{"messages":{{"{id}":{message}}}}}"#))
        }
        InteractionKind::Component => {
            let target = dice.below(100_000);
            format!(r#"{{"id":1,"custom_id":"{name}:{target}","component_type":2}}"#)
        }
        InteractionKind::Modal => {
            let target = dice.below(100_000);
            format!(
                r#"{{"custom_id":"{name}:{target}","components":[{{"type":1,"id":1,"components":[{{"type":4,"id":2,"custom_id":"text","value":"something"}}]}}]}}"#
            )
        }
    }
}

/// A slash command: groups and subcommands are options around `option`.
fn command(path: &str, option: &str) -> String {
    let mut words = path.split(' ');
    let root = words.next().unwrap_or(path);
    let inner: Vec<&str> = words.collect();
    let mut options = option.to_owned();
    for (depth, word) in inner.iter().rev().enumerate() {
        // 1 is a subcommand, 2 a group of them.
        let kind = depth + 1;
        options = format!(r#"{{"type":{kind},"options":[{options}],"name":"{word}"}}"#);
    }
    let id = command_id(root);
    format!(r#"{{"type":1,"options":[{options}],"name":"{root}","id":"{id}"}}"#)
}

fn menu_command(name: &str, kind: u8, target: u64, resolved: &str) -> String {
    let id = command_id(name);
    format!(r#"{{"type":{kind},"target_id":"{target}","resolved":{resolved},"name":"{name}","id":"{id}"}}"#)
}

/// A registered command keeps its id.
fn command_id(name: &str) -> u64 {
    let hash = name.bytes().fold(0, |hash: u64, byte| mix(hash ^ u64::from(byte)));
    snowflake::at(1_600_000_000_000 + hash % 100_000_000_000, hash)
}
