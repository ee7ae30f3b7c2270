//! One port for both sides: REST lives under `/api` and `/ledger`, everything else is the gateway's.
//!
//! The first bytes are looked at without taking them, so that the gateway gets the raw socket: a test
//! needs to reset it, and no HTTP library hands it back whole.

use crate::gateway::connection;
use crate::rest;
use crate::world::World;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// What tells REST from the gateway; a client sends at least so much at once.
const REST_PATHS: [&str; 2] = ["/api/", "/ledger"];
/// The longest method, a space, and the longest of [`REST_PATHS`].
const LOOK_BYTES: usize = 16;
/// How long a client may take for its first bytes.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at a request that comes in drops.
const AGAIN: Duration = Duration::from_millis(10);
/// After an accept that failed, which means that the process is out of descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// What a socket holds that the client's kernel has not taken yet. It is what a reset throws away, so it
/// has to stay below what a session can replay, and compressed text is five times as much.
const SEND_BUFFER_BYTES: u32 = 128 << 10;
/// Connections that wait to be accepted: all shards of a large bot at once.
const BACKLOG: u32 = 1_024;

/// Listens on 127.0.0.1.
pub(crate) fn bind(port: u16) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    // Accepted sockets inherit it.
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    let listener = socket.listen(BACKLOG)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Accepts until it is aborted, and all connections with it.
pub(crate) async fn listen(world: Arc<World>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(Arc::clone(&world), stream));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection; trying again");
                    sleep(BREATH).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(world: Arc<World>, stream: TcpStream) {
    match timeout(PATIENCE, is_rest(&stream)).await {
        Ok(Some(true)) => rest::serve(world, stream).await,
        Ok(Some(false)) if world.refuses() => {
            world.ledger.connection(false);
            connection::reset(&stream);
        }
        Ok(Some(false)) => connection::serve(world, stream).await,
        Ok(None) | Err(_) => {}
    }
}

/// None when the client went away.
async fn is_rest(stream: &TcpStream) -> Option<bool> {
    let mut start = [0; LOOK_BYTES];
    loop {
        let seen = stream.peek(&mut start).await.ok()?;
        if seen == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&start[..seen]);
        if let Some((_, path)) = text.split_once(' ') {
            let undecided = seen < LOOK_BYTES && REST_PATHS.iter().any(|rest| rest.starts_with(path));
            if !undecided {
                return Some(REST_PATHS.iter().any(|rest| path.starts_with(rest)));
            }
        } else if seen == LOOK_BYTES {
            // Not HTTP; the gateway's handshake says so.
            return Some(false);
        }
        // A look takes nothing away, so waiting for readiness would not wait.
        sleep(AGAIN).await;
    }
}
