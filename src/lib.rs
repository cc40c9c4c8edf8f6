//! Queen: a message queue server on PostgreSQL, one core at a time.
//!
//! The rooms, from the wire inwards: `http` speaks HTTP/1.1 and knows no route; `api` turns
//! requests into operations and results into answers; `queue` owns batches, dispatch and the
//! promises; `auth` says who sends a request; `buffer` keeps pushes on the disk while they cannot be stored; `metrics` counts; `pg` is the only room with SQL; `runtime` is the only room that names glommio.
//! Nothing imports a room to its left.

pub mod api;
pub mod auth;
pub mod buffer;
pub mod config;
pub mod data_dir;
pub mod embedded;
pub mod encryption;
pub mod http;
pub mod ids;
pub mod logging;
pub mod maintenance;
pub mod metrics;
pub mod pg;
pub mod preflight;
pub mod queue;
pub mod queue_options;
pub mod runtime;
pub mod server;
pub mod signals;
pub mod start;
