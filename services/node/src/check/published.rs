//! Decisions that were published, beside those that the log's inputs give.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use eschaton_driver::{Seen, WorkerError};
use eschaton_ports::{Log, LogRecord, NewRecord, Topic, TopicPartition};
use eschaton_types::pb::log::Decision;
use prost::Message;

use super::Difference;

/// One shard's decisions, read along with those that are made anew. A record whose id was passed is the repetition that
/// every consumer drops, and is dropped here too.
pub(super) struct Published {
    log: Arc<dyn Log>,
    at: TopicPartition,
    next: u64,
    read: VecDeque<LogRecord>,
    seen: Seen,
    pub(super) compared: u64,
    pub(super) first: Option<Difference>,
}

impl Published {
    pub(super) fn new(log: Arc<dyn Log>, shard: u32) -> Self {
        let at = TopicPartition { topic: Topic::Decisions, partition: shard };
        let (read, seen) = (VecDeque::new(), Seen::default());
        Self { log, at, next: 0, read, seen, compared: 0, first: None }
    }

    /// The next published decision, if there is another.
    async fn take(&mut self) -> Result<Option<LogRecord>, WorkerError> {
        loop {
            while let Some(record) = self.read.pop_front() {
                if record.id.as_ref().is_none_or(|id| self.seen.pass(id)) {
                    return Ok(Some(record));
                }
            }
            let records = self.log.read(self.at, self.next, 4_096, 4 << 20).await?;
            let Some(last) = records.last() else { return Ok(None) };
            self.next = last.offset + 1;
            self.read = records.into();
        }
    }

    /// Compares what was made anew with what comes next on the log. After the first difference nothing fits any more.
    pub(super) async fn compare(&mut self, made: Vec<NewRecord>) -> Result<(), WorkerError> {
        for made in made {
            if self.first.is_some() {
                return Ok(());
            }
            if made.to != self.at {
                continue;
            }
            let there = self.take().await?;
            self.compared += 1;
            let same = there.as_ref().is_some_and(|there| {
                (there.id, there.at_ms, &there.payload) == (made.id, made.at_ms, &made.payload)
            });
            if !same {
                let key = there.as_ref().map_or(self.next, |there| there.offset);
                let says = (made.at_ms, &made.payload, made.id.map(|id| id.offset));
                let has = there.as_ref().map(|there| (there.at_ms, &there.payload));
                self.first = Some(self.difference(key, Some(says), has));
            }
        }
        Ok(())
    }

    /// At the inputs' end: a decision of an input before `end` that is left over was made of nothing.
    pub(super) async fn finish(&mut self, end: u64) -> Result<(), WorkerError> {
        while self.first.is_none()
            && let Some(there) = self.take().await?
        {
            if there.id.is_none_or(|id| id.offset < end) {
                let has = Some((there.at_ms, &there.payload));
                self.first = Some(self.difference(there.offset, None, has));
            }
        }
        Ok(())
    }

    fn difference(
        &self,
        offset: u64,
        made: Option<(u64, &Bytes, Option<u64>)>,
        there: Option<(u64, &Bytes)>,
    ) -> Difference {
        let shard = self.at.partition;
        let input = made.and_then(|(_, _, input)| input);
        let of =
            input.map_or_else(String::new, |input| format!(", of the input at {input} of ledger/{shard}"));
        let none = || "no decision".to_owned();
        Difference {
            table: "decisions".to_owned(),
            key: offset.to_string(),
            meaning: format!("offset {offset} of decisions/{shard}{of}"),
            log_says: made.map_or_else(none, |(at_ms, payload, _)| words(at_ms, payload)),
            store_has: there.map_or_else(none, |(at_ms, payload)| words(at_ms, payload)),
        }
    }
}

fn words(at_ms: u64, payload: &Bytes) -> String {
    match Decision::decode(payload.clone()) {
        Ok(decision) => format!(
            "{} for transaction {} at {at_ms}, bytes '{}'",
            decision.state().as_str_name(),
            hex::encode(&decision.txid),
            hex::encode(payload)
        ),
        Err(_) => format!("bytes '{}', which are no decision", hex::encode(payload)),
    }
}
