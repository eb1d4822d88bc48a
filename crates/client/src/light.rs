//! A light client: one verifier key and the latest checkpoint seen under it, in a file. All else is
//! proven against them, so a node can refuse to answer but not lie.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use eschaton_proof::{CheckpointBody, ProofError, SignedCheckpoint, VerifierKey, verify_consistency};
use eschaton_types::pb::proof::ConsistencyProof;
use eschaton_types::{TxError, decode_canonical};
use serde::{Deserialize, Serialize};

use crate::files::{self, FileError, Kind};
use crate::{Node, NodeError};

const VERSION: u32 = 1;
/// Checkpoints come several times a second under load, so a race with a new one is lost rarely and not thrice.
const ATTEMPTS_MAX: usize = 5;
const STATE: Kind = Kind {
    what: "light client's state",
    advice: "begin one by giving the operator's verifier key with --key",
    max: 64 * 1024,
};

/// Why the light client does not believe.
#[derive(Debug, thiserror::Error)]
pub enum LightError {
    /// Its file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The node gave no answer.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A proof or note was refused.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The file says something else than a state.
    #[error("{} is damaged or no light client's state: {detail}; move it away and begin anew with the operator's key", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// Another key than the one trusted so far.
    #[error("the key given is not the one trusted in {}; for another node use another state file (--light)", path.display())]
    OtherKey {
        /// Which file.
        path: PathBuf,
    },
    /// The node shows an older checkpoint than one seen before.
    #[error(
        "the node shows checkpoint {found}, but {seen} was seen before: a node that lags or hides; ask again or ask another"
    )]
    Older {
        /// What it shows.
        found: u64,
        /// The latest seen.
        seen: u64,
    },
    /// Two signed checkpoints that cannot both be true.
    #[error("the node signed two histories: its checkpoint {number} is not the one seen before; distrust it, the evidence is in {}", evidence.display())]
    Fork {
        /// Which checkpoint differs.
        number: u64,
        /// Both notes.
        evidence: PathBuf,
    },
    /// New checkpoints outran the proofs.
    #[error("checkpoints changed faster than their proofs could be fetched; try again")]
    Outrun,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateFile {
    version: u32,
    verifier_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checkpoint: Option<String>,
}

/// The trusted key, and the latest checkpoint under it.
pub struct Light {
    path: PathBuf,
    key: VerifierKey,
    latest: Option<SignedCheckpoint>,
}

impl Light {
    /// Begins to trust `key`, or goes on trusting it.
    pub fn trust(path: &Path, key: &VerifierKey) -> Result<Self, LightError> {
        match Self::open(path) {
            Ok(light) if light.key == *key => Ok(light),
            Ok(_) => Err(LightError::OtherKey { path: path.to_owned() }),
            Err(LightError::File(FileError::Missing { .. })) => {
                files::private_parent(path)?;
                let light = Self { path: path.to_owned(), key: key.clone(), latest: None };
                files::create(path, &light.text()?)?;
                Ok(light)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the state. Its checkpoint is checked under its key again.
    pub fn open(path: &Path) -> Result<Self, LightError> {
        let wrong = |detail: String| LightError::Content { path: path.to_owned(), detail };
        let bytes = files::read(path, &STATE)?;
        let file: StateFile = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        if file.version != VERSION {
            return Err(wrong(format!("version {} is not {VERSION}", file.version)));
        }
        let key = VerifierKey::parse(&file.verifier_key).map_err(|error| wrong(error.to_string()))?;
        let latest = file.checkpoint.map(|note| key.open(&Bytes::from(note))).transpose();
        let latest = latest.map_err(|error| wrong(error.to_string()))?;
        Ok(Self { path: path.to_owned(), key, latest })
    }

    /// The trusted key.
    pub fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// The latest checkpoint seen.
    pub fn latest(&self) -> Option<&SignedCheckpoint> {
        self.latest.as_ref()
    }

    /// Fetches the node's latest checkpoint and proves that it extends the latest seen.
    pub async fn refresh(&mut self, node: &Node) -> Result<SignedCheckpoint, LightError> {
        let fresh = self.key.open(&node.checkpoint(None).await?)?;
        self.extend_to(node, &fresh).await?;
        Ok(fresh)
    }

    /// Proves that `target`, a checkpoint of this key, is in one history with the latest seen, and
    /// keeps the latest of all.
    pub async fn extend_to(&mut self, node: &Node, target: &SignedCheckpoint) -> Result<(), LightError> {
        let _lock = files::lock(&self.path)?;
        if let Ok(current) = Self::open(&self.path) {
            self.latest = current.latest;
        }
        let Some(seen) = self.latest.clone() else { return self.keep(target.clone()) };
        let (number, known) = (target.body().number, seen.body().number);
        if number < known {
            return Err(LightError::Older { found: number, seen: known });
        }
        if number == known {
            return if target.body() == seen.body() { Ok(()) } else { Err(self.fork(&seen, target)?) };
        }
        for _ in 0..ATTEMPTS_MAX {
            let newer = self.extension(node, &seen).await?;
            if newer.body() == target.body() {
                return self.keep(newer);
            }
            if newer.body().number < number {
                continue; // a replica behind the one that showed the target
            }
            // Both must lead to one checkpoint.
            let joint = self.extension(node, target).await?;
            if joint.body() == newer.body() {
                return self.keep(newer);
            }
            if joint.body().number == newer.body().number {
                return Err(self.fork(&newer, &joint)?);
            }
        }
        Err(LightError::Outrun)
    }

    /// The node's latest checkpoint, proven to extend `old`.
    async fn extension(&self, node: &Node, old: &SignedCheckpoint) -> Result<SignedCheckpoint, LightError> {
        let bytes = node.prove_consistency(old.body().number).await?;
        match extension(&self.key, old.body(), &bytes) {
            Ok(Ok(newer)) => Ok(newer),
            Ok(Err(other)) => Err(self.fork(old, &other)?),
            Err(error @ ProofError::Fork { .. }) => {
                files::replace(&self.evidence(old.body().number), &bytes)?;
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Writes both notes down before anything else: they are portable evidence.
    fn fork(&self, one: &SignedCheckpoint, two: &SignedCheckpoint) -> Result<LightError, LightError> {
        let evidence = self.evidence(two.body().number);
        files::replace(&evidence, &[one.note().as_ref(), b"\n", two.note().as_ref()].concat())?;
        Ok(LightError::Fork { number: two.body().number, evidence })
    }

    fn evidence(&self, number: u64) -> PathBuf {
        files::beside(&self.path, &format!(".fork-{number}"))
    }

    fn keep(&mut self, latest: SignedCheckpoint) -> Result<(), LightError> {
        self.latest = Some(latest);
        Ok(files::replace(&self.path, &self.text()?)?)
    }

    fn text(&self) -> Result<Vec<u8>, LightError> {
        let wrong = |detail: String| LightError::Content { path: self.path.clone(), detail };
        let note = self.latest.as_ref().map(|latest| String::from_utf8(latest.note().to_vec()));
        let file = StateFile {
            version: VERSION,
            verifier_key: self.key.to_string(),
            checkpoint: note.transpose().map_err(|error| wrong(error.to_string()))?,
        };
        let mut text = serde_json::to_vec_pretty(&file).map_err(|error| wrong(error.to_string()))?;
        text.push(b'\n');
        Ok(text)
    }
}

/// The newer checkpoint of a proof that holds for `old`; the inner error is another checkpoint signed
/// under the old one's number.
fn extension(
    key: &VerifierKey,
    old: &CheckpointBody,
    bytes: &Bytes,
) -> Result<Result<SignedCheckpoint, SignedCheckpoint>, ProofError> {
    let verified = verify_consistency(bytes, key)?;
    let malformed = |_: TxError| ProofError::Malformed { what: "consistency proof" };
    let proof: ConsistencyProof = decode_canonical(bytes, "consistency proof").map_err(malformed)?;
    if verified.fact == *old {
        return Ok(Ok(key.open(&proof.new_note)?));
    }
    if verified.fact.number == old.number {
        return Ok(Err(key.open(&proof.old_note)?));
    }
    Err(ProofError::WrongSubject { what: "checkpoint" })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use eschaton_proof::{NoteSigner, map, tlog};
    use eschaton_types::encode;

    use super::*;

    fn body(number: u64, time_ms: u64, previous: [u8; 32]) -> CheckpointBody {
        CheckpointBody {
            origin: "node".into(),
            number,
            size: 0,
            log_root: tlog::empty_root(),
            map_root: map::EMPTY,
            time_ms,
            previous,
        }
    }

    fn proof(old: &SignedCheckpoint, new: &SignedCheckpoint) -> Bytes {
        encode(&ConsistencyProof {
            old_note: old.note().clone(),
            new_note: new.note().clone(),
            path: Bytes::new(),
        })
    }

    #[test]
    fn trust_is_kept_and_not_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("light.json");
        let signer = NoteSigner::new("node", &[1; 32]).unwrap();
        assert!(matches!(Light::open(&path), Err(LightError::File(FileError::Missing { .. }))));
        let mut light = Light::trust(&path, signer.verifier()).unwrap();
        assert!(light.latest().is_none());
        let checkpoint = signer.sign(body(0, 1, [0; 32])).unwrap();
        light.keep(checkpoint.clone()).unwrap();
        let again = Light::trust(&path, signer.verifier()).unwrap();
        assert_eq!(again.latest(), Some(&checkpoint));
        let other = NoteSigner::new("node", &[2; 32]).unwrap();
        assert!(matches!(Light::trust(&path, other.verifier()), Err(LightError::OtherKey { .. })));
        // A checkpoint of another key put into the file is noticed.
        let foreign = other.sign(body(0, 1, [0; 32])).unwrap();
        let line = |text: &Bytes| String::from_utf8(text.to_vec()).unwrap().replace('\n', "\\n");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(&line(checkpoint.note())));
        std::fs::write(&path, text.replace(&line(checkpoint.note()), &line(foreign.note()))).unwrap();
        assert!(matches!(Light::open(&path), Err(LightError::Content { .. })));
    }

    #[test]
    fn an_extension_must_begin_at_what_was_seen() {
        let signer = NoteSigner::new("node", &[1; 32]).unwrap();
        let first = signer.sign(body(0, 1, [0; 32])).unwrap();
        let second = signer.sign(body(1, 2, first.body().hash())).unwrap();
        let key = signer.verifier();
        assert_eq!(extension(key, first.body(), &proof(&first, &second)).unwrap(), Ok(second.clone()));
        // The node signs another checkpoint 0 and builds on that.
        let twin = signer.sign(body(0, 2, [0; 32])).unwrap();
        let onward = signer.sign(body(1, 3, twin.body().hash())).unwrap();
        assert_eq!(extension(key, first.body(), &proof(&twin, &onward)).unwrap(), Err(twin.clone()));
        let forked = extension(key, first.body(), &proof(&first, &onward)).unwrap_err();
        assert!(matches!(forked, ProofError::Fork { .. }), "{forked}");
        let beside = extension(key, first.body(), &proof(&second, &second)).unwrap_err();
        assert!(matches!(beside, ProofError::WrongSubject { .. }), "{beside}");
    }
}
