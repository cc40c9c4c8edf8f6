//! The switches of the whole system, in `system_state`.

use super::{ConnectSettings, Error, Session};

/// Which maintenance modes are on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Switches {
    pub push: bool,
    pub pop: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    Push,
    Pop,
}

impl Switch {
    fn key(self) -> &'static str {
        match self {
            Self::Push => "maintenance_mode",
            Self::Pop => "pop_maintenance_mode",
        }
    }
}

pub async fn switches(session: &Session) -> Result<Switches, Error> {
    let rows = session.query_rare(include_str!("sql/switches.sql"), &[]).await?;
    Ok(rows
        .first()
        .map_or_else(Switches::default, |row| Switches { push: row.get(0), pop: row.get(1) }))
}

/// On a connection of its own, for a server that starts.
pub async fn switches_at_start(settings: &ConnectSettings) -> Result<Switches, Error> {
    let session = Box::pin(Session::connect(settings)).await?;
    switches(&session).await
}

pub async fn set_switch(session: &Session, switch: Switch, on: bool) -> Result<(), Error> {
    let sql = include_str!("sql/switch_set.sql");
    session.query_rare(sql, &[&switch.key(), &on]).await?;
    Ok(())
}
