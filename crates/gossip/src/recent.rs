use std::collections::HashSet;

use eschaton_types::TxId;
use hashlink::LruCache;

/// What is known of a transaction id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight<T> {
    /// Never seen, or long forgotten. It is undecided from now on.
    First,
    /// Seen and not decided: join the wait, write nothing.
    Undecided,
    /// Decided: answer from memory.
    Decided(T),
}

/// Transaction ids seen lately, so that a repeated one costs neither signatures nor a log write.
///
/// Decided ids are bounded here and the least recently asked for goes first. Undecided ids never
/// make way for decided ones: forgetting one would write it to the log again. Their bound is
/// [`crate::Admission`]'s: an id that was refused room must be [`forget`](Self::forget)ed at once.
#[derive(Debug)]
pub struct Recent<T> {
    undecided: HashSet<TxId>,
    decided: LruCache<TxId, T>,
}

impl<T: Clone> Recent<T> {
    /// Remembers the outcomes of `decided_max` ids, none when 0.
    pub fn new(decided_max: usize) -> Self {
        Self { undecided: HashSet::new(), decided: LruCache::new(decided_max) }
    }

    /// Looks an id up, and enters it as undecided at first sight.
    pub fn see(&mut self, txid: TxId) -> Sight<T> {
        if let Some(outcome) = self.decided.get(&txid) {
            return Sight::Decided(outcome.clone());
        }
        if self.undecided.insert(txid) { Sight::First } else { Sight::Undecided }
    }

    /// True when [`see`](Self::see) would not say [`Sight::First`]. Changes nothing.
    pub fn knows(&self, txid: &TxId) -> bool {
        self.undecided.contains(txid) || self.decided.contains_key(txid)
    }

    /// Enters a decision, also one of a transaction that came in elsewhere. True when the id was
    /// undecided here: someone may wait, and its room is to be released.
    pub fn decide(&mut self, txid: TxId, outcome: T) -> bool {
        let waited = self.undecided.remove(&txid);
        self.decided.insert(txid, outcome);
        waited
    }

    /// Takes an undecided id back: it got no room, or its log write failed. The next sight of it is
    /// the first. True when it was undecided; decisions stay.
    pub fn forget(&mut self, txid: &TxId) -> bool {
        self.undecided.remove(txid)
    }

    /// How many ids are undecided.
    pub fn undecided(&self) -> usize {
        self.undecided.len()
    }

    /// How many outcomes are remembered.
    pub fn decided(&self) -> usize {
        self.decided.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> TxId {
        TxId([byte; 32])
    }

    #[test]
    fn first_then_undecided_then_answered_from_memory() {
        let mut recent = Recent::new(2);
        assert_eq!(recent.see(id(1)), Sight::First);
        assert_eq!(recent.see(id(1)), Sight::Undecided);
        assert!(recent.decide(id(1), "accepted"));
        assert_eq!(recent.see(id(1)), Sight::Decided("accepted"));
        assert_eq!((recent.undecided(), recent.decided()), (0, 1));
        assert!(!recent.decide(id(1), "accepted"), "nobody waits for a decision that was known");
    }

    #[test]
    fn the_least_recently_asked_for_is_forgotten_first() {
        let mut recent = Recent::new(2);
        for byte in 1..=2 {
            recent.decide(id(byte), byte);
        }
        assert_eq!(recent.see(id(1)), Sight::Decided(1));
        recent.decide(id(3), 3);
        assert_eq!(recent.decided(), 2);
        assert_eq!(recent.see(id(1)), Sight::Decided(1));
        assert_eq!(recent.see(id(3)), Sight::Decided(3));
        assert_eq!(recent.see(id(2)), Sight::First);
    }

    #[test]
    fn decided_ids_never_evict_undecided_ones() {
        let mut recent = Recent::new(2);
        for byte in 0..10 {
            assert_eq!(recent.see(id(byte)), Sight::First);
        }
        for byte in 100..200 {
            recent.decide(id(byte), ());
        }
        assert_eq!((recent.undecided(), recent.decided()), (10, 2));
        for byte in 0..10 {
            assert_eq!(recent.see(id(byte)), Sight::Undecided);
        }
    }

    #[test]
    fn a_forgotten_id_is_new_and_a_decision_is_not_forgotten() {
        let mut recent = Recent::new(2);
        recent.see(id(1));
        assert!(recent.forget(&id(1)));
        assert!(!recent.forget(&id(1)));
        assert_eq!(recent.see(id(1)), Sight::First);
        recent.decide(id(1), 7);
        assert!(!recent.forget(&id(1)));
        assert_eq!(recent.see(id(1)), Sight::Decided(7));
    }

    #[test]
    fn a_memory_of_nothing_still_joins_waits() {
        let mut recent = Recent::new(0);
        assert_eq!(recent.see(id(1)), Sight::First);
        assert_eq!(recent.see(id(1)), Sight::Undecided);
        assert!(recent.decide(id(1), ()));
        assert_eq!((recent.undecided(), recent.decided()), (0, 0));
        assert_eq!(recent.see(id(1)), Sight::First);
    }
}
