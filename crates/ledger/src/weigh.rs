//! Which of several contenders for one output counts (spec ledger.md, "Conflicts" 4).

use eschaton_types::{OutPoint, TxId};

/// One of the transactions that want the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contender {
    /// Which.
    pub txid: TxId,
    /// Offset at which this shard first saw it: lower is earlier.
    pub arrived: u64,
}

/// Where weights come from. Must depend on the log alone, so that every replica weighs alike.
/// Today: [`FirstSeen`]. The trust of the peers whose observations saw each contender first takes
/// this place once observations are gossiped.
pub trait Weigh: Send {
    /// One weight for each contender, in their order.
    fn weights(&self, contenders: &[Contender]) -> Vec<u64>;
}

/// All weight to what this shard saw first.
#[derive(Clone, Copy, Debug, Default)]
pub struct FirstSeen;

impl Weigh for FirstSeen {
    fn weights(&self, contenders: &[Contender]) -> Vec<u64> {
        let first = contenders.iter().map(|contender| contender.arrived).min();
        contenders.iter().map(|contender| u64::from(Some(contender.arrived) == first)).collect()
    }
}

/// The outcome of weighing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This one counts.
    Winner(TxId),
    /// The two heaviest are within a sixteenth of all weight: wait longer if the window may grow.
    TooClose,
}

/// Weighs contenders (at least one). With `last` a verdict is forced: equal weights fall to the lowest
/// BLAKE3 hash of outpoint and transaction id, the same on every node.
pub fn judge(
    outpoint: &OutPoint,
    contenders: &[Contender],
    weigh: &dyn Weigh,
    last: bool,
) -> Option<Verdict> {
    let weights = weigh.weights(contenders);
    let mut ranked: Vec<_> = contenders.iter().zip(weights).collect();
    ranked.sort_by_cached_key(|(contender, weight)| {
        (std::cmp::Reverse(*weight), tie_break(outpoint, &contender.txid))
    });
    let (winner, most) = ranked.first()?;
    let all: u128 = ranked.iter().map(|(_, weight)| u128::from(*weight)).sum();
    let close = ranked.get(1).is_some_and(|(_, second)| u128::from(most - second) * 16 <= all);
    Some(if close && !last { Verdict::TooClose } else { Verdict::Winner(winner.txid) })
}

fn tie_break(outpoint: &OutPoint, txid: &TxId) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("eschaton 2026 conflict tie break v1");
    hasher.update(&outpoint.txid.0);
    hasher.update(&outpoint.index.to_be_bytes());
    hasher.update(&txid.0);
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(Vec<u64>);
    impl Weigh for Fixed {
        fn weights(&self, _: &[Contender]) -> Vec<u64> {
            self.0.clone()
        }
    }

    fn contenders() -> Vec<Contender> {
        (1..=3).map(|n| Contender { txid: TxId([n; 32]), arrived: u64::from(n) + 10 }).collect()
    }

    const OUTPOINT: OutPoint = OutPoint { txid: TxId([9; 32]), index: 1 };

    #[test]
    fn first_seen_wins_today() {
        assert_eq!(judge(&OUTPOINT, &contenders(), &FirstSeen, false), Some(Verdict::Winner(TxId([1; 32]))));
        assert_eq!(judge(&OUTPOINT, &[], &FirstSeen, true), None);
    }

    #[test]
    fn the_heaviest_wins_and_near_ties_wait() {
        let all = contenders();
        assert_eq!(
            judge(&OUTPOINT, &all, &Fixed(vec![10, 80, 10]), false),
            Some(Verdict::Winner(TxId([2; 32])))
        );
        assert_eq!(judge(&OUTPOINT, &all, &Fixed(vec![50, 49, 1]), false), Some(Verdict::TooClose));
        assert_eq!(
            judge(&OUTPOINT, &all, &Fixed(vec![50, 49, 1]), true),
            Some(Verdict::Winner(TxId([1; 32])))
        );
    }

    #[test]
    fn an_exact_tie_does_not_depend_on_order() {
        let mut all = contenders();
        let first = judge(&OUTPOINT, &all, &Fixed(vec![5, 5, 5]), true);
        all.reverse();
        assert_eq!(judge(&OUTPOINT, &all, &Fixed(vec![5, 5, 5]), true), first);
    }
}
