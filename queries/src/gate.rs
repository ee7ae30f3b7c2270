//! What a request passes before anything is done for it: its key, the key's limits, and room for one more.
//!
//! Replies to requests with a key say what is left of its limits, in the fields `RateLimit` and `RateLimit-Policy` of the
//! draft of the IETF's HTTPAPI group: `rate` in requests, and `concurrent` in requests at a time.

use std::{sync::Arc, time::Instant};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    access::{BURST_S, Key, Keys, Taken},
    error::AskError,
    limits::{MAX_AT_ONCE, ROOM_WAIT},
    service::Service,
};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEFT: HeaderName = HeaderName::from_static("ratelimit");

/// Who is let in, and the room that there is.
#[derive(Debug)]
pub(crate) struct Gate {
    /// `None`: everybody is.
    keys: Option<Keys>,
    room: Arc<Semaphore>,
}

/// A request that was let in. The last clone of it makes room for another.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    /// `None`: nobody needs one.
    pub(crate) key: Option<Arc<Key>>,
    _room: Arc<[OwnedSemaphorePermit]>,
}

impl Gate {
    pub(crate) fn new(keys: Option<Keys>) -> Self {
        Self { keys, room: Arc::new(Semaphore::new(MAX_AT_ONCE)) }
    }

    pub(crate) fn keys(&self) -> Option<&Keys> {
        self.keys.as_ref()
    }

    /// The key of a request; `None`: nobody needs one.
    fn key(&self, headers: &HeaderMap) -> Result<Option<Arc<Key>>, AskError> {
        let Some(keys) = &self.keys else { return Ok(None) };
        let given = headers.get(AUTHORIZATION).map_or(&b""[..], HeaderValue::as_bytes);
        keys.find(given).map(Some).ok_or(AskError::Unauthorized)
    }

    /// Waits a little for room, so that a page of panels need not be asked twice.
    async fn admit(&self, key: Option<Arc<Key>>, taken: Option<Taken>) -> Result<Visit, AskError> {
        if let Some(wait) = taken.and_then(|taken| taken.wait) {
            return Err(AskError::RateLimited { retry_after_s: wait.as_secs() + 1 });
        }
        let mut room = Vec::new();
        if let Some(key) = &key {
            let at_once = Arc::clone(&key.usage().at_once).try_acquire_owned();
            room.push(at_once.map_err(|_| AskError::TooManyAtOnce { most: key.most_at_once() })?);
        }
        let any = timeout(ROOM_WAIT, Arc::clone(&self.room).acquire_owned()).await;
        room.push(any.map_err(|_| AskError::Full)?.map_err(|_| AskError::Full)?);
        Ok(Visit { key, _room: room.into() })
    }
}

/// Lets `request` in, as a [`Visit`] among its extensions, or answers it.
pub(crate) async fn pass(State(service): State<Service>, mut request: Request, next: Next) -> Response {
    let gate = service.gate();
    let key = match gate.key(request.headers()) {
        Ok(key) => key,
        Err(error) => return refuse(&service, error),
    };
    let taken = key.as_ref().map(|key| key.usage().bucket.take(Instant::now()));
    let limits = key.clone().zip(taken);
    let (response, fields) = match gate.admit(key, taken).await {
        Ok(visit) => {
            let fields = limits.map(|(key, taken)| fields(&key, taken)); // while this request counts
            request.extensions_mut().insert(visit);
            (next.run(request).await, fields)
        }
        Err(error) => (refuse(&service, error), limits.map(|(key, taken)| fields(&key, taken))),
    };
    match fields {
        Some(fields) => (fields, response).into_response(),
        None => response,
    }
}

fn refuse(service: &Service, error: AskError) -> Response {
    service.metrics().refuse(&error);
    error.into_response()
}

/// What is left of a key's limits.
fn fields(key: &Key, taken: Taken) -> [(HeaderName, HeaderValue); 2] {
    let (size, most) = (key.usage().bucket.size(), key.most_at_once());
    let policy = format!("\"rate\";q={size};w={BURST_S}, \"concurrent\";q={most};qu=\"concurrent-requests\"");
    let full_in_s = taken.full_in.as_secs() + u64::from(taken.full_in.subsec_nanos() > 0);
    let at_once = key.usage().at_once.available_permits();
    let left = format!("\"rate\";r={};t={full_in_s}, \"concurrent\";r={at_once}", taken.left);
    let value = |text: &str| HeaderValue::from_str(text).expect("names and numbers are visible ASCII");
    [(POLICY, value(&policy)), (LEFT, value(&left))]
}
