//! Members share partitions out, and hand them over one at a time.

#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

mod kit;

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use eschaton_kafka::{KafkaConfig, KafkaLog, migrate};
use eschaton_ports::{Change, Log, LogError, Membership, Topic};
use kit::{DECISIONS_0, LEDGER_0, Leavings, record};

const GROUP: &str = "shared";
const SHARDS: u32 = 4;
const LONG: Duration = Duration::from_secs(30);

async fn join(log: &KafkaLog) -> Box<dyn Membership> {
    log.join(GROUP, Topic::Ledger, SHARDS).await.unwrap()
}

async fn next(member: &mut Box<dyn Membership>) -> Change {
    tokio::time::timeout(LONG, member.next()).await.expect("nothing happened").unwrap()
}

/// Takes what comes until it has so many partitions.
async fn until(member: &mut Box<dyn Membership>, has: &mut BTreeSet<u32>, many: usize) {
    while has.len() != many {
        match next(member).await {
            Change::Assigned(partitions) => has.extend(partitions),
            Change::Revoked(partitions, _) | Change::Lost(partitions) => {
                has.retain(|had| !partitions.contains(had));
            }
        }
    }
}

async fn made() -> (KafkaConfig, Leavings) {
    let config = KafkaConfig { session_timeout_ms: 3_000, ..kit::config(SHARDS) };
    let leavings = Leavings::of(&config);
    migrate(&config, 1).await.unwrap();
    (config, leavings)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_move_and_claims_follow() {
    let (config, _leavings) = made().await;
    let named = |name: &str| KafkaConfig { client_id: name.into(), ..config.clone() };
    let (here, there) = (kit::open(&named("here")).await, kit::open(&named("there")).await);
    assert_eq!(here.owners(GROUP).await.unwrap(), []);
    let (mut first, mut second) = (join(&here).await, BTreeSet::new());
    let mut has = BTreeSet::new();
    until(&mut first, &mut has, 4).await;
    here.append(vec![record(LEDGER_0, "a"), record(LEDGER_0, "b")]).await.unwrap();
    let mut claim = here.claim(GROUP, &[LEDGER_0]).await.unwrap();
    claim.commit(vec![record(DECISIONS_0, "1")], &[(LEDGER_0, 1)]).await.unwrap();

    let mut other = join(&there).await;
    let Change::Revoked(given, release) = next(&mut first).await else { panic!("the first must give some") };
    assert_eq!(given.len(), 2);
    // Until it is released the other one has nothing, and the former owner commits.
    let early = tokio::time::timeout(Duration::from_millis(1_500), other.next()).await;
    assert!(!matches!(early, Ok(Ok(Change::Assigned(_)))), "{early:?}");
    claim.commit(Vec::new(), &[]).await.unwrap();
    drop(release);
    has.retain(|had| !given.contains(had));
    until(&mut other, &mut second, 2).await;
    assert_eq!(second, given.into_iter().collect());
    let owners = here.owners(GROUP).await.unwrap();
    let named: Vec<_> = owners.iter().map(|owner| (owner.name.as_str(), owner.partitions.len())).collect();
    assert!(named == [("here", 2), ("there", 2)] || named == [("there", 2), ("here", 2)], "{owners:?}");
    assert_eq!(owners.iter().map(|owner| owner.partitions.len()).sum::<usize>(), 4);

    // A claim goes on across generations while its partition stays.
    let stays = *has.first().unwrap();
    let at = eschaton_ports::TopicPartition { topic: Topic::Ledger, partition: stays };
    let mut kept = here.claim(GROUP, &[at]).await.unwrap();
    kept.commit(vec![record(DECISIONS_0, "2")], &[]).await.unwrap();

    // The first leaves; the other gets everything and goes on where the first was.
    drop(first);
    until(&mut other, &mut second, 4).await;
    let mut taken = there.claim(GROUP, &[LEDGER_0]).await.unwrap();
    assert_eq!(taken.positions(), [(LEDGER_0, 1)]);
    taken.commit(vec![record(DECISIONS_0, "3")], &[(LEDGER_0, 2)]).await.unwrap();
    let late = claim.commit(Vec::new(), &[(LEDGER_0, 2)]).await;
    assert!(matches!(late, Err(LogError::Fenced { .. } | LogError::Unavailable { .. })), "{late:?}");
    let late = kept.commit(Vec::new(), &[]).await;
    assert!(late.is_err(), "its membership has ended");
}

/// As a process that ends right after it: the group must know by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_left_is_out_of_the_group() {
    let (config, _leavings) = made().await;
    let log = kit::open(&config).await;
    let mut member = join(&log).await;
    until(&mut member, &mut BTreeSet::new(), 4).await;
    tokio::time::timeout(LONG, member.leave()).await.unwrap();
    assert_eq!(log.owners(GROUP).await.unwrap(), []);
    assert!(member.next().await.is_err(), "it has ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_partitions_of_a_killed_member_are_given_away() {
    let (config, _leavings) = made().await;
    let log = kit::open(&config).await;
    let mut member = join(&log).await;
    let mut has = BTreeSet::new();
    until(&mut member, &mut has, 4).await;
    let mut child = Killed(child(&config.topic_prefix));
    until(&mut member, &mut has, 2).await;
    let began = std::time::Instant::now();
    child.0.kill().unwrap();
    until(&mut member, &mut has, 4).await;
    assert!(
        began.elapsed() >= Duration::from_secs(1),
        "after the session time-out, not {:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_wrong_number_of_partitions_is_refused() {
    let (config, _leavings) = made().await;
    let log = kit::open(&config).await;
    let refused = log.join(GROUP, Topic::Ledger, SHARDS + 1).await.err().unwrap();
    assert!(matches!(refused, LogError::Invalid { .. }), "{refused}");
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A process that is a member until it is killed: this program again, running the test below.
fn child(prefix: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_member_in_a_process_of_its_own", "--ignored"])
        .env("MEMBER_PREFIX", prefix)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
#[ignore = "run by the_partitions_of_a_killed_member_are_given_away"]
async fn a_member_in_a_process_of_its_own() {
    let topic_prefix = std::env::var("MEMBER_PREFIX").expect("the other test sets it");
    let config = KafkaConfig { topic_prefix, session_timeout_ms: 3_000, ..kit::config(SHARDS) };
    let log = kit::open(&config).await;
    let mut member = join(&log).await;
    while let Ok(change) = member.next().await {
        drop(change);
    }
}
