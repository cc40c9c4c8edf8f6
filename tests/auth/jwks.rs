//! Somebody who serves a JWK set, and can be told to fail.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::{Value, json};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::harness::certificates::Issued;

const FAILURE: &str = "503 Service Unavailable\r\n";

/// Serves on a thread until the test ends.
pub struct Provider {
    address: SocketAddr,
    scheme: &'static str,
    state: Arc<State>,
}

struct State {
    /// The status line and more fields, and the document; `None` ends each connection at once.
    answer: Mutex<Option<(String, String)>>,
    asked: AtomicUsize,
}

impl Provider {
    pub fn start() -> Self {
        Self::with("http", None)
    }

    pub fn over_tls(certificate: &Issued) -> Self {
        Self::with("https", Some(certificate.server()))
    }

    fn with(scheme: &'static str, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let answer = Mutex::new(Some((FAILURE.to_owned(), String::new())));
        let state = Arc::new(State { answer, asked: AtomicUsize::new(0) });
        let provider = Self { address, scheme, state: Arc::clone(&state) };
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let answer = state.answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let Some(answer) = answer else { continue };
                // A client that does not listen is its own trouble.
                let _ = match &tls {
                    None => state.answer(stream, &answer),
                    Some(config) => {
                        let tls = ServerConnection::new(Arc::clone(config)).expect("it has a key");
                        state.answer(StreamOwned::new(tls, stream), &answer)
                    }
                };
            }
        });
        provider
    }

    pub fn serve(&self, keys: &[Value]) {
        self.set(Some(("200 OK\r\n".to_owned(), json!({ "keys": keys }).to_string())));
    }

    pub fn fail(&self) {
        self.set(Some((FAILURE.to_owned(), String::new())));
    }

    pub fn redirect(&self, url: &str) {
        self.set(Some((format!("302 Found\r\nLocation: {url}\r\n"), String::new())));
    }

    /// Takes connections and ends them.
    pub fn leave(&self) {
        self.set(None);
    }

    fn set(&self, answer: Option<(String, String)>) {
        *self.state.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    pub fn url(&self) -> String {
        format!("{}://{}/keys", self.scheme, self.address)
    }

    /// How often the document was asked for.
    pub fn asked(&self) -> usize {
        self.state.asked.load(Ordering::SeqCst)
    }
}

impl State {
    fn answer(
        &self,
        mut stream: impl Read + Write,
        (head, body): &(String, String),
    ) -> std::io::Result<()> {
        let mut request = Vec::new();
        let mut piece = [0; 1024];
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read(&mut piece)? {
                0 => return Ok(()),
                count => request.extend_from_slice(&piece[..count]),
            }
        }
        self.asked.fetch_add(1, Ordering::SeqCst);
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {head}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )?;
        stream.flush()
    }
}
