//! What must hold when nothing moves: the store, a fresh node and a fresh core all say the same.

use std::collections::BTreeMap;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use eschaton_core::{Core, Family, Keys, RecordId, Rows, Table, Topic, TopicPartition};
use eschaton_driver::Seen;
use eschaton_ledger::{Input, Ledger};
use eschaton_proof::{VerifierKey, verify_consistency, verify_inclusion, verify_output};
use eschaton_types::OutPoint;
use eschaton_types::pb::log::{Decision, State};
use eschaton_types::pb::state::OutputRow;
use merkle_prover::{Asked, worker::ProverWorker};

use crate::audit::decode;
use crate::cluster::{Cluster, verdict};
use crate::parts::{open_prover, open_shard};
use crate::store::Tables;
use crate::trees::ORIGIN;
use crate::world::{Broken, Sim, World, broken};

/// All checks of a quiet point. Tasks have ended; faults are off.
pub(crate) fn check(sim: &Sim, cluster: &Cluster) -> Result<(), Broken> {
    {
        let world = sim.world();
        world.audit.settled(&world.log)?;
        same("the store", &of_ledger(&world.store.tables), &world.audit.rows)?;
        for shard in 0..world.profile.shards {
            replay(&world, shard)?;
        }
    }
    fresh_node(sim, cluster)
}

fn of_ledger(tables: &Tables) -> Tables {
    tables
        .iter()
        .filter(|((table, _), _)| table.family() == Family::Ledger)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn of_prover(tables: &Tables) -> Tables {
    let ledger = of_ledger(tables);
    tables.iter().filter(|(key, _)| !ledger.contains_key(*key)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn same(what: &str, found: &Tables, expected: &Tables) -> Result<(), Broken> {
    for (key, value) in expected {
        if found.get(key) != Some(value) {
            return broken(
                "state",
                format!("{what} has {:?} at {key:?}, the log says {value:?}", found.get(key)),
            );
        }
    }
    match found.keys().find(|key| !expected.contains_key(*key)) {
        Some(key) => broken("state", format!("{what} has {key:?}, of which the log knows nothing")),
        None => Ok(()),
    }
}

/// A node with an empty store applies the changes topic and rebuilds the trees.
fn fresh_node(sim: &Sim, cluster: &Cluster) -> Result<(), Broken> {
    let before = std::mem::take(&mut sim.world().store);
    let stuck = || Broken { invariant: "L4", detail: "a fresh node does not open".to_owned() };
    let shards = sim.world().profile.shards;
    for shard in 0..shards {
        let opened = cluster.complete(open_shard(sim, shard, None)).ok_or_else(stuck)?;
        opened.map_err(|error| verdict(&error))?;
    }
    let prover = cluster.complete(open_prover(sim)).ok_or_else(stuck)?.map_err(|error| verdict(&error))?;
    proofs(sim, cluster, &prover)?;
    let mut world = sim.world();
    same("a fresh node", &of_ledger(&world.store.tables), &world.audit.rows)?;
    same("a fresh prover", &of_prover(&world.store.tables), &of_prover(&before.tables))?;
    world.store = before;
    world.store.sync();
    Ok(())
}

/// P1, P2: proofs of what happened verify, proofs of what did not happen are not made.
fn proofs(sim: &Sim, cluster: &Cluster, prover: &ProverWorker) -> Result<(), Broken> {
    let key = SigningKey::from_bytes(&[7; 32]).verifying_key().to_bytes();
    let key = VerifierKey::from_public(ORIGIN, &key)
        .map_err(|error| Broken { invariant: "P1", detail: error.to_string() })?;
    let ask = |asked: Asked| match cluster.complete(prover.prove(asked.clone())) {
        Some(Ok(bytes)) => Ok(bytes),
        Some(Err(error)) => broken("P2", format!("{asked:?}: {error}")),
        None => broken("P2", format!("{asked:?} is never answered")),
    };
    let wrong = |error: eschaton_proof::ProofError| Broken { invariant: "P1", detail: error.to_string() };
    let (txid, number, root) = {
        let mut world = sim.world();
        let accepted = world.audit.accepted.len();
        let place = world.dice.index(accepted);
        let Some(txid) = world.audit.accepted.keys().nth(place).copied() else { return Ok(()) };
        let number = world.audit.trees.number().unwrap_or(0);
        (txid, world.dice.between(0, number), world.audit.trees.log_root())
    };
    let included = verify_inclusion(&ask(Asked::Inclusion(txid))?, &key, txid).map_err(wrong)?;
    if included.checkpoint.log_root != root {
        return broken("P1", "a proof is under another root than the last checkpoint's");
    }
    verify_consistency(&ask(Asked::Consistency(number))?, &key).map_err(wrong)?;
    let outpoint = OutPoint { txid, index: 0 };
    verify_output(&ask(Asked::Output(outpoint))?, &key, outpoint).map_err(wrong)?;
    Ok(())
}

/// A fresh core steps the whole partition again, one record at a time.
fn replay(world: &World, shard: u32) -> Result<(), Broken> {
    let source = TopicPartition { topic: Topic::Ledger, partition: shard };
    let failed = |error: eschaton_core::CoreError| verdict(&error.into());
    let mut core = Ledger::load(world.profile.ledger(shard), []).map_err(failed)?;
    let (mut tables, mut seen, mut now, mut said) = (Tables::new(), Seen::default(), 0, 0);
    let mut told: BTreeMap<TopicPartition, u64> = BTreeMap::new();
    for record in world.log.records(source) {
        if record.id.as_ref().is_some_and(|id| !seen.pass(id)) {
            continue;
        }
        now = now.max(record.at_ms);
        let input = core.decode(&record.payload).map_err(failed)?;
        let mut keys = Keys::default();
        core.touches(&input, &mut keys);
        let mut rows = Rows::default();
        for (table, key) in keys.into_inner() {
            let value = tables.get(&(table, key.clone())).cloned();
            rows.provide(table, key, value);
        }
        let settled = matches!(input, Input::Settle { .. });
        let effects = core.step(&mut rows, record.offset, now, input).map_err(failed)?;
        for (index, effect) in (0u32..).zip(&effects) {
            let id = if world.profile.transactional && effect.to.topic == Topic::Ledger {
                let number = told.entry(effect.to).or_default();
                *number += 1;
                let source = TopicPartition { topic: Topic::Changes, partition: shard };
                RecordId { source, offset: *number - 1, index: 0 }
            } else {
                RecordId { source, offset: record.offset, index }
            };
            if !world.audit.said(&id, effect.to, now, &effect.payload) {
                return broken("L3", format!("a replay says otherwise for {id:?}"));
            }
        }
        said += effects.len();
        for change in rows.into_changes() {
            let key = (change.table, change.key);
            match change.value {
                Some(value) => tables.insert(key, value),
                None => tables.remove(&key),
            };
        }
        let decisions = effects.iter().filter(|effect| effect.to.topic == Topic::Decisions);
        let decisions: Vec<_> = decisions.map(|effect| &effect.payload).collect();
        dependencies(world, shard, &tables, &decisions, settled)?;
    }
    if said != world.audit.said_by(shard) {
        return broken(
            "L3",
            format!("{source} said {} records, a replay {said}", world.audit.said_by(shard)),
        );
    }
    if core.pending() > 0 || core.holds().next().is_some() || core.next_timer_ms().is_some() {
        let held: Vec<_> = core.holds().collect();
        return broken("L4", format!("{source} keeps {} jobs, timers and holds {held:?}", core.pending()));
    }
    let prefix = shard.to_be_bytes();
    let mine = |table: Table, key: &Bytes| match table {
        Table::Totals | Table::Pending => key.starts_with(&prefix),
        Table::Outputs => eschaton_ledger::keys::parse_output(key)
            .is_some_and(|(owner, _)| eschaton_types::shard_of(&owner, world.profile.shards) == shard),
        _ => tables.contains_key(&(table, key.clone())),
    };
    let expected = world.audit.rows.iter().filter(|((table, key), _)| mine(*table, key));
    same("a fresh core", &tables, &expected.map(|(key, value)| (key.clone(), value.clone())).collect())
}

/// What an accepted transaction only reads was there and not spent before, and what it spends had
/// rested.
fn dependencies(
    world: &World,
    shard: u32,
    tables: &Tables,
    decisions: &[&Bytes],
    settled: bool,
) -> Result<(), Broken> {
    let mut order = BTreeMap::new();
    for (place, payload) in decisions.iter().enumerate() {
        let decision: Decision = decode(payload)?;
        if decision.state() == State::Accepted && !decision.repeated_answer {
            order.insert(decision.txid.clone(), place);
        }
    }
    for (txid, place) in &order {
        let Ok(txid) = eschaton_types::TxId::from_slice(txid, "txid") else { continue };
        let Some(tx) = world.audit.transaction(&txid) else { continue };
        for input in &tx.body.inputs {
            if eschaton_types::shard_of(&input.owner, world.profile.shards) != shard {
                continue;
            }
            let key = eschaton_ledger::keys::output(&input.owner, &input.outpoint);
            let Some(value) = tables.get(&(Table::Outputs, key)) else {
                return broken("L2", format!("{txid} depends on {}, which is not there", input.outpoint));
            };
            let row: OutputRow = decode(value)?;
            let spent_before = !row.spent_by.is_empty()
                && order.get(&row.spent_by).is_none_or(|spender| spender < place)
                && !settled;
            if input.read_only && spent_before {
                return broken("L2", format!("{txid} reads {}, which was spent before", input.outpoint));
            }
            if !input.read_only && row.spent_at_ms < row.spendable_at_ms {
                return broken("L3", format!("{txid} spends {} before it has rested", input.outpoint));
            }
        }
    }
    Ok(())
}
