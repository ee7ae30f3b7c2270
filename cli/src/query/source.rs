//! Whom a question is asked of: a query service over HTTP, or one of our own in this process, in front of ClickHouse. Both
//! are the same code behind the same paths, so both say the same.

use anyhow::{Context as _, bail};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{
        Request, Response, StatusCode, Uri,
        header::{ACCEPT, AUTHORIZATION},
    },
};
use bytes::Bytes;
use serde::Deserialize;
use shardlake_ingest::Secret;
use shardlake_queries::limits::{MAX_REPLY_BYTES, REPLY_DEADLINE};
use tower_service::Service as _;

use crate::http::Http;

/// A document is at most as long as the service lets ClickHouse's answer be, and each value may have its column's name
/// written beside it.
const MAX_DOCUMENT_BYTES: usize = 4 * MAX_REPLY_BYTES;

pub(crate) enum Source {
    /// In this process.
    Here(Router),
    /// Elsewhere.
    Service(Box<Remote>),
}

/// A query service, and the way to it.
pub(crate) struct Remote {
    pub(super) http: Http,
    pub(super) url: String,
    pub(super) key: Option<Secret>,
}

/// The service understood the question and does not answer it, or did not understand it.
#[derive(Debug, Deserialize)]
struct Refusal {
    error: Details,
}

#[derive(Debug, Deserialize)]
struct Details {
    parameter: Option<String>,
    message: String,
    expected: Option<String>,
    #[serde(default)]
    nearest: Vec<String>,
}

impl Source {
    /// The reply to `GET path`, which succeeded.
    ///
    /// # Errors
    /// Why the service does not answer, in its words; or what went wrong on the way.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Response<Body>> {
        let reply = match self {
            Source::Here(router) => {
                let request = Request::get(path).header(ACCEPT, "application/json").body(Body::empty())?;
                router.clone().call(request).await?
            }
            Source::Service(remote) => {
                let Remote { http, url, key } = &**remote;
                let url: Uri =
                    format!("{}{path}", url.trim_end_matches('/')).parse().context("the service's address")?;
                let mut request = Request::get(url).header(ACCEPT, "application/json");
                if let Some(key) = key {
                    request = request.header(AUTHORIZATION, format!("Bearer {}", key.reveal()));
                }
                http.send(request.body(Body::empty())?, REPLY_DEADLINE).await?
            }
        };
        match reply.status() {
            StatusCode::OK => Ok(reply),
            status => bail!("{}", refusal(status, &whole(reply).await?)),
        }
    }

    /// The document at `path`.
    pub(crate) async fn document(&self, path: &str) -> anyhow::Result<Bytes> {
        whole(self.get(path).await?).await
    }
}

/// All of a reply's body.
async fn whole(reply: Response<Body>) -> anyhow::Result<Bytes> {
    to_bytes(reply.into_body(), MAX_DOCUMENT_BYTES).await.context("the answer broke off")
}

fn refusal(status: StatusCode, body: &[u8]) -> String {
    let Ok(Refusal { error }) = serde_json::from_slice::<Refusal>(body) else {
        return format!("the service answered {status} and not why: is its address right?");
    };
    let mut words = error.message;
    if let Some(parameter) = error.parameter.filter(|parameter| !words.contains(&format!("`{parameter}`"))) {
        words = format!("{parameter}: {words}");
    }
    if let Some(expected) = error.expected {
        words = format!("{words}; expected {expected}");
    }
    match &error.nearest[..] {
        [] => words,
        nearest => format!("{words}; did you mean {}?", nearest.join(" or ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_would_be_right() {
        let words = |body: &str| refusal(StatusCode::BAD_REQUEST, body.as_bytes());
        let body = r#"{"error": {"code": "bad_parameter", "parameter": "from", "message": "`x` is not valid", "expected": "a time"}}"#;
        assert_eq!(words(body), "from: `x` is not valid; expected a time");
        let body = r#"{"error": {"message": "q has no parameter `clustr`", "parameter": "clustr", "nearest": ["cluster", "to"]}}"#;
        assert_eq!(words(body), "q has no parameter `clustr`; did you mean cluster or to?");
        assert!(words("<html>").contains("is its address right"));
    }
}
