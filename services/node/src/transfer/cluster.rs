//! An import into Kafka and Scylla or Cassandra.

use std::path::Path;

use anyhow::{bail, ensure};
use eschaton_ports::{Store, Table};
use eschaton_transfer::{Appending, Manifest, check_prefix};

use super::import::{Files, finish, knows_key, put};
use super::{Watch, engines, keys, nobody_works};
use crate::config::NodeConfig;

/// Puts an export into a cluster's engines.
pub(super) async fn import(
    config: &NodeConfig,
    manifest: &Manifest,
    files: &Files<'_>,
    from: &Path,
    watch: Watch<'_>,
) -> anyhow::Result<()> {
    if let Some((at, _)) = files.iter().find(|(_, file)| file.has_gaps()) {
        bail!(
            "{at} has gaps between its offsets, as logs have that were in a cluster, and Kafka cannot be given offsets; \
             such an export can be imported into embedded engines only"
        );
    }
    keys::bring(from, config.keys()?)?;
    engines::fix_identity(config)?;
    let ports = engines::open(config, "import").await?;
    knows_key(config, &ports, &manifest.ledger)?;
    nobody_works(ports.log.as_ref(), ports.clock.as_ref(), watch).await?;
    let mut target = Appending(ports.log.clone());
    let mut there = 0;
    for (at, file) in files {
        there += check_prefix(&mut target, *at, file).await?;
    }
    if there == 0 {
        is_empty(ports.store.as_ref()).await?;
    }
    put(&mut target, files, from, watch).await?;
    nobody_works(ports.log.as_ref(), ports.clock.as_ref(), watch).await?;
    finish(config, &ports, manifest, from, watch).await
}

/// Rows of another ledger would be taken for this one's.
async fn is_empty(store: &dyn Store) -> anyhow::Result<()> {
    for table in Table::ALL {
        let page = store.scan(table, b"", None, 1).await?;
        ensure!(
            page.rows.is_empty(),
            "the log is empty and the store is not: table {} has rows; drop the keyspace, run `eschaton migrate`, and \
             import again",
            table.name()
        );
    }
    Ok(())
}
