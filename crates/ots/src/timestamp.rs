use std::collections::{BTreeMap, BTreeSet};

use crate::attestation::{Attestation, CalendarUri};
use crate::{Op, OtsError};

/// Most operations that follow one another. The reference client reads no more, so it could not open a
/// file with one more.
pub const DEPTH_MAX: usize = 255;
/// Most operations and attestations of one timestamp.
pub const NODES_MAX: usize = 8192;

/// What is known of one message: attestations of it, and operations that lead on to messages of which more
/// is known. The message itself is not in it, as it is not in the serialized form.
///
/// A tree, never deeper than [`DEPTH_MAX`] nor larger than [`NODES_MAX`]: every way to make one checks that,
/// so that walking, writing and dropping it needs little stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timestamp {
    pub(crate) attestations: BTreeSet<Attestation>,
    pub(crate) ops: BTreeMap<Op, Timestamp>,
}

/// A promise of a calendar that waits to be asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pending {
    /// Whom to ask.
    pub uri: CalendarUri,
    /// What to ask for: the message there.
    pub commitment: Vec<u8>,
}

/// Branch operations, the message they lead to, and what is said of it.
pub(crate) type Visit<'a, 'f> = dyn FnMut(&[&'a Op], &[u8], &'a Attestation) + 'f;

impl Timestamp {
    /// Nothing known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The message itself is attested.
    pub fn attested(attestation: Attestation) -> Self {
        Self { attestations: BTreeSet::from([attestation]), ops: BTreeMap::new() }
    }

    /// Operations one after the other, and what is known of their last result.
    ///
    /// # Errors
    /// [`OtsError::Depth`], [`OtsError::Nodes`].
    pub fn path(ops: Vec<Op>, end: Self) -> Result<Self, OtsError> {
        // Checked first: a longer chain could not even be dropped safely.
        if ops.len().saturating_add(end.depth()) > DEPTH_MAX {
            return Err(OtsError::Depth { max: DEPTH_MAX });
        }
        let whole = ops
            .into_iter()
            .rev()
            .fold(end, |rest, op| Self { attestations: BTreeSet::new(), ops: BTreeMap::from([(op, rest)]) });
        whole.within_limits()
    }

    /// What is said of the message itself, in canonical order.
    pub fn attestations(&self) -> impl Iterator<Item = &Attestation> {
        self.attestations.iter()
    }

    /// Where it goes on, in canonical order.
    pub fn branches(&self) -> impl Iterator<Item = (&Op, &Timestamp)> {
        self.ops.iter()
    }

    /// Neither attestation nor operation.
    pub fn is_empty(&self) -> bool {
        self.attestations.is_empty() && self.ops.is_empty()
    }

    /// Operations of the longest branch.
    pub fn depth(&self) -> usize {
        self.ops.values().map(|next| next.depth() + 1).max().unwrap_or(0)
    }

    /// Operations and attestations in all.
    pub fn nodes(&self) -> usize {
        self.attestations.len() + self.ops.values().map(|next| next.nodes() + 1).sum::<usize>()
    }

    fn within_limits(self) -> Result<Self, OtsError> {
        if self.depth() > DEPTH_MAX {
            return Err(OtsError::Depth { max: DEPTH_MAX });
        }
        if self.nodes() > NODES_MAX {
            return Err(OtsError::Nodes { max: NODES_MAX });
        }
        Ok(self)
    }

    /// Adds all that another timestamp of the same message knows. Tells whether anything was new.
    ///
    /// # Errors
    /// [`OtsError::Depth`], [`OtsError::Nodes`]; nothing was added then.
    pub fn merge(&mut self, other: &Self) -> Result<bool, OtsError> {
        let mut merged = self.clone();
        merged.take_in(other);
        if merged == *self {
            return Ok(false);
        }
        *self = merged.within_limits()?;
        Ok(true)
    }

    fn take_in(&mut self, other: &Self) {
        self.attestations.extend(other.attestations.iter().cloned());
        for (op, next) in &other.ops {
            self.ops.entry(op.clone()).or_default().take_in(next);
        }
    }

    /// Executes every branch on `message` and tells each attestation with the operations that led to it and
    /// the message that it is of, in canonical order.
    ///
    /// # Errors
    /// Those of [`Op::apply`]: a timestamp that was read for this message gives none.
    pub fn visit<'a>(
        &'a self,
        message: &[u8],
        mut each: impl FnMut(&[&'a Op], &[u8], &'a Attestation),
    ) -> Result<(), OtsError> {
        self.walk(message, &mut Vec::new(), &mut each)
    }

    fn walk<'a>(
        &'a self,
        message: &[u8],
        path: &mut Vec<&'a Op>,
        each: &mut Visit<'a, '_>,
    ) -> Result<(), OtsError> {
        for attestation in &self.attestations {
            each(path, message, attestation);
        }
        for (op, next) in &self.ops {
            let message = op.apply(message)?;
            path.push(op);
            next.walk(&message, path, each)?;
            path.pop();
        }
        Ok(())
    }

    /// Promises of calendars with the commitments to ask for; each once.
    ///
    /// # Errors
    /// As [`Self::visit`].
    pub fn pending(&self, message: &[u8]) -> Result<Vec<Pending>, OtsError> {
        let mut found = BTreeSet::new();
        self.visit(message, |_, commitment, attestation| {
            if let Attestation::Pending(uri) = attestation {
                found.insert(Pending { uri: uri.clone(), commitment: commitment.to_vec() });
            }
        })?;
        Ok(found.into_iter().collect())
    }

    /// Puts a calendar's answer where its commitment is pending. Tells whether anything was new.
    ///
    /// # Errors
    /// [`OtsError::NotPending`] when no calendar promised anything for that commitment; the limits' errors.
    pub fn upgrade(&mut self, message: &[u8], commitment: &[u8], answer: &Self) -> Result<bool, OtsError> {
        let mut upgraded = self.clone();
        if !upgraded.attach(message, commitment, answer)? {
            return Err(OtsError::NotPending { commitment: hex::encode(commitment) });
        }
        if upgraded == *self {
            return Ok(false);
        }
        *self = upgraded.within_limits()?;
        Ok(true)
    }

    fn attach(&mut self, message: &[u8], commitment: &[u8], answer: &Self) -> Result<bool, OtsError> {
        let mut found = false;
        for (op, next) in &mut self.ops {
            found |= next.attach(&op.apply(message)?, commitment, answer)?;
        }
        if message == commitment && self.attestations.iter().any(|a| matches!(a, Attestation::Pending(_))) {
            self.take_in(answer);
            found = true;
        }
        Ok(found)
    }

    /// The branches that end in a block, without promises and unknown attestations: the form in which a
    /// finished proof is kept, for in it every byte counts. None when no block attests anything.
    pub fn finished(&self) -> Option<Self> {
        let is_block = |attestation: &&Attestation| matches!(attestation, Attestation::Block { .. });
        let finished = Self {
            attestations: self.attestations.iter().filter(is_block).cloned().collect(),
            ops: self
                .ops
                .iter()
                .filter_map(|(op, next)| next.finished().map(|next| (op.clone(), next)))
                .collect(),
        };
        (!finished.is_empty()).then_some(finished)
    }
}
