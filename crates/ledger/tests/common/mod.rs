//! Shards with their rows in memory, stepped one record at a time.

#![allow(dead_code)] // each test binary uses its own part

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use eschaton_core::{Core, Effect, Keys, Rows, Table, Topic};
use eschaton_ledger::{FirstSeen, Ledger, LedgerConfig, Weigh, keys};
use eschaton_types::pb::log::{Decision, LedgerInput, Reason, Rejection, State, Tick, ledger_input::Kind};
use eschaton_types::pb::state::{OutputRow, TotalRow, TransactionRow};
use eschaton_types::{
    Address, Amount, Body, Fee, Input, KeySet, Network, OutPoint, Output, OwnerProof, Product, Transaction,
    TxId, Witness, shard_of,
};
use prost::Message;

pub(crate) const START_MS: u64 = 1_000_000;

pub(crate) type Tables = BTreeMap<(Table, Bytes), Bytes>;

/// The `n`-th key set whose address is in `shard`.
pub(crate) fn keys_of(shard: u32, shards: u32, n: usize) -> KeySet {
    (0..=u16::MAX)
        .map(|n| {
            let mut key = [7; 32];
            key[..2].copy_from_slice(&n.to_be_bytes());
            KeySet::single(key)
        })
        .filter(|keys| shard_of(&keys.address(), shards) == shard)
        .nth(n)
        .expect("addresses are spread over the shards")
}

pub(crate) fn owner(shard: u32, shards: u32, n: usize) -> Address {
    keys_of(shard, shards, n).address()
}

/// An output to spend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Coin {
    pub(crate) outpoint: OutPoint,
    pub(crate) owner: Address,
    pub(crate) product: Product,
    pub(crate) amount: u64,
}

impl Coin {
    pub(crate) fn new(tag: u8, owner: Address, amount: u64) -> Self {
        Self {
            outpoint: OutPoint { txid: TxId([tag; 32]), index: 0 },
            owner,
            product: Product::Native,
            amount,
        }
    }

    /// Output `index` of a transaction.
    pub(crate) fn of(tx: &Transaction, index: u16) -> Self {
        let output = &tx.body.outputs[usize::from(index)];
        let outpoint = OutPoint { txid: tx.txid, index };
        Self { outpoint, owner: output.owner, product: output.product, amount: output.amount.units() }
    }

    pub(crate) fn input(&self, read_only: bool) -> Input {
        Input { outpoint: self.outpoint, owner: self.owner, product: self.product, read_only }
    }

    pub(crate) fn key(&self) -> (Table, Bytes) {
        (Table::Outputs, keys::output(&self.owner, &self.outpoint))
    }
}

pub(crate) fn amount(units: u64) -> Amount {
    Amount::new(units).expect("within 10^18")
}

/// Spends coins for one output of all their units. `note` makes it another transaction.
pub(crate) fn body(coins: &[Coin], to: Address, note: u8) -> Body {
    let units = coins.iter().map(|coin| coin.amount).sum();
    Body {
        network: Network::Dev,
        inputs: coins.iter().map(|coin| coin.input(false)).collect(),
        outputs: vec![Output::pay(to, coins[0].product, amount(units))],
        fees: Vec::new(),
        not_before_ms: 0,
        not_after_ms: 0,
        min_spend_delay_ms: 0,
        metadata: Bytes::copy_from_slice(&[note]),
    }
}

pub(crate) fn with_fee(mut body: Body, units: u64) -> Body {
    let output = &mut body.outputs[0];
    output.amount = output.amount.minus(amount(units)).expect("enough");
    body.fees.push(Fee { product: output.product, amount: amount(units) });
    body
}

/// The core trusts ingress: no signatures.
pub(crate) fn seal(body: &Body) -> Transaction {
    Transaction::assemble(body, &Witness::default()).expect("within limits")
}

pub(crate) fn pay(coins: &[Coin], to: Address, note: u8) -> Transaction {
    seal(&body(coins, to, note))
}

pub(crate) fn issue(issuer: &KeySet, product: Product, to: &[(Address, u64)], note: u8) -> Transaction {
    let body = Body {
        inputs: Vec::new(),
        outputs: to.iter().map(|(to, units)| Output::pay(*to, product, amount(*units))).collect(),
        ..body(&[Coin::new(0, to[0].0, 1)], to[0].0, note)
    };
    let issuer = Some(OwnerProof { keys: issuer.clone(), signatures: vec![(0, [0; 64])] });
    Transaction::assemble(&body, &Witness { issuer, ..Witness::default() }).expect("within limits")
}

pub(crate) fn submit(tx: &Transaction) -> Kind {
    Kind::Submit(tx.bytes.clone())
}

pub(crate) fn config(shard: u32, shards: u32) -> LedgerConfig {
    LedgerConfig { wait_ms: 1_000, reserve_ms: 1_000, window_max_ms: 400, ..LedgerConfig::new(shard, shards) }
}

/// One shard.
pub(crate) struct Shard {
    pub(crate) config: LedgerConfig,
    pub(crate) core: Ledger,
    pub(crate) rows: Tables,
    pub(crate) offset: u64,
    pub(crate) now_ms: u64,
    weigh: fn() -> Box<dyn Weigh>,
}

impl Shard {
    pub(crate) fn new(config: LedgerConfig) -> Self {
        Self::weighing(config, || Box::new(FirstSeen))
    }

    pub(crate) fn weighing(config: LedgerConfig, weigh: fn() -> Box<dyn Weigh>) -> Self {
        let core = Ledger::load_weighing(config, [], weigh()).expect("nothing to load");
        Self { config, core, rows: Tables::new(), offset: 0, now_ms: START_MS, weigh }
    }

    /// A shard that has this coin.
    pub(crate) fn with(mut self, coin: Coin) -> Self {
        self.put(coin, 0);
        self
    }

    pub(crate) fn put(&mut self, coin: Coin, spendable_at_ms: u64) {
        let row = keys::live(coin.amount, coin.product, 0, spendable_at_ms);
        self.rows.insert(coin.key(), Bytes::from(row.encode_to_vec()));
    }

    /// The core of another process that takes over: only rows survive.
    pub(crate) fn reload(&mut self) {
        let prefix = keys::pending_prefix(self.config.shard);
        let pending =
            self.rows.iter().filter(|((table, key), _)| *table == Table::Pending && key.starts_with(&prefix));
        // The order of rows must not matter.
        let pending: Vec<_> = pending.map(|(_, row)| row.clone()).rev().collect();
        self.core = Ledger::load_weighing(self.config, pending, (self.weigh)()).expect("own rows");
    }

    pub(crate) fn step(&mut self, kind: Kind) -> Vec<Effect> {
        self.try_step(kind).expect("a sound input")
    }

    pub(crate) fn try_step(&mut self, kind: Kind) -> Result<Vec<Effect>, eschaton_core::CoreError> {
        let payload = Bytes::from(LedgerInput { kind: Some(kind) }.encode_to_vec());
        let input = self.core.decode(&payload)?;
        let mut keys = Keys::default();
        self.core.touches(&input, &mut keys);
        let mut rows = Rows::default();
        for key in keys.into_inner() {
            let value = self.rows.get(&key).cloned();
            rows.provide(key.0, key.1, value);
        }
        let effects = self.core.step(&mut rows, self.offset, self.now_ms, input)?;
        self.offset += 1;
        for change in rows.into_changes() {
            match change.value {
                Some(value) => self.rows.insert((change.table, change.key), value),
                None => self.rows.remove(&(change.table, change.key)),
            };
        }
        Ok(effects)
    }

    pub(crate) fn submit(&mut self, tx: &Transaction) -> Vec<Effect> {
        self.step(submit(tx))
    }

    /// Time passes.
    pub(crate) fn tick_at(&mut self, now_ms: u64) -> Vec<Effect> {
        self.now_ms = now_ms;
        self.step(Kind::Tick(Tick {}))
    }

    /// The one decision of a submission.
    pub(crate) fn decide(&mut self, tx: &Transaction) -> Decision {
        let decisions = decisions(&self.submit(tx));
        assert_eq!(decisions.len(), 1, "{decisions:?}");
        decisions.into_iter().next().expect("one")
    }

    pub(crate) fn output(&self, coin: &Coin) -> Option<OutputRow> {
        self.rows.get(&coin.key()).map(|row| OutputRow::decode(row.clone()).expect("own row"))
    }

    pub(crate) fn is_live(&self, coin: &Coin) -> bool {
        self.output(coin).is_some_and(|row| row.spent_by.is_empty())
    }

    pub(crate) fn is_spent_by(&self, coin: &Coin, tx: &Transaction) -> bool {
        self.output(coin).is_some_and(|row| row.spent_by == tx.txid.as_ref())
    }

    pub(crate) fn state(&self, tx: &Transaction) -> Option<State> {
        let row = self.rows.get(&(Table::Transactions, keys::transaction(&tx.txid)))?;
        Some(TransactionRow::decode(row.clone()).expect("own row").state())
    }

    pub(crate) fn total(&self, key: Bytes) -> u64 {
        self.rows
            .get(&(Table::Totals, key))
            .map_or(0, |row| TotalRow::decode(row.clone()).expect("own row").amount)
    }

    /// Nothing undecided, nothing held, nothing due.
    pub(crate) fn is_idle(&self) -> bool {
        let pending = self.rows.keys().any(|(table, _)| *table == Table::Pending);
        !pending
            && self.core.pending() == 0
            && self.core.holds().next().is_none()
            && self.core.next_timer_ms().is_none()
    }
}

pub(crate) fn decisions(effects: &[Effect]) -> Vec<Decision> {
    let decided = effects.iter().filter(|effect| effect.to.topic == Topic::Decisions);
    decided.map(|effect| Decision::decode(effect.payload.clone()).expect("own record")).collect()
}

/// What goes to other shards.
pub(crate) fn messages(effects: &[Effect]) -> Vec<(u32, Kind)> {
    effects
        .iter()
        .filter(|effect| effect.to.topic == Topic::Ledger)
        .map(|effect| {
            let input = LedgerInput::decode(effect.payload.clone()).expect("own record");
            (effect.to.partition, input.kind.expect("of a known kind"))
        })
        .collect()
}

pub(crate) fn rejection(decision: &Decision) -> Rejection {
    assert_eq!(decision.state(), State::Rejected, "{decision:?}");
    decision.rejection.clone().expect("a rejection says why")
}

pub(crate) fn is_rejected(decision: &Decision, reason: Reason, message: &str) {
    let rejection = rejection(decision);
    assert_eq!((rejection.reason(), rejection.message.as_str()), (reason, message));
}

/// The one decision about a transaction among these effects.
pub(crate) fn of(effects: &[Effect], tx: &Transaction) -> Decision {
    let found: Vec<_> =
        decisions(effects).into_iter().filter(|decision| decision.txid == tx.txid.as_ref()).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next().expect("one")
}

/// Several shards and what is between them, in order for each pair.
pub(crate) struct Net {
    pub(crate) shards: Vec<Shard>,
    pub(crate) between: VecDeque<(u32, Kind)>,
    pub(crate) decided: Vec<Decision>,
}

impl Net {
    pub(crate) fn new(shards: u32) -> Self {
        Self {
            shards: (0..shards).map(|shard| Shard::new(config(shard, shards))).collect(),
            between: VecDeque::new(),
            decided: Vec::new(),
        }
    }

    pub(crate) fn shard(&mut self, shard: u32) -> &mut Shard {
        &mut self.shards[usize::try_from(shard).expect("small")]
    }

    pub(crate) fn put(&mut self, coin: Coin) {
        let shards = u32::try_from(self.shards.len()).expect("small");
        self.shard(shard_of(&coin.owner, shards)).put(coin, 0);
    }

    pub(crate) fn step(&mut self, shard: u32, kind: Kind) {
        let effects = self.shard(shard).step(kind);
        self.take(&effects);
    }

    pub(crate) fn tick_at(&mut self, shard: u32, now_ms: u64) {
        let effects = self.shard(shard).tick_at(now_ms);
        self.take(&effects);
    }

    fn take(&mut self, effects: &[Effect]) {
        self.decided.extend(decisions(effects));
        self.between.extend(messages(effects));
    }

    /// Delivers the oldest message.
    pub(crate) fn deliver(&mut self) -> bool {
        let Some((to, kind)) = self.between.pop_front() else { return false };
        self.step(to, kind);
        true
    }

    /// Delivers until nothing is on the way.
    pub(crate) fn settle(&mut self) {
        while self.deliver() {}
    }

    /// What was decided last about a transaction.
    pub(crate) fn last(&self, tx: &Transaction) -> &Decision {
        self.decided.iter().rev().find(|decision| decision.txid == tx.txid.as_ref()).expect("decided")
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.between.is_empty() && self.shards.iter().all(Shard::is_idle)
    }
}
