//! `/metrics`, `/healthz` and `/readyz` of a cluster process. A scrape never runs on the bot's threads.

use std::{io::Write as _, sync::Arc};

use axum::{
    Router,
    extract::State as Extract,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use flate2::{Compression, write::GzEncoder};
use prometheus::{Encoder as _, TextEncoder};
use tokio::net::TcpListener;

use crate::{error::Error, recorder::Shared};

/// Port that operators of Discord bots scrape by habit.
pub const DEFAULT_PORT: u16 = 9191;

pub(crate) async fn serve(
    shared: Arc<Shared>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    axum::serve(listener, router(shared)).with_graceful_shutdown(shutdown).await.map_err(Error::Exporter)
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get("alive\n"))
        .route("/readyz", get(ready))
        .with_state(shared)
}

async fn metrics(Extract(shared): Extract<Arc<Shared>>, request: HeaderMap) -> Response {
    let gzip = accepts_gzip(&request);
    let encoded = tokio::task::spawn_blocking(move || encode(&shared, gzip)).await;
    let Ok(Ok(body)) = encoded else {
        return (StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be encoded\n").into_response();
    };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(prometheus::TEXT_FORMAT));
    if gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn accepts_gzip(request: &HeaderMap) -> bool {
    let accepted = request.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|codings| codings.split(',').any(|coding| coding.trim().starts_with("gzip")))
}

fn encode(shared: &Shared, gzip: bool) -> prometheus::Result<Vec<u8>> {
    let mut text = Vec::new();
    TextEncoder::new().encode(&shared.metrics.registry.gather(), &mut text)?;
    if !gzip {
        return Ok(text);
    }
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&text)?;
    Ok(packed.finish()?)
}

/// Ready: every shard of this cluster has an active session.
async fn ready(Extract(shared): Extract<Arc<Shared>>) -> (StatusCode, String) {
    let active = shared.shards().iter().filter(|cell| cell.is_active()).count();
    let configured = usize::from(shared.config.shards.count);
    let status = if active >= configured { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, format!("{active} of {configured} shards are active\n"))
}
