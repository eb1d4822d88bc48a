use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use eschaton_core::{Core, CoreError, Effect, Keys, LogTime, Rows, Table};
use eschaton_types::pb::log::{self as pb, ledger_input::Kind};
use eschaton_types::pb::state::{OutputRow, Stage};
use eschaton_types::{Address, OutPoint, Product, Transaction, TxId};
use prost::Message;

use crate::job::{Job, shards_of};
use crate::step::Step;
use crate::{Contender, FirstSeen, LedgerConfig, Weigh, keys};

/// What a shard consumes, decoded.
#[derive(Debug)]
pub enum Input {
    /// A transaction that ingress has checked.
    Submit(Box<Transaction>),
    /// Another shard asks for a hold.
    Reserve {
        /// The transaction.
        tx: Box<Transaction>,
        /// Where the answer goes.
        coordinator: u32,
        /// Offset of the submission there.
        attempt: u64,
    },
    /// A hold that this shard asked for.
    Grant(pb::Grant),
    /// A hold that it does not get.
    Refuse(pb::Refuse),
    /// The coordinator's verdict.
    Settle {
        /// Which transaction.
        txid: TxId,
        /// Spent, or released.
        commit: bool,
    },
    /// Outputs that another shard created.
    Credits(Vec<Credit>),
    /// Time passes.
    Tick,
}

/// An output that another shard created for an owner here.
#[derive(Clone, Debug)]
pub struct Credit {
    /// Which output.
    pub outpoint: OutPoint,
    /// Whose.
    pub owner: Address,
    /// Which product.
    pub product: Product,
    /// Units.
    pub amount: u64,
    /// Log time of acceptance, ms.
    pub created_at_ms: u64,
    /// When it may be spent, ms.
    pub spendable_at_ms: u64,
}

/// One shard's ledger.
pub struct Ledger {
    pub(crate) config: LedgerConfig,
    pub(crate) weigh: Box<dyn Weigh>,
    pub(crate) jobs: BTreeMap<TxId, Job>,
    /// Who holds an output.
    pub(crate) claims: HashMap<OutPoint, TxId>,
    /// Who stands in line for an output, which another may hold or not: one waits for all it wants.
    pub(crate) queued: HashMap<OutPoint, BTreeSet<TxId>>,
    /// Who has seen an output's row, and would be wrong about it once another spends it.
    pub(crate) watching: HashMap<OutPoint, BTreeSet<TxId>>,
    /// Who waits for an output that is not known yet.
    pub(crate) waiting: HashMap<OutPoint, BTreeSet<TxId>>,
    /// When to look at a job again, in log time.
    pub(crate) timers: BTreeSet<(LogTime, TxId)>,
}

impl Ledger {
    /// A shard with the undecided transactions that its `pending` rows hold, in any order.
    pub fn load(config: LedgerConfig, pending: impl IntoIterator<Item = Bytes>) -> Result<Self, CoreError> {
        Self::load_weighing(config, pending, Box::new(FirstSeen))
    }

    /// As [`Ledger::load`], with another source of weights.
    pub fn load_weighing(
        config: LedgerConfig,
        pending: impl IntoIterator<Item = Bytes>,
        weigh: Box<dyn Weigh>,
    ) -> Result<Self, CoreError> {
        let mut ledger = Self {
            config,
            weigh,
            jobs: BTreeMap::new(),
            claims: HashMap::new(),
            queued: HashMap::new(),
            watching: HashMap::new(),
            waiting: HashMap::new(),
            timers: BTreeSet::new(),
        };
        for row in pending {
            let job = Job::from_row(&row)?;
            ledger.index(&job);
            ledger.jobs.insert(job.txid(), job);
        }
        Ok(ledger)
    }

    /// How many transactions are undecided here.
    pub fn pending(&self) -> usize {
        self.jobs.len()
    }

    /// Log time at which something falls due, if anything is pending.
    pub fn next_timer_ms(&self) -> Option<LogTime> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Outputs that transactions hold here: (output, holder), for checkers.
    pub fn holds(&self) -> impl Iterator<Item = (&OutPoint, &TxId)> {
        self.claims.iter()
    }

    /// Local outputs that a job claims: what it consumes here and, with several shards, what it reads.
    pub(crate) fn claimed_by(&self, job: &Job) -> Vec<OutPoint> {
        let several = shards_of(&job.tx, self.config.shards).len() > 1;
        Job::inputs_of(&job.tx, self.config.shard, self.config.shards)
            .filter(|(_, input)| several || !input.read_only)
            .map(|(_, input)| input.outpoint)
            .collect()
    }

    /// Local inputs whose rows a job lacks.
    pub(crate) fn missing(&self, job: &Job) -> Vec<OutPoint> {
        Job::inputs_of(&job.tx, self.config.shard, self.config.shards)
            .filter(|(position, _)| !job.local.contains_key(position))
            .map(|(_, input)| input.outpoint)
            .collect()
    }

    /// Local inputs whose rows a job has seen.
    fn seen(&self, job: &Job) -> Vec<OutPoint> {
        Job::inputs_of(&job.tx, self.config.shard, self.config.shards)
            .filter(|(position, _)| job.local.contains_key(position))
            .map(|(_, input)| input.outpoint)
            .collect()
    }

    /// Enters a job in the look-up tables, as its stage demands. Every entry follows from the job's row
    /// alone, so that a shard which loads its rows goes on exactly as the one that wrote them.
    pub(crate) fn index(&mut self, job: &Job) {
        let txid = job.txid();
        for outpoint in self.seen(job) {
            self.watching.entry(outpoint).or_default().insert(txid);
        }
        match job.stage {
            Stage::Waiting => {
                for outpoint in self.missing(job) {
                    self.waiting.entry(outpoint).or_default().insert(txid);
                }
            }
            Stage::Queued => {
                for outpoint in self.claimed_by(job) {
                    self.queued.entry(outpoint).or_default().insert(txid);
                }
            }
            Stage::Window | Stage::Held => {
                for outpoint in self.claimed_by(job) {
                    self.claims.insert(outpoint, txid);
                }
            }
            Stage::Unspecified => {}
        }
        self.timers.extend(job.due_ms().map(|at| (at, txid)));
    }

    /// Takes a job out of the look-up tables; gives the outputs that it held.
    pub(crate) fn unindex(&mut self, job: &Job) -> Vec<OutPoint> {
        let txid = job.txid();
        for table in [&mut self.waiting, &mut self.queued, &mut self.watching] {
            for (_, input) in Job::inputs_of(&job.tx, self.config.shard, self.config.shards) {
                if let Some(entered) = table.get_mut(&input.outpoint) {
                    entered.remove(&txid);
                    if entered.is_empty() {
                        table.remove(&input.outpoint);
                    }
                }
            }
        }
        if let Some(at) = job.due_ms() {
            self.timers.remove(&(at, txid));
        }
        let held: Vec<_> = self
            .claimed_by(job)
            .into_iter()
            .filter(|outpoint| self.claims.get(outpoint) == Some(&txid))
            .collect();
        for outpoint in &held {
            self.claims.remove(outpoint);
        }
        held
    }

    /// These in order of arrival.
    pub(crate) fn by_arrival<'a>(&self, txids: impl IntoIterator<Item = &'a TxId>) -> Vec<Contender> {
        let jobs = txids.into_iter().filter_map(|txid| self.jobs.get(txid));
        let mut contenders: Vec<_> =
            jobs.map(|job| Contender { txid: job.txid(), arrived: job.arrived }).collect();
        contenders.sort_unstable_by_key(|contender| (contender.arrived, contender.txid));
        contenders
    }
}

impl Core for Ledger {
    type Input = Input;

    fn decode(&self, payload: &Bytes) -> Result<Input, CoreError> {
        let damaged = |detail: String| CoreError::Input { detail };
        let message = pb::LedgerInput::decode(payload.clone()).map_err(|error| damaged(error.to_string()))?;
        let transaction =
            |bytes| Transaction::decode(bytes).map(Box::new).map_err(|error| damaged(error.to_string()));
        let txid =
            |bytes: &Bytes| TxId::from_slice(bytes, "txid").map_err(|error| damaged(error.to_string()));
        Ok(match message.kind.ok_or_else(|| damaged("ledger input of an unknown kind".to_owned()))? {
            Kind::Submit(bytes) => Input::Submit(transaction(bytes)?),
            Kind::Reserve(reserve) => {
                let pb::Reserve { transaction: bytes, coordinator, attempt } = reserve;
                Input::Reserve { tx: transaction(bytes)?, coordinator, attempt }
            }
            Kind::Grant(grant) => Input::Grant(grant),
            Kind::Refuse(refuse) => Input::Refuse(refuse),
            Kind::Settle(settle) => Input::Settle { txid: txid(&settle.txid)?, commit: settle.commit },
            Kind::Credits(credits) => Input::Credits(
                credits.credits.iter().map(Credit::from_message).collect::<Result<_, CoreError>>()?,
            ),
            Kind::Tick(pb::Tick {}) => Input::Tick,
        })
    }

    fn touches(&self, input: &Input, touched: &mut Keys) {
        let (shard, shards) = (self.config.shard, self.config.shards);
        match input {
            Input::Submit(tx) => {
                if let Some(issuer) = tx.issuer() {
                    debug_assert!(
                        tx.body.inputs.is_empty(),
                        "ingress refuses issuances with inputs: {issuer:?}"
                    );
                    let product = tx.body.outputs.first().map(|output| output.product).unwrap_or_default();
                    touched.add(Table::Totals, keys::issued(shard, product));
                    touched.add(Table::Transactions, keys::transaction(&tx.txid));
                }
                let mut elsewhere = false;
                for input in &tx.body.inputs {
                    if eschaton_types::shard_of(&input.owner, shards) == shard {
                        touched.add(Table::Outputs, keys::output(&input.owner, &input.outpoint));
                    } else {
                        elsewhere = true;
                    }
                }
                if elsewhere {
                    touched.add(Table::Transactions, keys::transaction(&tx.txid));
                }
            }
            Input::Reserve { tx, .. } => {
                for (_, input) in Job::inputs_of(tx, shard, shards) {
                    touched.add(Table::Outputs, keys::output(&input.owner, &input.outpoint));
                }
            }
            // A created output reads nothing, here as at its coordinator: that it is created once rests on the
            // driver, which drops repeated records by their ids, and on L3, by which a transaction is accepted once.
            Input::Credits(_) | Input::Grant(_) | Input::Refuse(_) | Input::Settle { .. } | Input::Tick => {}
        }
    }

    fn step(
        &mut self,
        rows: &mut Rows,
        offset: u64,
        now: LogTime,
        input: Input,
    ) -> Result<Vec<Effect>, CoreError> {
        let mut step = Step::new(self, rows, offset, now);
        // What fell due comes first: who arrives after a window's end is no contender any more.
        step.run_timers()?;
        match input {
            Input::Submit(tx) => step.submit(*tx)?,
            Input::Reserve { tx, coordinator, attempt } => step.reserve(*tx, coordinator, attempt)?,
            Input::Grant(grant) => step.granted(grant)?,
            Input::Refuse(refuse) => step.refused(refuse)?,
            Input::Settle { txid, commit } => step.settled(txid, commit)?,
            Input::Credits(credits) => step.credited(credits),
            Input::Tick => {}
        }
        step.run_ready()?;
        Ok(step.finish())
    }

    /// Outputs that can still be spent, and what was issued. Spent ones are read only by who spends them twice,
    /// transactions only by who repeats one.
    fn reads_again(table: Table, value: Option<&Bytes>) -> bool {
        match table {
            Table::Outputs => value
                .and_then(|value| OutputRow::decode(value.clone()).ok())
                .is_some_and(|row| row.spent_by.is_empty()),
            Table::Totals => true,
            _ => false,
        }
    }
}

impl Credit {
    fn from_message(message: &pb::Credit) -> Result<Self, CoreError> {
        let damaged = |detail: String| CoreError::Input { detail };
        Ok(Self {
            outpoint: OutPoint {
                txid: TxId::from_slice(&message.txid, "txid").map_err(|error| damaged(error.to_string()))?,
                index: u16::try_from(message.index).map_err(|error| damaged(error.to_string()))?,
            },
            owner: Address::from_slice(&message.owner, "owner")
                .map_err(|error| damaged(error.to_string()))?,
            product: Product::from_slice(&message.product).map_err(|error| damaged(error.to_string()))?,
            amount: message.amount,
            created_at_ms: message.created_at_ms,
            spendable_at_ms: message.spendable_at_ms,
        })
    }
}
