use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

/// What is wrong, in words, by part. Empty: all is well. The last word of a part counts.
#[derive(Clone)]
pub struct Health {
    problems: Arc<Mutex<BTreeMap<String, String>>>,
    fatal: watch::Sender<Option<String>>,
}

impl Default for Health {
    fn default() -> Self {
        Self { problems: Arc::default(), fatal: watch::channel(None).0 }
    }
}

impl Health {
    /// A part has trouble and goes on trying.
    pub fn degraded(&self, part: &str, problem: impl Into<String>) {
        self.problems.lock().insert(part.to_owned(), problem.into());
    }

    /// A part is well again.
    pub fn well(&self, part: &str) {
        self.problems.lock().remove(part);
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
