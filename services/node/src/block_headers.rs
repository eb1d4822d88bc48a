//! Block headers for who checks timestamps: out of a file, or from a node.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use bitcoin::block::Header;
use bitcoin::consensus::{deserialize, serialize};
use eschaton_chain::{ChainKind, Credentials, RpcChain, RpcConfig, identity, params};
use eschaton_embedded::SystemClock;
use eschaton_headers::HeaderRun;
use eschaton_ports::Clock;
use eschaton_ports::chain::{Chain, Coin};

/// Most headers of a file: four times as many as Bitcoin has blocks.
const FILE_HEADERS_MAX: u32 = 1 << 22;
const HEADER_BYTES: usize = 80;

/// Where headers come from.
#[derive(Clone, Debug)]
pub enum HeaderSource {
    /// Headers of 80 bytes one after the other, in order; the first has height `from`.
    File {
        /// Its path.
        path: PathBuf,
        /// Height of its first header.
        from: u32,
    },
    /// A node's JSON-RPC.
    Node {
        /// `http://[user:password@]host:port`
        url: String,
        /// A file with the login.
        cookie: Option<PathBuf>,
    },
}

/// Headers of the best chain that the source knows.
#[derive(Clone, Debug)]
pub struct BlockHeaders {
    /// Which chain proofs must name.
    pub chain: eschaton_ots::Chain,
    /// Those that were asked for and are there, by height.
    pub headers: BTreeMap<u64, [u8; HEADER_BYTES]>,
    /// Height of the last header that the source has.
    pub tip: u64,
    /// Its hash, as explorers show it: who compares it with another source need not believe this one.
    pub tip_hash: String,
    /// What was checked: for people.
    pub checked: &'static str,
}

/// Headers at the heights in `wanted`, of the chain with this name (`bitcoin`, `litecoin-regtest`, …).
///
/// # Errors
/// The chain has no such name; the file breaks a rule of headers; the node is away, lies or is of another chain.
pub async fn block_headers(
    chain: &str,
    source: &HeaderSource,
    wanted: &BTreeSet<u64>,
) -> anyhow::Result<BlockHeaders> {
    let kind: ChainKind = chain.parse()?;
    let mut found = match source {
        HeaderSource::File { path, from } => {
            of_file(kind, path, *from, wanted).with_context(|| format!("headers of {}", path.display()))?
        }
        HeaderSource::Node { url, cookie } => of_node(kind, url, cookie.as_ref(), wanted).await?,
    };
    if identity(kind).coin == Coin::Litecoin {
        found.chain = eschaton_ots::Chain::Litecoin;
    }
    Ok(found)
}

fn of_file(kind: ChainKind, path: &Path, from: u32, wanted: &BTreeSet<u64>) -> anyhow::Result<BlockHeaders> {
    let now = u32::try_from(SystemClock.now_ms() / 1_000).unwrap_or(u32::MAX);
    let mut file = BufReader::with_capacity(
        1 << 18,
        File::open(path).context("the file cannot be opened; check the path")?,
    );
    let mut run = HeaderRun::new(params(kind), from);
    let mut headers = BTreeMap::new();
    let mut last: Option<(u32, Header)> = None;
    let mut bytes = [0; HEADER_BYTES];
    for count in 0.. {
        if !fill(&mut file, &mut bytes)? {
            break;
        }
        ensure!(
            count < FILE_HEADERS_MAX,
            "there are more than {FILE_HEADERS_MAX} headers; give a part with its height"
        );
        let header: Header = deserialize(&bytes)?;
        let height =
            run.add(header, now).with_context(|| format!("header {count} of the file is refused"))?;
        if wanted.contains(&u64::from(height)) {
            headers.insert(u64::from(height), bytes);
        }
        last = Some((height, header));
    }
    let (tip, header) = last.context("the file is empty; write 80 bytes for each block, in order")?;
    let checked = match run.from_genesis() {
        true => "every rule from the first block on",
        false => "work and links; the first header is the file's word",
    };
    let (tip, tip_hash) = (tip.into(), header.block_hash().to_string());
    Ok(BlockHeaders { chain: eschaton_ots::Chain::Bitcoin, headers, tip, tip_hash, checked })
}

/// Reads a whole header; false at the end.
fn fill(file: &mut impl Read, bytes: &mut [u8; HEADER_BYTES]) -> anyhow::Result<bool> {
    let mut filled = 0;
    while filled < HEADER_BYTES {
        match file.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("the file cannot be read"),
        }
    }
    ensure!(
        filled == 0 || filled == HEADER_BYTES,
        "the file ends within a header; each has {HEADER_BYTES} bytes, without anything between them"
    );
    Ok(filled == HEADER_BYTES)
}

async fn of_node(
    kind: ChainKind,
    url: &str,
    cookie: Option<&PathBuf>,
    wanted: &BTreeSet<u64>,
) -> anyhow::Result<BlockHeaders> {
    let mut config = RpcConfig::new(kind, url)?;
    if let Some(cookie) = cookie {
        ensure!(
            matches!(config.credentials, Credentials::None),
            "the node's address has a login and a file of one is given as well; leave one out"
        );
        config.credentials = Credentials::File(cookie.clone());
    }
    let chain = RpcChain::new(config, Arc::new(SystemClock));
    let tip = chain.tip().await?;
    let mut headers = BTreeMap::new();
    for height in wanted.iter().filter_map(|height| u32::try_from(*height).ok()) {
        if height > tip.height {
            break;
        }
        for header in chain.headers(height, 1).await? {
            let bytes = serialize(&header.header);
            headers.insert(u64::from(height), bytes.try_into().ok().context("a header is not one")?);
        }
    }
    Ok(BlockHeaders {
        chain: eschaton_ots::Chain::Bitcoin,
        headers,
        tip: tip.height.into(),
        tip_hash: tip.hash.to_string(),
        checked: "work; that the blocks are of the best chain is the node's word",
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_file_of_headers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("headers");
        let params = params(ChainKind::BitcoinRegtest);
        let mut chain = vec![params.genesis];
        for _ in 0..20 {
            let parent = chain[chain.len() - 1];
            let (prev_blockhash, time) = (parent.block_hash(), parent.time + 600);
            let mined = (0..).map(|nonce| Header { prev_blockhash, time, nonce, ..parent });
            let mined =
                mined.clone().find(|header| eschaton_headers::check_proof_of_work(&params, header).is_ok());
            chain.push(mined.unwrap());
        }
        let bytes: Vec<Vec<u8>> = chain.iter().map(serialize).collect();
        let wanted = BTreeSet::from([0, 7, 20, 21]);
        let read = async |bytes: &[u8], from: u32, name: &str| {
            std::fs::write(&path, bytes).unwrap();
            block_headers(name, &HeaderSource::File { path: path.clone(), from }, &wanted).await
        };
        let whole = read(&bytes.concat(), 0, "bitcoin-regtest").await.unwrap();
        assert_eq!(whole.headers.keys().copied().collect::<Vec<_>>(), [0, 7, 20]);
        assert_eq!((whole.tip, &whole.tip_hash), (20, &chain[20].block_hash().to_string()));
        assert_eq!(whole.headers[&7][..], bytes[7]);
        let part = read(&bytes[5..].concat(), 5, "bitcoin-regtest").await.unwrap();
        assert_eq!(part.headers[&7], whole.headers[&7]);
        assert_ne!(part.checked, whole.checked);
        for (bytes, from, name, words) in [
            (bytes.concat(), 0, "bitcoin", "header 0"),
            (bytes.concat(), 0, "dogecoin", "dogecoin"),
            (bytes.concat()[..79].to_vec(), 0, "bitcoin-regtest", "within a header"),
            (Vec::new(), 0, "bitcoin-regtest", "empty"),
            ([&bytes[..3], &bytes[4..]].concat().concat(), 0, "bitcoin-regtest", "header 3"),
            ([&bytes[5..8], &bytes[9..]].concat().concat(), 5, "bitcoin-regtest", "header 3"),
        ] {
            let error = format!("{:#}", read(&bytes, from, name).await.unwrap_err());
            assert!(error.contains(words), "{error}");
        }
    }
}
