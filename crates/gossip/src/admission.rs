use std::collections::HashMap;
use std::hash::Hash;

use eschaton_types::TRANSACTION_BYTES_MAX;

use crate::drain::Drain;

/// How much may be undecided at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    count_max: usize,
    bytes_max: usize,
    share_count: usize,
    share_bytes: usize,
}

/// Why limits make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitsError {
    /// Percent outside 1 to 100.
    #[error("client share is {percent} percent; set it from 1 to 100")]
    Share {
        /// What was set.
        percent: u8,
    },
    /// A client's share holds no transaction at all.
    #[error(
        "a client's share must hold one transaction of {TRANSACTION_BYTES_MAX} bytes; raise the bounds on undecided transactions or the share"
    )]
    TooSmall,
}

impl Limits {
    /// At most `count_max` undecided transactions of `bytes_max` bytes together. While others want
    /// room, one client may hold `client_share_percent` of either.
    pub fn new(count_max: usize, bytes_max: usize, client_share_percent: u8) -> Result<Self, LimitsError> {
        let percent = usize::from(client_share_percent);
        if !(1..=100).contains(&percent) {
            return Err(LimitsError::Share { percent: client_share_percent });
        }
        // Divided first, so that no bound overflows.
        let share = |max: usize| max / 100 * percent + max % 100 * percent / 100;
        let limits =
            Self { count_max, bytes_max, share_count: share(count_max), share_bytes: share(bytes_max) };
        if limits.share_count == 0 || limits.share_bytes < TRANSACTION_BYTES_MAX {
            return Err(LimitsError::TooSmall);
        }
        Ok(limits)
    }
}

/// Undecided transactions, of one client or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// How many.
    pub count: usize,
    /// Their bytes together.
    pub bytes: usize,
}

impl Held {
    fn with(self, bytes: usize) -> Option<Self> {
        Some(Self { count: self.count.checked_add(1)?, bytes: self.bytes.checked_add(bytes)? })
    }

    fn without(self, other: Self) -> Option<Self> {
        Some(Self {
            count: self.count.checked_sub(other.count)?,
            bytes: self.bytes.checked_sub(other.bytes)?,
        })
    }

    fn fits(self, count: usize, bytes: usize) -> bool {
        self.count <= count && self.bytes <= bytes
    }
}

/// The part of a group that got room: its first `held.count` transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// To be given back by [`Admission::release`], at once or in parts.
    pub held: Held,
    /// Why the rest of the group got none.
    pub rest: Option<Shed>,
}

/// No room now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("overloaded: {reason}; retry after {retry_after_ms} ms")]
pub struct Shed {
    /// When room is likely, from the recent rate of decisions. 10 to 5,000 ms.
    pub retry_after_ms: u64,
    /// Which bound was met.
    pub reason: ShedReason,
}

/// Which bound was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ShedReason {
    /// The number of undecided transactions.
    #[error("too many transactions await a decision")]
    Count,
    /// Their bytes.
    #[error("too many bytes of transactions await a decision")]
    Bytes,
    /// The client's share, while others want room.
    #[error("this client holds its share of the transactions that await a decision and others wait")]
    ClientShare,
}

/// More was released than is held: the caller counts wrongly. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "release of {} transactions of {} bytes, but the client holds {} of {}; release each admitted one once",
    released.count, released.bytes, held.count, held.bytes
)]
pub struct ReleaseError {
    /// What was to be released.
    pub released: Held,
    /// What the client holds.
    pub held: Held,
}

/// Room for undecided transactions, shared fairly among clients `C` and bounded in number and bytes.
///
/// Each transaction costs constant time, and memory grows with the clients that hold something.
/// "Others want room" means that another client holds some, or was refused and its hint has not
/// long passed: so one client alone may fill the house, and yields as soon as a second knocks.
#[derive(Debug)]
pub struct Admission<C> {
    limits: Limits,
    total: Held,
    clients: HashMap<C, Held>,
    drain: Drain,
    /// The two clients refused last and until when each is taken to wait. Two, because one of them
    /// may be the client that asks.
    refused: [Option<(C, u64)>; 2],
}

impl<C: Clone + Eq + Hash> Admission<C> {
    /// An empty house.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            total: Held::default(),
            clients: HashMap::new(),
            drain: Drain::default(),
            refused: [None, None],
        }
    }

    /// Asks room for transactions of these sizes in bytes, in order. A prefix may get it; an error
    /// means that not even the first did.
    pub fn admit(&mut self, client: &C, sizes: &[usize], now_ms: u64) -> Result<Admitted, Shed> {
        let before = self.client(client);
        let contended = self.others_want_room(client, before, now_ms);
        let (mut own, mut total, mut refusal) = (before, self.total, None);
        for size in sizes {
            match self.place(own, total, *size, contended) {
                Ok(larger) => (own, total) = larger,
                Err(reason) => {
                    refusal = Some(reason);
                    break;
                }
            }
        }
        let admitted = Held { count: own.count - before.count, bytes: own.bytes - before.bytes };
        self.total = total;
        if own.count > 0 {
            self.clients.insert(client.clone(), own);
        }
        let rest = refusal.map(|reason| {
            let retry_after_ms = self.drain.retry_after_ms(sizes.len() - admitted.count, now_ms);
            self.note_refused(client, now_ms.saturating_add(2 * retry_after_ms));
            Shed { retry_after_ms, reason }
        });
        match rest {
            Some(shed) if admitted.count == 0 => Err(shed),
            rest => Ok(Admitted { held: admitted, rest }),
        }
    }

    /// Gives room back: decided, refused later, or never written.
    pub fn release(
        &mut self,
        client: &C,
        count: usize,
        bytes: usize,
        now_ms: u64,
    ) -> Result<(), ReleaseError> {
        let (released, held) = (Held { count, bytes }, self.client(client));
        let wrong = ReleaseError { released, held };
        let left = held.without(released).ok_or(wrong)?;
        if left.count == 0 && left.bytes != 0 {
            return Err(wrong); // bytes without a transaction would never be released
        }
        self.total = self.total.without(released).ok_or(wrong)?;
        if left.count == 0 {
            self.clients.remove(client);
        } else {
            self.clients.insert(client.clone(), left);
        }
        self.drain.record(count, now_ms);
        Ok(())
    }

    /// What all clients hold.
    pub fn total(&self) -> Held {
        self.total
    }

    /// What one client holds.
    pub fn client(&self, client: &C) -> Held {
        self.clients.get(client).copied().unwrap_or_default()
    }

    /// How many clients hold something.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    fn place(
        &self,
        own: Held,
        total: Held,
        size: usize,
        contended: bool,
    ) -> Result<(Held, Held), ShedReason> {
        let limits = &self.limits;
        let (Some(own), Some(total)) = (own.with(size), total.with(size)) else {
            return Err(ShedReason::Bytes);
        };
        if total.count > limits.count_max {
            return Err(ShedReason::Count);
        }
        if total.bytes > limits.bytes_max {
            return Err(ShedReason::Bytes);
        }
        if contended && !own.fits(limits.share_count, limits.share_bytes) {
            return Err(ShedReason::ClientShare);
        }
        Ok((own, total))
    }

    fn others_want_room(&self, client: &C, own: Held, now_ms: u64) -> bool {
        let others_hold = self.clients.len() > usize::from(own.count > 0);
        others_hold
            || self.refused.iter().flatten().any(|(other, until_ms)| other != client && now_ms < *until_ms)
    }

    fn note_refused(&mut self, client: &C, until_ms: u64) {
        if !matches!(&self.refused[0], Some((last, _)) if last == client) {
            self.refused.swap(0, 1);
        }
        self.refused[0] = Some((client.clone(), until_ms));
    }
}
