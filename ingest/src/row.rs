//! From what Discord sends to what a row holds: the only file that knows twilight's models and the schema both.
//!
//! What is parsed from raw text is borrowed and partial: fields that no row needs are skipped, not built.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize,
    de::{Deserializer, Visitor},
};
use shardlake_schema::{Name, Repeating, TimeMs, rows};
use twilight_model::{
    application::interaction::{
        Interaction, InteractionContextType, InteractionData,
        application_command::{CommandDataOption, CommandOptionValue},
    },
    util::Timestamp,
};

use crate::{guilds::Told, recorder::Shared};

/// What a row needs of a received interaction, whichever way it was read.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) id: u64,
    pub(crate) kind: u8,
    pub(crate) guild_id: u64,
    pub(crate) user_id: u64,
    /// Command with subcommands, or a custom id as it is.
    pub(crate) command: Cow<'a, str>,
    pub(crate) locale: Cow<'a, str>,
    pub(crate) context: &'static str,
}

/// Interaction types as metrics and rows name them, by their number
/// (<https://discord.com/developers/docs/interactions/receiving-and-responding>).
pub(crate) const fn kind_name(kind: u8) -> &'static str {
    match kind {
        1 => "ping",
        2 => "application_command",
        3 => "component",
        4 => "autocomplete",
        5 => "modal_submit",
        _ => "unknown",
    }
}

/// Whether interactions of this type carry a command name (and not a custom id).
pub(crate) const fn has_command(kind: u8) -> bool {
    matches!(kind, 2 | 4)
}

const fn context_name(context: Option<u8>) -> &'static str {
    match context {
        Some(0) => "guild",
        Some(1) => "bot_dm",
        Some(2) => "private_channel",
        _ => "",
    }
}

#[derive(Deserialize)]
struct Dispatch<T> {
    d: T,
}

#[derive(Deserialize)]
struct RawInteraction<'a> {
    id: Id,
    #[serde(rename = "type")]
    kind: u8,
    guild_id: Option<Id>,
    #[serde(borrow)]
    data: Option<RawData<'a>>,
    member: Option<RawMember>,
    user: Option<RawId>,
    #[serde(borrow)]
    locale: Option<Cow<'a, str>>,
    context: Option<u8>,
}

#[derive(Deserialize)]
struct RawData<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    custom_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    options: Vec<RawOption<'a>>,
}

#[derive(Deserialize)]
struct RawOption<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(rename = "type")]
    kind: u8,
    #[serde(borrow, default)]
    options: Vec<RawOption<'a>>,
}

#[derive(Deserialize)]
struct RawMember {
    user: Option<RawId>,
}

#[derive(Deserialize)]
struct RawId {
    id: Id,
}

/// Reads an `INTERACTION_CREATE`.
pub(crate) fn received(payload: &str) -> serde_json::Result<Seen<'_>> {
    let Dispatch { d } = serde_json::from_str::<Dispatch<RawInteraction<'_>>>(payload)?;
    let user = d.member.and_then(|member| member.user).or(d.user);
    Ok(Seen {
        id: d.id.0,
        kind: d.kind,
        guild_id: d.guild_id.map_or(0, |id| id.0),
        user_id: user.map_or(0, |user| user.id.0),
        command: d.data.map_or(Cow::Borrowed(""), |data| raw_command(data, d.kind)),
        locale: d.locale.unwrap_or_default(),
        context: context_name(d.context),
    })
}

fn raw_command(data: RawData<'_>, kind: u8) -> Cow<'_, str> {
    if !has_command(kind) {
        return data.custom_id.unwrap_or_default();
    }
    let mut command = data.name.unwrap_or_default();
    let mut options = data.options;
    // The path of a subcommand goes through the first option (type 1: subcommand, 2: group), two levels at most.
    while let Some(first) = options.into_iter().next().filter(|option| matches!(option.kind, 1 | 2)) {
        command = format!("{command} {}", first.name).into();
        options = first.options;
    }
    command
}

/// The same of an interaction that the bot has parsed.
pub(crate) fn seen(interaction: &Interaction) -> Seen<'_> {
    let command = match &interaction.data {
        Some(InteractionData::ApplicationCommand(data)) => {
            let mut command = Cow::Borrowed(data.name.as_str());
            let mut options: &[CommandDataOption] = &data.options;
            while let Some(first) = options.first()
                && let CommandOptionValue::SubCommand(inner) | CommandOptionValue::SubCommandGroup(inner) = &first.value
            {
                command = format!("{command} {}", first.name).into();
                options = inner;
            }
            command
        }
        Some(InteractionData::MessageComponent(data)) => Cow::Borrowed(data.custom_id.as_str()),
        Some(InteractionData::ModalSubmit(data)) => Cow::Borrowed(data.custom_id.as_str()),
        _ => Cow::Borrowed(""),
    };
    Seen {
        id: interaction.id.get(),
        kind: interaction.kind as u8,
        guild_id: interaction.guild_id.map_or(0, twilight_model::id::Id::get),
        user_id: interaction.author_id().map_or(0, twilight_model::id::Id::get),
        command,
        locale: interaction.locale.as_deref().unwrap_or_default().into(),
        context: match interaction.context {
            Some(InteractionContextType::Guild) => "guild",
            Some(InteractionContextType::BotDm) => "bot_dm",
            Some(InteractionContextType::PrivateChannel) => "private_channel",
            _ => "",
        },
    }
}

/// The row of a received interaction, before anything is known of its end.
pub(crate) fn opened(seen: &Seen<'_>, shared: &Shared, shard: u16, now: TimeMs) -> rows::Interaction {
    let command = if has_command(seen.kind) {
        &seen.command
    } else {
        seen.command.split(shared.config.custom_id_delimiter).next().unwrap_or_default()
    };
    let (delivery_lag_ms, id_low) = rows::Interaction::snowflake_parts(seen.id, now);
    let shards_total = shared.config.shards.total.max(1);
    rows::Interaction {
        time: now,
        delivery_lag_ms,
        id_low,
        guild_id: Repeating(seen.guild_id),
        shards_total,
        shard_offset: rows::Interaction::shard_offset(seen.guild_id, shard, shards_total),
        user_key: Repeating(shared.user_key(seen.user_id)),
        r#type: kind_name(seen.kind).into(),
        command: shared.names.commands.intern(command),
        outcome: "received".into(),
        error_type: Name::EMPTY,
        response_ms: 0,
        duration_ms: 0,
        locale: shared.names.locales.intern(&seen.locale),
        context: seen.context.into(),
    }
}

/// Reads a `GUILD_CREATE` or `GUILD_DELETE`: the first carries channels and members, some 100 kB that are skipped.
pub(crate) fn guild(payload: &str) -> serde_json::Result<Told> {
    #[derive(Deserialize)]
    struct Raw<'a> {
        id: Id,
        unavailable: Option<bool>,
        member_count: Option<u32>,
        #[serde(borrow)]
        joined_at: Option<Cow<'a, str>>,
    }
    let Dispatch { d } = serde_json::from_str::<Dispatch<Raw<'_>>>(payload)?;
    let joined_at = d.joined_at.and_then(|joined_at| Timestamp::parse(&joined_at).ok());
    Ok(Told {
        id: d.id.0,
        unavailable: d.unavailable.unwrap_or_default(),
        members: d.member_count.unwrap_or_default(),
        joined_at: joined_at.map_or(TimeMs::default(), |joined_at| TimeMs(joined_at.as_micros().div_euclid(1000))),
    })
}

/// Reads the guilds of a `READY`.
pub(crate) fn ready(payload: &str) -> serde_json::Result<Vec<u64>> {
    #[derive(Deserialize)]
    struct Raw {
        guilds: Vec<RawId>,
    }
    let Dispatch { d } = serde_json::from_str::<Dispatch<Raw>>(payload)?;
    Ok(d.guilds.into_iter().map(|guild| guild.id.0).collect())
}

/// A snowflake: a string in JSON, because it does not fit a double.
#[derive(Debug, Clone, Copy)]
struct Id(u64);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Snowflake;

        impl Visitor<'_> for Snowflake {
            type Value = Id;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a snowflake in quotes")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Id, E> {
                text.parse().map(Id).map_err(|_| E::custom("not a snowflake"))
            }
        }
        deserializer.deserialize_str(Snowflake)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shape of a payload, with the fields that twilight requires.
    fn payload(kind: u8, data: &str) -> String {
        format!(
            r#"{{"t":"INTERACTION_CREATE","s":3,"op":0,"d":{{"version":1,"type":{kind},"token":"secret","id":"175928847299117063",
            "application_id":"1","attachment_size_limit":1,"authorizing_integration_owners":{{}},"channel":null,"entitlements":[],
            "guild_id":"41771983423143937","locale":"en-GB","context":0,"app_permissions":"0",
            "member":{{"user":{{"id":"53908232506183680","username":"a","discriminator":"0","avatar":null}},"roles":[],
            "joined_at":null,"deaf":false,"mute":false,"permissions":"0","flags":0,"premium_since":null,"nick":null,"avatar":null}},
            "data":{data}}}}}"#
        )
    }

    fn both(kind: u8, data: &str) -> (String, String) {
        let payload = payload(kind, data);
        let raw = received(&payload).unwrap();
        let Dispatch { d } = serde_json::from_str::<Dispatch<Interaction>>(&payload).unwrap();
        let parsed = seen(&d);
        assert_eq!(
            (raw.id, raw.kind, raw.guild_id, raw.user_id, &raw.locale, raw.context),
            (parsed.id, parsed.kind, parsed.guild_id, parsed.user_id, &parsed.locale, parsed.context)
        );
        assert_eq!((raw.guild_id, raw.user_id), (41_771_983_423_143_937, 53_908_232_506_183_680));
        (raw.command.into_owned(), parsed.command.into_owned())
    }

    #[test]
    fn both_ways_of_reading_agree() {
        let group = r#"{"id":"5","name":"config","type":1,"options":[{"name":"roles","type":2,"options":[{"name":"add","type":1,"options":[{"name":"x","type":3,"value":"y"}]}]}]}"#;
        let plain = r#"{"id":"5","name":"play","type":1,"options":[{"name":"song","type":3,"value":"x"}]}"#;
        let button = r#"{"custom_id":"page:3","component_type":2}"#;
        for (kind, data, command) in [(2, group, "config roles add"), (2, plain, "play"), (3, button, "page:3")] {
            assert_eq!(both(kind, data), (command.to_owned(), command.to_owned()));
        }
    }

    #[test]
    fn guilds_come_and_go() {
        let ready =
            ready(r#"{"t":"READY","s":1,"op":0,"d":{"guilds":[{"id":"7","unavailable":true}],"v":10}}"#).unwrap();
        assert_eq!(ready, [7]);
        let joined = r#"{"t":"GUILD_CREATE","s":2,"op":0,"d":{"members":[{"joined_at":"2016-01-01T00:00:00+00:00"}],"id":"7",
            "roles":[{"id":"8"}],"unavailable":false,"joined_at":"2021-03-04T05:06:07.891000+00:00","member_count":12}}"#;
        let told = Told { id: 7, unavailable: false, members: 12, joined_at: TimeMs(1_614_834_367_891) };
        assert_eq!(guild(joined).unwrap(), told);
        let outage = guild(r#"{"t":"GUILD_DELETE","s":2,"op":0,"d":{"id":"7","unavailable":true}}"#).unwrap();
        assert_eq!(outage, Told { unavailable: true, members: 0, joined_at: TimeMs(0), ..told });
        let odd = guild(r#"{"d":{"id":"7","unavailable":null,"joined_at":"soon","member_count":null}}"#).unwrap();
        assert_eq!(odd, Told { unavailable: false, ..outage });
        assert!(guild(r#"{"d":{"id":7}}"#).is_err(), "snowflakes come in quotes");
    }
}
