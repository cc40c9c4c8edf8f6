//! Requests: from received bytes to a head and a body.

use criterion::Throughput;
use queen::http::{Limits, Request, RequestParser, Step};

use super::measure::Measure;
use super::samples::{Ids, MANY, count, push_body};

const FIELDS: &str = "Host: queen.internal:6632\r\nUser-Agent: queen-client/1.0\r\n\
    Accept: application/json\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n";

pub fn measure(measure: &mut Measure) {
    let pop = format!(
        "GET /api/v1/pop/queue/orders?batch=100&consumerGroup=billing&wait=true HTTP/1.1\r\n{FIELDS}\r\n"
    );
    piece(measure, "GET pop", pop.as_bytes());
    for (name, items) in [("POST push 1", 1), ("POST push 100", MANY)] {
        let body = push_body(items, Ids::Derived);
        let head = format!(
            "POST /api/v1/push HTTP/1.1\r\n{FIELDS}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        piece(measure, name, &[head.as_bytes(), &body].concat());
    }
    let mut chunked = format!(
        "POST /api/v1/push HTTP/1.1\r\n{FIELDS}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    for chunk in push_body(MANY, Ids::Derived).chunks(4096) {
        chunked.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        chunked.extend_from_slice(chunk);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    piece(measure, "POST push 100 chunked", &chunked);
}

/// Each call copies the request into the buffer, as a read does: chunks are joined in place.
fn piece(measure: &mut Measure, name: &str, request: &[u8]) {
    let mut parser = RequestParser::new(Limits::default());
    let mut received = request.to_vec();
    measure.piece("http", name, Throughput::Bytes(count(request.len())), || {
        received.copy_from_slice(request);
        let Ok(Step::Complete(parsed)) = parser.step(&mut received) else {
            panic!("the sample is a whole request");
        };
        parser.reset();
        Request::new(&parsed, &received).body().len()
    });
}
