//! Sockets of a core: the shared-port listener, and a stream that is TCP, a unix socket or TLS.
//!
//! `Stream` implements tokio's I/O traits, which is all that tokio-postgres asks for. Reads wait
//! for readiness and then `recv` straight into the caller's buffer, so a read that is dropped
//! while it waits has taken no bytes.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::io::{AsyncRead as _, AsyncWrite as _};
use glommio::net::{TcpListener, TcpStream, UnixStream};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::tls::Tls;

/// Connections that the kernel keeps for a core that has not accepted them yet.
const ACCEPT_BACKLOG: i32 = 4096;
/// What is copied together to be sent at once.
const GATHERED_BYTES_MAX: usize = 16 << 10;
/// Probes that a peer may leave unanswered before its connection is cut.
const KEEPALIVE_RETRIES: u32 = 5;

/// A bound and listening socket that has no executor yet. Made on the main thread, so that a port
/// in use is found before any core starts.
pub struct Listener(OwnedFd);

/// Binds `address` with `SO_REUSEPORT`, so that every core can have a listener of its own and the
/// kernel spreads connections over them.
pub fn listen(address: SocketAddr) -> io::Result<Listener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(ACCEPT_BACKLOG)?;
    Ok(Listener(socket.into()))
}

impl Listener {
    /// The bound address, with the real port when port 0 was asked for.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let socket = Socket::from(self.0.try_clone()?);
        socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }

    /// Hands the socket to this core.
    pub fn into_acceptor(self) -> io::Result<Acceptor> {
        let socket = Socket::from(self.0);
        // SAFETY: the descriptor is a copy of its own, open, and given up here.
        let listener = unsafe { TcpListener::from_raw_fd(socket.try_clone()?.into_raw_fd()) };
        Ok(Acceptor { listener, socket })
    }
}

pub struct Acceptor {
    listener: TcpListener,
    /// The same socket, to close it while the listener waits.
    socket: Socket,
}

impl Acceptor {
    /// Takes no further connection: they are refused, and [`Self::accept`] fails.
    pub fn close(&self) {
        // It fails only on what is no listening socket any more.
        let _ = self.socket.shutdown(Shutdown::Read);
    }

    /// The next connection. `TCP_NODELAY` is set: answers are written whole.
    pub async fn accept(&self) -> io::Result<Stream> {
        let stream = self.listener.accept().await.map_err(io::Error::from)?;
        stream.set_nodelay(true).map_err(io::Error::from)?;
        Ok(Stream::Tcp(stream))
    }
}

#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// In a box, so that connections without TLS are no larger for it.
    Tls(Box<Tls>),
}

/// When TCP asks an idle peer whether it is there, in whole seconds, which is what kernels know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    pub idle: Duration,
    pub interval: Duration,
    pub retries: u32,
}

impl Keepalive {
    /// So that a peer which vanished without a word is missed after about `silence`.
    pub fn within(silence: Duration) -> Self {
        let seconds = |part: Duration| Duration::from_secs(part.as_secs().max(1));
        let interval = seconds(silence / (2 * KEEPALIVE_RETRIES));
        Self { idle: seconds(silence / 2), interval, retries: KEEPALIVE_RETRIES }
    }
}

/// Connects within `limit`. A peer that leaves packets or probes unanswered for `silence` loses the
/// connection.
pub async fn connect_tcp(
    address: SocketAddr,
    limit: Duration,
    silence: Duration,
) -> io::Result<Stream> {
    let stream = TcpStream::connect_timeout(address, limit).await.map_err(io::Error::from)?;
    stream.set_nodelay(true).map_err(io::Error::from)?;
    let borrowed = BorrowedRaw(&stream);
    let socket = socket2::SockRef::from(&borrowed);
    let Keepalive { idle, interval, retries } = Keepalive::within(silence);
    let keepalive =
        TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(retries);
    socket.set_tcp_keepalive(&keepalive)?;
    // For what was sent and not acknowledged, where keep-alive does not look.
    socket.set_tcp_user_timeout(Some(silence))?;
    Ok(Stream::Tcp(stream))
}

pub async fn connect_unix(path: &Path) -> io::Result<Stream> {
    Ok(Stream::Unix(UnixStream::connect(path).await.map_err(io::Error::from)?))
}

/// glommio's streams give raw descriptors only; socket2 borrows through `AsFd`.
struct BorrowedRaw<'a>(&'a TcpStream);

impl std::os::fd::AsFd for BorrowedRaw<'_> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        // SAFETY: the stream is borrowed for the lifetime of the result and keeps it open.
        unsafe { std::os::fd::BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}

thread_local! {
    /// Reads and writes of this core, tried or done.
    static MOVED: Cell<u64> = const { Cell::new(0) };
}

/// Grows whenever a socket of this core is read or written.
pub(super) fn moved() -> u64 {
    MOVED.get()
}

impl Stream {
    /// Reads what has arrived into `buffer`. 0 is the end.
    pub fn poll_read_into(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        MOVED.set(MOVED.get().wrapping_add(1));
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(tls) => tls.poll_read_into(cx, buffer),
        }
    }

    /// Waits for the first byte that a TCP peer sends and leaves it there. `None` is the end.
    pub async fn peek(&self) -> io::Result<Option<u8>> {
        let Self::Tcp(stream) = self else { return Err(io::ErrorKind::Unsupported.into()) };
        let mut first = [0];
        let count = stream.peek(&mut first).await.map_err(io::Error::from)?;
        Ok((count > 0).then_some(first[0]))
    }

    /// Reads what has arrived into `buffer`. 0 is the end of the stream.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_read_into(cx, buffer)).await
    }

    /// Writes all of `bytes`.
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written =
                std::future::poll_fn(|cx| Pin::new(&mut *self).poll_write(cx, bytes)).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = &bytes[written..];
        }
        if let Self::Tls(tls) = self {
            std::future::poll_fn(|cx| tls.poll_flush(cx)).await?;
        }
        Ok(())
    }

    /// Where the peer is, as long as it is there.
    pub fn peer_address(&self) -> Option<IpAddr> {
        let Self::Tcp(stream) = self else { return None };
        stream.peer_addr().ok().map(|address| address.ip())
    }

    /// Sends what the system takes at once of a few last bytes.
    pub(super) fn send_at_once(&self, bytes: &[u8]) {
        let Self::Tcp(stream) = self else { return };
        let borrowed = BorrowedRaw(stream);
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let _ = socket2::SockRef::from(&borrowed).send_with_flags(bytes, flags);
    }

    /// Says that nothing more will be written. The peer may have gone already.
    pub async fn shutdown_write(&mut self) {
        let _ = std::future::poll_fn(|cx| Pin::new(&mut *self).poll_shutdown(cx)).await;
    }

    /// Whether the peer's system has taken all that was written, or refused it; `None` while it has
    /// done neither.
    pub fn is_taken(&self) -> Option<bool> {
        let stream = match self {
            Self::Tcp(stream) => stream,
            Self::Unix(_) => return Some(true),
            Self::Tls(tls) => return tls.socket().is_taken(),
        };
        let socket = BorrowedRaw(stream);
        if !matches!(socket2::SockRef::from(&socket).take_error(), Ok(None)) {
            return Some(false);
        }
        let mut unacknowledged: libc::c_int = 0;
        // SAFETY: SIOCOUTQ, which has the number of TIOCOUTQ, writes one int; the socket is open.
        let status =
            unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut unacknowledged) };
        (status == 0 && unacknowledged == 0).then_some(true)
    }

    /// A read that waits longer fails with `TimedOut`; `None` waits for ever.
    pub fn set_read_timeout(&self, limit: Option<Duration>) {
        match self {
            // Only a zero duration is refused, and no caller has one.
            Self::Tcp(stream) => drop(stream.set_read_timeout(limit)),
            Self::Unix(_) => (),
            Self::Tls(tls) => tls.set_read_timeout(limit),
        }
    }

    /// A write that waits longer fails with `TimedOut`.
    pub fn set_write_timeout(&self, limit: Option<Duration>) {
        match self {
            // As for reads.
            Self::Tcp(stream) => drop(stream.set_write_timeout(limit)),
            Self::Unix(_) => (),
            Self::Tls(tls) => tls.socket().set_write_timeout(limit),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // SAFETY: glommio passes the slice to `recv`, which only writes to it, and the part that
        // it wrote is what is marked as filled.
        let unfilled = unsafe {
            let spare = buffer.unfilled_mut();
            std::slice::from_raw_parts_mut(spare.as_mut_ptr().cast::<u8>(), spare.len())
        };
        let count = ready!(self.poll_read_into(cx, unfilled))?;
        // SAFETY: `recv` initialised the first `count` bytes.
        unsafe { buffer.assume_init(count) };
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        MOVED.set(MOVED.get().wrapping_add(1));
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(tls) => tls.poll_write(cx, bytes),
        }
    }

    /// Small pieces go out together, as the records of a TLS handshake do: the last of them may be the
    /// alert that says what is wrong, for which rustls writes once.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match pieces {
            [] => self.poll_write(cx, &[]),
            [first, ..] if pieces.len() == 1 || first.len() >= GATHERED_BYTES_MAX => {
                self.poll_write(cx, first)
            }
            _ => {
                let mut gathered = Vec::with_capacity(GATHERED_BYTES_MAX);
                for piece in pieces {
                    let room = GATHERED_BYTES_MAX - gathered.len();
                    gathered.extend_from_slice(&piece[..piece.len().min(room)]);
                }
                self.poll_write(cx, &gathered)
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(tls) => tls.poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_close(cx),
            Self::Unix(stream) => Pin::new(stream).poll_close(cx),
            Self::Tls(tls) => tls.poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_has_the_bounds_that_find_a_silent_peer() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stream = crate::runtime::block_on(connect_tcp(
            address,
            Duration::from_secs(5),
            Duration::from_secs(10),
        ));
        let Stream::Tcp(stream) = stream.unwrap().unwrap() else { panic!("it is TCP") };
        let borrowed = BorrowedRaw(&stream);
        let socket = socket2::SockRef::from(&borrowed);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(5));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(1));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 5);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(10)));
    }
}
