//! Stampers, the anchorer and a careless service around them, on a chain that does what chains do.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;

use bytes::Bytes;
use eschaton_ots::tree::Hash;
use eschaton_ots::{Attestation, Chain as OfChain, verify};
use eschaton_timestamp::anchorer::{AnchorInput, Want};
use eschaton_timestamp::rows::{self, Place};
use eschaton_timestamp::stamper::interval_row;
use eschaton_timestamp::transaction::Transaction;
use eschaton_timestamp::{
    Anchor, Anchorer, AnchorerConfig, Item, PlantedBug, StampInput, Stamper, StamperConfig, proof,
};
use eschaton_types::pb::log::AnchorChange;
use sha2::{Digest, Sha256};

use crate::chain::{Chain, Tx};

const SHARDS: u32 = 2;
const FEE_CAP: u64 = 50_000;
const VBYTES: u32 = 150;

/// splitmix64: enough for choices.
pub struct Dice(u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).expect("small")).expect("small")
    }

    pub fn percent(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub seed: u64,
    pub rule: &'static str,
    pub detail: String,
}

type Judged = Result<(), (&'static str, String)>;

pub struct World {
    dice: Dice,
    bug: Option<PlantedBug>,
    now: u64,
    rows: HashMap<Bytes, Bytes>,
    stampers: Vec<Stamper>,
    anchorer: Anchorer,
    chain: Chain,
    /// Hashes of the blocks that the service has told the anchorer of.
    told: Vec<Hash>,
    digests: BTreeMap<Hash, u32>,
    /// Announcements of intervals, some of which come again.
    announced: Vec<AnchorInput>,
    finals: BTreeSet<u64>,
    /// Every record of the anchorer, in order, with its log time.
    log: Vec<(u64, AnchorInput)>,
    salt: u64,
    pub seen: BTreeMap<&'static str, u64>,
}

fn stamper_config(shard: u32) -> StamperConfig {
    StamperConfig { interval_max: 300, ..StamperConfig::new(shard) }
}

fn anchorer_config() -> AnchorerConfig {
    AnchorerConfig {
        anchor_ms: 500,
        in_flight_max: 3,
        fee_cap_sat_per_kvb: FEE_CAP,
        final_blocks: 3,
        buried_blocks: 8,
        ..AnchorerConfig::new(SHARDS)
    }
}

impl World {
    fn new(seed: u64, bug: Option<PlantedBug>) -> Self {
        let mut chain = Chain::default();
        (0..30).for_each(|time| chain.mine(None, || false, time));
        let nothing = |_: &[u8]| None;
        Self {
            dice: Dice(seed),
            bug,
            now: 1_000_000,
            rows: HashMap::new(),
            stampers: (0..SHARDS)
                .map(|shard| Stamper::load_planted(stamper_config(shard), &nothing, bug).expect("empty"))
                .collect(),
            anchorer: Anchorer::load_planted(anchorer_config(), &nothing, bug).expect("empty"),
            chain,
            told: Vec::new(),
            digests: BTreeMap::new(),
            announced: Vec::new(),
            finals: BTreeSet::new(),
            log: Vec::new(),
            salt: 0,
            seen: BTreeMap::new(),
        }
    }

    fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn stamp(&mut self, shard: u32, input: &StampInput) -> Judged {
        // What a driver reads is what a record says, not what the client meant.
        let input = StampInput::decode(&input.encode()).map_err(|error| ("codec", error.to_string()))?;
        let at = usize::try_from(shard).expect("small");
        let rows = |key: &[u8]| self.rows.get(key).cloned();
        let stamped =
            self.stampers[at].step(&rows, self.now, &input).map_err(|error| ("step", error.to_string()))?;
        self.rows.extend(stamped.changes);
        let rows = |key: &[u8]| self.rows.get(key).cloned();
        let loaded = Stamper::load_planted(stamper_config(shard), &rows, self.bug)
            .map_err(|error| ("replay", error.to_string()))?;
        if format!("{loaded:?}") != format!("{:?}", self.stampers[at]) {
            return Err(("replay", format!("stamper {shard} is another when it loads its rows")));
        }
        for closed in stamped.closed {
            let root = closed.root[..].try_into().expect("a hash");
            let input =
                AnchorInput::Closed { shard, interval: closed.interval, root, closed_ms: closed.closed_ms };
            self.announced.push(input.clone());
            self.record(input)?;
        }
        Ok(())
    }

    /// A record of the anchorer: on the log, stepped, rows written, and then loaded again.
    fn record(&mut self, input: AnchorInput) -> Judged {
        let input = AnchorInput::decode(&input.encode()).map_err(|error| ("codec", error.to_string()))?;
        self.log.push((self.now, input.clone()));
        let done =
            self.anchorer.step(self.now, &input).map_err(|error| ("step", format!("{input:?}: {error}")))?;
        self.rows.extend(done.changes);
        let rows = |key: &[u8]| self.rows.get(key).cloned();
        let loaded = Anchorer::load_planted(anchorer_config(), &rows, self.bug)
            .map_err(|error| ("replay", error.to_string()))?;
        if format!("{loaded:?}") != format!("{:?}", self.anchorer) {
            return Err((
                "replay",
                format!("the anchorer is another when it loads its rows, after {input:?}"),
            ));
        }
        for event in done.events {
            match event.change() {
                AnchorChange::Final => {
                    self.finals.insert(event.anchor);
                    self.saw("final");
                }
                AnchorChange::Reorganised if self.finals.contains(&event.anchor) => {
                    return Err(("final", format!("anchor {} was final and is not", event.anchor)));
                }
                AnchorChange::Reorganised => self.saw("reorganised"),
                AnchorChange::Reanchored => self.saw("reanchored"),
                AnchorChange::Refused => self.saw("refused"),
                AnchorChange::Confirmed => self.saw("confirmed"),
                _ => {}
            }
        }
        Ok(())
    }

    fn some_digests(&mut self) -> Judged {
        let shard = u32::from(self.dice.percent(50));
        let count = if self.dice.percent(5) { 290 } else { 1 + self.dice.below(5) };
        let mut items = Vec::new();
        for _ in 0..count {
            let known: Vec<Hash> =
                self.digests.iter().filter(|(_, of)| **of == shard).map(|(digest, _)| *digest).collect();
            let digest = if !known.is_empty() && self.dice.percent(15) {
                self.saw("digest again");
                known[self.dice.below(known.len())]
            } else {
                Sha256::digest(self.dice.next().to_be_bytes()).into()
            };
            self.digests.insert(digest, shard);
            let nonce = [self.dice.next().to_be_bytes(), self.dice.next().to_be_bytes()].concat();
            let nonce = nonce.try_into().expect("16 bytes");
            items.push(Item { nonce, digest: Bytes::copy_from_slice(&digest) });
        }
        self.stamp(shard, &StampInput::Digests(items))
    }

    fn ticks(&mut self) -> Judged {
        for shard in 0..SHARDS {
            self.stamp(shard, &StampInput::Tick)?;
        }
        self.record(AnchorInput::Tick)
    }

    /// A service does what is wanted. A careless one does it twice, or with the wrong outputs.
    fn serve(&mut self, careless: bool) -> Judged {
        for want in self.anchorer.wants() {
            match want {
                Want::Build { anchor, root, sat_per_kvb } => {
                    let times = if careless && self.dice.percent(15) { 2 } else { 1 };
                    for _ in 0..times {
                        self.build(anchor, &root, sat_per_kvb, careless)?;
                    }
                }
                Want::Replace { anchor, root, sat_per_kvb, above_sat, spend } => {
                    self.saw("replace");
                    let fee = (sat_per_kvb * u64::from(VBYTES) / 1_000).max(above_sat + 1);
                    if careless && self.dice.percent(15) {
                        self.build(anchor, &root, sat_per_kvb, careless)?;
                        continue;
                    }
                    self.salt += 1;
                    let tx = Tx::new(&[spend], Some(&root), fee, self.salt);
                    self.sign(anchor, &tx, fee)?;
                }
                Want::Broadcast { anchor, txid, raw } => {
                    let is_durable = self.log.iter().any(|(_, record)| {
                        matches!(record, AnchorInput::Signed { raw: signed, .. } if *signed == raw)
                    });
                    if !is_durable {
                        return Err((
                            "durable",
                            format!("anchor {anchor} broadcasts what is not on the log"),
                        ));
                    }
                    let parsed = Transaction::parse(&raw).expect("parsed before");
                    let attempt = self.anchorer.anchor(anchor).and_then(|anchor| {
                        anchor.attempts.iter().find(|attempt| attempt.transaction.txid() == txid)
                    });
                    let fee = attempt.expect("an attempt of it").fee_sat;
                    let tx = Tx { raw: raw.to_vec(), parsed, fee, foreign: false };
                    let others = self.anchorer.watched().filter(|(of, _)| *of != anchor);
                    let shared: Vec<_> =
                        others.filter(|(_, other)| other.conflicts_with(&tx.parsed)).collect();
                    if shared.iter().any(|(_, other)| other.seen) {
                        return Err(("wallet", format!("anchor {anchor} spends what another anchor spends")));
                    }
                    // The answer may be lost, and then it is asked for again.
                    if self.chain.broadcast(tx) && !self.dice.percent(20) {
                        self.record(AnchorInput::Mempool { txid, present: true })?;
                    }
                }
            }
        }
        Ok(())
    }

    fn build(&mut self, anchor: u64, root: &Hash, sat_per_kvb: u64, careless: bool) -> Judged {
        let mut funds = self.chain.unspent();
        let used: BTreeSet<_> = self
            .anchorer
            .watched()
            .filter(|(number, _)| self.anchorer.anchor(*number).is_some_and(|of: &Anchor| of.block.is_none()))
            .flat_map(|(_, attempt)| attempt.transaction.inputs().to_vec())
            .collect();
        if !(careless && self.dice.percent(15)) {
            funds.retain(|outpoint| !used.contains(outpoint));
        } else if self.dice.percent(70) {
            funds.retain(|outpoint| used.contains(outpoint));
        }
        if funds.is_empty() {
            return Ok(());
        }
        let count = 1 + self.dice.below(2.min(funds.len()));
        let mut inputs = Vec::new();
        for _ in 0..count {
            inputs.push(funds.swap_remove(self.dice.below(funds.len())));
        }
        let fee = (sat_per_kvb * u64::from(VBYTES)).div_ceil(1_000) + self.dice.next() % 3;
        self.salt += 1;
        let tx = Tx::new(&inputs, Some(root), fee, self.salt);
        self.sign(anchor, &tx, fee)
    }

    fn sign(&mut self, anchor: u64, tx: &Tx, fee_sat: u64) -> Judged {
        let signed = AnchorInput::Signed { anchor, raw: tx.raw.clone().into(), fee_sat, vbytes: VBYTES };
        self.record(signed.clone())?;
        if self.dice.percent(10) {
            self.record(signed)?;
        }
        Ok(())
    }

    /// The service compares the chain with what it told last.
    fn look_at_chain(&mut self) -> Judged {
        let hashes: Vec<Hash> =
            self.chain.blocks.iter().map(|block| Sha256::digest(block.header).into()).collect();
        let common = self.told.iter().zip(&hashes).take_while(|(one, other)| one == other).count();
        if common < self.told.len() {
            self.record(AnchorInput::Disconnected(u64::try_from(common).expect("small")))?;
        }
        self.told = hashes;
        let attempts: Vec<_> = self
            .anchorer
            .watched()
            .map(|(number, attempt)| {
                (number, attempt.transaction.clone(), attempt.seen, attempt.conflict_height)
            })
            .collect();
        for (number, transaction, seen, conflict) in attempts {
            let txid = transaction.txid();
            if let Some((height, place)) = self.chain.find(&txid) {
                let known = self.anchorer.anchor(number).and_then(|anchor| anchor.block.clone());
                if known.is_none() {
                    self.record(AnchorInput::Confirmed {
                        txid,
                        height: u64::try_from(height).expect("small"),
                        header: self.chain.blocks[height].header,
                        branch: self.chain.branch(height, place),
                    })?;
                }
                continue;
            }
            let spenders: Vec<_> =
                transaction.inputs().iter().filter_map(|input| self.chain.spender(input)).collect();
            if let Some((height, by)) = spenders.first().copied().filter(|_| conflict.is_none()) {
                self.saw("conflict");
                let height = u64::try_from(height).expect("small");
                self.record(AnchorInput::Conflicted { txid, by, height })?;
            }
            if seen && !self.chain.mempool.iter().any(|tx| tx.parsed.txid() == txid) {
                self.dropped(number, txid)?;
            }
        }
        self.record(AnchorInput::Tip(u64::try_from(self.chain.tip()).expect("small")))
    }

    fn dropped(&mut self, number: u64, txid: Hash) -> Judged {
        self.saw("dropped");
        self.record(AnchorInput::Mempool { txid, present: false })?;
        let Some(anchor) = self.anchorer.anchor(number) else { return Ok(()) };
        let newest = anchor.attempts.last().is_some_and(|attempt| attempt.transaction.txid() == txid);
        let clear = anchor.attempts.iter().all(|attempt| attempt.conflict_height.is_none());
        let wanted = self.anchorer.wants().iter().any(|want| match want {
            Want::Broadcast { anchor, .. } | Want::Build { anchor, .. } | Want::Replace { anchor, .. } => {
                *anchor == number
            }
        });
        let affordable = anchor.attempts.iter().all(|attempt| attempt.sat_per_kvb() <= FEE_CAP);
        if anchor.block.is_none() && newest && clear && affordable && !wanted {
            // Orphans of a transaction that is dead wait for a fee that may be paid.
            let parents: Vec<Hash> = anchor
                .attempts
                .iter()
                .flat_map(|of| of.transaction.inputs().iter().map(|input| input.txid))
                .collect();
            if !self.anchorer.watched().any(|(_, attempt)| parents.contains(&attempt.transaction.txid())) {
                return Err(("dropped", format!("anchor {number} was dropped and nobody broadcasts it")));
            }
        }
        Ok(())
    }

    fn fault(&mut self) -> Judged {
        let time = u32::try_from(self.chain.tip()).expect("small") + 1_000;
        match self.dice.below(8) {
            0 => {
                let depth = 1 + self.dice.below(2);
                let Self { dice, chain, .. } = self;
                chain.disconnect(depth, || dice.percent(70));
                for block in 0..=depth {
                    let take = 40 + 20 * u64::try_from(block).expect("small");
                    chain.mine(None, || dice.percent(take), time);
                }
                self.saw("reorganisation");
            }
            1 if !self.chain.mempool.is_empty() => {
                let at = self.dice.below(self.chain.mempool.len());
                self.chain.mempool.swap_remove(at);
            }
            2 if !self.chain.mempool.is_empty() => {
                // Somebody with our keys spends an input.
                let at = self.dice.below(self.chain.mempool.len());
                let input = self.chain.mempool[at].parsed.inputs()[0];
                self.salt += 1;
                let mut thief = Tx::new(&[input], None, 1_000_000, self.salt);
                thief.foreign = true;
                self.chain.mine(Some(thief), || false, time);
                self.saw("theft");
            }
            3 => {
                let fee = 1_000 + self.dice.next() % (FEE_CAP + 10_000);
                self.record(AnchorInput::Fee(fee))?;
            }
            4 if !self.announced.is_empty() => {
                let again = self.announced[self.dice.below(self.announced.len())].clone();
                self.saw("interval again");
                self.record(again)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn live(&mut self, steps: usize) -> Judged {
        self.record(AnchorInput::Fee(2_000))?;
        self.look_at_chain()?;
        for _ in 0..steps {
            self.now += self.dice.next() % 80;
            match self.dice.below(12) {
                0..=3 => self.some_digests()?,
                4..=5 => self.ticks()?,
                6..=7 => self.serve(true)?,
                8 => {
                    let time = u32::try_from(self.chain.tip()).expect("small") + 1_000;
                    let Self { dice, chain, .. } = self;
                    chain.mine(None, || dice.percent(60), time);
                }
                9 => self.look_at_chain()?,
                _ => self.fault()?,
            }
        }
        self.quiet()
    }

    /// Nothing goes wrong any more, until all is final.
    fn quiet(&mut self) -> Judged {
        self.record(AnchorInput::Fee(3_000))?;
        for _ in 0..120 {
            self.now += 600;
            self.ticks()?;
            self.look_at_chain()?;
            self.serve(false)?;
            self.serve(false)?;
            let time = u32::try_from(self.chain.tip()).expect("small") + 1_000;
            self.chain.mine(None, || true, time);
            let idle = self.stampers.iter().all(|stamper| stamper.open_digests() == 0);
            let done = self.anchorer.anchors().all(|anchor| anchor.is_final && anchor.block.is_some());
            if idle && self.anchorer.waiting().0 == 0 && done {
                return Ok(());
            }
        }
        let stuck = self.anchorer.anchors().find(|anchor| !anchor.is_final);
        Err(("T1", format!("not all is anchored after a quiet time: {stuck:?}")))
    }

    /// T1 of everything, from the rows and the chain alone.
    fn judge(&mut self) -> Judged {
        let rows = |key: &[u8]| self.rows.get(key).cloned();
        let wrong = |what: &str, error: &dyn std::fmt::Display| ("T1", format!("{what}: {error}"));
        let mut roots = BTreeMap::new();
        for (digest, shard) in &self.digests {
            let key = rows::digest_key(digest).expect("32 bytes");
            let row = rows(&key).ok_or(("T1", "a digest has no place".to_owned()))?;
            let place = Place::from_row(&key, &row).map_err(|error| wrong("place", &error))?;
            let path = proof::interval_path(digest, *shard, place, &rows)
                .map_err(|error| wrong("interval", &error))?;
            let at = proof::root_place(&path.root, &rows)
                .map_err(|error| wrong("root", &error))?
                .ok_or(("T1", "an interval has no anchor".to_owned()))?;
            if (at.shard, at.interval) != (*shard, place.interval) {
                return Err(("T1", "an interval's root is another's".to_owned()));
            }
            let row = rows(&rows::anchor_key(at.anchor)).ok_or(("T1", "an anchor has no row".to_owned()))?;
            let anchor = Anchor::from_row(at.anchor, &row).map_err(|error| wrong("anchor", &error))?;
            let to_anchor = proof::anchor_path(&path.root, at, anchor.count, &rows)
                .map_err(|error| wrong("anchor's tree", &error))?;
            let (block, attempt) = anchor
                .block
                .as_ref()
                .zip(anchor.confirmed())
                .ok_or(("T1", format!("anchor {} is in no block", at.anchor)))?;
            let known = proof::block_timestamp(
                &to_anchor.root,
                &attempt.transaction,
                &block.branch,
                OfChain::Bitcoin,
                block.height,
            )
            .map_err(|error| wrong("transaction", &error))?;
            let whole = proof::answer([path.ops, to_anchor.ops].concat(), &[&known])
                .map_err(|error| wrong("answer", &error))?;
            let report = verify(digest, &whole, |_, height| {
                let block = usize::try_from(height).ok().and_then(|height| self.chain.blocks.get(height));
                Ok::<_, Infallible>(block.map(|block| block.header))
            })
            .map_err(|error| wrong("verification", &error))?;
            if !report.is_complete() {
                return Err(("T1", format!("the proof of a digest does not hold: {report:?}")));
            }
            roots.insert(to_anchor.root, at.anchor);
        }
        self.judge_counts(&roots.keys().copied().collect::<Vec<_>>())
    }

    fn judge_counts(&self, roots: &[Hash]) -> Judged {
        let rows = |key: &[u8]| self.rows.get(key).cloned();
        let (mut leaves, mut intervals) = (0, 0);
        for shard in 0..SHARDS {
            for interval in 0.. {
                let Ok(row) = interval_row(shard, interval, &rows) else { break };
                leaves += usize::try_from(row.count).expect("small");
                intervals += 1;
            }
        }
        if leaves != self.digests.len() {
            return Err(("T1", format!("{} digests have {leaves} leaves", self.digests.len())));
        }
        let anchored: usize = (0..)
            .map_while(|number| Some(Anchor::from_row(number, &rows(&rows::anchor_key(number))?)))
            .map(|anchor| usize::try_from(anchor.expect("own row").count).expect("small"))
            .sum();
        if anchored != intervals {
            return Err(("T1", format!("{intervals} intervals have {anchored} places in anchors")));
        }
        let twice = self.chain.payloads(roots).into_iter().find(|(_, count)| *count != 1);
        match twice {
            Some((root, count)) => {
                Err(("twice", format!("root {} is in {count} transactions", hex::encode(root))))
            }
            None => Ok(()),
        }
    }

    /// The anchorer's whole log again, on nothing: the same rows.
    fn replay(&self) -> Judged {
        let nothing = |_: &[u8]| None;
        let mut anchorer =
            Anchorer::load_planted(anchorer_config(), &nothing, self.bug).expect("empty rows load");
        let mut rows: HashMap<Bytes, Bytes> = HashMap::new();
        for (now, input) in &self.log {
            let done = anchorer.step(*now, input).map_err(|error| ("replay", error.to_string()))?;
            rows.extend(done.changes);
        }
        match rows.iter().find(|(key, row)| self.rows.get(*key) != Some(*row)) {
            Some((key, _)) => Err(("replay", format!("row {} is another", hex::encode(key)))),
            None => Ok(()),
        }
    }
}

/// One life from one seed. Gives how often each thing happened.
pub fn run(seed: u64, bug: Option<PlantedBug>) -> Result<BTreeMap<&'static str, u64>, Violation> {
    let mut world = World::new(seed, bug);
    let judged = world.live(250).and_then(|()| world.judge()).and_then(|()| world.replay());
    judged.map_err(|(rule, detail)| Violation { seed, rule, detail })?;
    // A promise and a block side by side are what a client gets.
    let uri = eschaton_ots::CalendarUri::new("http://127.0.0.1:7375").expect("allowed");
    let side_by_side = [proof::promise(&uri), eschaton_ots::Timestamp::attested(Attestation::bitcoin(1))];
    let both = proof::answer(Vec::new(), &[&side_by_side[0], &side_by_side[1]]).expect("small");
    assert_eq!(both.attestations().count(), 2);
    Ok(world.seen)
}
