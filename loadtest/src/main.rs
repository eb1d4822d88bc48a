//! `eschaton-loadtest`: a real client over loopback gRPC against a node in a process of its own, and
//! the machine's bound measured in the same run.

#![allow(clippy::disallowed_methods, reason = "measures real time")]

mod anew;
mod bound;
mod closed;
#[cfg(feature = "cluster")]
mod cluster;
mod contend;
mod contest;
#[cfg(feature = "cluster")]
mod faults;
mod kills;
mod live;
mod lookup;
mod node;
mod open;
mod plot;
mod process;
mod report;
mod scenario;
mod stamps;
mod workload;

use clap::{Parser, Subcommand};

// The node under test runs with the allocator of the node in production.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "eschaton-loadtest", version, about = "Load tests of an Eschaton supernode on this machine")]
struct Cli {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Subcommand)]
enum Scenario {
    /// Payments of 1 input and 2 outputs between distinct owners: the most that is accepted (closed
    /// loop), latency at half of it (open loop), goodput at three times of it
    Payments(scenario::PaymentsArgs),
    /// kill -9 at random moments under load: nothing acknowledged is lost, nothing is spent twice, and
    /// the store equals a replay of the log
    Kills(kills::KillsArgs),
    /// Two payments of one output at once over different connections: exactly one is accepted
    Contend(contend::ContendArgs),
    /// Digests to be timestamped: over HTTP with connections that stay and with new ones, in batches over gRPC; then
    /// kill -9, and every digest of a sample has the place that it was acknowledged with
    Stamps(stamps::StampsArgs),
    /// Payments through services in processes of their own, over Kafka and Cassandra that run already, and
    /// what these engines take by themselves
    #[cfg(feature = "cluster")]
    Cluster(cluster::ClusterArgs),
    /// A cluster whose processes and engines are killed, stopped and restarted under load: nothing
    /// acknowledged is lost, nothing is spent twice, and the store equals a replay of the log
    #[cfg(feature = "cluster")]
    Faults(faults::FaultsArgs),
    /// The machine's bound alone: BIP 340 verifications per second on all cores
    Bound,
    /// The node under test, in a process of its own (started by the other scenarios)
    #[command(hide = true)]
    Node(node::NodeArgs),
    /// Some services of a cluster, in a process of their own (started by the other scenarios)
    #[cfg(feature = "cluster")]
    #[command(hide = true)]
    Service(cluster::ServiceArgs),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().scenario {
        Scenario::Payments(args) => runtime()?.block_on(scenario::payments(args)),
        Scenario::Kills(args) => runtime()?.block_on(kills::run(args)),
        Scenario::Contend(args) => runtime()?.block_on(contend::run(args)),
        Scenario::Stamps(args) => runtime()?.block_on(stamps::run(args)),
        Scenario::Bound => {
            println!("{:.0} BIP 340 verifications/s on {} cores", bound::verifications_per_s(3.0)?, cores());
            Ok(())
        }
        Scenario::Node(args) => runtime()?.block_on(node::serve(args)),
        #[cfg(feature = "cluster")]
        Scenario::Cluster(args) => runtime()?.block_on(cluster::run(args)),
        #[cfg(feature = "cluster")]
        Scenario::Faults(args) => runtime()?.block_on(faults::run(args)),
        #[cfg(feature = "cluster")]
        Scenario::Service(args) => runtime()?.block_on(cluster::serve(args)),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
