//! What tests leave in real engines, and how it goes away again: a database with many tables is slow, and in the end
//! too slow to make more.

use std::path::Path;
use std::sync::Once;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;

/// For one question or one deletion; a small machine that drops tables is slow.
const PATIENCE: Duration = Duration::from_secs(120);
/// Keyspaces have names of at most 48 bytes.
const NAME_MAX: usize = 44;

/// Topics, groups and a keyspace of one test. Deleted when it is dropped, also when the test fails.
pub(crate) struct Leavings {
    kafka: String,
    cql: String,
    /// Prefix of topics and groups, and the keyspace.
    pub(crate) name: String,
}

impl Leavings {
    /// A name for what a test in this directory makes. The first call deletes what processes left that are no more.
    pub(crate) fn new(dir: &Path, kafka: String, cql: String) -> Self {
        static STALE: Once = Once::new();
        STALE.call_once(|| sweep(&kafka, &cql, |name| owner(name).is_some_and(|pid| !lives(pid))));
        let mut name = format!("t{}x", std::process::id());
        let path: Vec<char> = dir.to_string_lossy().chars().filter(char::is_ascii_alphanumeric).collect();
        let from = path.len().saturating_sub(NAME_MAX - name.len());
        name.extend(path[from..].iter().map(char::to_ascii_lowercase));
        Self { kafka, cql, name }
    }

    /// Runs a statement that the store itself never would.
    #[allow(dead_code, reason = "the other test binary's")]
    pub(crate) async fn statement(&self, statement: &str) {
        session(&self.cql).await.unwrap().query_unpaged(statement, &[]).await.unwrap();
    }

    /// Key and value of some row of a table.
    #[allow(dead_code, reason = "the other test binary's")]
    pub(crate) async fn some_row(&self, table: &str) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        let statement = format!("SELECT part, key, value FROM {}.{table} LIMIT 1", self.name);
        let answer = session(&self.cql).await.unwrap().query_unpaged(statement, &[]).await.unwrap();
        answer.into_rows_result().unwrap().first_row().unwrap()
    }
}

impl Drop for Leavings {
    fn drop(&mut self) {
        sweep(&self.kafka, &self.cql, |name| name == self.name);
    }
}

/// Who made what has this name.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix('t')?.split_once('x')?.0.parse().ok()
}

fn lives(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// Deletes everything whose name is meant. What cannot be deleted is told: a test may have ended its engine, and the
/// next run sweeps again.
fn sweep(kafka: &str, cql: &str, meant: impl Fn(&str) -> bool + Sync) {
    // A thread of its own, for the caller may be inside a runtime.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                if let Err(error) = sweep_kafka(kafka, &meant).await {
                    eprintln!("topics stay at {kafka}: {error}");
                }
                if let Err(error) = sweep_cql(cql, &meant).await {
                    eprintln!("keyspaces stay at {cql}: {error}");
                }
            });
        });
    });
}

async fn sweep_kafka(address: &str, meant: &impl Fn(&str) -> bool) -> Result<(), Box<dyn std::error::Error>> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", address).create()?;
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    let ours = |name: &str| name.split_once('.').is_some_and(|(prefix, _)| meant(prefix));
    let found = admin.inner().fetch_metadata(None, Duration::from_secs(5))?;
    let topics: Vec<&str> =
        found.topics().iter().map(|topic| topic.name()).filter(|name| ours(name)).collect();
    if !topics.is_empty() {
        for deleted in admin.delete_topics(&topics, &options).await? {
            deleted.map_err(|(topic, code)| format!("{topic}: {code}"))?;
        }
    }
    let found = admin.inner().fetch_group_list(None, Duration::from_secs(5))?;
    let groups: Vec<&str> =
        found.groups().iter().map(|group| group.name()).filter(|name| ours(name)).collect();
    if !groups.is_empty() {
        // A killed member's group is not empty before its session ends; the next run finds it.
        admin.delete_groups(&groups, &options).await?;
    }
    Ok(())
}

async fn session(address: &str) -> Result<Session, Box<dyn std::error::Error>> {
    let profile = scylla::client::execution_profile::ExecutionProfile::builder()
        .request_timeout(Some(PATIENCE))
        .build();
    let builder = SessionBuilder::new()
        .known_node(address)
        .user("cassandra", "cassandra")
        .default_execution_profile_handle(profile.into_handle())
        .schema_agreement_timeout(PATIENCE);
    Ok(builder.build().await?)
}

async fn sweep_cql(address: &str, meant: &impl Fn(&str) -> bool) -> Result<(), Box<dyn std::error::Error>> {
    let session = session(address).await?;
    let found = session.query_unpaged("SELECT keyspace_name FROM system_schema.keyspaces", &[]).await?;
    let found = found.into_rows_result()?;
    for row in found.rows::<(String,)>()? {
        let (keyspace,) = row?;
        if meant(&keyspace) {
            session.query_unpaged(format!("DROP KEYSPACE IF EXISTS {keyspace}"), &[]).await?;
        }
    }
    Ok(())
}
