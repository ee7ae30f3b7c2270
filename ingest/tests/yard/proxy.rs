//! A TCP proxy that breaks HTTP requests on their way to ClickHouse.
//!
//! It reads each request whole, asks the test what to do to it, and does that; connections are kept alive on both sides
//! like anywhere else. What it needs to know of HTTP is where a message ends.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

/// A slow body takes this many pauses at most, so that it ends.
const PIECES: usize = 100;
const BETWEEN_PIECES: Duration = Duration::from_millis(3);
/// Longer than any client waits for an answer.
const ENDLESS: Duration = Duration::from_secs(80);

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    CutBeforeBody,
    /// After so many percent of the body.
    CutInBody(u8),
    /// As above, but what ClickHouse says to the half of it comes back.
    HalfAnswered(u8),
    /// All of it arrives, and nobody waits for the answer.
    CutAfterBody,
    /// The answer was there, and is lost.
    AnswerLost,
    AnswerTorn,
    /// An answer that is not ClickHouse's. `forwarded`: ClickHouse got the request all the same.
    Instead {
        status: u16,
        forwarded: bool,
    },
    SlowBody,
    SlowAnswer,
    /// The client is cut off while its request goes on slowly.
    LeftBehind,
    /// Nothing is passed on and nothing is answered, until the connection breaks.
    BlackHole(Duration),
    /// As above, until the client gives up.
    BlackHoleForGood,
}

impl Fault {
    /// The name for the record.
    pub fn kind(self) -> &'static str {
        match self {
            Fault::CutBeforeBody => "cut before the body",
            Fault::CutInBody(_) => "cut in the body",
            Fault::HalfAnswered(_) => "cut in the body, and answered",
            Fault::LeftBehind => "client cut off, request goes on slowly",
            Fault::CutAfterBody => "cut after the body",
            Fault::AnswerLost => "answer lost",
            Fault::AnswerTorn => "answer torn",
            Fault::Instead { status: 503, forwarded: true } => "503 with Retry-After, forwarded",
            Fault::Instead { status: 503, forwarded: false } => "503 with Retry-After, not forwarded",
            Fault::Instead { forwarded: true, .. } => "500, forwarded",
            Fault::Instead { forwarded: false, .. } => "500, not forwarded",
            Fault::SlowBody => "slow body",
            Fault::SlowAnswer => "slow answer",
            Fault::BlackHole(_) => "black hole",
            Fault::BlackHoleForGood => "black hole until the client gives up",
        }
    }
}

/// A running proxy; it ends with this.
pub struct Proxy {
    pub port: u16,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Passes requests on to `upstream`, a port of this machine. `choose` sees each of them.
    pub async fn start(upstream: u16, choose: impl Fn(&Message) -> Option<Fault> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let choose = Arc::new(choose);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let choose = Arc::clone(&choose);
                connections.spawn(async move {
                    let _ = serve(client, upstream, &*choose).await; // an error is a closed connection: that is what we do here
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { port, task }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A request or an answer.
pub struct Message {
    pub head: Vec<u8>,
    /// As on the wire, with its chunks if it has some.
    pub body: Vec<u8>,
}

impl Message {
    /// Sends it as a request to a port of this machine, and returns the answer.
    pub async fn ask(&self, port: u16) -> io::Result<Self> {
        let mut server = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await?);
        self.write(&mut server).await?;
        Self::read(&mut server).await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// `None` at the end of the connection.
    async fn read(from: &mut BufReader<TcpStream>) -> io::Result<Option<Self>> {
        let (mut head, mut body) = (Vec::new(), Vec::new());
        while !head.ends_with(b"\r\n\r\n") {
            if from.read_until(b'\n', &mut head).await? == 0 {
                return Ok(None);
            }
        }
        let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let header = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if let Some(length) = header("content-length:") {
            read_exactly(from, length.parse().map_err(io::Error::other)?, &mut body).await?;
        } else if header("transfer-encoding:") == Some("chunked") {
            loop {
                let start = body.len();
                from.read_until(b'\n', &mut body).await?;
                let size = str::from_utf8(&body[start..]).map_err(io::Error::other)?;
                let size = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
                read_exactly(from, size + b"\r\n".len(), &mut body).await?;
                if size == 0 {
                    break;
                }
            }
        }
        Ok(Some(Self { head, body }))
    }

    async fn write(&self, to: &mut BufReader<TcpStream>) -> io::Result<()> {
        to.write_all(&self.head).await?;
        to.write_all(&self.body).await
    }

    async fn write_part(&self, percent: u8, to: &mut BufReader<TcpStream>) -> io::Result<()> {
        to.write_all(&self.head).await?;
        to.write_all(&self.body[..self.body.len() * usize::from(percent) / 100]).await
    }

    async fn write_slowly(&self, to: &mut BufReader<TcpStream>) -> io::Result<()> {
        to.write_all(&self.head).await?;
        for piece in self.body.chunks(self.body.len() / PIECES + 1) {
            to.write_all(piece).await?;
            sleep(BETWEEN_PIECES).await;
        }
        Ok(())
    }
}

async fn read_exactly(from: &mut BufReader<TcpStream>, bytes: usize, into: &mut Vec<u8>) -> io::Result<()> {
    let start = into.len();
    into.resize(start + bytes, 0);
    from.read_exact(&mut into[start..]).await.map(drop)
}

/// Serves a connection until one side closes it or a fault ends it.
async fn serve(client: TcpStream, upstream: u16, choose: &impl Fn(&Message) -> Option<Fault>) -> io::Result<()> {
    client.set_nodelay(true)?;
    let server = TcpStream::connect(("127.0.0.1", upstream)).await?;
    server.set_nodelay(true)?;
    let (mut client, mut server) = (BufReader::new(client), BufReader::new(server));
    while let Some(request) = Message::read(&mut client).await? {
        let Some(fault) = choose(&request) else {
            request.write(&mut server).await?;
            let Some(answer) = Message::read(&mut server).await? else { break };
            answer.write(&mut client).await?;
            continue;
        };
        match fault {
            Fault::SlowBody => {
                request.write_slowly(&mut server).await?;
                let Some(answer) = Message::read(&mut server).await? else { break };
                answer.write(&mut client).await?;
            }
            Fault::SlowAnswer => {
                request.write(&mut server).await?;
                let Some(answer) = Message::read(&mut server).await? else { break };
                answer.write_slowly(&mut client).await?;
            }
            fatal => return end(fatal, &request, client, server).await,
        }
    }
    Ok(())
}

/// A fault after which the connections are closed.
async fn end(
    fault: Fault,
    request: &Message,
    mut client: BufReader<TcpStream>,
    mut server: BufReader<TcpStream>,
) -> io::Result<()> {
    match fault {
        Fault::CutBeforeBody => server.write_all(&request.head).await,
        Fault::CutInBody(percent) => request.write_part(percent, &mut server).await,
        Fault::HalfAnswered(percent) => {
            request.write_part(percent, &mut server).await?;
            server.shutdown().await?;
            let Some(answer) = Message::read(&mut server).await? else { return Ok(()) };
            answer.write(&mut client).await
        }
        Fault::LeftBehind => {
            drop(client);
            request.write_slowly(&mut server).await?;
            Message::read(&mut server).await.map(drop)
        }
        Fault::CutAfterBody => request.write(&mut server).await,
        Fault::AnswerLost => {
            request.write(&mut server).await?;
            Message::read(&mut server).await.map(drop)
        }
        Fault::AnswerTorn => {
            request.write(&mut server).await?;
            let Some(answer) = Message::read(&mut server).await? else { return Ok(()) };
            client.write_all(&answer.head[..answer.head.len() / 2]).await
        }
        Fault::Instead { status, forwarded } => {
            if forwarded {
                request.write(&mut server).await?;
                Message::read(&mut server).await?;
            }
            let pause_s = if status == 429 { 3 } else { 1 };
            let answer = format!(
                "HTTP/1.1 {status} Broken\r\nRetry-After: {pause_s}\r\nConnection: close\r\nContent-Length: 6\r\n\r\nbroken"
            );
            client.write_all(answer.as_bytes()).await
        }
        Fault::BlackHole(time) => {
            sleep(time).await;
            Ok(())
        }
        Fault::BlackHoleForGood => {
            let _ = timeout(ENDLESS, client.read_u8()).await; // either way it is over
            Ok(())
        }
        Fault::SlowBody | Fault::SlowAnswer => unreachable!("the connection goes on"),
    }
}
