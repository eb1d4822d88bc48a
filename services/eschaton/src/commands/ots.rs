//! `eschaton verify FILE.ots`: timestamps of documents against block headers.

mod calendars;
mod document;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use anyhow::{bail, ensure};
use clap::Args;
use eschaton_node::{BlockHeaders, HeaderSource, Step, block_headers};
use eschaton_ots::{Attestation, Chain, Held, Pending, Report, verify_file};
use serde_json::{Value, json};

use self::calendars::{Calendars, Said};
use self::document::Pair;
use super::bar::Bar;
use super::files::{Sought, find};
use crate::out::Out;
use crate::when;

/// Calendars asked for one proof.
const ASKED_MAX: usize = 16;

/// What is checked against what.
#[derive(Args, Debug)]
pub(crate) struct OtsArgs {
    /// Timestamps (.ots), documents with theirs beside them, or directories with everything below them
    #[arg(required = true, value_name = "FILE")]
    paths: Vec<PathBuf>,
    /// The document, where it is not FILE beside FILE.ots
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
    /// Block headers to check against, offline: 80 bytes each, in order, nothing between them
    #[arg(long, value_name = "FILE", conflicts_with = "bitcoin_rpc")]
    headers: Option<PathBuf>,
    /// Height of the first header of that file; from 0 on every rule of headers is checked
    #[arg(long, value_name = "HEIGHT", default_value_t = 0, requires = "headers")]
    headers_from: u32,
    /// A node to check against: http://[user:password@]host:port
    #[arg(long, value_name = "URL")]
    bitcoin_rpc: Option<String>,
    /// File with that node's login, user:password: its cookie, or a secret
    #[arg(long, value_name = "FILE", requires = "bitcoin_rpc")]
    bitcoin_rpc_cookie: Option<PathBuf>,
    /// The chain of the headers or of the node, as `eschaton run --chain` names it
    #[arg(long, value_name = "NAME", default_value = "bitcoin")]
    chain: String,
    /// Ask the calendars that the proof names for what is missing; nobody else is asked
    #[arg(long)]
    upgrade: bool,
    /// Put what they sent into the .ots file
    #[arg(long, requires = "upgrade")]
    write: bool,
    /// Only a proof of which nothing is open counts: no promise and no unknown part beside what is proven
    #[arg(long)]
    strict: bool,
}

/// No proof was found wrong, and some are promises still.
#[derive(Debug)]
pub(crate) struct NotYet;

impl fmt::Display for NotYet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the proof is pending")
    }
}

impl std::error::Error for NotYet {}

/// One document's timestamp on its way.
struct Case {
    pair: Pair,
    digest: Vec<u8>,
    /// With what was said to them.
    pending: Vec<(Pending, Option<String>)>,
    upgraded: bool,
    written: bool,
}

/// What became of one.
enum Verdict {
    Verified { held: Held, confirmations: u64, complete: bool },
    Pending,
    Unchecked(String),
    Refused(String),
}

pub(super) async fn perform(args: OtsArgs, out: Out) -> anyhow::Result<()> {
    let mut paths = Vec::new();
    for path in &args.paths {
        find(path, Sought::Proofs, &mut paths)?;
    }
    paths.sort();
    paths.dedup();
    ensure!(!paths.is_empty(), "there are no .ots files; check the path, or stamp first");
    ensure!(
        args.document.is_none() || paths.len() == 1,
        "--document is of one proof, and {} are given",
        paths.len()
    );
    let bar = Bar::new();
    let all = u64::try_from(paths.len())?;
    let mut calendars = args.upgrade.then(Calendars::default);
    let mut cases: Vec<(PathBuf, anyhow::Result<Case>)> = Vec::with_capacity(paths.len());
    for (done, path) in (0..).zip(paths) {
        bar.show(Step { what: "reading proofs", done, all });
        let case = open(&path, args.document.as_ref(), calendars.as_mut()).await;
        cases.push((path, case));
    }
    let headers = headers(&args, &cases).await?;
    bar.end();
    let mut tally = Tally { all: cases.len(), ..Tally::default() };
    for (path, case) in cases {
        let (verdict, case) = match case {
            Ok(case) => (judge(&case, headers.as_ref(), args.strict), Some(case)),
            Err(error) => (Verdict::Refused(format!("{error:#}")), None),
        };
        let case = match case {
            Some(case) if args.write => Some(write(case, &verdict)?),
            case => case,
        };
        tally.add(&verdict);
        if out.is_json() || tally.all > 1 || matches!(verdict, Verdict::Verified { .. } | Verdict::Pending) {
            out.show(
                human(&path, case.as_ref(), &verdict),
                &shown(&path, case.as_ref(), &verdict, headers.as_ref()),
            )?;
        }
    }
    if let Some(headers) = &headers {
        let BlockHeaders { tip, tip_hash, checked, .. } = headers;
        out.tell(format!("headers    checked: {checked}; the last is block {tip} {tip_hash}"))?;
    }
    tally.end()
}

/// How many of each.
#[derive(Default)]
struct Tally {
    all: usize,
    failed: usize,
    pending: usize,
    reason: Option<String>,
}

impl Tally {
    fn add(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Verified { .. } => {}
            Verdict::Pending => self.pending += 1,
            Verdict::Unchecked(why) | Verdict::Refused(why) => {
                self.failed += 1;
                self.reason.get_or_insert_with(|| why.clone());
            }
        }
    }

    fn end(self) -> anyhow::Result<()> {
        match self {
            Self { all: 1, reason: Some(reason), .. } => bail!(reason),
            Self { all, failed, reason: Some(reason), .. } => {
                bail!("{failed} of {all} proofs do not hold, first: {reason}")
            }
            Self { pending: 1.., .. } => Err(NotYet.into()),
            _ => Ok(()),
        }
    }
}

/// Reads a proof and hashes its document; with calendars it is completed.
async fn open(
    path: &std::path::Path,
    named: Option<&PathBuf>,
    calendars: Option<&mut Calendars>,
) -> anyhow::Result<Case> {
    let mut pair = document::open(path, named)?;
    let digest = document::digest(&pair.document, pair.proof.hash())?;
    let (proof, mut upgraded) = (&mut pair.proof, false);
    if digest != proof.digest() {
        // Nobody is asked about another document.
        bail!(
            "{} is not of {}: the document was changed, or the proof is another's",
            path.display(),
            pair.document.display()
        );
    }
    let mut pending: Vec<(Pending, Option<String>)> =
        proof.timestamp().pending(&digest)?.into_iter().map(|pending| (pending, None)).collect();
    if let Some(calendars) = calendars {
        for (pending, words) in pending.iter_mut().take(ASKED_MAX) {
            match calendars.ask(pending).await {
                Said::Words(said) => *words = Some(said),
                Said::Proof(answer) => match proof.upgrade(&pending.commitment, &answer) {
                    Ok(new) => upgraded |= new,
                    Err(error) => *words = Some(format!("what it sent does not fit: {error}")),
                },
            }
        }
    }
    Ok(Case { pair, digest, pending, upgraded, written: false })
}

/// Headers at all heights that proofs name; none without a source of them.
async fn headers(
    args: &OtsArgs,
    cases: &[(PathBuf, anyhow::Result<Case>)],
) -> anyhow::Result<Option<BlockHeaders>> {
    let source = match (&args.headers, &args.bitcoin_rpc) {
        (Some(path), _) => HeaderSource::File { path: path.clone(), from: args.headers_from },
        (None, Some(url)) => HeaderSource::Node { url: url.clone(), cookie: args.bitcoin_rpc_cookie.clone() },
        (None, None) => return Ok(None),
    };
    let mut wanted = BTreeSet::new();
    for case in cases.iter().filter_map(|(_, case)| case.as_ref().ok()) {
        case.pair.proof.timestamp().visit(&case.digest, |_, _, attestation| {
            if let Attestation::Block { height, .. } = attestation {
                wanted.insert(*height);
            }
        })?;
    }
    block_headers(&args.chain, &source, &wanted).await.map(Some)
}

fn judge(case: &Case, headers: Option<&BlockHeaders>, strict: bool) -> Verdict {
    let proof = &case.pair.proof;
    let header = |chain: Chain, height: u64| {
        let known = headers.filter(|headers| headers.chain == chain);
        Ok::<_, std::convert::Infallible>(known.and_then(|headers| headers.headers.get(&height)).copied())
    };
    let report = match verify_file(proof.hash(), &case.digest, proof, header) {
        Ok(report) => report,
        Err(error) => return Verdict::Refused(error.to_string()),
    };
    if let Some(failed) = report.failed.first() {
        return Verdict::Refused(failed.to_string());
    }
    match report.earliest() {
        Some(held) if report.is_complete() || !strict => {
            let tip = headers.map_or(held.height, |headers| headers.tip);
            let confirmations = tip.saturating_sub(held.height).saturating_add(1);
            Verdict::Verified { held: held.clone(), confirmations, complete: report.is_complete() }
        }
        Some(_) => Verdict::Refused(
            "the proof holds, and parts of it cannot be checked; complete it with --upgrade --write, or leave out --strict".to_owned(),
        ),
        None => open_ends(&report, headers),
    }
}

/// Nothing is proven and nothing is wrong: what is missing.
fn open_ends(report: &Report, headers: Option<&BlockHeaders>) -> Verdict {
    let Some((chain, height)) = report.unchecked.first() else {
        return match report.pending.is_empty() {
            false => Verdict::Pending,
            true => Verdict::Refused(
                "the proof attests nothing that is known here; use a newer client".to_owned(),
            ),
        };
    };
    Verdict::Unchecked(match headers {
        None => {
            format!("the proof names {chain} block {height}; give --headers or --bitcoin-rpc to check it")
        }
        Some(headers) if headers.chain != *chain => {
            format!(
                "the proof names {chain} block {height}, and the headers are of {}; choose with --chain",
                headers.chain
            )
        }
        Some(headers) => format!(
            "the proof names {chain} block {height}, which is not among the headers; the last is {}",
            headers.tip
        ),
    })
}

/// Writes a proof that has become longer. When all that was promised is proven, promises are left out: of what
/// remains every byte counts.
fn write(mut case: Case, verdict: &Verdict) -> anyhow::Result<Case> {
    let proven = matches!(verdict, Verdict::Verified { .. });
    if !case.upgraded || matches!(verdict, Verdict::Refused(_)) {
        return Ok(case);
    }
    let promises = case.pair.proof.timestamp().pending(&case.digest)?.len();
    let kept = case.pending.iter().all(|(_, words)| words.is_none())
        && case.pending.len() <= ASKED_MAX
        && promises == case.pending.len();
    let finished = case.pair.proof.finished().filter(|_| proven && kept);
    document::replace(&case.pair.ots, finished.as_ref().unwrap_or(&case.pair.proof))?;
    case.written = true;
    Ok(case)
}

fn human(path: &std::path::Path, case: Option<&Case>, verdict: &Verdict) -> String {
    let path = path.display();
    let mut text = match verdict {
        Verdict::Verified { held, confirmations, complete } => {
            let at = when::show(u64::from(held.time) * 1_000);
            let open = if *complete { "" } else { "; it holds promises too, which nobody can check" };
            format!(
                "{path}: existed before {} block {} of {at}, under {confirmations} confirmations{open}",
                held.chain, held.height
            )
        }
        Verdict::Pending => {
            let asked = case.is_some_and(|case| case.pending.iter().any(|(_, words)| words.is_some()));
            let at = case.iter().flat_map(|case| &case.pending).map(|(pending, words)| match words {
                Some(words) => format!("{} ({words})", pending.uri),
                None => pending.uri.to_string(),
            });
            let at: Vec<String> = at.collect();
            let hint = if asked { "come back later" } else { "ask with --upgrade, or come back later" };
            format!("{path}: pending at {}; {hint}", at.join(", "))
        }
        Verdict::Unchecked(why) => format!("{path}: not checked: {why}"),
        Verdict::Refused(why) => format!("{path}: refused: {why}"),
    };
    if let Some(case) = case.filter(|case| case.written) {
        text.push_str(&format!("\n{} was completed", case.pair.ots.display()));
    }
    text
}

fn shown(
    path: &std::path::Path,
    case: Option<&Case>,
    verdict: &Verdict,
    headers: Option<&BlockHeaders>,
) -> Value {
    let (result, problem) = match verdict {
        Verdict::Verified { .. } => ("verified", None),
        Verdict::Pending => ("pending", None),
        Verdict::Unchecked(why) => ("unchecked", Some(why)),
        Verdict::Refused(why) => ("refused", Some(why)),
    };
    let mut shown = json!({
        "file": case.map(|case| &case.pair.document),
        "ots": case.map_or(path, |case| &case.pair.ots),
        "result": result,
        "problem": problem,
        "pending": case.iter().flat_map(|case| &case.pending).map(|(pending, words)| json!({
            "calendar": pending.uri.as_str(),
            "commitment": hex::encode(&pending.commitment),
            "said": words,
        })).collect::<Vec<_>>(),
        "upgraded": case.is_some_and(|case| case.upgraded),
        "written": case.is_some_and(|case| case.written),
    });
    if let Verdict::Verified { held, confirmations, complete } = verdict {
        shown["chain"] = json!(held.chain.to_string().to_lowercase());
        shown["height"] = json!(held.height);
        shown["time_ms"] = json!(u64::from(held.time) * 1_000);
        shown["confirmations"] = json!(confirmations);
        shown["complete"] = json!(complete);
    }
    if let Some(headers) = headers {
        shown["headers"] =
            json!({ "tip": headers.tip, "tip_hash": headers.tip_hash, "checked": headers.checked });
    }
    shown
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use eschaton_ots::{DetachedFile, FileHash, Op, Operand, Timestamp};

    use super::*;

    const HEIGHT: u64 = 100;

    fn headers(root: &[u8], chain: Chain) -> BlockHeaders {
        let mut header = [0; 80];
        header[36..68].copy_from_slice(root);
        header[68..72].copy_from_slice(&1_700_000_000_u32.to_le_bytes());
        BlockHeaders {
            chain,
            headers: [(HEIGHT, header)].into(),
            tip: HEIGHT + 5,
            tip_hash: String::new(),
            checked: "nothing",
        }
    }

    fn case(proof: DetachedFile, digest: &[u8]) -> Case {
        let pair = Pair { ots: "a.ots".into(), document: "a".into(), proof };
        Case { pair, digest: digest.to_vec(), pending: Vec::new(), upgraded: false, written: false }
    }

    fn proof(digest: &[u8; 32], ends: &[Attestation]) -> (DetachedFile, Vec<u8>) {
        let ops =
            [Op::Append(Operand::from([5; 16])), Op::Sha256, Op::Prepend(Operand::from([6; 32])), Op::Sha256];
        let mut root = digest.to_vec();
        for op in &ops {
            root = op.apply(&root).unwrap();
        }
        let mut end = Timestamp::new();
        for attestation in ends {
            end.merge(&Timestamp::attested(attestation.clone())).unwrap();
        }
        let timestamp = Timestamp::path(ops.to_vec(), end).unwrap();
        (DetachedFile::new(FileHash::Sha256, digest, timestamp).unwrap(), root)
    }

    #[test]
    fn no_changed_byte_verifies() {
        let digest = [7; 32];
        let (whole, root) = proof(&digest, &[Attestation::bitcoin(HEIGHT)]);
        let headers = headers(&root, Chain::Bitcoin);
        let verdict = judge(&case(whole.clone(), &digest), Some(&headers), true);
        assert!(matches!(verdict, Verdict::Verified { confirmations: 6, complete: true, .. }));
        let bytes = whole.to_bytes().unwrap();
        let mut judged = 0;
        for at in 0..bytes.len() {
            for change in 1..=255_u8 {
                let mut changed = bytes.clone();
                changed[at] ^= change;
                let Ok(changed) = DetachedFile::from_bytes(&changed) else { continue };
                judged += 1;
                // Another hash gives the document another digest.
                let of_document = match changed.hash() {
                    FileHash::Sha256 => digest.to_vec(),
                    other => vec![0; other.digest_len()],
                };
                let verdict = judge(&case(changed, &of_document), Some(&headers), false);
                assert!(!matches!(verdict, Verdict::Verified { .. }), "byte {at} changed by {change}");
            }
        }
        assert!(judged > 1_000, "only {judged} changed proofs could be read");
    }

    #[test]
    fn what_is_missing_is_told() {
        let digest = [8; 32];
        let promise = Attestation::pending("http://calendar.example").unwrap();
        let (both, root) = proof(&digest, &[Attestation::bitcoin(HEIGHT), promise.clone()]);
        let good = headers(&root, Chain::Bitcoin);
        let (litecoin, other) = (headers(&root, Chain::Litecoin), headers(&[1; 32], Chain::Bitcoin));
        let told = |proof: &DetachedFile, headers: Option<&BlockHeaders>, strict| match judge(
            &case(proof.clone(), &digest),
            headers,
            strict,
        ) {
            Verdict::Verified { complete, .. } => format!("verified {complete}"),
            Verdict::Pending => "pending".to_owned(),
            Verdict::Unchecked(why) => format!("unchecked {why}"),
            Verdict::Refused(why) => format!("refused {why}"),
        };
        assert_eq!(told(&both, Some(&good), false), "verified false");
        assert!(told(&both, Some(&good), true).starts_with("refused "));
        assert!(told(&both, None, false).contains("--headers or --bitcoin-rpc"));
        assert!(told(&both, Some(&litecoin), false).contains("--chain"));
        let (higher, _) = proof(&digest, &[Attestation::bitcoin(HEIGHT + 1)]);
        assert!(told(&higher, Some(&good), false).contains("the last is 105"));
        assert!(told(&both, Some(&other), false).starts_with("refused "));
        let (pending, _) = proof(&digest, &[promise]);
        assert_eq!(told(&pending, Some(&good), false), "pending");
        let unknown = eschaton_ots::Unknown::new([9; 8], vec![1]).unwrap();
        let (unknown, _) = proof(&digest, &[Attestation::Unknown(unknown)]);
        assert!(told(&unknown, Some(&good), false).contains("newer client"));
    }
}
