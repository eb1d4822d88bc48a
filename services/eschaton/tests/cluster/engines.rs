//! Engines of a test's own, which it may kill, fill and start again.

use std::path::PathBuf;
use std::process::{Command, Output};

/// Ports of this test process, below those that the system gives to outgoing connections.
fn port(nth: u32) -> u16 {
    u16::try_from(20_000 + std::process::id() % 600 * 20 + nth).unwrap()
}

static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Tests with engines of their own run one after the other: the engines share ports, and a small machine.
pub(crate) async fn alone() -> tokio::sync::MutexGuard<'static, ()> {
    ALONE.lock().await
}

/// One engine, started by the set-up script. Ended and wiped when it is dropped.
pub(crate) struct Engine {
    script: &'static str,
    port: u16,
    environment: Vec<(&'static str, String)>,
}

impl Engine {
    pub(crate) fn cassandra() -> Self {
        Self::start(
            "../../deploy/engines/cassandra/run.sh",
            port(0),
            vec![
                ("CQL_PORT", port(0).to_string()),
                ("CQL_STORAGE_PORT", port(1).to_string()),
                ("CQL_AUTH", "none".to_owned()),
            ],
        )
    }

    pub(crate) fn kafka(more: &[(&'static str, String)]) -> Self {
        let own = [
            ("KAFKA_PORT", port(4).to_string()),
            ("KAFKA_NAME", format!("kafka-test-{}", port(4))),
            ("KAFKA_HEAP", "256m".to_owned()),
        ];
        Self::start("../../deploy/engines/kafka/run.sh", port(4), [&own, more].concat())
    }

    fn start(script: &'static str, port: u16, environment: Vec<(&'static str, String)>) -> Self {
        let engine = Self { script, port, environment };
        // What a killed test left under these ports.
        engine.call("kill9");
        engine.run("wipe");
        engine.run("start");
        engine
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Calls the set-up script with this verb; it must succeed.
    pub(crate) fn run(&self, verb: &str) {
        let output = self.call(verb);
        assert!(output.status.success(), "{} {verb}: {output:?}", self.script);
    }

    fn call(&self, verb: &str) -> Output {
        let mut command = Command::new(self.script);
        command.arg(verb).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.output().unwrap()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // It may be dead already.
        self.call("kill9");
        self.call("wipe");
    }
}

/// A file system of its own in memory, which a test may fill. Needs the right to mount.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    pub(crate) fn mount(path: PathBuf, mib: u32) -> Result<Self, String> {
        std::fs::create_dir_all(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(&path)
            .output()
            .map_err(|error| error.to_string())?;
        match mounted.status.success() {
            true => Ok(Self(path)),
            false => Err(String::from_utf8_lossy(&mounted.stderr).into_owned()),
        }
    }

    /// Writes until there is no room.
    pub(crate) fn fill(&self) {
        use std::io::Write;
        let mut file = std::fs::File::create(self.0.join("filler")).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
    }

    pub(crate) fn make_room(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open is about to end.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}
