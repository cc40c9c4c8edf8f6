//! Somebody who serves a JWK set, and can be told to fail.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::{Value, json};

/// Serves on a thread until the test ends.
pub struct Provider {
    address: SocketAddr,
    /// The document; `None` answers 503.
    document: Arc<Mutex<Option<String>>>,
    asked: Arc<AtomicUsize>,
}

impl Provider {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let document = Arc::default();
        let asked = Arc::default();
        let provider = Self { address, document: Arc::clone(&document), asked: Arc::clone(&asked) };
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                asked.fetch_add(1, Ordering::SeqCst);
                let document = document.lock().unwrap_or_else(PoisonError::into_inner).clone();
                // A client that does not listen is its own trouble.
                let _ = answer(stream, document.as_deref());
            }
        });
        provider
    }

    pub fn serve(&self, keys: &[Value]) {
        self.set(Some(json!({ "keys": keys }).to_string()));
    }

    pub fn fail(&self) {
        self.set(None);
    }

    fn set(&self, document: Option<String>) {
        *self.document.lock().unwrap_or_else(PoisonError::into_inner) = document;
    }

    pub fn url(&self) -> String {
        format!("http://{}/keys", self.address)
    }

    /// How often the document was asked for.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn answer(mut stream: TcpStream, document: Option<&str>) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut piece)? {
            0 => return Ok(()),
            count => request.extend_from_slice(&piece[..count]),
        }
    }
    let (status, body) = match document {
        Some(document) => ("200 OK", document),
        None => ("503 Service Unavailable", ""),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}
