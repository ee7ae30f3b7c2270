//! One query for many.
//!
//! **At the same time**: requests for the JSON answer to the same question in the same words wait for one query. Words, not
//! values: two people who open a page ask for `-1h` a moment apart, and mean the same; `meta` says which range it became.
//! A key's limits are part of its words (`access`), so nobody is told what another key opens. The query ends when the last
//! of them has left.
//!
//! **Within a minute**: an answer that is settled is kept for [`KEEP_FOR`] and given again for the same values. Settled means
//! that the range ended longer ago than a row may be late, that no batch is known to be missing, and that every cluster has
//! landed something since its end: what came later belongs to later buckets. Only an import or an erasure changes it still,
//! and is seen when the minute is over. Clients may keep such an answer too, but have to ask whether it is still the same
//! (`ETag`); all others are `no-store`.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, WeakShared},
};

use crate::{error::AskError, reply::Whole};

/// How long a settled answer is given again.
const KEEP_FOR: Duration = Duration::from_mins(1);

/// Most bytes of all kept answers: a part of what the service may need at all, 64 MiB.
const MOST_BYTES: usize = 16 << 20;

/// Most bytes of one: larger ones are few, and would push out hundreds.
const MOST_BYTES_EACH: usize = 1 << 20;

/// An answer in the making.
pub(crate) type Making = BoxFuture<'static, Result<Arc<Whole>, AskError>>;

/// Answers in the making, and answers that are kept.
#[derive(Default)]
pub(crate) struct Sharing {
    making: Mutex<HashMap<String, WeakShared<Making>>>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    answers: HashMap<String, Arc<Whole>>,
    /// Oldest first.
    order: VecDeque<(Instant, String)>,
    bytes: usize,
}

impl Sharing {
    /// The answer to `words`: the one in the making, or else that of `make`. Whether it was there.
    ///
    /// Cancel safety: what nobody waits for any more is dropped.
    pub(crate) async fn join(
        &self,
        words: String,
        make: impl FnOnce() -> Making,
    ) -> (Result<Arc<Whole>, AskError>, bool) {
        let (making, joined) = {
            let mut all = self.making.lock().unwrap_or_else(PoisonError::into_inner);
            // What is done is of the past, and what nobody waits for is gone.
            all.retain(|_, making| making.upgrade().is_some_and(|making| making.peek().is_none()));
            if let Some(making) = all.get(&words).and_then(WeakShared::upgrade) {
                (making, true)
            } else {
                let making = make().shared();
                all.insert(words, making.downgrade().expect("it has not been awaited yet"));
                (making, false)
            }
        };
        (making.await, joined)
    }

    /// Keeps a settled answer under `name`.
    pub(crate) fn keep(&self, name: String, answer: &Arc<Whole>, now: Instant) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).add(name, answer, now);
    }

    /// The answer that is kept under `name`.
    pub(crate) fn kept(&self, name: &str, now: Instant) -> Option<Arc<Whole>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.drop_old(now);
        kept.answers.get(name).cloned()
    }
}

impl Kept {
    fn add(&mut self, name: String, answer: &Arc<Whole>, now: Instant) {
        self.drop_old(now);
        let bytes = answer.body.len();
        if bytes > MOST_BYTES_EACH || self.answers.contains_key(&name) {
            return;
        }
        while self.bytes + bytes > MOST_BYTES {
            self.drop_oldest();
        }
        self.bytes += bytes;
        self.order.push_back((now, name.clone()));
        self.answers.insert(name, Arc::clone(answer));
    }

    fn drop_old(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) >= KEEP_FOR) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let oldest = self.order.pop_front().and_then(|(_, name)| self.answers.remove(&name));
        self.bytes -= oldest.map_or(0, |answer| answer.body.len());
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;

    use super::*;

    fn answer(bytes: usize) -> Arc<Whole> {
        Arc::new(Whole { headers: HeaderMap::new(), body: vec![0; bytes].into(), rows_read: 0, tag: None })
    }

    #[test]
    fn answers_are_kept_for_a_while_and_within_bounds() {
        let sharing = Sharing::default();
        let start = Instant::now();
        sharing.keep("small".to_owned(), &answer(10), start);
        sharing.keep("large".to_owned(), &answer(MOST_BYTES_EACH + 1), start);
        assert!(sharing.kept("small", start + KEEP_FOR / 2).is_some() && sharing.kept("large", start).is_none());
        for number in 0..40 {
            sharing.keep(number.to_string(), &answer(MOST_BYTES_EACH), start + Duration::from_secs(1));
        }
        assert!(sharing.kept("small", start).is_none(), "pushed out");
        assert!(sharing.kept("39", start).is_some() && sharing.kept("23", start).is_none());
        assert!(sharing.kept("39", start + Duration::from_secs(1) + KEEP_FOR).is_none());
        let kept = sharing.kept.lock().unwrap();
        assert_eq!((kept.bytes, kept.answers.len(), kept.order.len()), (0, 0, 0));
    }

    #[tokio::test]
    async fn the_same_words_wait_for_one_answer() {
        let sharing = Arc::new(Sharing::default());
        let (say, said) = tokio::sync::oneshot::channel::<()>();
        let first = {
            let sharing = Arc::clone(&sharing);
            let make = move || {
                async move {
                    said.await.unwrap();
                    Ok(answer(7))
                }
                .boxed()
            };
            tokio::spawn(async move { sharing.join("words".to_owned(), make).await })
        };
        while sharing.making.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        let never = || unreachable!("there is one in the making");
        let second = sharing.join("words".to_owned(), never);
        tokio::pin!(second);
        assert!(second.as_mut().now_or_never().is_none());
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled(), "the first one leaves");
        say.send(()).unwrap();
        let (answered, joined) = second.await;
        assert!(joined && answered.unwrap().body.len() == 7, "and the second has its answer");
        let again = sharing.join("words".to_owned(), || async { Ok(answer(8)) }.boxed()).await;
        assert!(!again.1 && again.0.unwrap().body.len() == 8, "what is done is not joined");
    }
}
