//! What must hold after every commit, worked out from the log alone.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use eschaton_core::{RecordId, Table, Topic, TopicPartition};
use eschaton_ledger::{keys, shards_of};
use eschaton_ports::{LogRecord, NewRecord};
use eschaton_types::pb::log::{Changes, Credit, Decision, LedgerInput, State, ledger_input::Kind};
use eschaton_types::pb::state::{OutputRow, TotalRow};
use eschaton_types::{OutPoint, Product, Transaction, TxId, shard_of, sum_by_product};
use prost::Message;

use crate::log::{LogState, fingerprint};
use crate::store::Tables;
use crate::trees::TreeAudit;
use crate::world::{Broken, broken};

/// Units of one product. On the way: credits that are sent and not received, less the inputs of
/// accepted transactions whose settlement is sent and not received.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    live: i128,
    fees: i128,
    issued: i128,
    on_the_way: i128,
}

/// The checkers' own view of the ledger.
pub(crate) struct Audit {
    shards: u32,
    transactions: BTreeMap<TxId, Arc<Transaction>>,
    created: HashMap<OutPoint, (Product, u64)>,
    /// What each id said when it was first published.
    said: HashMap<(TopicPartition, RecordId), u64>,
    /// Rows as the committed changes leave them.
    pub(crate) rows: Tables,
    pub(crate) pending: usize,
    sums: BTreeMap<Product, Sums>,
    received: BTreeMap<TopicPartition, HashSet<RecordId>>,
    /// Messages that follow their commits, by sender and receiver: how many were decided, and how many received.
    messages: BTreeMap<(u32, u32), (u64, u64)>,
    pub(crate) accepted: BTreeMap<TxId, TopicPartition>,
    spenders: HashMap<OutPoint, TxId>,
    pub(crate) states: BTreeMap<TxId, State>,
    /// Accepted, as clients were told.
    told: BTreeMap<TxId, bool>,
    pub(crate) trees: TreeAudit,
    /// How often each kind of thing happened: a checker that never sees a thing checks nothing of it.
    pub(crate) coverage: Coverage,
}

/// Work that is not done.
#[derive(Debug)]
pub(crate) struct Left {
    /// Records of topic `ledger` that no worker has consumed.
    records: u64,
    /// Decided and not received.
    messages: u64,
    pending: usize,
    in_trees: u64,
    accepted: usize,
}

impl Left {
    pub(crate) fn is_nothing(&self) -> bool {
        self.records == 0
            && self.messages == 0
            && self.pending == 0
            && usize::try_from(self.in_trees) == Ok(self.accepted)
    }
}

/// Counts by name.
pub type Coverage = BTreeMap<&'static str, u64>;

impl Audit {
    pub(crate) fn new(shards: u32) -> Self {
        Self {
            shards,
            transactions: BTreeMap::new(),
            created: HashMap::new(),
            said: HashMap::new(),
            rows: Tables::new(),
            pending: 0,
            sums: BTreeMap::new(),
            received: BTreeMap::new(),
            messages: BTreeMap::new(),
            accepted: BTreeMap::new(),
            spenders: HashMap::new(),
            states: BTreeMap::new(),
            told: BTreeMap::new(),
            trees: TreeAudit::new(shards),
            coverage: Coverage::new(),
        }
    }

    /// A transaction that clients may submit.
    pub(crate) fn learn(&mut self, tx: &Arc<Transaction>) {
        for (index, output) in (0u16..).zip(&tx.body.outputs) {
            let outpoint = OutPoint { txid: tx.txid, index };
            self.created.insert(outpoint, (output.product, output.amount.units()));
        }
        self.transactions.insert(tx.txid, tx.clone());
    }

    pub(crate) fn transaction(&self, txid: &TxId) -> Option<Arc<Transaction>> {
        self.transactions.get(txid).cloned()
    }

    pub(crate) fn saw(&mut self, what: &'static str) {
        *self.coverage.entry(what).or_default() += 1;
    }

    /// L3: an id once published says the same for ever.
    pub(crate) fn appended(&mut self, to: TopicPartition, record: &LogRecord) -> Result<(), Broken> {
        // How many inputs one changes record covers is up to the batch.
        let Some(id) = record.id.filter(|_| to.topic != Topic::Changes) else { return Ok(()) };
        let saying = saying(to, record.at_ms, &record.payload);
        match self.said.insert((to, id), saying) {
            Some(before) if before != saying => {
                broken("L3", format!("{id:?} was published before with another content; now to {to}"))
            }
            _ => Ok(()),
        }
    }

    /// L3: a replay says what was said, no more and no less.
    pub(crate) fn said(&self, id: &RecordId, to: TopicPartition, at_ms: u64, payload: &bytes::Bytes) -> bool {
        self.said.get(&(to, *id)) == Some(&saying(to, at_ms, payload))
    }

    /// How many records a shard's worker published.
    pub(crate) fn said_by(&self, shard: u32) -> usize {
        let by = |source: TopicPartition| {
            source.partition == shard && matches!(source.topic, Topic::Ledger | Topic::Changes)
        };
        self.said.keys().filter(|(_, id)| by(id.source)).count()
    }

    /// A worker consumed `consumed`, from `from` up to `next`, and published `outputs`.
    pub(crate) fn committed(
        &mut self,
        at: TopicPartition,
        from: u64,
        next: u64,
        consumed: &[LogRecord],
        outputs: &[NewRecord],
    ) -> Result<(), Broken> {
        if next <= from {
            return broken(
                "L3",
                format!("{at} was consumed up to {from} and is consumed again up to {next}"),
            );
        }
        for output in outputs {
            match output.to.topic {
                Topic::Changes => self.changes(at, from, next, output)?,
                Topic::Decisions => self.decided(output)?,
                Topic::Ledger => self.travels(output.to.partition, &output.payload, 1)?,
                other => {
                    return broken("port", format!("a ledger worker wrote to topic {}", other.name()));
                }
            }
        }
        for record in consumed {
            let Some(id) = record.id else { continue };
            let is_new = if id.source.topic == Topic::Changes {
                let (_, received) = self.messages.entry((id.source.partition, at.partition)).or_default();
                let is_next = id.offset == *received;
                *received += u64::from(is_next);
                is_next
            } else {
                self.received.entry(at).or_default().insert(id)
            };
            if is_new {
                self.travels(at.partition, &record.payload, -1)?;
            }
        }
        self.conserved()
    }

    fn changes(
        &mut self,
        at: TopicPartition,
        from: u64,
        next: u64,
        output: &NewRecord,
    ) -> Result<(), Broken> {
        let changes = decode::<Changes>(&output.payload)?;
        if (changes.input_from, changes.input_next) != (from, next) {
            return broken(
                "L3",
                format!(
                    "{at} was consumed up to {from}; this commit decides {} to {} and says {next}",
                    changes.input_from, changes.input_next
                ),
            );
        }
        for message in changes.messages {
            let (decided, _) = self.messages.entry((at.partition, message.partition)).or_default();
            if message.number != *decided {
                return broken(
                    "L3",
                    format!("{at} tells {} for the {decided}th time: {message:?}", message.partition),
                );
            }
            *decided += 1;
            self.travels(message.partition, &message.payload, 1)?;
            self.saw("message after its commit");
        }
        for change in changes.rows {
            let Some(table) = Table::from_number(change.table) else {
                return broken("port", format!("a changes record names table {}", change.table));
            };
            let key = (table, change.key);
            let old = match &change.value {
                Some(value) => self.rows.insert(key.clone(), value.clone()),
                None => self.rows.remove(&key),
            };
            if table == Table::Pending {
                self.pending += usize::from(change.value.is_some());
                self.pending -= usize::from(old.is_some());
            }
            self.count(&key.1, table, old.as_ref(), -1)?;
            self.count(&key.1, table, change.value.as_ref(), 1)?;
        }
        Ok(())
    }

    fn count(
        &mut self,
        key: &bytes::Bytes,
        table: Table,
        value: Option<&bytes::Bytes>,
        sign: i128,
    ) -> Result<(), Broken> {
        let Some(value) = value else { return Ok(()) };
        match table {
            Table::Outputs => {
                let row = decode::<OutputRow>(value)?;
                if row.spent_by.is_empty() {
                    self.sums(&row.product)?.live += sign * i128::from(row.amount);
                }
            }
            Table::Totals => {
                let amount = sign * i128::from(decode::<TotalRow>(value)?.amount);
                match keys::parse_total(key) {
                    Some((keys::TOTAL_ISSUED, product)) => {
                        self.sums.entry(product).or_default().issued += amount
                    }
                    Some((_, product)) => self.sums.entry(product).or_default().fees += amount,
                    None => return broken("state", "a totals key has no form"),
                }
            }
            Table::Transactions | Table::Pending | Table::Workers | Table::Trees => {}
            Table::Digests | Table::Intervals | Table::Anchors | Table::StampWorkers => {
                return broken("state", format!("a ledger worker wrote table {}", table.name()));
            }
        }
        Ok(())
    }

    fn sums(&mut self, product: &[u8]) -> Result<&mut Sums, Broken> {
        match Product::from_slice(product) {
            Ok(product) => Ok(self.sums.entry(product).or_default()),
            Err(error) => Err(Broken { invariant: "state", detail: error.to_string() }),
        }
    }

    /// Value that is sent (`sign` 1) or received (-1).
    fn travels(&mut self, shard: u32, payload: &bytes::Bytes, sign: i128) -> Result<(), Broken> {
        match decode::<LedgerInput>(payload)?.kind {
            Some(Kind::Credits(credits)) => {
                for Credit { product, amount, .. } in credits.credits {
                    self.sums(&product)?.on_the_way += sign * i128::from(amount);
                }
            }
            Some(Kind::Settle(settle)) if settle.commit => {
                let tx = self.known(&settle.txid)?;
                for input in tx.body.consumed().filter(|input| shard_of(&input.owner, self.shards) == shard) {
                    let (product, amount) = self.amount(&input.outpoint)?;
                    self.sums.entry(product).or_default().on_the_way -= sign * i128::from(amount);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn conserved(&self) -> Result<(), Broken> {
        for (product, sums) in &self.sums {
            if sums.live + sums.fees + sums.on_the_way != sums.issued {
                return broken("L1", format!("product {product}: {sums:?}"));
            }
        }
        Ok(())
    }

    fn known(&self, txid: &[u8]) -> Result<Arc<Transaction>, Broken> {
        let txid = TxId::from_slice(txid, "txid").unwrap_or_default();
        self.transaction(&txid)
            .ok_or_else(|| Broken { invariant: "port", detail: format!("{txid} was never submitted") })
    }

    fn amount(&self, outpoint: &OutPoint) -> Result<(Product, u64), Broken> {
        self.created.get(outpoint).copied().ok_or_else(|| Broken {
            invariant: "L1",
            detail: format!("{outpoint} is spent and was never created"),
        })
    }

    fn decided(&mut self, output: &NewRecord) -> Result<(), Broken> {
        let decision = decode::<Decision>(&output.payload)?;
        let tx = self.known(&decision.txid)?;
        let before = self.accepted.contains_key(&tx.txid);
        let accepts = decision.state() == State::Accepted;
        self.saw(match (&decision.rejection, decision.repeated_answer) {
            (Some(rejection), _) => rejection.reason().as_str_name(),
            (None, true) => "repeated answer",
            (None, false) if !accepts => "pending",
            (None, false) if tx.is_issuance() => "issuance accepted",
            (None, false) => match shards_of(&tx, self.shards).len() {
                1 => "accepted in one shard",
                2 => "accepted in two shards",
                _ => "accepted in more shards",
            },
        });
        if decision.repeated_answer {
            return if accepts && !before {
                broken("L3", format!("{} is answered ACCEPTED and was not accepted", tx.txid))
            } else {
                Ok(())
            };
        }
        if before {
            return broken("L3", format!("{} was accepted and is now {:?}", tx.txid, decision.state()));
        }
        self.states.insert(tx.txid, decision.state());
        if accepts { self.accepts(&tx, &decision, output.to) } else { Ok(()) }
    }

    fn accepts(&mut self, tx: &Transaction, decision: &Decision, at: TopicPartition) -> Result<(), Broken> {
        self.accepted.insert(tx.txid, at);
        let body = &tx.body;
        let consumed: Vec<_> = body.consumed().map(|input| input.outpoint).collect();
        let told = decision.spends.iter().map(|spend| (&spend.txid[..], spend.index));
        if !told.eq(consumed.iter().map(|outpoint| (outpoint.txid.as_ref(), u32::from(outpoint.index)))) {
            return broken("L2", format!("the decision of {} names other outputs than it consumes", tx.txid));
        }
        let mut parts = Vec::new();
        for outpoint in consumed {
            if let Some(first) = self.spenders.insert(outpoint, tx.txid) {
                return broken("L2", format!("{outpoint} is spent by {first} and by {}", tx.txid));
            }
            let (product, amount) = self.amount(&outpoint)?;
            parts.push((product, eschaton_types::Amount::new(amount).unwrap_or_default()));
        }
        if !tx.is_issuance() && sum_by_product(parts) != body.created() {
            return broken("L1", format!("{} is accepted and does not balance", tx.txid));
        }
        if decision.at_ms < body.not_before_ms
            || (body.not_after_ms != 0 && decision.at_ms >= body.not_after_ms)
        {
            return broken(
                "L3",
                format!("{} is accepted at {} ms, outside its time", tx.txid, decision.at_ms),
            );
        }
        Ok(())
    }

    /// A client was told.
    pub(crate) fn tell(&mut self, txid: TxId, state: State, repeated: bool) -> Result<(), Broken> {
        match (state, self.told.get(&txid)) {
            (State::Rejected, Some(true)) if !repeated => {
                broken("L3", format!("a client was told that {txid} is accepted, and then that it is not"))
            }
            (State::Accepted, _) => {
                self.told.insert(txid, true);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// P1 after every commit.
    pub(crate) fn checkpoints(&mut self, log: &LogState) -> Result<(), Broken> {
        self.trees.follow(log)
    }

    /// What is not done yet.
    pub(crate) fn left(&self, log: &LogState) -> Left {
        let behind = |partition| {
            let at = TopicPartition { topic: Topic::Ledger, partition };
            log.whole_end(at).abs_diff(log.position(conflict_resolver::GROUP, at))
        };
        Left {
            records: (0..self.shards).map(behind).sum(),
            messages: self.messages.values().map(|(decided, received)| decided.abs_diff(*received)).sum(),
            pending: self.pending,
            in_trees: self.trees.size(),
            accepted: self.accepted.len(),
        }
    }

    /// L3 and L4 when nothing moves any more.
    pub(crate) fn settled(&self, log: &LogState) -> Result<(), Broken> {
        for partition in 0..self.shards {
            let at = TopicPartition { topic: Topic::Ledger, partition };
            for record in log.records(at) {
                if let Some(Kind::Submit(bytes)) = decode::<LedgerInput>(&record.payload)?.kind {
                    let txid = Transaction::decode(bytes).map(|tx| tx.txid).unwrap_or_default();
                    if !matches!(self.states.get(&txid), Some(State::Accepted | State::Rejected)) {
                        return broken(
                            "L4",
                            format!("{txid} was submitted and is {:?}", self.states.get(&txid)),
                        );
                    }
                }
            }
        }
        for txid in self.told.keys() {
            if !self.accepted.contains_key(txid) {
                return broken(
                    "L3",
                    format!("a client was told that {txid} is accepted; the log knows nothing"),
                );
            }
        }
        if let Some((_, key)) = self.rows.keys().find(|(table, _)| *table == Table::Pending) {
            return broken("L4", format!("pending row {key:?} is left"));
        }
        if let Some((product, sums)) = self.sums.iter().find(|(_, sums)| sums.on_the_way != 0) {
            return broken("L1", format!("product {product} has value on the way to nowhere: {sums:?}"));
        }
        Ok(())
    }
}

fn saying(to: TopicPartition, at_ms: u64, payload: &bytes::Bytes) -> u64 {
    let place = u64::from(to.topic.number()) << 40 | u64::from(to.partition);
    fingerprint(payload).wrapping_add(at_ms.rotate_left(32)) ^ place
}

pub(crate) fn decode<M: Message + Default>(bytes: &bytes::Bytes) -> Result<M, Broken> {
    M::decode(bytes.clone()).map_err(|error| Broken { invariant: "port", detail: error.to_string() })
}
