//! What answers say beside their body: the status and `Retry-After`, which the `clickhouse` crate does not pass on.
//!
//! So the connection is listened to: the head of each answer is read along, on plaintext, and what it said is kept until
//! the next one. A client makes one request at a time.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::{
    Uri,
    rt::{Read, ReadBufCursor, Write},
};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection, HttpConnector},
    },
    rt::TokioExecutor,
};
use rustls::{ClientConfig, RootCertStore};
use tower_service::Service;

/// Longest head of an answer that is listened to. ClickHouse's take 1 KiB; proxies limit theirs to 8.
const HEAD_BYTES: usize = 8 << 10;
/// A pooled connection is used again within this time: ClickHouse closes it after 3 s.
const IDLE: Duration = Duration::from_secs(2);
/// A server that is gone without a word is noticed after this time and its probes.
const KEEPALIVE: Duration = Duration::from_mins(1);

/// What the last answer said.
#[derive(Debug, Default)]
pub(crate) struct Heard(Mutex<Option<Answer>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Answer {
    status: u16,
    retry_after: Option<Duration>,
}

impl Heard {
    /// The status of the last answer; `None` if there was none since [`Heard::forget`].
    pub(super) fn status(&self) -> Option<u16> {
        self.last().map(|answer| answer.status)
    }

    /// For how long it asked to be left alone. Only seconds are understood, not dates.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.last().and_then(|answer| answer.retry_after)
    }

    pub(super) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn last(&self) -> Option<Answer> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, answer: Answer) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }
}

/// A client whose answers are `heard`.
pub(crate) fn client(heard: &Arc<Heard>) -> clickhouse::Client {
    let mut tcp = HttpConnector::new();
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.enforce_http(false);
    let tls = TLS.get_or_init(tls).clone();
    let inner = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
    let connector = Listening::to(inner, heard);
    let http = Client::builder(TokioExecutor::new()).pool_idle_timeout(IDLE).build(connector);
    clickhouse::Client::with_http_client(http)
}

/// One for all clients of the process: it holds every root certificate of the machine.
static TLS: OnceLock<ClientConfig> = OnceLock::new();

fn tls() -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring knows the versions that are on by default");
    match config.clone().with_native_roots() {
        Ok(config) => config.with_no_client_auth(),
        Err(error) => {
            // A container without certificates can still speak plain HTTP.
            tracing::warn!(%error, "this machine has no root certificates, an https address of ClickHouse will be refused");
            config.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
        }
    }
}

/// Makes connections that are listened to.
#[derive(Clone)]
pub(crate) struct Listening<C> {
    inner: C,
    heard: Arc<Heard>,
}

impl<C> Listening<C> {
    pub(crate) fn to(inner: C, heard: &Arc<Heard>) -> Self {
        Self { inner, heard: Arc::clone(heard) }
    }
}

impl<C: Service<Uri, Future: Send + 'static>> Service<Uri> for Listening<C> {
    type Response = Overheard<C::Response>;
    type Error = C::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (connecting, heard) = (self.inner.call(to), Arc::clone(&self.heard));
        Box::pin(async move { Ok(Overheard { stream: connecting.await?, head: Head::default(), heard }) })
    }
}

/// A connection that is listened to.
pub(crate) struct Overheard<S> {
    stream: S,
    head: Head,
    heard: Arc<Heard>,
}

/// The head of an answer, as far as it has been read.
#[derive(Debug, Default)]
struct Head {
    bytes: Vec<u8>,
    /// What follows is its body.
    ended: bool,
}

impl Head {
    /// Reads on; returns the answer once its head has ended.
    fn read(&mut self, bytes: &[u8]) -> Option<Answer> {
        if self.ended {
            return None;
        }
        self.bytes.extend_from_slice(bytes);
        let Some(end) = self.bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            self.ended = self.bytes.len() > HEAD_BYTES;
            return None;
        };
        self.ended = true;
        parse(&self.bytes[..end])
    }

    /// A request is being sent: what comes after it is the next answer.
    fn expect(&mut self) {
        if self.ended {
            *self = Self::default();
        }
    }
}

fn parse(head: &[u8]) -> Option<Answer> {
    let head = str::from_utf8(head).ok()?;
    let (first, headers) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = first.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let headers = headers.lines().filter_map(|line| line.split_once(':'));
    let mut retry_after = headers.filter(|(name, _)| name.eq_ignore_ascii_case("retry-after"));
    let retry_after = retry_after.next().and_then(|(_, value)| value.trim().parse().ok()).map(Duration::from_secs);
    Some(Answer { status, retry_after })
}

impl<S: Read + Unpin> Read for Overheard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut to: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.head.ended {
            return Pin::new(&mut this.stream).poll_read(context, to);
        }
        // Only while a head is read, and not longer than one of them.
        let mut bytes = [0; HEAD_BYTES];
        let room = to.remaining().min(bytes.len());
        let mut buffer = hyper::rt::ReadBuf::new(&mut bytes[..room]);
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer.unfilled()))?;
        to.put_slice(buffer.filled());
        if let Some(answer) = this.head.read(buffer.filled()) {
            this.heard.note(answer);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Write + Unpin> Write for Overheard<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.head.expect();
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.head.expect();
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: Connection> Connection for Overheard<S> {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_an_answer_is_read_in_any_pieces() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\nretry-AFTER: 7\r\nContent-Length: 6\r\n\r\nbroken";
        let expected = Answer { status: 503, retry_after: Some(Duration::from_secs(7)) };
        for cut in 0..answer.len() {
            let mut head = Head::default();
            let heard = [head.read(&answer[..cut]), head.read(&answer[cut..])];
            assert_eq!(heard.into_iter().flatten().collect::<Vec<_>>(), [expected], "cut at {cut}");
            head.expect();
            assert_eq!(head.read(b"HTTP/1.1 200 OK\r\n\r\n"), Some(Answer { status: 200, retry_after: None }));
        }
    }

    #[test]
    fn what_is_no_answer_is_not_heard() {
        for bytes in [&b"\r\n\r\n"[..], b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 x\r\n\r\n", b"SSH-2.0\r\n\r\n", b"\xff\r\n\r\n"]
        {
            assert_eq!(Head::default().read(bytes), None);
        }
        let mut head = Head::default();
        assert_eq!(head.read(&[b'x'; HEAD_BYTES + 1]), None);
        assert!(head.ended, "not for ever");
        let dated = b"HTTP/1.1 503 x\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n\r\n";
        assert_eq!(Head::default().read(dated), Some(Answer { status: 503, retry_after: None }));
    }
}
