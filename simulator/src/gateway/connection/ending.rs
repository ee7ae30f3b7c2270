//! How a connection ends: five ways, which a client can tell apart.

use super::{Connection, Socket};
use crate::gateway::protocol::Close;
use crate::gateway::shard::Order;
use futures_util::{SinkExt as _, StreamExt as _};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_websockets::{CloseCode, Message};

/// How long a client may take to answer a close frame or a FIN, before the socket is dropped.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a connection ends.
pub(super) enum End {
    /// The client went away, by close frame or otherwise.
    Gone,
    /// By our close frame.
    Close(Close),
    /// By a TCP reset.
    Reset,
    /// By a TCP FIN, without a close frame.
    Fin,
    /// Not at all: the socket stays open, whatever the client sends, until it goes or a fault ends it.
    Held,
}

impl Connection {
    pub(super) async fn finish(mut self, end: End) {
        // The shard's orders come here until the end, so that a held connection can be let go.
        let (shard, id) = (self.shard, self.id);
        let world = std::sync::Arc::clone(&self.world);
        self.end(end).await;
        if let Some(shard) = shard {
            world.shards[shard as usize].detach(id);
        }
    }

    async fn end(&mut self, end: End) {
        // A muted connection sends nothing, in no circumstances; a reset throws it away anyway.
        if !self.muted() && !matches!(end, End::Reset | End::Gone) {
            self.write();
            let _ = timeout(PATIENCE, self.socket.flush()).await;
        }
        match end {
            End::Gone => {}
            End::Close((code, reason)) => {
                self.count(|ledger| *ledger.closes_sent.entry(code).or_default() += 1);
                close(&mut self.socket, code, reason).await;
            }
            // Dropped with its task, right after this.
            End::Reset => reset(self.socket.get_ref()),
            End::Fin => fin(self.socket.get_mut()).await,
            End::Held => self.hold().await,
        }
    }

    /// Reads past the WebSocket, which would answer a close frame.
    async fn hold(&mut self) {
        let mut discarded = [0; 1_024];
        loop {
            tokio::select! {
                order = self.orders.recv() => return match order {
                    Some(Order::Fault(crate::faults::Fault::Reset)) => reset(self.socket.get_ref()),
                    _ => fin(self.socket.get_mut()).await,
                },
                read = self.socket.get_mut().read(&mut discarded) => match read {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                },
            }
        }
    }
}

/// Our close frame, and the client's answer to it.
pub(super) async fn close(socket: &mut Socket, code: u16, reason: &str) {
    let code = CloseCode::try_from(code).ok().filter(|code| !code.is_reserved());
    let closing = async {
        if socket.send(Message::close(code, reason)).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
        fin(socket.get_mut()).await;
    };
    // Past the patience the socket is dropped as it is.
    let _ = timeout(PATIENCE, closing).await;
}

/// Makes dropping the stream send a reset.
pub(crate) fn reset(stream: &TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        tracing::debug!(%error, "the socket is gone already");
    }
}

/// FIN, and then what the client still sends: dropping a socket with unread data would reset it.
async fn fin(stream: &mut TcpStream) {
    let ending = async {
        let mut discarded = [0; 1_024];
        if stream.shutdown().await.is_ok() {
            while matches!(stream.read(&mut discarded).await, Ok(1..)) {}
        }
    };
    let _ = timeout(PATIENCE, ending).await;
}
