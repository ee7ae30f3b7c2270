//! Connections: taken, and drained at the end.

use std::{io, time::Duration};

use axum::serve::ListenerExt as _;
use tokio::{net::TcpListener, sync::oneshot};

use crate::{limits::REPLY_DEADLINE, routes::router, service::Service};

/// How long answers under way may take after the shutdown began: as long as the slowest may take at all.
const DRAIN_DEADLINE: Duration = REPLY_DEADLINE;

/// Serves until `shutdown` completes; then takes no new connection and waits for the answers under way.
///
/// # Errors
/// If the listener fails for good. Cancel safety: dropping the future closes the listener and abandons what is under way.
pub async fn serve(
    listener: TcpListener,
    service: Service,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let following = service.clone();
    let (draining, drain) = oneshot::channel();
    let listener = listener.tap_io(|stream| {
        // Small answers must not wait for the client's acknowledgement of the last one.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY refused");
        }
    });
    let server = axum::serve(listener, router(service)).with_graceful_shutdown(async move {
        shutdown.await;
        let _ = draining.send(()); // nobody listens when the server ended first
    });
    tokio::select! {
        served = server => served,
        () = following.follow() => unreachable!("what may change is followed for ever"),
        () = deadline_after(drain) => {
            tracing::warn!(deadline_s = DRAIN_DEADLINE.as_secs(), "clients still hold connections; leaving without them");
            Ok(())
        }
    }
}

async fn deadline_after(drain: oneshot::Receiver<()>) {
    match drain.await {
        Ok(()) => tokio::time::sleep(DRAIN_DEADLINE).await,
        Err(_) => std::future::pending().await,
    }
}
