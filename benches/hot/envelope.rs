//! Bodies: from JSON to items that borrow from it.

use criterion::Throughput;
use queen::api::envelope;

use super::measure::Measure;
use super::samples::{ITEMS_MAX, Ids, MANY, count, push_body};

pub fn measure(measure: &mut Measure) {
    for items in [1, MANY] {
        for (ids, kind) in Ids::ALL {
            let body = push_body(items, kind);
            let name = format!("push {items}{ids}");
            measure.piece("envelope", &name, Throughput::Bytes(count(body.len())), || {
                envelope::push(&body, ITEMS_MAX).expect("the sample is a push").len()
            });
        }
    }
}
