use std::path::Path;

use anyhow::{bail, ensure};
use eschaton_kit::Ports;
use eschaton_ports::TopicPartition;
use eschaton_transfer::frame::FORMAT;
use eschaton_transfer::{MANIFEST, Manifest, TransferError, export_partition, positions};

use super::{
    Step, TransferReport, Watch, claims, engines, keys, ledger, make_private, nobody_works, rebuild, state,
};
use crate::config::{Engines, NodeConfig};
use crate::identity;

/// Writes everything of the ledger that a configuration names into a directory. Nobody may be at work on it. Goes on
/// where an export into the same directory was interrupted.
pub async fn export(
    config: &NodeConfig,
    to: &Path,
    with_keys: bool,
    watch: Watch<'_>,
) -> anyhow::Result<TransferReport> {
    // Opening engines makes what is missing; here that would be a wrong directory.
    identity::recorded(config.keys()?)?;
    identity::fix(config, |path| bail!("{} is not there", path.display()))?;
    match &config.engines {
        Engines::Embedded { data_dir } => ensure!(
            data_dir.join("log").is_dir(),
            "{} holds no log; name a node's data directory with --data-dir",
            data_dir.display()
        ),
        #[cfg(feature = "cluster")]
        Engines::Cluster { .. } => {}
    }
    make_private(to)?;
    ensure!(
        !to.join(MANIFEST).exists(),
        "{} holds a whole export already; name another directory",
        to.display()
    );
    ensure!(
        with_keys || !keys::are_in(to),
        "{} has keys from an earlier attempt; repeat it --with-keys, or name another directory",
        to.display()
    );
    let ports = engines::open(config, "export").await?;
    nobody_works(ports.log.as_ref(), ports.clock.as_ref(), watch).await?;
    // First, for what a killed worker had not told others is sent now.
    rebuild(config, &ports, watch).await?;
    let before = ends(config, &ports).await?;

    let all: u64 = before.iter().map(|(_, end)| end).sum();
    let (mut files, mut done) = (Vec::new(), 0);
    for (at, end) in &before {
        let mut progress = |next| watch(Step { what: "writing records", done: done + next, all });
        files.push(export_partition(ports.log.as_ref(), *at, *end, to, &mut progress).await?);
        done += end;
    }
    let claims = claims(config.shards);
    let positions = positions(ports.log.as_ref(), &claims).await?;
    let state = state::write(ports.store.as_ref(), to, watch).await?;
    nobody_works(ports.log.as_ref(), ports.clock.as_ref(), watch).await?;
    let after = ends(config, &ports).await?;
    if let Some(((at, before), (_, after))) = before.iter().zip(&after).find(|(one, other)| one != other) {
        bail!(TransferError::Refused(format!(
            "{at} grew from {before} to {after} meanwhile: something still writes to this log; stop it and repeat the \
             command"
        )));
    }
    if with_keys {
        keys::store(config.keys()?, to)?;
    }
    let manifest = Manifest { format: FORMAT, ledger: ledger(config, &ports)?, files, positions, state };
    manifest.write(to)?;
    Ok(report(&manifest, with_keys))
}

/// Every partition and where it ends.
async fn ends(config: &NodeConfig, ports: &Ports) -> anyhow::Result<Vec<(TopicPartition, u64)>> {
    let mut ends = Vec::new();
    for at in Manifest::partitions(config.shards) {
        ends.push((at, ports.log.end(at).await?));
    }
    Ok(ends)
}

/// What a manifest says.
pub(super) fn report(manifest: &Manifest, keys: bool) -> TransferReport {
    TransferReport {
        records: manifest.files.iter().map(|file| file.records).sum(),
        bytes: manifest.files.iter().map(|file| file.bytes).sum(),
        rows: manifest.state.rows,
        state_hash: manifest.state.hash.clone(),
        verifier_key: manifest.ledger.verifier_key.clone(),
        keys,
    }
}
