//! Times of the hot path's pieces, and how often each allocates: `cargo bench --bench hot`.
//!
//! One piece for each step that a payload takes between a socket and a batch, and back. No piece
//! waits for anything, so what differs between two runs is the code or the machine. Deliveries are made
//! of rows as PostgreSQL sends them, so they are not here: the tables of `benches/table` show them whole.

mod ack;
mod allocations;
mod envelope;
mod http;
mod line;
mod measure;
mod metrics;
mod push;
mod samples;

use measure::Measure;

fn main() {
    let mut measure = Measure::new();
    http::measure(&mut measure);
    envelope::measure(&mut measure);
    line::measure(&mut measure);
    push::measure(&mut measure);
    ack::measure(&mut measure);
    metrics::measure(&mut measure);
    measure.finish();
}
