//! Options that are settings, and where the settings come from.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use eschaton_node::{Layers, NodeConfig, SettingError, Settings};

/// Each option but `--config` is the setting of its name.
#[derive(Args, Debug)]
pub(crate) struct SettingsArgs {
    /// Configuration file (TOML)
    #[arg(long, env = "ESCHATON_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Services to run, separated by commas: gossip-ingress, conflict-resolver, merkle-prover,
    /// timestamp-aggregator, query; all unless given. Fewer than all need a cluster's engines
    #[arg(long, visible_alias = "services", value_name = "NAMES")]
    service: Option<String>,
    /// Everything that the node keeps is under this directory; it is made if need be
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Directory of the node's key [default: the data directory]
    #[arg(long, value_name = "DIR")]
    keys_dir: Option<String>,
    /// Address of the gRPC services; port 0 picks a free one [default: 127.0.0.1:7373]
    #[arg(long, value_name = "ADDRESS")]
    grpc: Option<String>,
    /// Address of the Prometheus endpoint; port 0 picks a free one [default: 127.0.0.1:7374]
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<String>,
    /// Address of the timestamps' HTTP calendar; port 0 picks a free one [default: 127.0.0.1:7375, or a free port
    /// where that is taken]
    #[arg(long, value_name = "ADDRESS")]
    calendar: Option<String>,
    /// The calendar's address as its clients know it; every pending proof carries it [default: where it listens]
    #[arg(long, value_name = "URL")]
    calendar_url: Option<String>,
    /// host:port at which the cluster's other processes reach this one's gRPC [default: --grpc]
    #[arg(long, value_name = "ADDRESS")]
    advertise: Option<String>,
    /// The ledger to serve: main, test or dev; fixed at first start. On dev the node issues coins on request
    /// [default: dev]
    #[arg(long)]
    network: Option<String>,
    /// Shards of the ledger, 1 to 256; fixed at first start [default: 4]
    #[arg(long)]
    shards: Option<String>,
    /// Conflict window in milliseconds, 0 to 60000; 0 accepts the first of two contenders at once [default: 0]
    #[arg(long)]
    window_ms: Option<String>,
    /// Address that may issue the native coin; needed on main and test
    #[arg(long, value_name = "ADDRESS")]
    native_issuer: Option<String>,
    /// Origin line of the node's checkpoints, usually a host name and a path; fixed at first start [default:
    /// eschaton.local/dev]
    #[arg(long)]
    origin: Option<String>,
    /// Most transactions taken and not decided, 16 to 1000000; above it clients are told when to come again
    /// [default: 16384]
    #[arg(long)]
    undecided_max: Option<String>,
    /// Shortest time between two checkpoints in milliseconds, 10 to 60000 [default: 100]
    #[arg(long)]
    checkpoint_ms: Option<String>,
    /// Node of the chain that carries anchors: http://user:password@host:port; bitcoin_rpc_file or
    /// --bitcoin-rpc-cookie keep the login off the command line [default: on dev a private chain in this process]
    #[arg(long, value_name = "URL")]
    bitcoin_rpc: Option<String>,
    /// File with that node's login, user:password: its cookie, or a secret
    #[arg(long, value_name = "FILE")]
    bitcoin_rpc_cookie: Option<String>,
    /// Which chain that is: bitcoin, bitcoin-testnet3, bitcoin-testnet4, bitcoin-regtest, litecoin,
    /// litecoin-testnet4, litecoin-regtest [default: by --network]
    #[arg(long, value_name = "NAME")]
    chain: Option<String>,
    /// Address at which a private chain answers JSON-RPC [default: 127.0.0.1:0]
    #[arg(long, value_name = "ADDRESS")]
    chain_rpc: Option<String>,
    /// How often a private chain mines while an anchor waits for a block, in milliseconds; 0 on demand alone
    /// [default: 10000]
    #[arg(long)]
    mine_ms: Option<String>,
    /// Least time between two anchors in milliseconds [default: 600000, on a private chain 5000]
    #[arg(long)]
    anchor_interval_ms: Option<String>,
    /// Blocks within which an anchor should confirm, 1 to 1008 [default: 6]
    #[arg(long)]
    anchor_fee_target: Option<String>,
    /// Most that an anchor pays, satoshi for a virtual byte, 1 to 5000 [default: 100]
    #[arg(long)]
    anchor_fee_cap: Option<String>,
    /// Blocks after which an anchor is final, 1 to 100 [default: 6]
    #[arg(long)]
    anchor_confirmations: Option<String>,
    /// Calendars that stamp every anchor's root, beside the chain or instead of it: http://host:port, with commas between
    /// several; without --bitcoin-rpc there is no private chain then
    #[arg(long, value_name = "URL,...")]
    anchor_upstream: Option<String>,
    /// How often they are asked for a proof that they promised, ms [default: 60000]
    #[arg(long)]
    upstream_ask_ms: Option<String>,
    /// Height below which nobody paid the anchors' wallet [default: 0]
    #[arg(long)]
    wallet_birthday: Option<String>,
    /// Collector of traces (OTLP over gRPC), for example http://127.0.0.1:4317; off unless given
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    otlp: Option<String>,
    /// Trace every n-th submission; 0 traces only those whose caller asks for it (traceparent) [default: 0]
    #[arg(long)]
    trace_one_in: Option<String>,
    /// Log filter, for example info,gossip_ingress=debug [default: warn]
    #[arg(long, env = "RUST_LOG", value_name = "FILTER")]
    log: Option<String>,
}

impl SettingsArgs {
    /// File, environment and options together.
    pub(crate) fn layers(&self) -> Result<Layers, SettingError> {
        let mut layers = Layers::default();
        if let Some(path) = &self.config {
            layers.file(path)?;
        }
        layers.environment(std::env::vars().filter(|(name, _)| name != "ESCHATON_CONFIG"));
        for (key, value) in [
            ("services", &self.service),
            ("data_dir", &self.data_dir),
            ("keys_dir", &self.keys_dir),
            ("grpc", &self.grpc),
            ("metrics", &self.metrics),
            ("calendar", &self.calendar),
            ("calendar_url", &self.calendar_url),
            ("advertise", &self.advertise),
            ("network", &self.network),
            ("shards", &self.shards),
            ("window_ms", &self.window_ms),
            ("native_issuer", &self.native_issuer),
            ("origin", &self.origin),
            ("undecided_max", &self.undecided_max),
            ("checkpoint_ms", &self.checkpoint_ms),
            ("bitcoin_rpc", &self.bitcoin_rpc),
            ("bitcoin_rpc_cookie", &self.bitcoin_rpc_cookie),
            ("chain", &self.chain),
            ("chain_rpc", &self.chain_rpc),
            ("mine_ms", &self.mine_ms),
            ("anchor_interval_ms", &self.anchor_interval_ms),
            ("anchor_fee_target", &self.anchor_fee_target),
            ("anchor_fee_cap", &self.anchor_fee_cap),
            ("anchor_confirmations", &self.anchor_confirmations),
            ("anchor_upstream", &self.anchor_upstream),
            ("upstream_ask_ms", &self.upstream_ask_ms),
            ("wallet_birthday", &self.wallet_birthday),
            ("otlp", &self.otlp),
            ("trace_one_in", &self.trace_one_in),
            ("log", &self.log),
        ] {
            if let Some(value) = value {
                layers.option(key, value);
            }
        }
        Ok(layers)
    }

    /// True for `--data-dir` without a configuration file.
    pub(crate) fn names_only_a_directory(&self) -> bool {
        self.config.is_none() && self.data_dir.is_some()
    }

    /// The settings and what they make; every mistake in one message.
    pub(crate) fn read(&self) -> anyhow::Result<(Settings, NodeConfig)> {
        self.read_by(Settings::node)
    }

    /// As [`SettingsArgs::read`], for a process that runs services.
    pub(crate) fn read_to_run(&self) -> anyhow::Result<(Settings, NodeConfig)> {
        self.read_by(Settings::runnable)
    }

    fn read_by(
        &self,
        node: impl Fn(&Settings, &Layers) -> Result<NodeConfig, Vec<SettingError>>,
    ) -> anyhow::Result<(Settings, NodeConfig)> {
        let layers = self.layers()?;
        let settings = layers.settings()?;
        let config = node(&settings, &layers).map_err(|wrong| {
            let lines: Vec<String> = wrong.iter().map(ToString::to_string).collect();
            anyhow!(lines.join("; "))
        })?;
        Ok((settings, config))
    }
}
