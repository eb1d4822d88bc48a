//! The store while its engine is paused, killed or down. The engine's process must be of this machine and
//! this user; it is found by its port. One test, for there is one engine.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use eschaton_cql::{CqlConfig, CqlStore, OpenError};
use eschaton_ports::{Store, StoreBatch, StoreError, Table};
use rustix::process::{Pid, Signal, kill_process};

use support::{Keyspace, mark, put, watermark};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_outlives_pauses_and_kills() {
    let mut config = support::config();
    (config.request_timeout_ms, config.connect_timeout_ms) = (1_000, 2_000);
    let keyspace = Keyspace::make_with(config).await;
    paused(&keyspace).await;
    killed(&keyspace).await;
    keyspace.drop().await;
}

async fn paused(keyspace: &Keyspace) {
    let store = keyspace.open().await;
    let engine = Engine::find(&keyspace.config);
    store.apply(rows(1)).await.unwrap();

    engine.signal(Signal::STOP);
    let began = tokio::time::timeout(Duration::from_secs(10), store.apply(rows(2))).await;
    assert!(matches!(began.unwrap(), Err(StoreError::Unavailable { .. })), "a paused engine is not there");
    let read = store.get_many(Table::Outputs, &keys(1)).await;
    assert!(matches!(read, Err(StoreError::Unavailable { .. })), "{read:?}");
    let opened = CqlStore::open(&keyspace.config).await.err().unwrap();
    assert!(matches!(opened, OpenError::Unreachable { .. }), "{opened}");

    engine.signal(Signal::CONT);
    until_done(|| store.apply(rows(2))).await;
    until_done(|| store.apply(rows(3))).await;
    // What was under way while the engine stood still, and any repetition, changes nothing newer.
    store.apply(rows(2)).await.unwrap();
    check(&store, 3).await;
    assert_eq!(watermark(store.as_ref(), "w").await, Some(mark(3)));
    let another = keyspace.open().await;
    check(&another, 3).await;
}

async fn killed(keyspace: &Keyspace) {
    let store = keyspace.open().await;
    let engine = Engine::find(&keyspace.config);
    let command = engine.command();
    let mut acknowledged = 3;
    let killer = tokio::spawn(async move {
        pause(1_500).await;
        engine.signal(Signal::KILL);
    });
    // Batches without a pause until the engine is gone in the middle of one.
    let failed = loop {
        match store.apply(rows(acknowledged + 1)).await {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(failed, StoreError::Unavailable { .. }), "{failed}");
    killer.await.unwrap();
    let opened = CqlStore::open(&keyspace.config).await.err().unwrap();
    assert!(matches!(opened, OpenError::Unreachable { .. }) && opened.is_passing(), "{opened}");

    command.start();
    let reopened = loop {
        match CqlStore::open(&keyspace.config).await {
            Ok(store) => break store,
            Err(error) if error.is_passing() => pause(200).await,
            // The engine answers before it has read who its users are.
            Err(OpenError::Credentials { .. }) => pause(200).await,
            Err(error) => panic!("{error}"),
        }
    };
    let found = watermark(&reopened, "w").await.unwrap().sequence;
    assert!(found == acknowledged || found == acknowledged + 1, "{found} after {acknowledged}");
    // Rows of the batch that failed may be there: recovery writes it again.
    until_done(|| reopened.apply(rows(acknowledged + 1))).await;
    check(&reopened, acknowledged + 1).await;
    // The old session finds the engine again by itself.
    until_done(|| store.apply(rows(acknowledged + 2))).await;
    check(&reopened, acknowledged + 2).await;
}

/// Every batch writes all keys anew and one that only it has.
fn rows(sequence: u64) -> StoreBatch {
    let mut batch = put("w", sequence, Table::Outputs, &keys(sequence));
    for row in &mut batch.rows {
        row.value = Some(Bytes::from(sequence.to_be_bytes().to_vec()));
    }
    batch
}

fn keys(sequence: u64) -> Vec<Bytes> {
    let own = [&[0xee][..], &sequence.to_be_bytes()].concat();
    let mut keys: Vec<Bytes> =
        (0_u32..300).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes().to_vec().into()).collect();
    keys.push(own.into());
    keys
}

async fn check(store: &CqlStore, last: u64) {
    for sequence in 1..=last {
        let found = store.get_many(Table::Outputs, &keys(sequence)).await.unwrap();
        let (own, shared) = found.split_last().unwrap();
        assert_eq!(own.as_deref(), Some(&sequence.to_be_bytes()[..]), "the row of batch {sequence} alone");
        assert!(shared.iter().all(|value| value.as_deref() == Some(&last.to_be_bytes()[..])));
    }
}

async fn until_done<F: Future<Output = Result<(), StoreError>>>(attempt: impl Fn() -> F) {
    let patience = tokio::time::timeout(Duration::from_secs(120), async {
        loop {
            match attempt().await {
                Ok(()) => return,
                Err(StoreError::Unavailable { .. }) => pause(200).await,
                Err(error) => panic!("{error}"),
            }
        }
    });
    patience.await.expect("the engine does not come back within two minutes");
}

async fn pause(ms: u64) {
    let _ = tokio::time::timeout(Duration::from_millis(ms), std::future::pending::<()>()).await;
}

/// The engine's process.
struct Engine {
    pid: Pid,
}

/// How it was started.
struct Start {
    arguments: Vec<String>,
    dir: std::path::PathBuf,
}

impl Engine {
    /// By what listens at the port.
    fn find(config: &CqlConfig) -> Self {
        let port: u16 = config.nodes[0].rsplit(':').next().unwrap().parse().unwrap();
        let wanted = format!("native_transport_port: {port}");
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let Ok(line) = std::fs::read_to_string(entry.path().join("cmdline")) else { continue };
            let mut words = line.split('\0');
            let settings = words.find_map(|word| word.strip_prefix("-Dcassandra.config=file://"));
            let Some(settings) = settings else { continue };
            if std::fs::read_to_string(settings).is_ok_and(|text| text.contains(&wanted)) {
                return Self { pid: Pid::from_raw(pid).unwrap() };
            }
        }
        panic!("no engine of this machine serves port {port}; start it with deploy/engines/cassandra/run.sh");
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    fn command(&self) -> Start {
        let proc = format!("/proc/{}", self.pid.as_raw_nonzero());
        let line = std::fs::read_to_string(format!("{proc}/cmdline")).unwrap();
        let arguments = line.split('\0').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        Start { arguments, dir: std::fs::read_link(format!("{proc}/cwd")).unwrap() }
    }
}

impl Start {
    /// The same process again, for whoever stops the engine later.
    #[allow(clippy::zombie_processes, reason = "the engine outlives the test, as it was found")]
    fn start(&self) {
        let log = std::fs::File::options().append(true).create(true).open(self.dir.join("out.log")).unwrap();
        let child = Command::new(&self.arguments[0])
            .args(&self.arguments[1..])
            .current_dir(&self.dir)
            .stdin(std::process::Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        std::fs::write(self.dir.join("pid"), format!("{}\n", child.id())).unwrap();
    }
}
