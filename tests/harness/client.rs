//! A blocking HTTP client that keeps its connections, and the verbs of the protocol over it.
//!
//! A status is data here, never an error: what a test expects it asserts itself. The verbs
//! ([`Client::push`], [`Client::pop`], ...) assert the status of the good case.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use ureq::Agent;
use ureq::http::{HeaderMap, Request};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::{Authority, PATIENCE};

/// Far above the largest body that a test asks for.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// A message as a pop sends it.
pub type Message = Value;

/// What came back for one request.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("headers here are ASCII"))
    }

    /// Asserts the status and gives the body as JSON.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.json()
    }

    /// Asserts an error with this status and code, and gives its text.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> String {
        let body = self.expect(status);
        assert_eq!(body["code"], code, "{body}");
        text(&body["error"]).to_owned()
    }
}

/// One agent with its own connections.
pub struct Client {
    agent: Agent,
    base: String,
    /// Sent with every request.
    authorization: Option<String>,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self::with(TlsConfig::default(), format!("http://{address}"))
    }

    /// Over TLS, to a server whose certificate is of this authority.
    pub fn over_tls(address: SocketAddr, authority: &Authority) -> Self {
        let root = Certificate::from_der(authority.der()).to_owned();
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&[root]))
            .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
            .build();
        Self::with(tls, format!("https://{address}"))
    }

    fn with(tls: TlsConfig, base: String) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE * 3))
            .proxy(None)
            .tls_config(tls)
            .build();
        Self { agent: config.into(), base, authorization: None }
    }

    /// The same with this token in every request.
    #[must_use]
    pub fn bearing(self, token: &str) -> Self {
        Self { authorization: Some(format!("Bearer {token}")), ..self }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], None)
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[], Some(&body.to_string()))
    }

    /// Posts text as it stands, which need not be JSON.
    pub fn post_text(&self, path: &str, body: &str) -> Answer {
        self.send("POST", path, &[], Some(body))
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], None)
    }

    /// Any method, any headers; no body is sent when there is none.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Answer {
        let answer = self.try_send(method, path, headers, body);
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// The same for a server that may be killed meanwhile.
    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Result<Answer, ureq::Error> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let answer = match body {
            Some(body) => {
                let request = request.header("Content-Type", "application/json");
                self.agent.run(request.body(body.to_owned()).expect("the parts are valid"))
            }
            None => self.agent.run(request.body(()).expect("the parts are valid")),
        };
        let mut answer = answer?;
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string()?;
        Ok(Answer { status: answer.status().as_u16(), headers: answer.headers().clone(), body })
    }

    /// Makes a queue with these options and gives the answer.
    #[track_caller]
    pub fn configure(&self, queue: &str, options: &Value) -> Value {
        let body = json!({ "queue": queue, "options": options });
        let answer = self.post("/api/v1/configure", &body).expect(200);
        assert_eq!(answer["configured"], true, "{answer}");
        answer
    }

    /// Pushes items and gives the elements of the answer, one for each.
    #[track_caller]
    pub fn push(&self, items: &Value) -> Vec<Value> {
        let answer = self.post("/api/v1/push", &json!({ "items": items })).expect(201);
        let answer = elements(answer);
        assert_eq!(answer.len(), items.as_array().expect("items are an array").len());
        answer
    }

    /// Pushes payloads to one partition in one request; all must be queued.
    #[track_caller]
    pub fn push_all<T: Into<Value>>(
        &self,
        queue: &str,
        partition: &str,
        payloads: impl IntoIterator<Item = T>,
    ) -> Vec<Value> {
        let items = payloads.into_iter().map(|payload| {
            let payload = payload.into();
            json!({ "queue": queue, "partition": partition, "payload": payload })
        });
        let answer = self.push(&Value::Array(items.collect()));
        for element in &answer {
            assert_eq!(element["status"], "queued", "{element}");
        }
        answer
    }

    /// Pushes one payload, which must be queued.
    #[track_caller]
    pub fn push_one(&self, queue: &str, partition: &str, payload: impl Into<Value>) -> Value {
        self.push_all(queue, partition, [payload.into()]).remove(0)
    }

    /// Pops from any partition; `query` is what follows the question mark. Empty when 204.
    #[track_caller]
    /// The queue `q`, the group and its place in the partition `p` exist, and one message waits.
    pub fn leave_one(&self) {
        self.push_one("q", "p", 0);
        let first = self.pop("q", "");
        self.complete_all(&first);
        self.push_one("q", "p", 1);
    }

    pub fn pop(&self, queue: &str, query: &str) -> Vec<Message> {
        self.pop_path(&format!("/api/v1/pop/queue/{}?{query}", encode(queue)))
    }

    /// Pops from one partition.
    #[track_caller]
    pub fn pop_partition(&self, queue: &str, partition: &str, query: &str) -> Vec<Message> {
        let (queue, partition) = (encode(queue), encode(partition));
        self.pop_path(&format!("/api/v1/pop/queue/{queue}/partition/{partition}?{query}"))
    }

    #[track_caller]
    fn pop_path(&self, path: &str) -> Vec<Message> {
        let answer = self.get(path);
        if answer.status == 204 {
            assert_eq!(answer.body, "");
            return Vec::new();
        }
        let messages = elements(answer.expect(200)["messages"].take());
        assert!(!messages.is_empty(), "an empty pop is a 204: {answer:?}");
        messages
    }

    /// Acknowledges one message for the group and lease that it was delivered to.
    #[track_caller]
    pub fn ack(&self, message: &Message, status: &str) -> Value {
        let mut body = acknowledgment(message, status);
        body["consumerGroup"] = message["consumerGroup"].clone();
        self.post("/api/v1/ack", &body).expect(200)
    }

    /// Acknowledges one message, which must be accepted.
    #[track_caller]
    pub fn complete(&self, message: &Message) -> Value {
        let answer = self.ack(message, "completed");
        assert_eq!(answer["success"], true, "{answer}");
        answer
    }

    /// Acknowledges messages of one group in one request, in this order.
    #[track_caller]
    pub fn ack_batch(&self, entries: &[(&Message, &str)]) -> Vec<Value> {
        let group = entries.first().map(|(message, _)| message["consumerGroup"].clone());
        let acknowledgments =
            entries.iter().map(|(message, status)| acknowledgment(message, status));
        let acknowledgments: Vec<Value> = acknowledgments.collect();
        let body = json!({ "consumerGroup": group, "acknowledgments": acknowledgments });
        elements(self.post("/api/v1/ack/batch", &body).expect(200))
    }

    /// Completes messages in one request; each must be accepted.
    #[track_caller]
    pub fn complete_all(&self, messages: &[Message]) {
        let entries: Vec<_> = messages.iter().map(|message| (message, "completed")).collect();
        for answer in self.ack_batch(&entries) {
            assert_eq!(answer["success"], true, "{answer}");
        }
    }

    #[track_caller]
    pub fn delete_queue(&self, queue: &str) -> Value {
        self.delete(&format!("/api/v1/resources/queues/{}", encode(queue))).expect(200)
    }
}

fn acknowledgment(message: &Message, status: &str) -> Value {
    json!({
        "transactionId": message["transactionId"],
        "partitionId": message["partitionId"],
        "leaseId": message["leaseId"],
        "status": status,
    })
}

#[track_caller]
fn elements(value: Value) -> Vec<Value> {
    match value {
        Value::Array(elements) => elements,
        other => panic!("expected an array: {other}"),
    }
}

/// The string in a JSON value.
#[track_caller]
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("expected a string: {value}"))
}

/// A name as one segment of a path: RFC 3986 section 2.3, everything not unreserved is escaped.
pub fn encode(name: &str) -> String {
    name.bytes().fold(String::with_capacity(name.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a string takes everything");
        }
        encoded
    })
}
