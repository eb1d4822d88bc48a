use bytes::Bytes;
use eschaton_gossip::{Refused, Screened};
use eschaton_types::{Rules, TxId};
use rayon::ThreadPool;
use rayon::prelude::*;
use tokio::sync::oneshot;

/// One item of a batch after its stateless checks.
pub(crate) type Item = Result<Box<Screened>, Refused>;

/// Smaller rounds are checked by one thread: waking another costs more than it saves, and the next round
/// keeps it busy anyway.
const SPLIT: usize = 32;

/// Checks a batch on all cores, away from the threads that serve connections. `known` tells ids whose
/// signatures need no check.
pub(crate) async fn screen(
    pool: &ThreadPool,
    items: Vec<Bytes>,
    rules: Rules,
    known: impl Fn(&TxId) -> bool + Send + Sync + 'static,
) -> Vec<Item> {
    let (answer, answered) = oneshot::channel();
    let count = items.len();
    pool.spawn(move || {
        let screened: Vec<Item> = if count < SPLIT {
            items.into_iter().map(|bytes| one(bytes, &rules, &known)).collect()
        } else {
            items.into_par_iter().with_min_len(SPLIT / 4).map(|bytes| one(bytes, &rules, &known)).collect()
        };
        // Nobody waits any more when the connection is gone; nothing was recorded.
        let _ = answer.send(screened);
    });
    answered.await.unwrap_or_default()
}

fn one(bytes: Bytes, rules: &Rules, known: &impl Fn(&TxId) -> bool) -> Item {
    eschaton_gossip::screen(bytes, rules, known).map(Box::new)
}
