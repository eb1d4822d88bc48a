//! Engines of this run's own, started and ended by their scripts.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// Longest time of one call of a script. Cassandra's start waits three minutes.
const PATIENCE: Duration = Duration::from_secs(240);

/// An engine and its script. Dropped, it is resumed and stopped.
pub(crate) struct Engine {
    pub(crate) name: &'static str,
    script: PathBuf,
    messages: PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl Engine {
    /// Starts it on no data. Ports and directories come from the environment, as the script's head says, and from
    /// `environment`.
    pub(crate) fn start(
        name: &'static str,
        script: &Path,
        dir: &Path,
        environment: Vec<(&'static str, String)>,
    ) -> anyhow::Result<Self> {
        let script = script
            .canonicalize()
            .with_context(|| format!("{name}'s script {} cannot be used", script.display()))?;
        let engine = Self { name, script, messages: dir.join(format!("{name}.log")), environment };
        if let Err(error) = engine.call("wipe") {
            // It is not this run's: leave it as it is.
            std::mem::forget(engine);
            return Err(error)
                .context("an engine of these ports seems to run already; choose others, or stop it");
        }
        engine.call("start")?;
        Ok(engine)
    }

    /// One verb of the script.
    pub(crate) fn call(&self, verb: &str) -> anyhow::Result<()> {
        let messages = std::fs::OpenOptions::new().create(true).append(true).open(&self.messages)?;
        let mut child = Command::new(&self.script)
            .arg(verb)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(messages.try_clone()?)
            .stderr(messages)
            .spawn()
            .with_context(|| format!("{} cannot be run", self.script.display()))?;
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait()? {
                let messages = self.messages.display();
                ensure!(status.success(), "{}: {verb} ended with {status}; see {messages}", self.name);
                return Ok(());
            }
            if Instant::now() > until {
                let _ = child.kill();
                bail!("{}: {verb} has not ended after {} s", self.name, PATIENCE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it and deletes its data.
    pub(crate) fn wipe(self) -> anyhow::Result<()> {
        self.call("stop")?;
        self.call("wipe")?;
        std::mem::forget(self);
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // After a failure its data stays, to be looked at.
        let _ = self.call("resume");
        let _ = self.call("stop");
    }
}
