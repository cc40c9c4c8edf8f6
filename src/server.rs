//! Stands where the server will be, so that the shell around it can be built.

use crate::config::Config;
use crate::start::StartError;

/// The running cores.
pub struct Server {
    _private: (),
}

/// What a migration changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    pub from: i32,
    pub to: i32,
}

impl Server {
    pub fn start(
        _config: &Config,
        _database: &tokio_postgres::Config,
        _description: &str,
    ) -> Result<Server, StartError> {
        Err(StartError::Core { core: 0, reason: "there is no server in this build".to_owned() })
    }

    pub fn stop(self) {
        let Server { _private: () } = self;
    }
}

pub fn migrate(
    _config: &Config,
    _database: &tokio_postgres::Config,
) -> Result<Migrated, StartError> {
    Err(StartError::Core { core: 0, reason: "there is no server in this build".to_owned() })
}
