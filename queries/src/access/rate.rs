//! How often a key may be used: a token bucket. It holds what [`BURST_S`] seconds bring, so that a page of panels loads at
//! once, and each request takes one.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Seconds that may be saved up.
pub(crate) const BURST_S: u32 = 10;

/// Tokens that come at a steady rate.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tokens: f64,
    at: Option<Instant>,
}

/// What came of a request for a token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Taken {
    /// How long until there is one; `None`: it was had.
    pub(crate) wait: Option<Duration>,
    /// Whole tokens left.
    pub(crate) left: u32,
    /// How long until the bucket is full.
    pub(crate) full_in: Duration,
}

impl Bucket {
    pub(crate) fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second);
        Self { per_second, state: Mutex::new(State { tokens: per_second * f64::from(BURST_S), at: None }) }
    }

    /// Most tokens that it holds.
    pub(crate) fn size(&self) -> f64 {
        self.per_second * f64::from(BURST_S)
    }

    /// Takes a token at the moment `now`, if there is one.
    pub(crate) fn take(&self, now: Instant) -> Taken {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let came = state.at.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64() * self.per_second);
        state.tokens = (state.tokens + came).min(self.size());
        state.at = Some(state.at.map_or(now, |at| at.max(now)));
        let wait = if state.tokens >= 1.0 {
            state.tokens -= 1.0;
            None
        } else {
            Some(Duration::from_secs_f64((1.0 - state.tokens) / self.per_second))
        };
        let full_in = Duration::from_secs_f64((self.size() - state.tokens) / self.per_second);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to ten times a rate of at most 100,000"
        )]
        let left = state.tokens as u32;
        Taken { wait, left, full_in }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let bucket = Bucket::new(2);
        let start = Instant::now();
        for left in (0..20).rev() {
            assert_eq!(bucket.take(start).left, left);
        }
        let refused = bucket.take(start);
        assert_eq!((refused.wait, refused.left), (Some(Duration::from_millis(500)), 0));
        assert_eq!(bucket.take(start + Duration::from_millis(500)).wait, None);
        assert!(bucket.take(start + Duration::from_millis(501)).wait.is_some());
        let rested = bucket.take(start + Duration::from_hours(1));
        assert_eq!((rested.left, rested.full_in), (19, Duration::from_millis(500)));
        assert_eq!(bucket.take(start).left, 18, "a clock that goes back brings nothing");
    }

    proptest::proptest! {
        #[test]
        fn never_more_than_the_rate_and_the_burst(per_second in 1_u32..50, steps_ms in proptest::collection::vec(0_u64..400, 1..200)) {
            let bucket = Bucket::new(per_second);
            let start = Instant::now();
            let mut now = start;
            let mut taken = 0_u32;
            for step_ms in steps_ms {
                now += Duration::from_millis(step_ms);
                taken += u32::from(bucket.take(now).wait.is_none());
            }
            let most = f64::from(per_second) * (f64::from(BURST_S) + (now - start).as_secs_f64());
            proptest::prop_assert!(f64::from(taken) <= most + 1e-6);
        }
    }
}
