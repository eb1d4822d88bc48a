//! Calendars that promised a proof are asked for it. Only addresses that stand in the proof are asked.

use std::collections::HashMap;

use eschaton_node::CalendarClient;
use eschaton_ots::{Pending, Timestamp};

/// Questions of one run.
const QUESTIONS_MAX: usize = 10_000;

/// What a calendar said to a commitment.
#[derive(Clone)]
pub(super) enum Said {
    /// The rest of the proof, which may still be a promise.
    Proof(Timestamp),
    /// There is none yet, or it was not reached.
    Words(String),
}

/// Asks each calendar once for each commitment: files that were stamped together share one.
#[derive(Default)]
pub(super) struct Calendars {
    http: CalendarClient,
    said: HashMap<Pending, Said>,
}

impl Calendars {
    pub(super) async fn ask(&mut self, pending: &Pending) -> Said {
        if let Some(said) = self.said.get(pending) {
            return said.clone();
        }
        if self.said.len() >= QUESTIONS_MAX {
            return Said::Words(format!("not asked: {QUESTIONS_MAX} questions are enough for one run"));
        }
        let said = match self.http.proof(&pending.uri, &pending.commitment).await {
            Ok(Ok(proof)) => Said::Proof(proof),
            Ok(Err(words)) => Said::Words(words),
            Err(error) => Said::Words(error.to_string()),
        };
        self.said.insert(pending.clone(), said.clone());
        said
    }
}
