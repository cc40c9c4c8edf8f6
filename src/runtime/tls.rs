//! TLS over a stream: rustls with the same meaning for reads, writes and their limits.
//!
//! A read that is dropped while it waits loses nothing: what it has taken from the socket is kept
//! here. A read is limited as a whole, since a peer that sends a byte of a record now and then would
//! else wait for ever. Records that a write leaves behind go out with the flush. When a stream is
//! dropped its peer is told so (`close_notify`), if the socket takes that at once.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::socket::Stream;

/// The kernel's timers know no shorter wait.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// The session of one connection, on the socket that it has for itself.
#[derive(Debug)]
pub struct Tls {
    session: TlsStream<Stream>,
    read_limit: Cell<Option<Duration>>,
    /// When the read that waits ends.
    read_deadline: Cell<Option<Instant>>,
}

/// Performs the handshake with a client. There is no limit here.
pub async fn accept_tls(stream: Stream, config: Arc<ServerConfig>) -> io::Result<Stream> {
    let session = TlsAcceptor::from(config).accept(stream).await?;
    Ok(TlsStream::from(session).into())
}

/// Performs the handshake with the server of that name. There is no limit here.
pub async fn connect_tls(
    stream: Stream,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> io::Result<Stream> {
    let session = TlsConnector::from(config).connect(name, stream).await?;
    Ok(TlsStream::from(session).into())
}

impl From<TlsStream<Stream>> for Stream {
    fn from(session: TlsStream<Self>) -> Self {
        let tls = Tls { session, read_limit: Cell::new(None), read_deadline: Cell::new(None) };
        Self::Tls(Box::new(tls))
    }
}

impl Stream {
    /// The certificate that the peer has shown over TLS, in DER.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        let Self::Tls(tls) = self else { return None };
        tls.session.get_ref().1.peer_certificates()?.first().map(AsRef::as_ref)
    }
}

impl Tls {
    pub(super) fn socket(&self) -> &Stream {
        self.session.get_ref().0
    }

    pub(super) fn set_read_timeout(&self, limit: Option<Duration>) {
        self.read_limit.set(limit);
        self.read_deadline.set(None);
        self.socket().set_read_timeout(limit);
    }

    pub(super) fn poll_read_into(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(deadline) = self.read_deadline.get() {
            let left = deadline.saturating_duration_since(Instant::now());
            self.socket().set_read_timeout(Some(left.max(WAIT_MIN)));
        }
        let mut read = ReadBuf::new(buffer);
        let polled = Pin::new(&mut self.session).poll_read(cx, &mut read);
        if polled.is_ready() {
            self.read_deadline.set(None);
            return polled.map_ok(|()| read.filled().len());
        }
        let Some(limit) = self.read_limit.get() else { return Poll::Pending };
        let now = Instant::now();
        match self.read_deadline.get() {
            Some(deadline) if now >= deadline => {
                self.read_deadline.set(None);
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Some(_) => Poll::Pending,
            None => {
                self.read_deadline.set(Some(now + limit));
                Poll::Pending
            }
        }
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.session).poll_write(cx, bytes)
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.session).poll_flush(cx)
    }

    /// Sends `close_notify` and ends the sending side of the socket.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.session).poll_shutdown(cx)
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        let mut farewell = Vec::new();
        let socket = match &mut self.session {
            TlsStream::Client(session) => {
                let (socket, session) = session.get_mut();
                session.send_close_notify();
                let _ = session.write_tls(&mut farewell);
                socket
            }
            TlsStream::Server(session) => {
                let (socket, session) = session.get_mut();
                session.send_close_notify();
                let _ = session.write_tls(&mut farewell);
                socket
            }
        };
        // Not by the runtime, which may be ending; and a peer that is gone need not hear of it.
        socket.send_at_once(&farewell);
    }
}
