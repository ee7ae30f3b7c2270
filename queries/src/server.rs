//! Connections: taken one by one, bounded in number and in patience, and drained at the end.
//!
//! What a client may do to a server without asking anything is bounded here: how many connections there are, how long a
//! handshake and a head may take, how large a head may be, and how long a client may leave what is sent to it lying. The
//! last closes the connection, and with it ends the query whose answer nobody takes.

mod tls;

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;

pub use self::tls::{Tls, TlsError};
use crate::{limits::REPLY_DEADLINE, routes::router, service::Service};

/// Open connections. More wait to be taken: each is a file, and processes are usually given 1,024 and more.
const MAX_CONNECTIONS: usize = 800;

/// How long a client may take to say who it is (TLS), and then for the head of each request, the pause before it included.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// Most bytes of a request's head: 2,000 clusters in a query string need some 20 KiB. `openapi/errors.rs` names it.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// Most fields of a head. Browsers behind two proxies send about 30.
const MAX_HEAD_FIELDS: usize = 100;

/// How long a client may leave bytes lying that are sent to it.
const STALL_DEADLINE: Duration = Duration::from_secs(30);

/// How long answers under way may take after the shutdown began: as long as the slowest may take at all. Exports may take
/// longer, and are broken off.
const DRAIN_DEADLINE: Duration = REPLY_DEADLINE;

/// How long to wait when no connection can be taken, which is when files have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown` completes; then takes no new connection and waits for the answers under way.
///
/// Cancel safety: dropping the future closes the listener and abandons what is under way.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    service: Service,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let app = router(service.clone());
    let mut connections = JoinSet::new();
    let follow = async { tokio::join!(service.follow(), tls::follow(tls.as_ref())) };
    tokio::pin!(shutdown, follow);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            _ = &mut follow => unreachable!("what may change is followed for ever"),
            Some(_) = connections.join_next() => {} // a connection that fails has said so
            (stream, place) = accept(&listener, &room) => {
                let (app, watcher, tls) = (app.clone(), graceful.watcher(), tls.as_ref().map(Tls::acceptor));
                connections.spawn(async move {
                    converse(stream, tls, app, watcher).await;
                    drop(place);
                });
            }
        }
    }
    drop(listener);
    if timeout(DRAIN_DEADLINE, graceful.shutdown()).await.is_err() {
        tracing::warn!(deadline_s = DRAIN_DEADLINE.as_secs(), "clients still hold connections; leaving without them");
    }
}

/// The next connection, once there is room for it.
async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    let place = Arc::clone(room).acquire_owned().await.expect("nobody closes the semaphore");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, tls: Option<tokio_rustls::TlsAcceptor>, app: Router, watcher: Watcher) {
    // Small answers must not wait for the client's acknowledgement of the last one.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY refused");
    }
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(STALL_DEADLINE));
    let stream = Box::pin(stream);
    let Some(tls) = tls else { return exchange(stream, app, watcher).await };
    match timeout(HEAD_DEADLINE, tls.accept(stream)).await {
        Ok(Ok(stream)) => exchange(stream, app, watcher).await,
        Ok(Err(error)) => tracing::debug!(%error, "no TLS"),
        Err(_) => tracing::debug!("no TLS in time"),
    }
}

async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, app: Router, watcher: Watcher) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_header_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEAD_FIELDS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(error = &error as &dyn std::error::Error, "a connection ended early");
    }
}
