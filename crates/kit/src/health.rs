use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

const PROBLEM: &str = "eschaton_problem";

/// What is wrong, in words, by part. Empty: all is well. The last word of a part counts.
#[derive(Clone)]
pub struct Health {
    problems: Arc<Mutex<BTreeMap<String, String>>>,
    all_well: watch::Sender<bool>,
    fatal: watch::Sender<Option<String>>,
}

impl Default for Health {
    fn default() -> Self {
        metrics::describe_gauge!(
            PROBLEM,
            "1 while a part has trouble, by part; the words are in status and log"
        );
        Self { problems: Arc::default(), all_well: watch::channel(true).0, fatal: watch::channel(None).0 }
    }
}

impl Health {
    /// A part has trouble and goes on trying.
    pub fn degraded(&self, part: &str, problem: impl Into<String>) {
        let mut problems = self.problems.lock();
        problems.insert(part.to_owned(), problem.into());
        metrics::gauge!(PROBLEM, "part" => part.to_owned()).set(1);
        self.all_well.send_if_modified(|well| std::mem::replace(well, false));
    }

    /// A part is well again.
    pub fn well(&self, part: &str) {
        let mut problems = self.problems.lock();
        if problems.remove(part).is_none() {
            return;
        }
        metrics::gauge!(PROBLEM, "part" => part.to_owned()).set(0);
        let none = problems.is_empty();
        self.all_well.send_if_modified(|well| std::mem::replace(well, none) != none);
    }

    /// A part cannot go on: the process should drain and exit non-zero.
    pub fn fatal(&self, part: &str, problem: impl Into<String>) {
        let problem = problem.into();
        self.degraded(part, problem.clone());
        self.fatal.send_if_modified(|fatal| {
            let first = fatal.is_none();
            fatal.get_or_insert_with(|| format!("{part}: {problem}"));
            first
        });
    }

    /// True while no part has trouble.
    pub fn all_well(&self) -> watch::Receiver<bool> {
        self.all_well.subscribe()
    }

    /// `part: problem` lines.
    pub fn problems(&self) -> Vec<String> {
        self.problems.lock().iter().map(|(part, problem)| format!("{part}: {problem}")).collect()
    }

    /// Resolves with the first fatal problem.
    pub async fn wait_fatal(&self) -> String {
        let mut fatal = self.fatal.subscribe();
        let found = fatal.wait_for(Option::is_some).await.ok().and_then(|problem| problem.clone());
        // The sender lives in self, so the channel cannot close while we wait.
        found.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_well_when_the_last_part_is() {
        let health = Health::default();
        let well = health.all_well();
        health.degraded("log", "away");
        health.degraded("store", "away");
        health.degraded("store", "still away");
        assert_eq!(health.problems(), ["log: away", "store: still away"]);
        health.well("log");
        assert!(!*well.borrow());
        health.well("store");
        health.well("never ill");
        assert!(*well.borrow() && health.problems().is_empty());
    }
}
