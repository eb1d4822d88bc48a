//! The command line as a whole. Each command's own options stand beside what it does.

use clap::{Parser, Subcommand};

#[cfg(feature = "cluster")]
use crate::commands::cluster;
use crate::commands::{
    anchor, chain, checkpoint, config, pay, prove, stamp, status, transfer, tx, verify, wallet,
};
use crate::run;
use crate::session::NodeArgs;

/// Eschaton: a money's node, wallet and light client in one program.
///
/// Amounts are units; with the suffix `coins` they are coins of 10^9 units: 1500000000 and 1.5coins are
/// the same. In JSON, amounts are strings of units, transaction ids are 64 hexadecimal digits, outpoints
/// are `txid:index`, times are milliseconds since 1970.
#[derive(Parser, Debug)]
#[command(
    name = "eschaton",
    version,
    propagate_version = true,
    after_help = "Examples:\n  eschaton run --data-dir ./data\n  eschaton wallet new\n  eschaton wallet receive --amount 10coins\n  eschaton pay desc1... 1.5coins\n\nExit status: 0 done, 1 failed (one line on standard error says why), 2 wrong usage, 3 a timestamp is pending."
)]
pub(crate) struct Cli {
    /// One JSON object for each line of standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    #[command(subcommand)]
    pub(crate) task: Task,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub(crate) enum Task {
    /// Run a node, or some of its services
    Run(Box<run::RunArgs>),
    /// Check or show the configuration
    Config(Box<config::ConfigCommand>),
    /// Write everything of a stopped node or cluster into a directory
    Export(Box<transfer::ExportArgs>),
    /// Put an export into empty engines, and compare every row
    Import(Box<transfer::ImportArgs>),
    /// Check a timestamp, a proof without any node, or a ledger's rows and trees against its log
    Verify(Box<verify::VerifyCommand>),
    /// Make a cluster's topics and tables, or bring them up to this version
    #[cfg(feature = "cluster")]
    Migrate(Box<cluster::MigrateArgs>),
    /// Look at a cluster whole
    #[cfg(feature = "cluster")]
    Cluster(Box<cluster::ClusterCommand>),
    #[command(flatten)]
    Client(Box<ClientTask>),
}

/// What to do as a node's client.
#[derive(Subcommand, Debug)]
pub(crate) enum ClientTask {
    /// Make a wallet, look into it, receive
    Wallet(wallet::WalletCommand),
    /// Pay from the wallet; never pays twice, whatever crashes
    Pay(pay::PayArgs),
    /// Hand in, show and watch transactions
    Tx(tx::TxCommand),
    /// Fetch a proof and check it at once
    Prove(prove::ProveCommand),
    /// Fetch and check a checkpoint, the latest or by number
    Checkpoint(checkpoint::CheckpointArgs),
    /// The wallet that pays for anchors, and the anchors themselves
    Anchor(anchor::AnchorCommand),
    /// Hashes of recent blocks: data that includes one existed after it
    Beacon(chain::BeaconArgs),
    /// The chain that carries the anchors
    Chain(chain::ChainCommand),
    /// Timestamp files: a standard .ots proof beside each
    Stamp(stamp::StampArgs),
    /// What the node is and how it fares
    Status(status::StatusArgs),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_is_consistent_and_every_command_has_an_example() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        let mut open = vec![command];
        while let Some(command) = open.pop() {
            let mut leaves = command.get_subcommands().filter(|one| one.get_name() != "help").peekable();
            if leaves.peek().is_none() {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Example") && help.contains("eschaton "), "{}", command.get_name());
            }
            open.extend(leaves.cloned());
        }
    }

    #[test]
    fn lines_of_the_manual_parse() {
        let txid = "ab".repeat(32);
        for line in [
            "eschaton --node http://127.0.0.1:9 wallet new".to_owned(),
            "eschaton wallet new --wallet w.json --network dev".to_owned(),
            "eschaton wallet --wallet w.json address --new --json".to_owned(),
            "eschaton wallet address --all".to_owned(),
            "eschaton wallet balance".to_owned(),
            "eschaton wallet history".to_owned(),
            "eschaton wallet receive --amount 10coins".to_owned(),
            "eschaton pay desc1xyz 1.5coins --fee 10 --not-before +5m --not-after 2030-01-01T00:00:00Z --spend-delay-ms 5 --memo hello --aggregate --watch".to_owned(),
            "eschaton pay --resume".to_owned(),
            format!("eschaton pay --forget {txid}"),
            "eschaton tx submit -".to_owned(),
            format!("eschaton tx show {txid}"),
            "eschaton tx watch".to_owned(),
            format!("eschaton tx watch {txid} {txid}"),
            format!("eschaton prove inclusion {txid} --out p.bin"),
            format!("eschaton prove output {txid}:3"),
            "eschaton prove consistency 7".to_owned(),
            format!("eschaton verify inclusion {txid} --proof p.bin --key k"),
            format!("eschaton verify output {txid}:0 --proof p.bin"),
            "eschaton verify consistency --proof p.bin".to_owned(),
            "eschaton verify a.pdf.ots b.ots --headers h.bin --headers-from 800000 --json".to_owned(),
            "eschaton verify a.ots --document b --bitcoin-rpc http://127.0.0.1:8332 --bitcoin-rpc-cookie c --chain bitcoin-testnet4 --upgrade --write --strict".to_owned(),
            "eschaton checkpoint".to_owned(),
            "eschaton checkpoint 3 --json".to_owned(),
            "eschaton anchor address --new".to_owned(),
            "eschaton anchor balance --json".to_owned(),
            "eschaton anchor list".to_owned(),
            "eschaton anchor bump 3 --fee 12.5".to_owned(),
            "eschaton beacon --blocks 3 --json".to_owned(),
            "eschaton chain mine 6".to_owned(),
            "eschaton run --data-dir d --bitcoin-rpc http://u:p@127.0.0.1:8332 --chain bitcoin --anchor-fee-cap 50".to_owned(),
            "eschaton stamp a.pdf ./papers --json".to_owned(),
            "eschaton status".to_owned(),
            "eschaton run --service merkle-prover,query --config c.toml --grpc 127.0.0.1:0 --json".to_owned(),
            "eschaton config check --config c.toml".to_owned(),
            "eschaton config show --window-ms 5".to_owned(),
            "eschaton export --data-dir d --to e --with-keys".to_owned(),
            "eschaton import --config c.toml --from e --json".to_owned(),
            "eschaton verify state --data-dir d --from-changes --scratch s --json".to_owned(),
        ] {
            assert!(parse(&line).is_ok(), "{line}: {}", parse(&line).unwrap_err());
        }
    }

    #[test]
    fn mistakes_are_refused() {
        for (line, kind) in [
            ("eschaton pay desc1xyz", ErrorKind::MissingRequiredArgument),
            ("eschaton pay desc1xyz 1.5", ErrorKind::ValueValidation),
            ("eschaton pay desc1xyz -5", ErrorKind::UnknownArgument),
            ("eschaton pay --resume desc1xyz 5", ErrorKind::ArgumentConflict),
            ("eschaton tx show xyz", ErrorKind::ValueValidation),
            ("eschaton prove output xyz", ErrorKind::ValueValidation),
            ("eschaton wallet new --network moon", ErrorKind::ValueValidation),
            ("eschaton wallet new --passphrase secret", ErrorKind::UnknownArgument),
            ("eschaton export --data-dir d", ErrorKind::MissingRequiredArgument),
            ("eschaton status --timeout 0", ErrorKind::ValueValidation),
            ("eschaton verify", ErrorKind::MissingRequiredArgument),
            ("eschaton verify a.ots --write", ErrorKind::MissingRequiredArgument),
            (
                "eschaton verify a.ots --headers h --bitcoin-rpc http://127.0.0.1:1",
                ErrorKind::ArgumentConflict,
            ),
        ] {
            assert_eq!(parse(line).unwrap_err().kind(), kind, "{line}");
        }
    }
}
