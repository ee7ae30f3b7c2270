//! The way between the writer's process and ClickHouse: the real HTTP client and a real HTTP server over a simulated wire.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use clickhouse::Client;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response, Uri,
    body::{Bytes, Incoming},
    rt::{Read, ReadBufCursor, Write},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    client::legacy::{
        Client as HyperClient,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo},
};
use tokio::{task::spawn_local, time::sleep};
use turmoil::net::{TcpListener, TcpStream};

use super::{
    clickhouse::{Answer, Clickhouse},
    outside::is_dead,
};
use crate::insert::heard::{Heard, Listening};

pub(super) const CLICKHOUSE: &str = "clickhouse";
pub(super) const CLICKHOUSE_URL: &str = "http://clickhouse:8123";
const PORT: u16 = 8123;

pub(super) fn client(heard: &Arc<Heard>) -> Client {
    let connector = Listening::to(Connector, heard);
    Client::with_http_client(HyperClient::builder(TokioExecutor::new()).pool_idle_timeout(None).build(connector))
}

#[derive(Clone)]
struct Connector;

impl tower_service::Service<Uri> for Connector {
    type Response = Wire;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Wire>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(async { Ok(Wire(TokioIo::new(TcpStream::connect((CLICKHOUSE, PORT)).await?))) })
    }
}

/// A connection of the writer's process.
struct Wire(TokioIo<TcpStream>);

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Wire {
    fn poll_read(mut self: Pin<&mut Self>, task: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(task, into)
    }
}

impl Write for Wire {
    /// The dead send nothing.
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if is_dead() { Poll::Pending } else { Pin::new(&mut self.0).poll_write(task, bytes) }
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(task)
    }
}

/// A start of ClickHouse: its clock begins, and a little later it listens.
pub(super) async fn serve(clickhouse: Rc<Clickhouse>) -> turmoil::Result {
    clickhouse.start();
    sleep(clickhouse.startup()).await;
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let clickhouse = Rc::clone(&clickhouse);
        let service = service_fn(move |request| answer(Rc::clone(&clickhouse), request));
        spawn_local(async move {
            // An error means that the client has gone, or that the answer is to cut the connection.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(clickhouse: Rc<Clickhouse>, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let cut = |_| io::Error::from(io::ErrorKind::UnexpectedEof);
    let body = request.into_body().collect().await.map_err(cut)?.to_bytes();
    // A request that has arrived goes on, whether its client waits for it or not.
    let (status, body) = match spawn_local(clickhouse.answer(query, body)).await.map_err(io::Error::other)? {
        Answer::Cut => return Err(io::ErrorKind::ConnectionAborted.into()),
        Answer::Never => {
            sleep(Duration::from_hours(1)).await;
            return Err(io::ErrorKind::TimedOut.into());
        }
        Answer::Says(status, body) => (status, body),
    };
    let answer = Response::builder().status(status).body(Full::new(body.into()));
    answer.map_err(io::Error::other)
}
