//! `eschaton stamp`: timestamps of files, as standard `.ots` files beside them.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use eschaton_api::timestamp::StampRequest;
use eschaton_api::timestamp::timestamps_client::TimestampsClient;
use eschaton_node::Step;
use eschaton_ots::tree::Hash;
use eschaton_ots::{Nonce, Stamping, Timestamp};
use serde_json::json;
use sha2::Sha256;

use super::bar::Bar;
use super::files::{self, Sought, beside, find};
use crate::session::Session;

/// Options of `eschaton stamp`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  eschaton stamp contract.pdf\n  eschaton stamp ./archive\n\nWrites FILE.ots beside each file, as OpenTimestamps clients read it; all files of one run share one request. A file that has its .ots already is passed over and named. The proof is pending until the node's anchor is in a block: `ots upgrade FILE.ots` fetches the rest.\nJSON, a line for each file: {\"file\",\"ots\",\"stamped\"}"
)]
pub(crate) struct StampArgs {
    /// Files, or directories with everything below them
    #[arg(required = true, value_name = "FILE")]
    paths: Vec<PathBuf>,
}

pub(super) async fn perform(args: StampArgs, session: &Session) -> anyhow::Result<()> {
    let mut files = Vec::new();
    for path in &args.paths {
        find(path, Sought::Documents, &mut files)?;
    }
    files.sort();
    files.dedup();
    let (there, files): (Vec<PathBuf>, Vec<PathBuf>) =
        files.into_iter().partition(|file| beside(file).symlink_metadata().is_ok());
    for file in &there {
        let told = format!("{} has {} already; it was passed over", file.display(), beside(file).display());
        session.out.show(told, &json!({ "file": file, "ots": beside(file), "stamped": false }))?;
    }
    if files.is_empty() {
        return session.out.tell("nothing to stamp");
    }
    let bar = Bar::new();
    let mut hashed = Vec::with_capacity(files.len());
    let all = u64::try_from(files.len())?;
    for (done, file) in (0..).zip(&files) {
        bar.show(Step { what: "hashing files", done, all });
        hashed.push((hash(file)?, nonce()?));
    }
    let stamping = Stamping::new(hashed)?;
    bar.show(Step { what: "waiting for the node", done: 0, all: 1 });
    let timestamp = submit(session, &stamping.root()).await?;
    for (done, (index, file)) in (0..).zip(files.iter().enumerate()) {
        bar.show(Step { what: "writing proofs", done, all });
        write(&beside(file), &stamping.file(index, &timestamp)?.to_bytes()?)?;
    }
    bar.end();
    for file in &files {
        let told = format!("{} (pending)", beside(file).display());
        session.out.show(told, &json!({ "file": file, "ots": beside(file), "stamped": true }))?;
    }
    Ok(())
}

fn hash(path: &Path) -> anyhow::Result<Hash> {
    let hash = files::digest::<Sha256>(path);
    Ok(hash.with_context(|| format!("{} cannot be read; nothing was stamped", path.display()))?.into())
}

fn nonce() -> anyhow::Result<Nonce> {
    let mut nonce = Nonce::default();
    getrandom::fill(&mut nonce).context("the system gives no randomness")?;
    Ok(nonce)
}

/// The node's timestamp of a root; checked, for it goes into files that are kept.
async fn submit(session: &Session, root: &Hash) -> anyhow::Result<Timestamp> {
    let endpoint = session.endpoint();
    let away = || format!("node {endpoint} does not stamp; start it, or choose another with --node");
    let asking = async {
        let mut client = TimestampsClient::connect(endpoint.to_owned()).await?;
        anyhow::Ok(client.stamp(StampRequest { digest: root.to_vec().into() }).await?.into_inner())
    };
    let within: Duration = session.timeout();
    let answer = tokio::time::timeout(within, asking).await.with_context(away)?.with_context(away)?;
    let timestamp = Timestamp::from_answer(root, &answer.timestamp)
        .with_context(|| format!("node {endpoint} sent what is no timestamp"))?;
    let pending = timestamp.pending(root)?;
    let promised = pending.iter().any(|pending| pending.commitment[..] == answer.commitment[..]);
    ensure!(promised, "node {endpoint} sent a timestamp without its promise; use another node");
    Ok(timestamp)
}

/// Never over a file that is there.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let cannot = || format!("{} cannot be written; the files before it have their proofs", path.display());
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).with_context(cannot)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).with_context(cannot)
}
