use eschaton_driver::PlantedBug;

/// A bug that the simulator must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// In the driver.
    Driver(PlantedBug),
    /// The client is told ACCEPTED when its transaction is on the log, not when the decision is.
    ReplyBeforeCommit,
    /// The log acknowledges before it syncs: a crash of the machine takes what it acknowledged.
    MissingFsync,
    /// The log does not fence: a worker whose partition was taken over still commits.
    ZombieCommits,
    /// Releases are lost: a hold that was given up elsewhere stays.
    ReservationNeverReleased,
    /// The store writes a batch's watermark before its rows.
    WatermarkBeforeRows,
    /// Rows carry no stamp: a write that comes late overrides newer ones.
    NoStamps,
    /// Nobody completes a batch of the trees that was left half-written.
    HalfWrittenTrees,
    /// Readers see records that others wrote behind the first of a transaction that is not over, and go on from there.
    ReadsPastOpen,
    /// A claim does not end the transaction of the owner before.
    ClaimLeavesOpen,
}

impl Bug {
    /// All, with the names that the command line takes.
    pub const ALL: [(&'static str, Bug); 21] = [
        ("rows-before-commit", Bug::Driver(PlantedBug::RowsBeforeCommit)),
        ("no-deduplication", Bug::Driver(PlantedBug::NoDeduplication)),
        ("wall-clock", Bug::Driver(PlantedBug::WallClock)),
        ("no-reapply", Bug::Driver(PlantedBug::NoReapply)),
        ("credits-after-commit", Bug::Driver(PlantedBug::CreditsAfterCommit)),
        ("no-overlay", Bug::Driver(PlantedBug::NoOverlay)),
        ("counts-records", Bug::Driver(PlantedBug::CountsRecords)),
        ("forgets-newer", Bug::Driver(PlantedBug::ForgetsNewer)),
        ("stale-cache", Bug::Driver(PlantedBug::StaleCache)),
        ("gaps-pass", Bug::Driver(PlantedBug::GapsPass)),
        ("forgets-unsent", Bug::Driver(PlantedBug::ForgetsUnsent)),
        ("sends-once", Bug::Driver(PlantedBug::SendsOnce)),
        ("reply-before-commit", Bug::ReplyBeforeCommit),
        ("missing-fsync", Bug::MissingFsync),
        ("zombie-commits", Bug::ZombieCommits),
        ("reservation-never-released", Bug::ReservationNeverReleased),
        ("watermark-before-rows", Bug::WatermarkBeforeRows),
        ("no-stamps", Bug::NoStamps),
        ("half-written-trees", Bug::HalfWrittenTrees),
        ("reads-past-open", Bug::ReadsPastOpen),
        ("claim-leaves-open", Bug::ClaimLeavesOpen),
    ];

    /// By its name on the command line.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, bug)| bug)
    }

    pub(crate) fn in_driver(self) -> Option<PlantedBug> {
        match self {
            Self::Driver(bug) => Some(bug),
            _ => None,
        }
    }
}
