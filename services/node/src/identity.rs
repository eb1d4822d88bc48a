//! What is fixed at first start, and the development issuer's key.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use eschaton_ports::Rng;
use eschaton_types::{Key, Network};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;
#[cfg(feature = "cluster")]
use {eschaton_proof::VerifierKey, eschaton_transfer::Ledger};

use crate::NodeConfig;

const FILE: &str = "node.json";
/// The node's Ed25519 identity.
pub(crate) const NODE_KEY: &str = "node.key";
/// The key that issues the native coin on a development network.
pub(crate) const ISSUER_FILE: &str = "dev-issuer.key";

#[derive(Serialize, Deserialize, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
struct Fixed {
    format: u32,
    network: String,
    shards: u32,
    origin: String,
}

/// For a process of a cluster that has keys: what `migrate` recorded beside them must be there and the same. Several
/// processes that start at once must not each make a key of their own.
#[cfg(feature = "cluster")]
pub(crate) fn require(config: &NodeConfig) -> anyhow::Result<()> {
    let dir = config.keys()?;
    let path = dir.join(FILE);
    ensure!(
        path.exists(),
        "{} is not there; run `eschaton migrate` once, and give its directory {} to every process that needs keys",
        path.display(),
        dir.display()
    );
    fix(config, |_| bail!("this is not the first start"))
}

/// Records what never changes, or compares with what was recorded. `signer` makes the node's key.
pub(crate) fn fix(
    config: &NodeConfig,
    signer: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let dir = config.keys()?;
    // Keys are inside; 0700 keeps other users out whatever a file's own mode.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).with_context(|| {
        format!("data directory {} cannot be made; choose another with --data-dir", dir.display())
    })?;
    let path = dir.join(FILE);
    let wanted = Fixed {
        format: 1,
        network: config.network.name().to_owned(),
        shards: config.shards,
        origin: config.origin.clone(),
    };
    match fs::read(&path) {
        Ok(bytes) => {
            let found: Fixed = serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is damaged; restore it from a backup", path.display()))?;
            for (what, found, wanted) in [
                ("format", found.format.to_string(), wanted.format.to_string()),
                ("network", found.network, wanted.network),
                ("number of shards", found.shards.to_string(), wanted.shards.to_string()),
                ("origin", found.origin, wanted.origin),
            ] {
                ensure!(
                    found == wanted,
                    "{} was made with {what} {found} and cannot be opened with {wanted}; start with the former, or with an empty directory",
                    dir.display()
                );
            }
            ensure!(
                dir.join(NODE_KEY).exists(),
                "{} is lost and clients know its public key; restore it from a backup",
                dir.join(NODE_KEY).display()
            );
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // The key first: a directory that is recorded has one.
            signer(&dir.join(NODE_KEY))?;
            write_durably(dir, FILE, &serde_json::to_vec_pretty(&wanted)?, 0o644)
        }
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
    }
}

/// What a cluster's store records of its ledger, so that a process without keys knows whose it is.
#[cfg(feature = "cluster")]
pub(crate) fn ledger(config: &NodeConfig, verifier: &VerifierKey) -> Ledger {
    Ledger {
        network: config.network.name().to_owned(),
        shards: config.shards,
        origin: config.origin.clone(),
        verifier_key: verifier.to_string(),
    }
}

/// The verifier key of the ledger that a cluster's store was made for; its identity must be the configuration's, and
/// its key this process's, if it has one.
#[cfg(feature = "cluster")]
pub(crate) fn compare(
    config: &NodeConfig,
    own: Option<&VerifierKey>,
    recorded: Option<&str>,
) -> anyhow::Result<VerifierKey> {
    let Some(recorded) = recorded else {
        return own.cloned().context(
            "the store does not say whose it is, for an older version made it; run `eschaton migrate` where the keys are",
        );
    };
    let ledger: Ledger = serde_json::from_str(recorded).context(
        "what the store records of its ledger cannot be read; use the newer version that wrote it",
    )?;
    for (what, found, wanted) in [
        ("network", ledger.network, config.network.name().to_owned()),
        ("shards", ledger.shards.to_string(), config.shards.to_string()),
        ("origin", ledger.origin, config.origin.clone()),
    ] {
        ensure!(
            found == wanted,
            "the store was made for a ledger with {what} {found}, and the settings say {wanted}; set {what} to {found}, or \
             choose another keyspace"
        );
    }
    if let Some(own) = own {
        ensure!(
            own.to_string() == ledger.verifier_key,
            "node.key in {} is the key {own}, and the store was made for {}; bring the key of that ledger, or drop the \
             keyspace and run `eschaton migrate` with this one",
            config.keys()?.display(),
            ledger.verifier_key
        );
    }
    Ok(VerifierKey::parse(&ledger.verifier_key)?)
}

/// Shards and origin of a data directory that a node has used.
pub(crate) fn recorded(dir: &Path) -> anyhow::Result<(u32, String)> {
    let path = dir.join(FILE);
    let bytes = fs::read(&path)
        .with_context(|| format!("{} cannot be read; name a node's data directory", path.display()))?;
    let found: Fixed = serde_json::from_slice(&bytes)
        .with_context(|| format!("{} is damaged; restore it from a backup", path.display()))?;
    Ok((found.shards, found.origin))
}

/// The key that issues the native coin on a development network; made at first start, mode 0600.
pub(crate) fn dev_issuer(dir: &Path, network: Network, rng: &dyn Rng) -> anyhow::Result<Key> {
    ensure!(network == Network::Dev, "only the network dev has an issuer of its own");
    let path = dir.join(ISSUER_FILE);
    if !path.exists() {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill(&mut *secret);
        write_durably(dir, ISSUER_FILE, hex::encode(*secret).as_bytes(), 0o600)?;
    }
    let mut file = File::open(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    if file.metadata()?.mode() & 0o077 != 0 {
        bail!("{} can be read by others; run chmod 600 on it", path.display());
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text)?;
    let mut secret = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim(), &mut *secret)
        .with_context(|| format!("{} is damaged; restore it from a backup", path.display()))?;
    Ok(Key::from_secret(*secret)?)
}

/// All or nothing: a crash leaves the file whole or absent.
pub(crate) fn write_durably(dir: &Path, name: &str, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let (path, draft) = (dir.join(name), dir.join(format!("{name}.new")));
    let cannot = || format!("{} cannot be written", path.display());
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&draft)
        .with_context(cannot)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).with_context(cannot)?;
    fs::rename(&draft, &path).with_context(cannot)?;
    File::open(dir).and_then(|dir| dir.sync_all()).with_context(cannot)
}
