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
}

impl Bug {
    /// All, with the names that the command line takes.
    pub const ALL: [(&'static str, Bug); 11] = [
        ("rows-before-commit", Bug::Driver(PlantedBug::RowsBeforeCommit)),
        ("no-deduplication", Bug::Driver(PlantedBug::NoDeduplication)),
        ("wall-clock", Bug::Driver(PlantedBug::WallClock)),
        ("no-reapply", Bug::Driver(PlantedBug::NoReapply)),
        ("credits-after-commit", Bug::Driver(PlantedBug::CreditsAfterCommit)),
        ("no-overlay", Bug::Driver(PlantedBug::NoOverlay)),
        ("reply-before-commit", Bug::ReplyBeforeCommit),
        ("missing-fsync", Bug::MissingFsync),
        ("zombie-commits", Bug::ZombieCommits),
        ("reservation-never-released", Bug::ReservationNeverReleased),
        ("watermark-before-rows", Bug::WatermarkBeforeRows),
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
