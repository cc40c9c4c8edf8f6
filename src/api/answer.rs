//! The answer to one request, written into the connection's output buffer.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::http::Status;
use crate::http::response::{self, Connection, Options};

pub struct Answer<'a> {
    out: &'a mut Vec<u8>,
    options: Options<'static>,
    status: Option<Status>,
    /// Set when the connection is to end behind the answer, which may be while the answer is made.
    closing: Option<&'a AtomicBool>,
}

impl<'a> Answer<'a> {
    pub fn new(out: &'a mut Vec<u8>, options: Options<'static>) -> Self {
        Self { out, options, status: None, closing: None }
    }

    /// Tells the client that the connection ends, if that is so when the answer is written.
    #[must_use]
    pub fn closing(self, closing: &'a AtomicBool) -> Self {
        Self { closing: Some(closing), ..self }
    }

    pub fn allow(&mut self, methods: &'static str) {
        self.options.allow = Some(methods);
    }

    pub fn retry_after(&mut self, seconds: u32) {
        self.options.retry_after_seconds = Some(seconds);
    }

    /// For what is not JSON.
    pub fn content_type(&mut self, content_type: &'static str) {
        self.options.content_type = content_type;
    }

    /// A cache may keep the answer, and must ask before it gives it to somebody.
    pub fn no_cache(&mut self) {
        self.options.cacheable = true;
    }

    /// How the client is to say who it is, RFC 9110 section 11.6.1.
    pub fn challenge(&mut self, with: &'static [(&'static str, &'static str)]) {
        self.options.headers = with;
    }

    /// What was answered, once it was.
    pub fn status(&self) -> Option<Status> {
        self.status
    }

    /// An answer whose body `body` appends to the buffer.
    pub fn write(&mut self, status: Status, body: impl FnOnce(&mut Vec<u8>)) {
        self.status = Some(status);
        if self.closing.is_some_and(|closing| closing.load(Ordering::Acquire)) {
            self.options.connection = Connection::Closes;
        }
        let unfinished = response::begin(self.out, status, &self.options);
        body(self.out);
        response::finish(self.out, unfinished);
    }

    pub fn json(&mut self, status: Status, value: &impl Serialize) {
        self.write(status, |out| {
            serde_json::to_writer(out, value).expect("answers have string keys only");
        });
    }

    pub fn empty(&mut self, status: Status) {
        self.write(status, |_| {});
    }
}
