//! The core that does what nobody waits for. It has no listener and takes no request.
//!
//! For now that is talking to the other servers of the database.

mod peers;

pub use peers::Peers;
