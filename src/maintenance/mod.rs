//! The core that does what nobody waits for: it talks to the other servers of the database and
//! does the chores and the errands of operators. It has no listener and takes no request.

mod chores;
mod early_groups;
mod errands;
mod migration;
mod peers;
mod shared_leases;

use crate::pg::ConnectSettings;
use crate::queue::{Message, Notice};
use crate::runtime;
use crate::runtime::mailbox::{self, Address, Mailbox};

use peers::Peers;

/// Runs until it is told to stop. Unless the schema is `migrated`, that is done when the database
/// is there.
pub async fn run(
    settings: ConnectSettings,
    cores: Vec<Address<Message>>,
    notices: Mailbox<Notice>,
    migrated: bool,
) {
    if !migrated {
        runtime::spawn(migration::run(settings.clone()));
    }
    runtime::spawn(chores::run(settings.clone()));
    let (errands, asked) = mailbox::mailbox();
    runtime::spawn(errands::run(settings.clone(), asked));
    Peers::run(settings, cores, notices, errands).await;
}
