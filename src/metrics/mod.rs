//! What the server counts and measures, and how it is shown.
//!
//! Each core has one [`Metrics`] of plain cells that nobody else touches: counting is an addition,
//! takes no lock and allocates nothing. When somebody asks, each core copies its cells into a
//! [`Snapshot`], the maintenance core adds them up in [`Totals`] and writes them as text
//! (`prometheus`) or JSON (`json`). Nothing here asks the database.
//!
//! A reason that is counted is an enum of `reason`, used by the code and the log as well. A histogram
//! of a queue or a group exists for so many of them (`labelled`); the rest are counted together.
//! What is stored of it, a few rows a minute, is put together in `history`.

mod counters;
mod histogram;
mod history;
mod json;
mod labelled;
mod process;
mod prometheus;
mod reason;
mod snapshot;
mod totals;

pub use counters::{GroupCells, Metrics, Parked, QueueCells};
pub use history::{Deletions, Period};
pub use reason::{
    AckOutcome, CloseReason, ConnectOutcome, Deletion, Family, Limit, PushOutcome,
    TransactionOutcome, Work,
};
pub use snapshot::{Buffered, CoreState, Snapshot};
pub use totals::{ClusterTotals, Lag, Lags, Refreshed, Scrape, Totals, View};
