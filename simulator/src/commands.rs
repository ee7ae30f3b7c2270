//! What this bot offers: its slash commands, menu commands, buttons and forms. The frequent ones come
//! first, because traffic draws them by Zipf's law.

use crate::ledger::InteractionKind;
use crate::random::{Dice, Weighted};
use std::sync::LazyLock;

/// Slash commands; groups and subcommands are further words, as users type them.
const SLASH: [&str; 42] = [
    "play",
    "rank",
    "help",
    "skip",
    "balance",
    "daily",
    "queue show",
    "leaderboard server",
    "work",
    "stop",
    "profile view",
    "ping",
    "avatar",
    "queue clear",
    "fish",
    "settings view",
    "inventory",
    "shop buy",
    "warn add",
    "poll create",
    "nowplaying",
    "leaderboard global",
    "timeout",
    "serverinfo",
    "profile edit",
    "ban",
    "purge",
    "settings language set",
    "shop list",
    "giveaway start",
    "warn list",
    "trade offer",
    "remind add",
    "settings logging channel",
    "settings logging events",
    "kick",
    "lyrics",
    "tag create",
    "remind list",
    "settings welcome message",
    "giveaway reroll",
    "translate",
];
/// The slash commands with an option that completes while the user types.
const AUTOCOMPLETE: [&str; 5] = ["play", "shop buy", "tag create", "lyrics", "settings language set"];
/// Commands in a user's menu.
const USER: [&str; 4] = ["View profile", "Report user", "Give reputation", "Avatar history"];
/// Commands in a message's menu.
const MESSAGE: [&str; 4] = ["Translate", "Bookmark", "Report message", "Quote"];
/// Buttons and menus: what stands before the colon of their custom id.
const COMPONENT: [&str; 10] = [
    "player-pause",
    "player-skip",
    "page-next",
    "page-back",
    "poll-vote",
    "role-pick",
    "ticket-open",
    "shop-confirm",
    "giveaway-join",
    "trade-accept",
];
/// Forms: what stands before the colon of their custom id.
const MODAL: [&str; 4] = ["ticket", "feedback", "profile", "report"];

/// Slash commands mostly, then buttons. A message's menu needs a guild's message here.
pub(crate) fn kind(in_guild: bool, dice: &mut Dice) -> InteractionKind {
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

/// One of a kind, the frequent ones more often.
pub(crate) fn draw(kind: InteractionKind, dice: &mut Dice) -> &'static str {
    /// By the length of a list: all lists are short.
    static ZIPF: LazyLock<Vec<Weighted>> = LazyLock::new(|| (0..=SLASH.len()).map(Weighted::zipf).collect());
    let names = of(kind);
    names[ZIPF[names.len()].draw(dice)]
}

const fn of(kind: InteractionKind) -> &'static [&'static str] {
    match kind {
        InteractionKind::Slash => &SLASH,
        InteractionKind::User => &USER,
        InteractionKind::Message => &MESSAGE,
        InteractionKind::Component => &COMPONENT,
        InteractionKind::Autocomplete => &AUTOCOMPLETE,
        InteractionKind::Modal => &MODAL,
    }
}
