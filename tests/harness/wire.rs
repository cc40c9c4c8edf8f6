//! One connection spoken byte by byte, for what a well-behaved client never sends: pipelines, split
//! requests, garbage, half-closed sockets.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio_rustls::rustls::{self, ClientConfig, ClientConnection};

use super::PATIENCE;

/// A connection and the bytes of it that no answer has used yet.
pub struct Wire {
    stream: TcpStream,
    /// Where the connection is encrypted.
    pub tls: Option<ClientConnection>,
    unread: Vec<u8>,
}

/// One answer as it stood on the wire.
#[derive(Debug)]
pub struct WireAnswer {
    pub status: u16,
    /// The status line and the header lines.
    pub head: String,
    pub body: String,
}

impl WireAnswer {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

impl Wire {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_nodelay(true).expect("a TCP socket has this option");
        stream.set_read_timeout(Some(PATIENCE)).expect("the timeout is not zero");
        Self { stream, tls: None, unread: Vec::new() }
    }

    /// Connects and performs the handshake.
    pub fn over_tls(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Self> {
        Self::connect(address).start_tls(config)
    }

    pub fn start_tls(mut self, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let name = self.stream.peer_addr()?.ip().into();
        let mut tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut self.stream)?;
        }
        self.tls = Some(tls);
        Ok(self)
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = match &mut self.tls {
            Some(tls) => rustls::Stream::new(tls, &mut self.stream).write_all(bytes.as_ref()),
            None => self.stream.write_all(bytes.as_ref()),
        };
        sent.expect("the server reads");
    }

    /// Tells the server over TLS that no more requests come, and leaves the socket as it is.
    pub fn notify_close(&mut self) {
        let tls = self.tls.as_mut().expect("it is encrypted");
        tls.send_close_notify();
        tls.write_tls(&mut self.stream).expect("the server reads");
    }

    /// Sends what the server may refuse to read to its end.
    pub fn send_unless_closed(&mut self, bytes: impl AsRef<[u8]>) {
        match self.stream.write_all(bytes.as_ref()) {
            Err(error)
                if !matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) =>
            {
                panic!("{error}")
            }
            _ => (),
        }
    }

    /// Tells the server that no more requests come.
    pub fn finish_sending(&self) {
        self.stream.shutdown(Shutdown::Write).expect("the connection is up");
    }

    /// Ends the connection with a reset, as the system of a client does that died with data unread.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("a TCP socket has this option");
    }

    /// Reads so many bytes that no answer will be made of.
    pub fn read_bytes(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            assert!(self.read_more(), "closed after {} bytes", self.unread.len());
        }
        self.unread.drain(..count).collect()
    }

    /// Waits for the server to close the connection, whatever it sends first.
    pub fn ended(&mut self) {
        while self.read_more() {}
    }

    /// The next answer, which has a body exactly if it announces one.
    pub fn answer(&mut self) -> WireAnswer {
        self.answer_to("GET")
    }

    /// The next answer to a request of this method: one to HEAD announces a body it does not send.
    pub fn answer_to(&mut self, method: &str) -> WireAnswer {
        let head = self.head();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status in {head:?}"));
        let announced = header(&head, "content-length")
            .map_or(0, |length| length.parse().unwrap_or_else(|_| panic!("no length in {head:?}")));
        let length = if method == "HEAD" { 0 } else { announced };
        while self.unread.len() < length {
            assert!(self.read_more(), "closed within a body of {length} bytes after {head:?}");
        }
        let body: Vec<u8> = self.unread.drain(..length).collect();
        let body = String::from_utf8(body).expect("answers are UTF-8");
        WireAnswer { status, head, body }
    }

    fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.unread.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head: Vec<u8> = self.unread.drain(..end + 4).collect();
                return String::from_utf8(head).expect("heads are ASCII");
            }
            let so_far = String::from_utf8_lossy(&self.unread).into_owned();
            assert!(self.read_more(), "closed within a head: {so_far:?}");
        }
    }

    /// Waits for the server to close the connection; panics if it sends anything first.
    pub fn closed(&mut self) {
        let more = self.read_more();
        assert!(!more && self.unread.is_empty(), "got {:?}", String::from_utf8_lossy(&self.unread));
    }

    /// Whether the server has sent nothing so far; does not wait.
    pub fn is_silent(&mut self) -> bool {
        self.stream.set_nonblocking(true).expect("a TCP socket has this mode");
        let mut byte = [0];
        let peeked = self.stream.peek(&mut byte);
        self.stream.set_nonblocking(false).expect("a TCP socket has this mode");
        self.unread.is_empty() && peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// False at the end of the stream, which a reset is too.
    fn read_more(&mut self) -> bool {
        let mut chunk = [0; 16 * 1024];
        let read = match &mut self.tls {
            Some(tls) => rustls::Stream::new(tls, &mut self.stream).read(&mut chunk),
            None => self.stream.read(&mut chunk),
        };
        match read {
            Ok(count) => {
                self.unread.extend_from_slice(&chunk[..count]);
                count > 0
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("no answer within {PATIENCE:?}: {error}"),
        }
    }
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().skip(1).find_map(|line| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
