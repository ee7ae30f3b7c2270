//! Free-form names, bounded: a custom id that carries a row id, or a client that invents commands, must not fill the
//! bot's memory, its metrics and a `LowCardinality` column. Past the limit a name becomes `(other)`, and is counted.
//!
//! A known name costs one hash and no allocation. The hash is a fast one, which somebody who chooses names can defeat: with
//! as few names as are kept here he gains nothing by it.

use std::sync::{
    Arc, RwLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use rustc_hash::FxHashSet;
use shardlake_schema::Name;

/// What a name becomes once its kind has reached its limit.
pub(crate) const OTHER: Name = Name::Static("(other)");

/// Longest name that is kept, in bytes: the length of a custom id, and enough for three levels of command names
/// (<https://discord.com/developers/docs/interactions>). Longer ones are cut.
const MAX_NAME_BYTES: usize = 100;

/// One kind of name.
#[derive(Debug)]
pub(crate) struct Names {
    /// The label of its metric.
    pub(crate) kind: &'static str,
    limit: usize,
    known: RwLock<FxHashSet<Arc<str>>>,
    /// Names that came too late or were too long, each time they were seen.
    pub(crate) refused: AtomicU64,
}

impl Names {
    pub(crate) fn new(kind: &'static str, limit: usize) -> Self {
        Self { kind, limit, known: RwLock::default(), refused: AtomicU64::new(0) }
    }

    /// The shared form of `name`.
    pub(crate) fn intern(&self, name: &str) -> Name {
        if name.is_empty() {
            return Name::EMPTY;
        }
        let name = self.cut(name);
        // A panic cannot happen while the lock is held, so a poisoned lock still guards a whole set.
        let known = self.known.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(name) = known.get(name) {
            return Name::Shared(Arc::clone(name));
        }
        if known.len() >= self.limit {
            self.refused.fetch_add(1, Relaxed);
            return OTHER;
        }
        drop(known);

        // Between the two locks others may have added names, so the limit can be passed by as many as there are threads.
        let mut known = self.known.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(name) = known.get(name) {
            return Name::Shared(Arc::clone(name));
        }
        let name: Arc<str> = name.into();
        known.insert(Arc::clone(&name));
        Name::Shared(name)
    }

    fn cut<'a>(&self, name: &'a str) -> &'a str {
        if name.len() <= MAX_NAME_BYTES {
            return name;
        }
        self.refused.fetch_add(1, Relaxed);
        &name[..name.floor_char_boundary(MAX_NAME_BYTES)]
    }
}

/// All kinds of names of a process. The limits are far above what an orderly bot has.
#[derive(Debug)]
pub(crate) struct Dictionary {
    /// Discord knows about 80 dispatch types.
    pub(crate) events: Names,
    /// A bot can register 100 commands of its own and as many per guild, each with up to 625 subcommands.
    pub(crate) commands: Names,
    /// Kinds of errors that handlers report.
    pub(crate) error_types: Names,
    /// Discord knows about 35 locales.
    pub(crate) locales: Names,
    /// Reasons in close frames.
    pub(crate) close_reasons: Names,
}

impl Dictionary {
    pub(crate) fn new() -> Self {
        Self {
            events: Names::new("event", 250),
            commands: Names::new("command", 2_000),
            error_types: Names::new("error_type", 250),
            locales: Names::new("locale", 100),
            close_reasons: Names::new("close_reason", 100),
        }
    }

    pub(crate) fn all(&self) -> [&Names; 5] {
        [&self.events, &self.commands, &self.error_types, &self.locales, &self.close_reasons]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_limit_names_become_other_and_known_ones_stay() {
        let names = Names::new("command", 2);
        assert_eq!(names.intern("a").as_str(), "a");
        assert_eq!(names.intern("b").as_str(), "b");
        assert_eq!(names.intern("c"), OTHER);
        assert_eq!(names.intern("a").as_str(), "a");
        assert_eq!(names.intern(""), Name::EMPTY);
        assert_eq!(names.refused.load(Relaxed), 1);
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let names = Names::new("command", 10);
        let long = "ä".repeat(80); // two bytes each; byte 99 would cut one in half
        let name = names.intern(&format!("x{long}"));
        assert_eq!(name.as_str().len(), 99);
        assert_eq!(names.refused.load(Relaxed), 1);
    }
}
