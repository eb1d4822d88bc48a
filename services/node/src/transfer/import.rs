use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use eschaton_kit::Ports;
use eschaton_ports::TopicPartition;
use eschaton_transfer::{
    FileEntry, Ledger, Manifest, Target, check_prefix, import_partition, set_positions, verify_file,
};

use super::export::report;
use super::{Step, TransferReport, Watch, claims, engines, keys, ledger, rebuild, state};
use crate::check;
use crate::config::{Engines, NodeConfig};

/// Where an embedded node's data is made; it moves to its place when it is whole.
const STAGING: &str = "import";

/// Puts an export into the empty engines that a configuration names, makes the rows from the records, and compares them
/// with the source's. Nobody may be at work there. Goes on where an import of the same export was interrupted.
pub async fn import(config: &NodeConfig, from: &Path, watch: Watch<'_>) -> anyhow::Result<TransferReport> {
    let manifest = Manifest::read(from)?.with_context(|| {
        format!(
            "{} holds no whole export; name the directory of one that ended without an error",
            from.display()
        )
    })?;
    fits(config, &manifest.ledger)?;
    let files = partitions(&manifest)?;
    verify(&manifest, from, watch)?;
    match &config.engines {
        Engines::Embedded { data_dir } => embedded(config, data_dir, &manifest, &files, from, watch).await?,
        #[cfg(feature = "cluster")]
        Engines::Cluster { .. } => super::cluster::import(config, &manifest, &files, from, watch).await?,
    }
    Ok(report(&manifest, keys::are_in(from)))
}

/// Partitions and their files.
pub(super) type Files<'a> = [(TopicPartition, &'a FileEntry)];

fn partitions(manifest: &Manifest) -> anyhow::Result<Vec<(TopicPartition, &FileEntry)>> {
    let at = |file| FileEntry::at(file).context("the manifest names an unknown file");
    manifest.files.iter().map(|file| Ok((at(file)?, file))).collect()
}

/// The settings must be those of the export's ledger.
fn fits(config: &NodeConfig, source: &Ledger) -> anyhow::Result<()> {
    for (key, here, there) in [
        ("network", config.network.name(), source.network.as_str()),
        ("shards", &config.shards.to_string(), &source.shards.to_string()),
        ("origin", &config.origin, &source.origin),
    ] {
        ensure!(here == there, "the export has {key} {there}, and the settings {here}; set {key} to {there}");
    }
    Ok(())
}

fn verify(manifest: &Manifest, from: &Path, watch: Watch<'_>) -> anyhow::Result<()> {
    state::verify(from, &manifest.state)?;
    let all = manifest.files.iter().map(|file| file.bytes).sum();
    let mut done = 0;
    for file in &manifest.files {
        verify_file(from, file, &mut |read| watch(Step { what: "checking files", done: done + read, all }))?;
        done += file.bytes;
    }
    Ok(())
}

/// The key must be the source's: clients know it.
pub(super) fn knows_key(config: &NodeConfig, ports: &Ports, source: &Ledger) -> anyhow::Result<()> {
    let here = ledger(config, ports)?.verifier_key;
    ensure!(
        here == source.verifier_key,
        "node.key in {} is the key {here}, and the source's is {}; put the source's there (one that `eschaton migrate` \
         made is of no use), then repeat the command",
        config.keys()?.display(),
        source.verifier_key
    );
    Ok(())
}

async fn embedded(
    config: &NodeConfig,
    data_dir: &Path,
    manifest: &Manifest,
    files: &Files<'_>,
    from: &Path,
    watch: Watch<'_>,
) -> anyhow::Result<()> {
    for name in ["log", "store"] {
        let path = data_dir.join(name);
        ensure!(!path.exists(), "{} is there already; import into an empty data directory", path.display());
    }
    keys::bring(from, config.keys()?)?;
    engines::fix_identity(config)?;
    let staging: PathBuf = data_dir.join(STAGING);
    super::make_private(&staging)?;
    let staged = NodeConfig { engines: Engines::Embedded { data_dir: staging.clone() }, ..config.clone() };
    {
        let mut target = engines::Embedded::open(&staging, config.shards)?;
        put(&mut target, files, from, watch).await?;
    }
    let ports = engines::open(&staged, "import").await?;
    finish(&staged, &ports, manifest, from, watch)
        .await
        .with_context(|| format!("{} was not put in place", staging.display()))?;
    drop(ports);
    // The log first: without a store beside it, a node makes its own.
    for name in ["log", "store"] {
        let (made, place) = (staging.join(name), data_dir.join(name));
        fs::rename(&made, &place).with_context(|| format!("{} cannot be put in place", made.display()))?;
    }
    fs::remove_dir_all(&staging).with_context(|| format!("{} cannot be removed", staging.display()))?;
    let synced = fs::File::open(data_dir).and_then(|dir| dir.sync_all());
    synced.with_context(|| format!("{} cannot be synced", data_dir.display()))
}

/// All records that the target lacks.
pub(super) async fn put(
    target: &mut dyn Target,
    files: &Files<'_>,
    from: &Path,
    watch: Watch<'_>,
) -> anyhow::Result<()> {
    // All of them before the first is touched.
    for (at, file) in files {
        check_prefix(target, *at, file).await?;
    }
    let all = files.iter().map(|(_, file)| file.end).sum();
    let mut done = 0;
    for (at, file) in files {
        let mut progress = |next| watch(Step { what: "putting records", done: done + next, all });
        import_partition(target, *at, file, from, &mut progress).await?;
        done += file.end;
    }
    Ok(())
}

/// Positions, rows, and the comparison.
pub(super) async fn finish(
    config: &NodeConfig,
    ports: &Ports,
    manifest: &Manifest,
    from: &Path,
    watch: Watch<'_>,
) -> anyhow::Result<()> {
    knows_key(config, ports, &manifest.ledger)?;
    set_positions(ports.log.as_ref(), &claims(config.shards), &manifest.positions).await?;
    // The source has sent all that was to be sent; here the log stays as it was written until the comparison is done.
    rebuild(config, &check::looking_on(ports, &manifest.positions), watch).await?;
    let (hash, difference) = state::compare(ports.store.as_ref(), from, &manifest.state, watch).await?;
    if let Some(difference) = difference {
        bail!(
            "the target's rows have hash {hash} and the source's {}; first difference: {difference}; do not use the \
             target, and keep both for inquiry",
            manifest.state.hash
        );
    }
    Ok(())
}
