//! What commands share: the node, files by their usual places, the passphrase.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use eschaton_client::FileError;
use eschaton_client::{Light, LightError, Node, NodeOptions, Passphrase, Wallet, node::ENDPOINT};
use eschaton_proof::VerifierKey;

use crate::out::Out;

const PASSPHRASE_VARIABLE: &str = "ESCHATON_WALLET_PASSPHRASE";

/// How to reach the node.
#[derive(Args, Debug)]
pub(crate) struct NodeArgs {
    /// The node's gRPC address (not used by `run` and `verify`)
    #[arg(long, global = true, env = "ESCHATON_NODE", default_value = ENDPOINT, value_name = "URL")]
    node: String,
    /// Seconds to keep trying, and to wait for a decision
    #[arg(long, global = true, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
}

/// Which wallet.
#[derive(Args, Debug)]
pub(crate) struct WalletArgs {
    /// The wallet file [default: $XDG_DATA_HOME/eschaton/wallet.json or ~/.local/share/eschaton/wallet.json]
    #[arg(long, global = true, env = "ESCHATON_WALLET", value_name = "FILE")]
    wallet: Option<PathBuf>,
    /// A file (mode 0600) with the wallet's passphrase; goes before the variable ESCHATON_WALLET_PASSPHRASE
    #[arg(long, global = true, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// Which key to trust.
#[derive(Args, Debug)]
pub(crate) struct LightArgs {
    /// The node's verifier key (C2SP vkey), learnt from its operator; it is remembered
    #[arg(long, global = true, value_name = "VKEY")]
    key: Option<String>,
    /// Where the key and the latest checkpoint are remembered [default: $XDG_DATA_HOME/eschaton/light.json or ~/.local/share/eschaton/light.json]
    #[arg(long, global = true, env = "ESCHATON_LIGHT", value_name = "FILE")]
    light: Option<PathBuf>,
}

/// What a verdict rests on.
pub(crate) struct Trust {
    /// Under this key.
    pub(crate) key: VerifierKey,
    /// Remembers, when the key is the operator's.
    pub(crate) light: Option<Light>,
    /// `operator` or `node`.
    pub(crate) source: &'static str,
}

/// One run of a client command.
pub(crate) struct Session {
    pub(crate) out: Out,
    node: NodeArgs,
}

impl Session {
    pub(crate) fn new(node: NodeArgs, out: Out) -> Self {
        Self { out, node }
    }

    /// How long to wait for a decision, and to keep trying.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.node.timeout)
    }

    /// The node's address.
    pub(crate) fn endpoint(&self) -> &str {
        &self.node.node
    }

    /// The node's client.
    pub(crate) fn node(&self) -> anyhow::Result<Node> {
        let default = NodeOptions::default();
        Ok(Node::new(NodeOptions {
            endpoint: self.node.node.clone(),
            request_timeout: default.request_timeout.min(self.timeout()),
            retry_budget: self.timeout(),
            ..default
        })?)
    }

    /// The node's client, once it says that it serves the wallet's network.
    pub(crate) async fn node_for(&self, wallet: &Wallet) -> anyhow::Result<Node> {
        let node = self.node()?;
        let (theirs, ours) = (node.status().await?.network, wallet.network().name());
        if theirs != ours {
            bail!(
                "the wallet is for network {ours} and node {} serves {theirs}; choose another with --node or --wallet",
                node.endpoint()
            );
        }
        Ok(node)
    }
}

impl WalletArgs {
    /// The wallet's path, given or usual.
    pub(crate) fn path(&self) -> anyhow::Result<PathBuf> {
        usual(self.wallet.as_ref(), "wallet.json", "--wallet")
    }

    /// The wallet.
    pub(crate) fn open(&self) -> anyhow::Result<Wallet> {
        Ok(Wallet::open(&self.path()?)?)
    }

    /// The passphrase, if one is given. Never from the command line, where others see it.
    pub(crate) fn passphrase(&self) -> anyhow::Result<Option<Passphrase>> {
        if let Some(path) = &self.passphrase_file {
            return Ok(Some(Passphrase::from_file(path)?));
        }
        let Some(text) = std::env::var_os(PASSPHRASE_VARIABLE) else { return Ok(None) };
        let passphrase = Passphrase::new(text.into_encoded_bytes());
        Ok(Some(passphrase.with_context(|| format!("{PASSPHRASE_VARIABLE} is set but holds no passphrase"))?))
    }
}

impl LightArgs {
    /// The operator's key, given now or before; none was ever given: the node's own word.
    pub(crate) async fn trust(&self, node: &Node) -> anyhow::Result<Trust> {
        if let Some(light) = self.remembered()? {
            return Ok(Trust { key: light.key().clone(), light: Some(light), source: "operator" });
        }
        let key = VerifierKey::parse(&node.verifier_key().await?)?;
        Ok(Trust { key, light: None, source: "node" })
    }

    /// The operator's key, for checks without a node.
    pub(crate) fn key(&self) -> anyhow::Result<VerifierKey> {
        if let Some(text) = &self.key {
            return Ok(VerifierKey::parse(text)?);
        }
        let light = self.remembered()?;
        let light = light.context("no verifier key is known; give the operator's with --key")?;
        Ok(light.key().clone())
    }

    fn remembered(&self) -> anyhow::Result<Option<Light>> {
        let path = usual(self.light.as_ref(), "light.json", "--light")?;
        if let Some(text) = &self.key {
            return Ok(Some(Light::trust(&path, &VerifierKey::parse(text)?)?));
        }
        match Light::open(&path) {
            Err(LightError::File(FileError::Missing { .. })) => Ok(None),
            opened => Ok(Some(opened?)),
        }
    }
}

impl Trust {
    /// What to tell people of a key that nobody vouched for.
    pub(crate) fn warning(&self) -> Option<&'static str> {
        (self.source == "node").then_some(
            "note       the key is the node's own word; give the operator's with --key to be safe from a lying node",
        )
    }
}

/// The given path, or the usual one (XDG base directories).
fn usual(given: Option<&PathBuf>, name: &str, option: &str) -> anyhow::Result<PathBuf> {
    if let Some(path) = given {
        return Ok(path.clone());
    }
    let absolute = |variable| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")));
    let data =
        data.with_context(|| format!("neither HOME nor XDG_DATA_HOME is set; give the file with {option}"))?;
    Ok(data.join("eschaton").join(name))
}
