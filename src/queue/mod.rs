//! Queue.

mod dispatch;
mod line;
