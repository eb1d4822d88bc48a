//! Rivals, broken transactions, and brokers that stop in the middle.

#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

mod kit;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use eschaton_kafka::{KafkaConfig, KafkaLog, migrate};
use eschaton_ports::{Claim, Log, LogError};
use kit::{DECISIONS_0, LEDGER_0, LEDGER_1, payloads, read_all, record};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

const LONG: Duration = Duration::from_secs(10);

/// A producer that is none of the adapter's, in the middle of a transaction.
fn in_transaction(config: &KafkaConfig, id: &str, topic: &str) -> BaseProducer {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &config.bootstrap)
        .set("transactional.id", format!("{}.{id}", config.topic_prefix))
        .create()
        .unwrap();
    producer.init_transactions(LONG).unwrap();
    producer.begin_transaction().unwrap();
    let topic = format!("{}.{topic}", config.topic_prefix);
    let headers = OwnedHeaders::new().insert(Header { key: "at", value: Some(&[0; 8]) });
    let record = BaseRecord::<(), str>::to(&topic).partition(0).payload("never").headers(headers);
    producer.send(record).unwrap();
    producer.flush(LONG).unwrap();
    producer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_in_another_process_fences_this_one() {
    let (config, _leavings) = kit::made().await;
    let (here, there) = (kit::open(&config).await, kit::open(&config).await);
    let inputs = here.append(vec![record(LEDGER_0, "a"), record(LEDGER_0, "b")]).await.unwrap();
    let mut older = here.claim("g", &[LEDGER_0]).await.unwrap();
    older.commit(vec![record(DECISIONS_0, "1")], &[(LEDGER_0, inputs[0].offset + 1)]).await.unwrap();
    let mut newer = there.claim("g", &[LEDGER_0]).await.unwrap();
    assert_eq!(newer.positions(), [(LEDGER_0, inputs[0].offset + 1)]);
    let fenced = older.commit(vec![record(DECISIONS_0, "no")], &[(LEDGER_0, inputs[1].offset + 1)]).await;
    assert!(matches!(fenced, Err(LogError::Fenced { .. })), "{fenced:?}");
    newer.commit(vec![record(DECISIONS_0, "2")], &[(LEDGER_0, inputs[1].offset + 1)]).await.unwrap();
    for log in [&here, &there] {
        let seen = tokio::time::timeout(LONG, async {
            log.wait(&[(DECISIONS_0, 1)]).await.unwrap();
            read_all(log, DECISIONS_0, 0).await
        });
        assert_eq!(payloads(&seen.await.unwrap()), ["1", "2"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_aborted_is_not_there() {
    let (config, _leavings) = kit::made().await;
    let log = kit::open(&config).await;
    let foreign = in_transaction(&config, "foreign", "decisions");
    assert_eq!(log.end(DECISIONS_0).await.unwrap(), 0);
    foreign.abort_transaction(LONG).unwrap();
    assert_eq!(read_all(&log, DECISIONS_0, 0).await, []);
    assert_eq!(log.end(DECISIONS_0).await.unwrap(), 0, "an aborted record and its mark are no records");
    let waited = tokio::time::timeout(Duration::from_millis(500), log.wait(&[(DECISIONS_0, 0)])).await;
    assert!(waited.is_err(), "there is nothing to wake for");
    let position = log.append(vec![record(DECISIONS_0, "first")]).await.unwrap()[0];
    log.wait(&[(DECISIONS_0, 0)]).await.unwrap();
    assert_eq!(payloads(&read_all(&log, DECISIONS_0, 0).await), ["first"]);
    assert_eq!(log.end(DECISIONS_0).await.unwrap(), position.offset + 1);
    // One that never looked before finds the same.
    assert_eq!(kit::open(&config).await.end(DECISIONS_0).await.unwrap(), position.offset + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_ends_what_the_former_owner_left_open() {
    let (config, _leavings) = kit::made().await;
    let log = kit::open(&config).await;
    // As if the owner had died in the middle of a commit.
    let dead = in_transaction(&config, "g.ledger.0", "decisions");
    let behind = log.append(vec![record(DECISIONS_0, "behind it")]).await.unwrap()[0];
    let held = log.read(DECISIONS_0, 0, 10, 1 << 20).await;
    assert!(held.unwrap().is_empty(), "an open transaction holds back what follows");
    let mut claim = log.claim("g", &[LEDGER_0]).await.unwrap();
    assert_eq!(payloads(&read_all(&log, DECISIONS_0, 0).await), ["behind it"]);
    assert_eq!(log.end(DECISIONS_0).await.unwrap(), behind.offset + 1);
    claim.commit(vec![record(DECISIONS_0, "next")], &[]).await.unwrap();
    let zombie = dead.commit_transaction(LONG);
    assert!(zombie.is_err(), "{zombie:?}");
    assert_eq!(payloads(&read_all(&log, DECISIONS_0, 0).await), ["behind it", "next"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_far_behind_see_everything_in_order() {
    let (config, _leavings) = kit::made().await;
    let config = KafkaConfig { tail_cache_bytes: 64 << 10, ..config };
    let log = kit::open(&config).await;
    let mut claim = log.claim("g", &[LEDGER_1]).await.unwrap();
    let count = 30_000_usize;
    for from in (0..count).step_by(1_000) {
        let records = (from..from + 1_000).map(|n| record(DECISIONS_0, format!("{n}"))).collect();
        claim.commit(records, &[]).await.unwrap();
    }
    let fresh = kit::open(&config).await;
    let read = |log: Arc<KafkaLog>, most| async move {
        let (mut all, mut from) = (Vec::new(), 0);
        loop {
            let page = log.read(DECISIONS_0, from, most, 1 << 20).await.unwrap();
            let Some(last) = page.last() else { return all };
            from = last.offset + 1;
            all.extend(payloads(&page));
        }
    };
    let fresh = Arc::new(fresh);
    let (one, other) = tokio::join!(read(fresh.clone(), 777), read(fresh.clone(), 4_096));
    let expected: Vec<String> = (0..count).map(|n| n.to_string()).collect();
    assert!(one == expected && other == expected, "{} and {} of {count}", one.len(), other.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_follow_see_everything_in_order() {
    let (config, _leavings) = kit::made().await;
    let (writer, reader) = (kit::open(&config).await, kit::open(&config).await);
    let count = 20_000_usize;
    let following = tokio::spawn(async move {
        let (mut all, mut from) = (Vec::new(), 0);
        while all.len() < count {
            reader.wait(&[(DECISIONS_0, from)]).await.unwrap();
            let page = reader.read(DECISIONS_0, from, 4_096, 1 << 20).await.unwrap();
            from = page.last().map_or(from, |last| last.offset + 1);
            all.extend(payloads(&page));
        }
        all
    });
    let mut claim = writer.claim("g", &[LEDGER_1]).await.unwrap();
    for from in (0..count).step_by(2_000) {
        let committed = (from..from + 1_999).map(|n| record(DECISIONS_0, format!("{n}"))).collect();
        claim.commit(committed, &[]).await.unwrap();
        writer.append(vec![record(DECISIONS_0, format!("{}", from + 1_999))]).await.unwrap();
    }
    let expected: Vec<String> = (0..count).map(|n| n.to_string()).collect();
    let seen = tokio::time::timeout(LONG, following).await.expect("a record is missing").unwrap();
    assert!(seen == expected);
}

/// A client that is moved from one place to another must not take its old position for the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_records_are_found_wherever_they_are() {
    let (config, _leavings) = kit::made().await;
    let log = kit::open(&config).await;
    let mut claim = log.claim("g", &[LEDGER_1]).await.unwrap();
    let mut positions = Vec::new();
    for n in 0..40 {
        let outputs = (0..5).map(|m| record(DECISIONS_0, format!("{}", n * 5 + m))).collect();
        positions.extend(claim.commit(outputs, &[]).await.unwrap());
    }
    let fresh = Arc::new(kit::open(&config).await);
    let found = |n: usize| {
        let (fresh, position) = (fresh.clone(), positions[n]);
        async move {
            let read = fresh.read(DECISIONS_0, position.offset, 1, 1).await.unwrap();
            assert_eq!(payloads(&read), [n.to_string()], "at {position:?}");
        }
    };
    // Back and forth, from the end to the beginning too, one at a time and several at once.
    for step in 0..600 {
        found((step * 131 + 199) % 200).await;
    }
    for step in 0..100 {
        futures::future::join_all((0..8).map(|n| found((step * 37 + n * 61) % 200))).await;
    }
}

/// Times that fit a test.
fn hasty(broker: &kit::Broker) -> KafkaConfig {
    KafkaConfig {
        bootstrap: broker.address(),
        transaction_timeout_ms: 6_000,
        commit_timeout_ms: 3_000,
        message_timeout_ms: 1_500,
        request_timeout_ms: 1_500,
        ..kit::config(2)
    }
}

/// A broker of the test's own, one at a time, since two that start at once starve each other on few cores; and a hasty
/// log on it, whose first inputs are there and whose broker has made what its first transaction needs.
async fn alone(port: u16, inputs: usize) -> (kit::Broker, tokio::sync::MutexGuard<'static, ()>, KafkaConfig) {
    static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let turn = ONE.lock().await;
    let broker = kit::Broker::start(port);
    let config = hasty(&broker);
    let patient =
        KafkaConfig { topic_prefix: config.topic_prefix.clone(), ..KafkaConfig::new(broker.address(), 2) };
    migrate(&patient, 1).await.unwrap();
    let log = kit::open(&patient).await;
    if inputs > 0 {
        log.append((0..inputs).map(|n| record(LEDGER_0, format!("{n}"))).collect()).await.unwrap();
    }
    let mut claim = log.claim("worker", &[LEDGER_0]).await.unwrap();
    claim.commit(Vec::new(), &[(LEDGER_0, 0)]).await.unwrap();
    (broker, turn, config)
}

/// Answers each input with an output, ten at a time, and claims again after each passing trouble. Ends after
/// `count` inputs; gives how often it claimed.
async fn work(log: Arc<KafkaLog>, count: usize) -> usize {
    let (mut claims, mut done) = (0, 0);
    loop {
        let claimed = log.claim("worker", &[LEDGER_0]).await;
        claims += 1;
        let outcome = match claimed {
            Ok(claim) => turns(&log, claim, &mut done, count).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => return claims,
            Err(LogError::Unavailable { .. }) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn turns(
    log: &KafkaLog,
    mut claim: Box<dyn Claim>,
    done: &mut usize,
    count: usize,
) -> Result<(), LogError> {
    let mut next = claim.positions()[0].1;
    // Inputs stand at offsets from 0 without gaps: only appends reach this partition.
    *done = usize::try_from(next).unwrap();
    while *done < count {
        let inputs = log.read(LEDGER_0, next, 10, 1 << 20).await?;
        let Some(last) = inputs.last() else {
            log.wait(&[(LEDGER_0, next)]).await?;
            continue;
        };
        next = last.offset + 1;
        let outputs = inputs.iter().map(|input| record(DECISIONS_0, input.payload.clone())).collect();
        claim.commit(outputs, &[(LEDGER_0, next)]).await?;
        *done += inputs.len();
    }
    Ok(())
}

/// Appends `count` numbered inputs, each until it is acknowledged; gives all that were acknowledged.
async fn feed(log: Arc<KafkaLog>, count: usize) -> Vec<String> {
    for n in 0..count {
        while log.append(vec![record(LEDGER_0, format!("{n}"))]).await.is_err() {}
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (0..count).map(|n| n.to_string()).collect()
}

/// Every acknowledged input is there, and every input has one output, in order.
async fn judge(config: &KafkaConfig, acknowledged: &[String]) {
    let log = kit::open(config).await;
    let inputs = payloads(&read_all(&log, LEDGER_0, 0).await);
    let outputs = payloads(&read_all(&log, DECISIONS_0, 0).await);
    let lost: Vec<_> = acknowledged.iter().filter(|input| !inputs.contains(input)).collect();
    assert!(
        lost.is_empty(),
        "acknowledged and lost: {lost:?}; {} inputs, the last {:?}",
        inputs.len(),
        inputs.last()
    );
    assert!(outputs.len() >= acknowledged.len());
    assert_eq!(outputs, inputs[..outputs.len()], "each input has one output");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_stands_still_loses_and_repeats_nothing() {
    let (broker, _turn, config) = alone(29_192, 200).await;
    let log = Arc::new(kit::open(&config).await);
    let mut claim = log.claim("worker", &[LEDGER_0]).await.unwrap();
    claim.commit(vec![record(DECISIONS_0, "0")], &[(LEDGER_0, 1)]).await.unwrap();

    broker.run("pause");
    let began = std::time::Instant::now();
    let commit = claim.commit(vec![record(DECISIONS_0, "1")], &[(LEDGER_0, 2)]);
    let append = log.append(vec![record(LEDGER_1, "x")]);
    let read = log.end(LEDGER_1);
    let (commit, append, read) = tokio::join!(commit, append, read);
    for failed in [commit.map(drop), append.map(drop), read.map(drop)] {
        assert!(matches!(failed, Err(LogError::Unavailable { .. })), "{failed:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(8), "bounded, not {:?}", began.elapsed());
    broker.run("resume");
    let void = claim.commit(vec![record(DECISIONS_0, "1")], &[(LEDGER_0, 2)]).await;
    assert!(matches!(void, Err(LogError::Unavailable { .. })), "{void:?}");
    drop(claim);

    let working = tokio::spawn(work(log.clone(), 200));
    // Once more, while it works.
    log.wait(&[(DECISIONS_0, 40)]).await.unwrap();
    broker.run("pause");
    tokio::time::sleep(Duration::from_secs(4)).await;
    broker.run("resume");
    working.await.unwrap();
    let numbers: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    judge(&config, &numbers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_loses_and_repeats_nothing() {
    let (broker, _turn, config) = alone(29_292, 0).await;
    let log = Arc::new(kit::open(&config).await);
    let count = 1_000;
    let feeding = tokio::spawn(feed(log.clone(), count));
    let working = tokio::spawn(work(log.clone(), count));
    let over = Arc::new(AtomicBool::new(false));
    let killing = {
        let over = over.clone();
        tokio::task::spawn_blocking(move || {
            for _ in 0..3 {
                std::thread::sleep(Duration::from_secs(2));
                if over.load(Ordering::Acquire) {
                    break;
                }
                broker.run("kill9");
                broker.run("start");
            }
            broker
        })
    };
    let acknowledged = feeding.await.unwrap();
    let claims = working.await.unwrap();
    over.store(true, Ordering::Release);
    let _broker = killing.await.unwrap();
    judge(&config, &acknowledged).await;
    assert!(claims > 1, "the kills were felt");
}
