//! What was found a moment ago, for who asks about the same.
//!
//! The panels of a page are about one range, and a busy service hears the same range in many questions: how fresh and how
//! complete it is would otherwise be asked as often as everything else together, and cost ClickHouse as much. So whoever asks
//! within [`KEEP_FOR`] is told what the first was told, and whoever asks meanwhile waits for it. A range begins with its
//! minute here, which is little beside what neighbours' times can mislead ([`super::SLACK_S`]); one that ends now ends now
//! for all who ask in that second.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use shardlake_schema::TimeMs;
use tokio::sync::OnceCell;

use super::{FOR_EVER, Found};
use crate::{error::AskError, parameter::Value, resolution::Resolved};

/// How long: less than any batch is old when it lands, so an answer is hardly staler for it.
pub(super) const KEEP_FOR: Duration = Duration::from_secs(1);

const MINUTE_MS: i64 = 60_000;

/// What it is asked about.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct About {
    pub(super) table: String,
    pub(super) from: TimeMs,
    pub(super) to: TimeMs,
    pub(super) clusters: Value,
}

impl About {
    pub(super) fn new(table: &str, asked: &Resolved, now: TimeMs) -> Self {
        let (from, to) = asked.range.map_or((TimeMs(0), FOR_EVER), |range| (range.from, range.to));
        let is_now = to.0 + i64::try_from(KEEP_FOR.as_millis()).unwrap_or(0) >= now.0;
        Self {
            table: table.to_owned(),
            from: TimeMs(from.0 - from.0.rem_euclid(MINUTE_MS)),
            to: if is_now { FOR_EVER } else { to },
            clusters: asked.clusters.clone(),
        }
    }
}

/// Since when it is looked for, and what was found.
type Look = (Instant, Arc<OnceCell<Arc<Found>>>);

/// What was found or is being looked for, by what it is about.
#[derive(Default)]
pub(crate) struct Recent {
    found: Mutex<HashMap<String, Look>>,
}

impl Recent {
    /// What is known of `about`: by somebody a moment ago, or by `look`.
    ///
    /// Cancel safety: whoever looks may leave; the next who waits looks instead.
    pub(super) async fn ask(
        &self,
        about: &About,
        look: impl AsyncFnOnce() -> Result<Found, AskError>,
    ) -> Result<Arc<Found>, AskError> {
        let cell = {
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            found.retain(|_, (since, _)| now.saturating_duration_since(*since) < KEEP_FOR);
            let (_, cell) = found.entry(format!("{about:?}")).or_insert_with(|| (now, Arc::default()));
            Arc::clone(cell)
        };
        cell.get_or_try_init(async || look().await.map(Arc::new)).await.cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Catalogue, resolution::resolve};

    const NOW: TimeMs = TimeMs(1_790_000_000_500);

    fn about(query: &str) -> About {
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let catalogue = Catalogue::builtin();
        About::new(
            "interactions",
            &resolve(catalogue.get("interactions/by_cluster").unwrap(), &pairs, NOW).unwrap(),
            NOW,
        )
    }

    #[test]
    fn who_asks_about_the_same_moment_asks_the_same() {
        let words = ["from=1789999200&to=now", "from=1789999201&to=now", "from=1789999201&to=1790000000"];
        assert!(words.iter().all(|query| about(query) == about(words[0])));
        for other in ["from=1789999100&to=now", "from=1789999200&to=1789999990", "from=1789999200&to=now&cluster=1"] {
            assert_ne!(about(other), about(words[0]), "{other}");
        }
    }

    #[tokio::test]
    async fn one_look_for_many_and_a_failure_for_nobody_else() {
        let recent = Recent::default();
        let about = about("from=-1h");
        let failed = recent.ask(&about, async || Err(AskError::TooSlow)).await;
        assert!(failed.is_err());
        let looked = recent.ask(&about, async || Ok(Found { missing_batches: 3, ..Found::default() })).await.unwrap();
        assert_eq!(looked.missing_batches, 3);
        let again = recent.ask(&about, async || unreachable!("it is known")).await.unwrap();
        assert!(Arc::ptr_eq(&looked, &again));
    }
}
