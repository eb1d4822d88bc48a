/// Bugs that the model test must find; each breaks one rule of this crate.
#[cfg_attr(not(feature = "planted-bugs"), allow(unreachable_pub, reason = "the model test alone sees it"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlantedBug {
    /// A digest that was stamped before is stamped again in the next interval.
    NoDigestDeduplication,
    /// An interval that is announced twice gets two leaves.
    NoIntervalDeduplication,
    /// The last row of an interval's commitments is not written.
    LastRowUnwritten,
    /// A conflicting spend counts as certain in its first block.
    HastyReanchor,
    /// A reorganisation does not take the confirmation back.
    ForgetsReorganisation,
    /// A second transaction of an anchor need not conflict with the first.
    IndependentBump,
    /// An anchor is final in its first block.
    HastyFinal,
    /// A signed transaction may be broadcast and is in no row.
    SignedUnwritten,
    /// Two anchors may spend the same output.
    SharedInputs,
    /// A transaction that the node dropped is not broadcast again.
    ForgetsDropped,
}

/// What is planted in one core. Without feature `planted-bugs` there is no way to make any but the empty
/// one, and the optimiser removes every question to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planted(Option<PlantedBug>);

impl Planted {
    /// As it is in production.
    pub(crate) const NOTHING: Self = Self(None);

    #[cfg(feature = "planted-bugs")]
    pub(crate) fn new(bug: Option<PlantedBug>) -> Self {
        Self(bug)
    }

    pub(crate) fn has(self, bug: PlantedBug) -> bool {
        cfg!(feature = "planted-bugs") && self.0 == Some(bug)
    }
}
