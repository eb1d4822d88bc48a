//! What every log promises. The log under test has at least two ledger shards.

use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures::future::{join, join_all};
use futures::poll;

use super::{Case, cases, run_cases};
use crate::{
    Log, LogError, LogRecord, NewRecord, Position, RECORD_BYTES_MAX, RecordId, Topic, TopicPartition,
    TraceContext,
};

/// The partitions that the suite writes to.
pub const PARTITIONS: [TopicPartition; 3] = [LEDGER_0, LEDGER_1, DECISIONS_0];
const LEDGER_0: TopicPartition = TopicPartition { topic: Topic::Ledger, partition: 0 };
const LEDGER_1: TopicPartition = TopicPartition { topic: Topic::Ledger, partition: 1 };
const DECISIONS_0: TopicPartition = TopicPartition { topic: Topic::Decisions, partition: 0 };

/// Runs the suite. `make` gives a log that no claim of an earlier case's group is open on; it need not
/// be empty, but the suite's groups ("conformance-…") must be new to it.
pub async fn run(make: impl AsyncFn() -> Arc<dyn Log>) {
    run_cases(&all(), make).await;
}

/// The suite's cases, for engines that need to run them apart.
pub fn all() -> [Case<Arc<dyn Log>>; 19] {
    cases![
        order_is_kept_and_positions_follow_the_records,
        an_append_reaches_all_its_partitions,
        interleaved_partitions_keep_their_own_order,
        read_is_bounded_by_records,
        read_is_bounded_by_bytes_but_one_record_always_fits,
        read_from_the_middle_and_beyond_the_end,
        end_moves_past_every_record,
        all_of_a_record_comes_back,
        an_empty_append_is_nothing,
        the_largest_record_fits_and_a_larger_one_is_refused,
        an_unknown_partition_is_refused,
        wait_returns_at_once_when_there_is_something,
        wait_wakes_on_append_to_any_partition,
        wait_may_be_dropped,
        a_first_claim_starts_at_zero,
        commit_publishes_outputs_and_moves_positions,
        a_newer_claim_fences_the_older,
        an_empty_commit_by_a_fenced_claim_says_so,
        groups_and_other_partitions_are_undisturbed,
    ]
}

/// Everything acknowledged survives closing and opening again. `open` opens the same log each time;
/// the suite drops its handle before the next call.
pub async fn run_reopen(open: impl AsyncFn() -> Arc<dyn Log>) {
    let log = open().await;
    let start = log.end(LEDGER_0).await.unwrap();
    let positions = log.append(records(LEDGER_0, 0..50)).await.unwrap();
    let mut claim = log.claim("conformance-reopen", &[LEDGER_0, LEDGER_1]).await.unwrap();
    let outputs =
        claim.commit(records(DECISIONS_0, 0..3), &[(LEDGER_0, positions[9].offset + 1)]).await.unwrap();
    drop((claim, log));

    let log = open().await;
    assert_eq!(payloads(&read_all(&*log, LEDGER_0, start).await), numbers(0..50));
    let decided = read_all(&*log, DECISIONS_0, outputs[0].offset).await;
    assert_eq!(offsets(&decided), outputs.iter().map(|p| p.offset).collect::<Vec<_>>());
    assert!(log.end(LEDGER_0).await.unwrap() > positions[49].offset);
    let claim = log.claim("conformance-reopen", &[LEDGER_0, LEDGER_1]).await.unwrap();
    let expected = [(LEDGER_0, positions[9].offset + 1), (LEDGER_1, 0)];
    assert_eq!(claim.positions(), expected, "positions survive");
    drop(claim);
    let more = log.append(records(LEDGER_0, 50..60)).await.unwrap();
    assert!(more[0].offset > positions[49].offset, "offsets are never given twice");
    drop(log);

    let log = open().await;
    assert_eq!(payloads(&read_all(&*log, LEDGER_0, start).await), numbers(0..60));
}

fn record(to: TopicPartition, payload: impl Into<Bytes>) -> NewRecord {
    NewRecord { to, at_ms: 1, id: None, trace: None, payload: payload.into() }
}

fn numbers(range: std::ops::Range<u32>) -> Vec<Bytes> {
    range.map(|n| Bytes::copy_from_slice(format!("record {n}").as_bytes())).collect()
}

fn records(to: TopicPartition, range: std::ops::Range<u32>) -> Vec<NewRecord> {
    numbers(range).into_iter().map(|payload| record(to, payload)).collect()
}

fn payloads(records: &[LogRecord]) -> Vec<Bytes> {
    records.iter().map(|record| record.payload.clone()).collect()
}

fn offsets(records: &[LogRecord]) -> Vec<u64> {
    records.iter().map(|record| record.offset).collect()
}

async fn read_all(log: &dyn Log, at: TopicPartition, mut from: u64) -> Vec<LogRecord> {
    let mut all = Vec::new();
    loop {
        let page = log.read(at, from, 1000, 1 << 20).await.unwrap();
        let Some(last) = page.last() else { return all };
        from = last.offset + 1;
        all.extend(page);
    }
}

async fn order_is_kept_and_positions_follow_the_records(log: Arc<dyn Log>) {
    let start = log.end(LEDGER_0).await.unwrap();
    let mut positions = log.append(records(LEDGER_0, 0..300)).await.unwrap();
    positions.extend(log.append(records(LEDGER_0, 300..301)).await.unwrap());
    assert!(positions.iter().all(|position| position.at == LEDGER_0));
    assert!(positions.windows(2).all(|pair| pair[0].offset < pair[1].offset));
    assert!(positions[0].offset >= start);
    let read = read_all(&*log, LEDGER_0, start).await;
    assert_eq!(payloads(&read), numbers(0..301));
    assert_eq!(offsets(&read), positions.iter().map(|p| p.offset).collect::<Vec<_>>());
}

async fn an_append_reaches_all_its_partitions(log: Arc<dyn Log>) {
    let batch = PARTITIONS.map(|to| record(to, "everywhere")).to_vec();
    let positions = log.append(batch).await.unwrap();
    assert_eq!(positions.iter().map(|p| p.at).collect::<Vec<_>>(), PARTITIONS);
    for position in positions {
        let read = log.read(position.at, position.offset, 10, 1 << 20).await.unwrap();
        assert_eq!(payloads(&read), [Bytes::from("everywhere")], "at {}", position.at);
    }
}

async fn interleaved_partitions_keep_their_own_order(log: Arc<dyn Log>) {
    let ends = [log.end(LEDGER_0).await.unwrap(), log.end(LEDGER_1).await.unwrap()];
    let batch: Vec<NewRecord> = numbers(0..40)
        .into_iter()
        .enumerate()
        .map(|(n, payload)| record(if n % 3 == 0 { LEDGER_0 } else { LEDGER_1 }, payload))
        .collect();
    let positions = log.append(batch.clone()).await.unwrap();
    for (at, from) in [LEDGER_0, LEDGER_1].into_iter().zip(ends) {
        let expected: Vec<(u64, Bytes)> = positions
            .iter()
            .zip(&batch)
            .filter(|(position, _)| position.at == at)
            .map(|(position, record)| (position.offset, record.payload.clone()))
            .collect();
        let read = read_all(&*log, at, from).await;
        let read: Vec<(u64, Bytes)> = read.into_iter().map(|r| (r.offset, r.payload)).collect();
        assert_eq!(read, expected, "at {at}");
    }
}

async fn read_is_bounded_by_records(log: Arc<dyn Log>) {
    let first = log.append(records(LEDGER_0, 0..20)).await.unwrap()[0].offset;
    for max in [1, 7, 20] {
        let read = log.read(LEDGER_0, first, max, 1 << 20).await.unwrap();
        assert_eq!(payloads(&read), numbers(0..u32::try_from(max).unwrap()));
    }
    assert!(log.read(LEDGER_0, first, 0, 1 << 20).await.unwrap().is_empty());
}

async fn read_is_bounded_by_bytes_but_one_record_always_fits(log: Arc<dyn Log>) {
    let large = |n: u8| record(LEDGER_0, vec![n; 10_000]);
    let first = log.append((0..10).map(large).collect()).await.unwrap()[0].offset;
    let read = log.read(LEDGER_0, first, 100, 35_000).await.unwrap();
    assert!((1..=5).contains(&read.len()), "about 35 kB of 10 kB records is not {}", read.len());
    let one = log.read(LEDGER_0, first, 100, 1).await.unwrap();
    assert_eq!(one.len(), 1, "one record always fits, and no second");
    assert_eq!(one[0].payload, vec![0; 10_000]);
}

async fn read_from_the_middle_and_beyond_the_end(log: Arc<dyn Log>) {
    let mut positions = Vec::new();
    for n in 0..10 {
        positions.extend(log.append(records(LEDGER_0, n * 5..n * 5 + 5)).await.unwrap());
    }
    for from in [0, 3, 5, 23, 49] {
        let read = log.read(LEDGER_0, positions[from].offset, 100, 1 << 20).await.unwrap();
        assert_eq!(payloads(&read), numbers(u32::try_from(from).unwrap()..50), "from {from}");
        assert_eq!(read[0].offset, positions[from].offset);
    }
    let end = log.end(LEDGER_0).await.unwrap();
    for from in [end, end + 1, u64::MAX >> 1] {
        assert!(log.read(LEDGER_0, from, 100, 1 << 20).await.unwrap().is_empty(), "from {from}");
    }
}

async fn end_moves_past_every_record(log: Arc<dyn Log>) {
    let before = log.end(LEDGER_1).await.unwrap();
    let positions = log.append(records(LEDGER_0, 0..3)).await.unwrap();
    let end = log.end(LEDGER_0).await.unwrap();
    assert!(end > positions[2].offset);
    assert_eq!(log.end(LEDGER_1).await.unwrap(), before, "other partitions stay");
    let next = log.append(records(LEDGER_0, 3..4)).await.unwrap()[0].offset;
    assert!(next >= end);
}

async fn all_of_a_record_comes_back(log: Arc<dyn Log>) {
    let id = RecordId { source: LEDGER_1, offset: u64::MAX >> 1, index: u32::MAX };
    let trace = TraceContext { trace_id: u128::MAX - 5, span_id: u64::MAX - 6, flags: 1 };
    let payload = Bytes::from_static(b"\x00\xff payload");
    let batch = vec![
        NewRecord { to: LEDGER_0, at_ms: u64::MAX >> 1, id: Some(id), trace: Some(trace), payload },
        NewRecord { to: LEDGER_0, at_ms: 7, id: Some(id), trace: None, payload: Bytes::new() },
        NewRecord { to: LEDGER_0, at_ms: 8, id: None, trace: Some(trace), payload: Bytes::new() },
        NewRecord { to: LEDGER_0, at_ms: 0, id: None, trace: None, payload: Bytes::from("x") },
    ];
    let positions = log.append(batch.clone()).await.unwrap();
    let expected: Vec<LogRecord> = batch
        .into_iter()
        .zip(&positions)
        .map(|(record, position)| {
            let NewRecord { at_ms, id, trace, payload, .. } = record;
            LogRecord { offset: position.offset, at_ms, id, trace, payload }
        })
        .collect();
    assert_eq!(read_all(&*log, LEDGER_0, positions[0].offset).await, expected);
}

async fn an_empty_append_is_nothing(log: Arc<dyn Log>) {
    let end = log.end(LEDGER_0).await.unwrap();
    assert_eq!(log.append(Vec::new()).await.unwrap(), []);
    assert_eq!(log.end(LEDGER_0).await.unwrap(), end);
}

async fn the_largest_record_fits_and_a_larger_one_is_refused(log: Arc<dyn Log>) {
    let largest = Bytes::from(vec![3; RECORD_BYTES_MAX]);
    let position = log.append(vec![record(LEDGER_0, largest.clone())]).await.unwrap()[0];
    let read = log.read(LEDGER_0, position.offset, 10, 1).await.unwrap();
    assert_eq!(payloads(&read), [largest]);
    let end = log.end(LEDGER_0).await.unwrap();
    let batch = vec![record(LEDGER_0, "small"), record(LEDGER_0, vec![3; RECORD_BYTES_MAX + 1])];
    assert!(matches!(log.append(batch).await, Err(LogError::Invalid { .. })));
    assert_eq!(log.end(LEDGER_0).await.unwrap(), end, "nothing of a refused append is published");
}

async fn an_unknown_partition_is_refused(log: Arc<dyn Log>) {
    let nowhere = TopicPartition { topic: Topic::Checkpoints, partition: 1 };
    let end = log.end(LEDGER_0).await.unwrap();
    let invalid = |result: Result<(), LogError>| assert!(matches!(result, Err(LogError::Invalid { .. })));
    invalid(log.append(vec![record(LEDGER_0, "a"), record(nowhere, "b")]).await.map(drop));
    invalid(log.read(nowhere, 0, 1, 1).await.map(drop));
    invalid(log.end(nowhere).await.map(drop));
    invalid(log.wait(&[(nowhere, 0)]).await);
    invalid(log.claim("conformance-nowhere", &[nowhere]).await.map(drop));
    assert_eq!(log.end(LEDGER_0).await.unwrap(), end, "nothing of a refused append is published");
}

async fn wait_returns_at_once_when_there_is_something(log: Arc<dyn Log>) {
    let position = log.append(records(LEDGER_0, 0..5)).await.unwrap()[0];
    let idle = log.end(LEDGER_1).await.unwrap();
    log.wait(&[(LEDGER_1, idle), (LEDGER_0, position.offset)]).await.unwrap();
    log.wait(&[(LEDGER_0, position.offset + 1)]).await.unwrap();
}

async fn wait_wakes_on_append_to_any_partition(log: Arc<dyn Log>) {
    for to in [LEDGER_0, LEDGER_1] {
        let from =
            [(LEDGER_0, log.end(LEDGER_0).await.unwrap()), (LEDGER_1, log.end(LEDGER_1).await.unwrap())];
        let mut waiting = Box::pin(log.wait(&from));
        assert!(matches!(poll!(waiting.as_mut()), Poll::Pending), "nothing there yet");
        let (waited, appended) = join(waiting, log.append(records(to, 0..1))).await;
        waited.unwrap();
        let position = appended.unwrap()[0];
        assert_eq!(log.read(to, position.offset, 1, 1).await.unwrap().len(), 1);
    }
    // Many waiters, each for one of many appends: none may sleep through its own.
    for round in 0..50 {
        let from = [(LEDGER_0, log.end(LEDGER_0).await.unwrap())];
        let waiting = join_all((0..4).map(|_| log.wait(&from)));
        let (waited, appended) = join(waiting, log.append(records(LEDGER_0, round..round + 1))).await;
        assert!(waited.iter().all(Result::is_ok));
        appended.unwrap();
    }
}

async fn wait_may_be_dropped(log: Arc<dyn Log>) {
    let end = log.end(LEDGER_0).await.unwrap();
    let from = [(LEDGER_0, end)];
    let mut kept = Box::pin(log.wait(&from));
    assert!(matches!(poll!(kept.as_mut()), Poll::Pending));
    {
        let mut dropped = Box::pin(log.wait(&from));
        assert!(matches!(poll!(dropped.as_mut()), Poll::Pending));
    }
    let (waited, appended) = join(kept, log.append(records(LEDGER_0, 0..1))).await;
    waited.unwrap();
    appended.unwrap();
}

async fn a_first_claim_starts_at_zero(log: Arc<dyn Log>) {
    log.append(records(LEDGER_0, 0..5)).await.unwrap();
    let claim = log.claim("conformance-first", &[LEDGER_0, LEDGER_1]).await.unwrap();
    assert_eq!(claim.positions(), [(LEDGER_0, 0), (LEDGER_1, 0)]);
}

async fn commit_publishes_outputs_and_moves_positions(log: Arc<dyn Log>) {
    let inputs = log.append(records(LEDGER_0, 0..5)).await.unwrap();
    let next = |n: usize| inputs[n].offset + 1;
    let mut claim = log.claim("conformance-commit", &[LEDGER_0]).await.unwrap();
    let outputs = claim.commit(records(DECISIONS_0, 0..2), &[(LEDGER_0, next(1))]).await.unwrap();
    assert_eq!(claim.positions(), [(LEDGER_0, next(1))]);
    let read = read_all(&*log, DECISIONS_0, outputs[0].offset).await;
    assert_eq!(payloads(&read), numbers(0..2));
    assert_eq!(outputs[1], Position { at: DECISIONS_0, offset: read[1].offset });

    // Advancing alone, and publishing alone.
    assert_eq!(claim.commit(Vec::new(), &[(LEDGER_0, next(2))]).await.unwrap(), []);
    let more = claim.commit(records(DECISIONS_0, 2..3), &[]).await.unwrap();
    assert_eq!(payloads(&read_all(&*log, DECISIONS_0, more[0].offset).await), numbers(2..3));
    drop(claim);
    let mut claim = log.claim("conformance-commit", &[LEDGER_0]).await.unwrap();
    assert_eq!(claim.positions(), [(LEDGER_0, next(2))], "the next owner goes on where this one was");

    // A refused commit changes nothing.
    let end = log.end(DECISIONS_0).await.unwrap();
    let mut outputs = records(DECISIONS_0, 3..4);
    outputs.push(record(DECISIONS_0, vec![0; RECORD_BYTES_MAX + 1]));
    let refused = claim.commit(outputs, &[(LEDGER_0, next(3))]).await;
    assert!(matches!(refused, Err(LogError::Invalid { .. })));
    assert_eq!(log.end(DECISIONS_0).await.unwrap(), end);
    assert_eq!(claim.positions(), [(LEDGER_0, next(2))]);
}

async fn a_newer_claim_fences_the_older(log: Arc<dyn Log>) {
    let group = "conformance-fence";
    let inputs = log.append(records(LEDGER_0, 0..5)).await.unwrap();
    let next = |n: usize| inputs[n].offset + 1;
    let mut older = log.claim(group, &[LEDGER_0, LEDGER_1]).await.unwrap();
    older.commit(records(DECISIONS_0, 0..1), &[(LEDGER_0, next(0))]).await.unwrap();
    let mut newer = log.claim(group, &[LEDGER_0, LEDGER_1]).await.unwrap();
    assert_eq!(newer.positions(), [(LEDGER_0, next(0)), (LEDGER_1, 0)]);

    let end = log.end(DECISIONS_0).await.unwrap();
    for advance in [&[(LEDGER_0, next(1))][..], &[]] {
        match older.commit(records(DECISIONS_0, 1..2), advance).await {
            Err(LogError::Fenced { group: of }) => assert_eq!(of, group),
            other => panic!("the older claim must be fenced, not {other:?}"),
        }
    }
    assert!(read_all(&*log, DECISIONS_0, end).await.is_empty(), "a fenced commit publishes nothing");
    let outputs = newer.commit(records(DECISIONS_0, 2..3), &[(LEDGER_0, next(1))]).await.unwrap();
    assert_eq!(payloads(&read_all(&*log, DECISIONS_0, outputs[0].offset).await), numbers(2..3));
    let last = log.claim(group, &[LEDGER_0, LEDGER_1]).await.unwrap();
    assert_eq!(last.positions(), [(LEDGER_0, next(1)), (LEDGER_1, 0)]);
}

async fn an_empty_commit_by_a_fenced_claim_says_so(log: Arc<dyn Log>) {
    let group = "conformance-empty";
    let inputs = log.append(records(LEDGER_0, 0..2)).await.unwrap();
    let moved = [(LEDGER_0, inputs[0].offset + 1)];
    let mut older = log.claim(group, &[LEDGER_0]).await.unwrap();
    assert_eq!(older.commit(Vec::new(), &[]).await.unwrap(), [], "at its first position");
    older.commit(Vec::new(), &moved).await.unwrap();
    for _ in 0..2 {
        assert_eq!(older.commit(Vec::new(), &[]).await.unwrap(), [], "the owner is told that it is");
    }
    assert_eq!(older.positions(), moved, "an empty commit moves nothing");
    let mut newer = log.claim(group, &[LEDGER_0]).await.unwrap();
    for _ in 0..2 {
        match older.commit(Vec::new(), &[]).await {
            Err(LogError::Fenced { group: of }) => assert_eq!(of, group),
            other => panic!("the older claim must be fenced, not {other:?}"),
        }
    }
    newer.commit(Vec::new(), &[]).await.unwrap();
    assert_eq!(newer.positions(), moved, "who was fenced moved nothing");
}

async fn groups_and_other_partitions_are_undisturbed(log: Arc<dyn Log>) {
    let inputs = log.append(vec![record(LEDGER_0, "a"), record(LEDGER_1, "b")]).await.unwrap();
    let mut first = log.claim("conformance-shared", &[LEDGER_0]).await.unwrap();
    let mut second = log.claim("conformance-shared", &[LEDGER_1]).await.unwrap();
    let mut other = log.claim("conformance-other", &[LEDGER_0]).await.unwrap();
    first.commit(records(DECISIONS_0, 0..1), &[(LEDGER_0, inputs[0].offset + 1)]).await.unwrap();
    second.commit(records(DECISIONS_0, 1..2), &[(LEDGER_1, inputs[1].offset + 1)]).await.unwrap();
    other.commit(Vec::new(), &[]).await.unwrap();
    drop(other);
    let other = log.claim("conformance-other", &[LEDGER_0]).await.unwrap();
    assert_eq!(other.positions(), [(LEDGER_0, 0)], "another group's position is its own");
}
