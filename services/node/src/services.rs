use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A part of a node that may be a process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// Takes transactions, checks what needs no state, answers with decisions. Any number of replicas.
    GossipIngress,
    /// Decides. Replicas share out the ledger's shards.
    ConflictResolver,
    /// Keeps the trees, makes checkpoints and proofs. One replica is at work, the others stand by.
    MerkleProver,
    /// Gathers digests in intervals, and intervals in anchors. Replicas share out the shards.
    TimestampAggregator,
    /// Answers questions from the store. Any number of replicas.
    Query,
}

impl Service {
    /// All services.
    pub const ALL: [Service; 5] = [
        Service::GossipIngress,
        Service::ConflictResolver,
        Service::MerkleProver,
        Service::TimestampAggregator,
        Service::Query,
    ];

    /// The name in options, files and status.
    pub fn name(self) -> &'static str {
        match self {
            Service::GossipIngress => "gossip-ingress",
            Service::ConflictResolver => "conflict-resolver",
            Service::MerkleProver => "merkle-prover",
            Service::TimestampAggregator => "timestamp-aggregator",
            Service::Query => "query",
        }
    }
}

/// The services of one process: at least one, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Services(Vec<Service>);

impl Default for Services {
    fn default() -> Self {
        Self(Service::ALL.to_vec())
    }
}

impl Services {
    /// True when this service is among them.
    pub fn has(&self, service: Service) -> bool {
        self.0.contains(&service)
    }

    /// True for a whole node.
    pub fn is_all(&self) -> bool {
        Service::ALL.iter().all(|service| self.has(*service))
    }

    fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut services = Vec::new();
        for name in names.into_iter().map(str::trim) {
            let service =
                Service::ALL.into_iter().find(|service| service.name() == name).ok_or_else(|| {
                    let known = Service::ALL.map(Service::name).join(", ");
                    format!("there is no service {name:?}; there are {known}")
                })?;
            services.push(service);
        }
        services.sort();
        services.dedup();
        if services.is_empty() {
            return Err("it names no service; name one at least, or leave it out for all".to_owned());
        }
        Ok(Self(services))
    }
}

impl fmt::Display for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(|service| service.name()).collect::<Vec<_>>().join(","))
    }
}

/// A list of names, or one text with commas, as options and the environment have it.
impl<'de> Deserialize<'de> for Services {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Names {
            Text(String),
            List(Vec<String>),
        }
        let names = match Names::deserialize(deserializer)? {
            Names::Text(text) => text.split(',').map(str::to_owned).collect(),
            Names::List(list) => list,
        };
        Self::from_names(names.iter().map(String::as_str)).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Services {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|service| service.name()))
    }
}
