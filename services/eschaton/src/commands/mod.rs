//! One module for each command.

pub(crate) mod anchor;
mod bar;
pub(crate) mod chain;
pub(crate) mod checkpoint;
#[cfg(feature = "cluster")]
pub(crate) mod cluster;
pub(crate) mod config;
mod facts;
mod files;
pub(crate) mod ots;
pub(crate) mod pay;
pub(crate) mod prove;
mod show;
pub(crate) mod stamp;
mod state;
pub(crate) mod status;
pub(crate) mod transfer;
pub(crate) mod tx;
pub(crate) mod verify;
pub(crate) mod wallet;

use crate::cli::ClientTask;
use crate::session::Session;

/// Performs a client's command.
pub(crate) async fn perform(task: ClientTask, session: &Session) -> anyhow::Result<()> {
    match task {
        ClientTask::Wallet(command) => wallet::perform(command, session).await,
        ClientTask::Pay(args) => pay::perform(args, session).await,
        ClientTask::Tx(command) => tx::perform(command, session).await,
        ClientTask::Prove(command) => prove::perform(command, session).await,
        ClientTask::Checkpoint(args) => checkpoint::perform(args, session).await,
        ClientTask::Anchor(command) => anchor::perform(command, session).await,
        ClientTask::Beacon(args) => chain::beacon(&args, session).await,
        ClientTask::Chain(command) => chain::perform(&command, session).await,
        ClientTask::Stamp(args) => stamp::perform(args, session).await,
        ClientTask::Status(_) => status::perform(session).await,
    }
}
