//! Lines: written when messages are pushed, found again when they are delivered.

use criterion::Throughput;
use queen::queue::line;

use super::measure::Measure;
use super::samples::{Ids, MANY, count, payload};

pub fn measure(measure: &mut Measure) {
    let payloads: Vec<String> = (0..MANY).map(payload).collect();
    for (ids, kind) in Ids::ALL {
        let ids_of: Vec<Option<String>> = (0..MANY).map(|n| kind.id(n)).collect();
        let mut out = Vec::new();
        measure.piece(
            "line",
            &format!("write 100{ids}"),
            Throughput::Elements(count(MANY)),
            || {
                out.clear();
                for (payload, id) in payloads.iter().zip(&ids_of) {
                    line::write(&mut out, id.as_deref(), None, line::Origin::default(), payload);
                }
                out.len()
            },
        );
    }
    let body = segment(MANY);
    measure.piece("line", "split a segment of 100", Throughput::Bytes(count(body.len())), || {
        line::lines(&body).filter(|line| line::held(line).transaction_id).count()
    });
}

/// The body of a segment.
pub fn segment(messages: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for n in 0..messages {
        if n > 0 {
            body.push(b'\n');
        }
        line::write(
            &mut body,
            Ids::Texts.id(n).as_deref(),
            None,
            line::Origin::default(),
            &payload(n),
        );
    }
    body
}
