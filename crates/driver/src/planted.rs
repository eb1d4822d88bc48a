/// Bugs that the simulator must find; each breaks one rule of the driver.
#[cfg_attr(not(feature = "planted-bugs"), allow(unreachable_pub, reason = "the simulator alone sees it"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlantedBug {
    /// Rows are written before the commit that makes them true.
    RowsBeforeCommit,
    /// Records are not checked against the ids passed.
    NoDeduplication,
    /// Steps see the wall clock instead of log time.
    WallClock,
    /// Opening does not apply the changes that the store lacks.
    NoReapply,
    /// What a worker tells others is lost with it: it is published after the commit, which does not record it.
    CreditsAfterCommit,
    /// The overlay is not asked: a batch sees rows as they were before the last one.
    NoOverlay,
    /// The next input's offset is told from how many were read.
    CountsRecords,
    /// A row leaves the overlay with the first batch that holds it, though a later one changed it again.
    ForgetsNewer,
    /// A cached row stays as it was when it is written again.
    StaleCache,
    /// A message that comes behind a gap is taken, and what is missing is then dropped as old.
    GapsPass,
    /// Opening does not send again what the last owner may not have sent.
    ForgetsUnsent,
    /// An append of messages that fails is given up.
    SendsOnce,
}

/// What is planted in one worker. Without feature `planted-bugs` there is no way to make any but the
/// empty one, and the optimiser removes every question to it.
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
