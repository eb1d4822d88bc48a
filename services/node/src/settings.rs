//! The configuration: a TOML file, overridden by the environment, overridden by options of the command
//! line. Every key has one name: `window_ms` in the file, `ESCHATON_WINDOW_MS` in the environment,
//! `--window-ms` as an option; keys of a section are joined by a dot, in the environment by two underscores
//! (`kafka.bootstrap`, `ESCHATON_KAFKA__BOOTSTRAP`).

mod layers;

use std::net::SocketAddr;
use std::path::PathBuf;

use eschaton_chain::{ChainKind, ConfigError, Credentials, RpcConfig};
use eschaton_ots::CalendarUri;
use eschaton_types::{Address, Network};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use layers::{Layers, Source};

use crate::anchoring::{AnchorConfig, ChainSource};
use crate::config::{EMBEDDED_SHARD_CACHE_MIB, Engines, NodeConfig, mebibytes};
use crate::services::Services;

/// Calendars above one.
const UPSTREAM_MAX: usize = 8;

/// All settings of a process, as written. [`Settings::node`] checks them.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Services that this process runs.
    pub services: Services,
    /// Address of the gRPC services; port 0 picks a free one.
    pub grpc: SocketAddr,
    /// Address of the Prometheus endpoint; port 0 picks a free one.
    pub metrics: SocketAddr,
    /// Address of the timestamps' HTTP calendar; port 0 picks a free one. 127.0.0.1:7375 unless given, or a free port
    /// where that is taken.
    pub calendar: Option<SocketAddr>,
    /// The calendar's address as its clients know it, such as `https://stamps.example.org`: every pending proof
    /// carries it. `http://` and where it listens unless given.
    pub calendar_url: Option<String>,
    /// `host:port` at which other processes of the cluster reach this one's gRPC; `grpc` unless given.
    pub advertise: Option<String>,
    /// What this process keeps is under this directory: with embedded engines everything, in a cluster only
    /// `keys_dir` unless that is given.
    pub data_dir: Option<PathBuf>,
    /// The node's key, the same wherever it is needed: merkle-prover signs with it, and gossip-ingress issues coins on
    /// dev. Other processes of a cluster need none. `data_dir` unless given.
    pub keys_dir: Option<PathBuf>,
    /// The ledger: `main`, `test` or `dev`. Fixed at first start.
    #[serde(deserialize_with = "from_text", serialize_with = "to_text")]
    pub network: Network,
    /// Shards of the ledger, 1 to 256. Fixed at first start.
    pub shards: u32,
    /// Conflict window in milliseconds, 0 to 60,000; 0 accepts the first of two contenders at once.
    pub window_ms: u64,
    /// Address that may issue the native coin; needed on `main` and `test`.
    pub native_issuer: Option<String>,
    /// Origin line of the checkpoints (C2SP tlog-checkpoint). Fixed at first start.
    pub origin: String,
    /// Most transactions taken and not decided, 16 to 1,000,000.
    pub undecided_max: u32,
    /// Shortest time between two checkpoints in milliseconds, 10 to 60,000.
    pub checkpoint_ms: u64,
    /// Calendars that stamp every anchor's root, beside the chain or instead of it: `http://host:port`, several with commas
    /// between them. With them and without `bitcoin_rpc` there is no private chain.
    pub anchor_upstream: Option<String>,
    /// How often they are asked for a proof that they promised, ms, 100 to 86,400,000.
    pub upstream_ask_ms: u64,
    /// In a cluster: how long engines that are away are waited for at the start, seconds, 0 to 86,400.
    pub engines_wait_s: u64,
    /// Memory in which the resolver of each shard keeps live outputs that it made, MiB, 0 to 4,096. Unless given 16, in a
    /// cluster 64.
    pub shard_cache_mib: Option<u32>,
    /// Least time from one turn of a shard's resolver to the next, ms, 0 to 1,000, unless it had few
    /// records. Unless given 0, in a cluster 150.
    pub shard_turn_ms: Option<u64>,
    /// Least time from one write of a shard's rows to the store to the next, ms, 0 to 2,000, unless it was
    /// small. Unless given 0, in a cluster 1,000.
    pub shard_write_ms: Option<u64>,
    /// Node of the chain that carries anchors: `http://[user:password@]host:port`. Without one a node on network dev with
    /// embedded engines has a private Bitcoin chain in its own process, and others anchor nothing.
    pub bitcoin_rpc: Option<String>,
    /// File with the login of that node, `user:password`: its cookie, or a secret. Read again when the node refuses it.
    pub bitcoin_rpc_cookie: Option<PathBuf>,
    /// Which chain that is: `bitcoin`, `litecoin`, or one of their others; by the ledger's network unless given.
    pub chain: Option<String>,
    /// Address at which a private chain answers JSON-RPC; port 0 picks a free one.
    pub chain_rpc: SocketAddr,
    /// How often a private chain mines while an anchor waits for a block, ms, at most 3,600,000; 0 on demand alone.
    pub mine_ms: u64,
    /// Least time between two anchors, ms, 1 to 86,400,000; 600,000 unless given, 5,000 on a private chain.
    pub anchor_interval_ms: Option<u64>,
    /// Blocks within which an anchor should confirm, 1 to 1,008.
    pub anchor_fee_target: u16,
    /// Most that an anchor pays, satoshi for a virtual byte, 1 to 5,000.
    pub anchor_fee_cap: u64,
    /// Blocks after which an anchor is final, its own included, 1 to 100.
    pub anchor_confirmations: u32,
    /// Height below which nobody paid the anchors' wallet; a wallet without file reads the chain from there.
    pub wallet_birthday: u32,
    /// Collector of traces (OTLP over gRPC); none unless given.
    pub otlp: Option<String>,
    /// Trace every n-th submission; 0 only those whose caller asks for it.
    pub trace_one_in: u64,
    /// Log filter.
    pub log: String,
    /// Kafka as the log; together with `cql`.
    #[cfg(feature = "cluster")]
    pub kafka: Option<eschaton_kafka::KafkaConfig>,
    /// Scylla or Cassandra as the store; together with `kafka`.
    #[cfg(feature = "cluster")]
    pub cql: Option<eschaton_cql::CqlConfig>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            services: Services::default(),
            grpc: SocketAddr::from(([127, 0, 0, 1], 7373)),
            metrics: SocketAddr::from(([127, 0, 0, 1], 7374)),
            calendar: None,
            calendar_url: None,
            advertise: None,
            data_dir: None,
            keys_dir: None,
            network: Network::Dev,
            shards: 4,
            window_ms: 0,
            native_issuer: None,
            origin: "eschaton.local/dev".to_owned(),
            undecided_max: 16_384,
            checkpoint_ms: 100,
            anchor_upstream: None,
            upstream_ask_ms: 60_000,
            engines_wait_s: 600,
            shard_cache_mib: None,
            shard_turn_ms: None,
            shard_write_ms: None,
            bitcoin_rpc: None,
            bitcoin_rpc_cookie: None,
            chain: None,
            chain_rpc: SocketAddr::from(([127, 0, 0, 1], 0)),
            mine_ms: 10_000,
            anchor_interval_ms: None,
            anchor_fee_target: 6,
            anchor_fee_cap: 100,
            anchor_confirmations: 6,
            wallet_birthday: 0,
            otlp: None,
            trace_one_in: 0,
            log: "warn".to_owned(),
            #[cfg(feature = "cluster")]
            kafka: None,
            #[cfg(feature = "cluster")]
            cql: None,
        }
    }
}

/// A setting that cannot be used: its key, its value, where it came from, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}{}: {problem}{}", shown(.value.as_ref()), from(key, .source_of.as_ref()))]
pub struct SettingError {
    /// The key as in the file.
    pub key: String,
    /// Its value, unless it is secret or absent.
    pub value: Option<String>,
    /// What is wrong and what to do.
    pub problem: String,
    /// Where the value came from, if it was set.
    pub source_of: Option<Source>,
}

fn shown(value: Option<&String>) -> String {
    value.map(|value| format!(" is {value}")).unwrap_or_default()
}

fn from(key: &str, source: Option<&Source>) -> String {
    match source {
        Some(source) => format!(" (set by {source})"),
        // Not a key but a file, or a whole section.
        None if key.contains(' ') || key == "kafka" || key == "cql" => String::new(),
        None => {
            let variable = key.to_ascii_uppercase().replace('.', "__");
            let option = match key.contains('.') {
                true => String::new(),
                false => format!("--{}, ", key.replace('_', "-")),
            };
            format!("; set {option}ESCHATON_{variable} or {key} in the configuration file")
        }
    }
}

impl Settings {
    /// What a node needs, or everything that is wrong.
    pub fn node(&self, layers: &Layers) -> Result<NodeConfig, Vec<SettingError>> {
        let mut wrong = Vec::new();
        for (key, value, least, most) in [
            ("shards", u64::from(self.shards), 1, 256),
            ("window_ms", self.window_ms, 0, 60_000),
            ("undecided_max", u64::from(self.undecided_max), 16, 1_000_000),
            ("checkpoint_ms", self.checkpoint_ms, 10, 60_000),
            ("engines_wait_s", self.engines_wait_s, 0, 86_400),
            ("shard_cache_mib", u64::from(self.shard_cache_mib.unwrap_or(0)), 0, 4_096),
            ("shard_turn_ms", self.shard_turn_ms.unwrap_or(0), 0, 1_000),
            ("shard_write_ms", self.shard_write_ms.unwrap_or(0), 0, 2_000),
            ("mine_ms", self.mine_ms, 0, 3_600_000),
            ("anchor_interval_ms", self.anchor_interval_ms.unwrap_or(1), 1, 86_400_000),
            ("upstream_ask_ms", self.upstream_ask_ms, 100, 86_400_000),
            ("anchor_fee_target", u64::from(self.anchor_fee_target), 1, 1_008),
            ("anchor_fee_cap", self.anchor_fee_cap, 1, 5_000),
            ("anchor_confirmations", u64::from(self.anchor_confirmations), 1, 100),
        ] {
            if !(least..=most).contains(&value) {
                wrong.push(layers.wrong(key, format!("it must be {least} to {most}")));
            }
        }
        let native_issuer = match &self.native_issuer {
            Some(text) => match Address::from_text(text, self.network) {
                Ok(address) => Some(address),
                Err(error) => {
                    wrong.push(layers.wrong("native_issuer", error.to_string()));
                    None
                }
            },
            None if self.network != Network::Dev => {
                let needed = format!("network {} needs the address that may issue its coin", self.network);
                wrong.push(layers.wrong("native_issuer", needed));
                None
            }
            None => None,
        };
        if let Some(url) = &self.calendar_url
            && let Err(problem) = crate::stamps::uri(url)
        {
            wrong.push(layers.wrong("calendar_url", problem));
        }
        let engines = self.engines(layers).map_err(|error| wrong.push(error)).ok();
        let chain = self.chain_source(engines.as_ref(), layers).map_err(|error| wrong.push(error)).ok();
        let upstream = self.upstream(layers).map_err(|error| wrong.push(error)).unwrap_or_default();
        let keys_dir = self.keys_dir.clone().or_else(|| self.data_dir.clone());
        let (shard_cache_mib, shard_turn_ms, shard_write_ms) = match &engines {
            Some(Engines::Embedded { .. }) | None => (EMBEDDED_SHARD_CACHE_MIB, 0, 0),
            #[cfg(feature = "cluster")]
            Some(Engines::Cluster { .. }) => {
                use crate::config::{CLUSTER_SHARD_CACHE_MIB, CLUSTER_SHARD_TURN_MS, CLUSTER_SHARD_WRITE_MS};
                (CLUSTER_SHARD_CACHE_MIB, CLUSTER_SHARD_TURN_MS, CLUSTER_SHARD_WRITE_MS)
            }
        };
        match engines.zip(chain) {
            Some((engines, chain)) if wrong.is_empty() => Ok(NodeConfig {
                anchor: self.anchor(chain, upstream),
                services: self.services.clone(),
                engines,
                keys_dir,
                grpc: self.grpc,
                calendar: self.calendar,
                calendar_url: self.calendar_url.clone(),
                advertise: self.advertise.clone(),
                network: self.network,
                shards: self.shards,
                window_ms: self.window_ms,
                native_issuer,
                origin: self.origin.clone(),
                undecided_max: usize::try_from(self.undecided_max).unwrap_or(usize::MAX),
                trace_one_in: self.trace_one_in,
                checkpoint_ms: self.checkpoint_ms,
                engines_wait_s: self.engines_wait_s,
                shard_cache_bytes: mebibytes(self.shard_cache_mib.unwrap_or(shard_cache_mib)),
                shard_turn_ms: self.shard_turn_ms.unwrap_or(shard_turn_ms),
                shard_write_ms: self.shard_write_ms.unwrap_or(shard_write_ms),
            }),
            _ => Err(wrong),
        }
    }

    /// The chain that carries anchors.
    fn chain_source(&self, engines: Option<&Engines>, layers: &Layers) -> Result<ChainSource, SettingError> {
        let Some(url) = &self.bitcoin_rpc else {
            for (key, set) in
                [("bitcoin_rpc_cookie", self.bitcoin_rpc_cookie.is_some()), ("chain", self.chain.is_some())]
            {
                if set {
                    return Err(
                        layers.wrong(key, "it says nothing without a node; set bitcoin_rpc".to_owned())
                    );
                }
            }
            let embedded = matches!(engines, Some(Engines::Embedded { .. }));
            return Ok(match embedded && self.network == Network::Dev && self.anchor_upstream.is_none() {
                true => ChainSource::Embedded { rpc: self.chain_rpc, mine_ms: self.mine_ms },
                false => ChainSource::None,
            });
        };
        let kind = match (&self.chain, self.network) {
            (Some(name), _) => {
                name.parse().map_err(|error: ConfigError| layers.wrong("chain", error.to_string()))?
            }
            (None, Network::Main) => ChainKind::Bitcoin,
            (None, Network::Test) => ChainKind::BitcoinTestnet4,
            (None, Network::Dev) => ChainKind::BitcoinRegtest,
        };
        let mut rpc =
            RpcConfig::new(kind, url).map_err(|error| layers.wrong("bitcoin_rpc", error.to_string()))?;
        if let Some(path) = &self.bitcoin_rpc_cookie {
            if !matches!(rpc.credentials, Credentials::None) {
                let twice = "bitcoin_rpc has a login as well; leave one of them out";
                return Err(layers.wrong("bitcoin_rpc_cookie", twice.to_owned()));
            }
            rpc.credentials = Credentials::File(path.clone());
        }
        Ok(ChainSource::Node(Box::new(rpc)))
    }

    /// Calendars above this one.
    fn upstream(&self, layers: &Layers) -> Result<Vec<CalendarUri>, SettingError> {
        let wrong = |problem: String| layers.wrong("anchor_upstream", problem);
        let mut calendars = Vec::new();
        for url in self.anchor_upstream.iter().flat_map(|list| list.split(',')).map(str::trim) {
            let calendar =
                crate::stamps::uri(url).map_err(|problem| wrong(format!("of {url}: {problem}")))?;
            if url.starts_with("https:") {
                return Err(wrong(format!(
                    "{url} is https, which is not spoken here; put a proxy before it"
                )));
            }
            if self.calendar_url.as_deref() == Some(url) || calendars.contains(&calendar) {
                return Err(wrong(format!("{url} is this node's own address or stands there twice")));
            }
            calendars.push(calendar);
        }
        if calendars.len() > UPSTREAM_MAX {
            return Err(wrong(format!("at most {UPSTREAM_MAX} calendars")));
        }
        Ok(calendars)
    }

    fn anchor(&self, chain: ChainSource, upstream: Vec<CalendarUri>) -> AnchorConfig {
        let usual_ms = if matches!(chain, ChainSource::Embedded { .. }) { 5_000 } else { 600_000 };
        AnchorConfig {
            chain,
            interval_ms: self.anchor_interval_ms.unwrap_or(usual_ms),
            fee_target: self.anchor_fee_target,
            fee_cap_sat_per_kvb: self.anchor_fee_cap.saturating_mul(1_000),
            confirmations: self.anchor_confirmations,
            birthday: self.wallet_birthday,
            upstream,
            upstream_ask_ms: self.upstream_ask_ms,
        }
    }

    /// As [`Settings::node`], for a process that runs its services: those that need keys must be told where they are.
    pub fn runnable(&self, layers: &Layers) -> Result<NodeConfig, Vec<SettingError>> {
        let config = self.node(layers)?;
        match config.needs_keys() {
            Some(why) if config.keys_dir.is_none() => Err(vec![layers.wrong("keys_dir", why.to_owned())]),
            _ => Ok(config),
        }
    }

    /// Every setting that has a value, by key; secrets are hidden.
    pub fn shown(&self, layers: &Layers) -> Vec<Shown> {
        let mut shown = Vec::new();
        // Settings are tables, texts and numbers: they always have a TOML form.
        if let Ok(toml::Value::Table(table)) = toml::Value::try_from(self) {
            flatten("", table, layers, &mut shown);
        }
        shown
    }

    /// Embedded unless both engines of a cluster are set.
    #[cfg(feature = "cluster")]
    fn engines(&self, layers: &Layers) -> Result<Engines, SettingError> {
        match (&self.kafka, &self.cql) {
            (None, None) => self.embedded(layers),
            (Some(kafka), Some(cql)) => {
                let client_id = format!("eschaton-{}", std::process::id());
                let kafka = eschaton_kafka::KafkaConfig {
                    shards: self.shards,
                    client_id: self.advertise.clone().unwrap_or(client_id),
                    ..kafka.clone()
                };
                kafka.check().map_err(|error| layers.wrong("kafka", error.to_string()))?;
                cql.check().map_err(|error| layers.wrong("cql", error.to_string()))?;
                Ok(Engines::Cluster { kafka: Box::new(kafka), cql: Box::new(cql.clone()) })
            }
            (Some(_), None) => {
                Err(layers.wrong("cql", "a cluster needs both engines; add the section".into()))
            }
            (None, Some(_)) => {
                Err(layers.wrong("kafka", "a cluster needs both engines; add the section".into()))
            }
        }
    }

    #[cfg(not(feature = "cluster"))]
    fn engines(&self, layers: &Layers) -> Result<Engines, SettingError> {
        self.embedded(layers)
    }

    fn embedded(&self, layers: &Layers) -> Result<Engines, SettingError> {
        if !self.services.is_all() {
            let problem = "embedded engines serve one process, which runs all services; leave this out, or set \
                           [kafka] and [cql]";
            return Err(layers.wrong("services", problem.into()));
        }
        match &self.data_dir {
            Some(data_dir) => Ok(Engines::Embedded { data_dir: data_dir.clone() }),
            None => {
                let problem = "there is no directory for the node's data, for example ./data";
                Err(layers.wrong("data_dir", problem.into()))
            }
        }
    }
}

/// A setting as it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its key.
    pub key: String,
    /// Its value in TOML's form.
    pub value: String,
    /// Where it came from; `None` is its default.
    pub source: Option<Source>,
}

fn flatten(under: &str, table: toml::Table, layers: &Layers, shown: &mut Vec<Shown>) {
    for (key, value) in table {
        let key = if under.is_empty() { key } else { format!("{under}.{key}") };
        match value {
            toml::Value::Table(inner) => flatten(&key, inner, layers, shown),
            value => {
                let value = if layers::is_secret(&key) { "(hidden)".to_owned() } else { value.to_string() };
                let source = layers.source(&key).cloned();
                shown.push(Shown { key, value, source });
            }
        }
    }
}

fn from_text<'de, D: Deserializer<'de>, T: std::str::FromStr<Err: std::fmt::Display>>(
    deserializer: D,
) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

fn to_text<S: Serializer, T: std::fmt::Display>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[cfg(test)]
mod tests;
