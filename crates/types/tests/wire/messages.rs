//! Snapshot of the wire form of every log record and row: a renumbered or retyped field fails here
//! before it makes a stored log unreadable.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use eschaton_types::pb::{log, state};
use prost::Message;
use serde_json::Value;

use crate::vectors;

const FILE: &str = "messages.json";
const PROTO: [(&str, &str); 4] = [
    ("log", include_str!("../../../../proto/eschaton/log/v1/records.proto")),
    ("log", include_str!("../../../../proto/eschaton/log/v1/timestamps.proto")),
    ("state", include_str!("../../../../proto/eschaton/state/v1/rows.proto")),
    ("state", include_str!("../../../../proto/eschaton/state/v1/timestamps.proto")),
];

/// Fresh numbers and byte strings, so that no two fields of a message have one value.
struct Fill(u8);

impl Fill {
    fn small(&mut self) -> u32 {
        self.0 += 1;
        self.0.into()
    }

    /// Above 2^32, so that a field narrowed to 32 bits shows.
    fn wide(&mut self) -> u64 {
        (1 << 40) + u64::from(self.small())
    }

    fn hash(&mut self) -> Bytes {
        self.small();
        Bytes::from(vec![self.0; 32])
    }
}

fn input_fact(fill: &mut Fill) -> log::InputFact {
    let (product, amount) = (fill.hash(), fill.wide());
    log::InputFact { input: fill.small(), product, amount, spendable_at_ms: fill.wide() }
}

fn rejection(fill: &mut Fill) -> log::Rejection {
    let (message, spent_by) = ("spent already".to_owned(), fill.hash());
    log::Rejection { reason: log::Reason::ConflictLost.into(), message, spent_by }
}

fn reserve(fill: &mut Fill) -> log::Reserve {
    log::Reserve { transaction: fill.hash(), coordinator: fill.small(), attempt: fill.wide() }
}

fn grant(fill: &mut Fill) -> log::Grant {
    let (txid, shard) = (fill.hash(), fill.small());
    log::Grant { txid, shard, facts: vec![input_fact(fill), input_fact(fill)], attempt: fill.wide() }
}

fn refuse(fill: &mut Fill) -> log::Refuse {
    let (txid, shard) = (fill.hash(), fill.small());
    log::Refuse { txid, shard, rejection: Some(rejection(fill)), attempt: fill.wide() }
}

fn settle(fill: &mut Fill) -> log::Settle {
    log::Settle { txid: fill.hash(), commit: true }
}

fn credit(fill: &mut Fill) -> log::Credit {
    log::Credit {
        txid: fill.hash(),
        index: fill.small(),
        owner: fill.hash(),
        product: fill.hash(),
        amount: fill.wide(),
        created_at_ms: fill.wide(),
        spendable_at_ms: fill.wide(),
    }
}

fn credits(fill: &mut Fill) -> log::Credits {
    log::Credits { credits: vec![credit(fill), credit(fill)] }
}

fn record_id(fill: &mut Fill) -> log::RecordId {
    log::RecordId { topic: fill.small(), partition: fill.small(), offset: fill.wide(), index: fill.small() }
}

fn decision(fill: &mut Fill) -> log::Decision {
    log::Decision {
        txid: fill.hash(),
        state: log::State::Rejected.into(),
        rejection: Some(rejection(fill)),
        ledger_offset: fill.wide(),
        at_ms: fill.wide(),
        spends: vec![outpoint(fill), outpoint(fill)],
        outputs: fill.small(),
        repeated_answer: true,
    }
}

fn outpoint(fill: &mut Fill) -> log::Outpoint {
    log::Outpoint { txid: fill.hash(), index: fill.small() }
}

fn row_change(fill: &mut Fill) -> log::RowChange {
    log::RowChange { table: fill.small(), key: fill.hash(), value: Some(fill.hash()) }
}

fn changes(fill: &mut Fill) -> log::Changes {
    // An absent value deletes the row, an empty one does not: both forms are part of the format.
    let deleted = log::RowChange { value: None, ..row_change(fill) };
    let emptied = log::RowChange { value: Some(Bytes::new()), ..row_change(fill) };
    let rows = vec![row_change(fill), deleted, emptied];
    let (input_from, input_next) = (fill.wide(), fill.wide());
    log::Changes { input_from, input_next, rows, messages: vec![message(fill)], outbox: Some(outbox(fill)) }
}

fn message(fill: &mut Fill) -> log::Message {
    log::Message { partition: fill.small(), number: fill.wide(), at_ms: fill.wide(), payload: fill.hash() }
}

fn outbox(fill: &mut Fill) -> log::Outbox {
    let sent = log::Sent { partition: fill.small(), count: fill.wide() };
    log::Outbox { unsent_from: fill.wide(), sent: vec![sent] }
}

fn checkpoint(fill: &mut Fill) -> log::Checkpoint {
    log::Checkpoint {
        number: fill.wide(),
        size: fill.wide(),
        log_root: fill.hash(),
        map_root: fill.hash(),
        time_ms: fill.wide(),
        previous: fill.hash(),
        positions: vec![fill.wide(), 0, fill.wide()],
    }
}

fn output_row(fill: &mut Fill) -> state::OutputRow {
    state::OutputRow {
        amount: fill.wide(),
        product: fill.hash(),
        created_at_ms: fill.wide(),
        spendable_at_ms: fill.wide(),
        spent_by: fill.hash(),
        spent_at_ms: fill.wide(),
    }
}

fn transaction_row(fill: &mut Fill) -> state::TransactionRow {
    state::TransactionRow {
        state: log::State::Rejected.into(),
        rejection: Some(rejection(fill)),
        partition: fill.small(),
        ledger_offset: fill.wide(),
        at_ms: fill.wide(),
    }
}

fn local_input(fill: &mut Fill) -> state::LocalInput {
    state::LocalInput { input: fill.small(), row: Some(output_row(fill)) }
}

fn pending_row(fill: &mut Fill) -> state::PendingRow {
    state::PendingRow {
        transaction: fill.hash(),
        arrived: fill.wide(),
        coordinator: fill.small(),
        stage: state::Stage::Held.into(),
        deadline_ms: fill.wide(),
        window_ends_ms: fill.wide(),
        local: vec![local_input(fill)],
        granted: vec![input_fact(fill)],
        to_ask: vec![fill.small(), fill.small()],
        window_began_ms: fill.wide(),
        attempt: fill.wide(),
    }
}

fn worker_row(fill: &mut Fill) -> state::WorkerRow {
    state::WorkerRow { log_time_ms: fill.wide(), seen: vec![record_id(fill), record_id(fill)] }
}

fn digests(fill: &mut Fill) -> log::Digests {
    log::Digests { items: vec![fill.hash(), fill.hash()] }
}

fn placed(fill: &mut Fill) -> log::Placed {
    log::Placed { ticket: fill.hash(), runs: vec![placed_run(fill), placed_run(fill)] }
}

fn placed_run(fill: &mut Fill) -> log::PlacedRun {
    log::PlacedRun { interval: fill.wide(), index: fill.small(), count: fill.small(), repeated: true }
}

fn interval_closed(fill: &mut Fill) -> log::IntervalClosed {
    log::IntervalClosed {
        shard: fill.small(),
        interval: fill.wide(),
        root: fill.hash(),
        count: fill.small(),
        closed_ms: fill.wide(),
    }
}

fn signed(fill: &mut Fill) -> log::Signed {
    log::Signed { anchor: fill.wide(), transaction: fill.hash(), fee_sat: fill.wide(), vbytes: fill.small() }
}

fn confirmed(fill: &mut Fill) -> log::Confirmed {
    log::Confirmed {
        txid: fill.hash(),
        height: fill.wide(),
        header: fill.hash(),
        position: fill.small(),
        branch: vec![fill.hash(), fill.hash()],
    }
}

fn conflicted(fill: &mut Fill) -> log::Conflicted {
    log::Conflicted { txid: fill.hash(), by: fill.hash(), height: fill.wide() }
}

fn anchor_event(fill: &mut Fill) -> log::AnchorEvent {
    log::AnchorEvent {
        anchor: fill.wide(),
        change: log::AnchorChange::Reanchored.into(),
        txid: fill.hash(),
        height: fill.wide(),
        message: "why".to_owned(),
    }
}

fn stamper_row(fill: &mut Fill) -> state::StamperRow {
    state::StamperRow { interval: fill.wide(), opened_ms: Some(fill.wide()), count: fill.small() }
}

fn interval_row(fill: &mut Fill) -> state::IntervalRow {
    state::IntervalRow {
        count: fill.small(),
        root: fill.hash(),
        opened_ms: fill.wide(),
        closed_ms: fill.wide(),
    }
}

fn anchorer_row(fill: &mut Fill) -> state::AnchorerRow {
    state::AnchorerRow {
        open: fill.wide(),
        count: fill.small(),
        oldest_ms: fill.wide(),
        first: fill.wide(),
        planned_ms: fill.wide(),
        next_interval: vec![fill.wide(), 0, fill.wide()],
        fee_sat_per_kvb: Some(fill.wide()),
        tip: fill.wide(),
    }
}

fn attempt_row(fill: &mut Fill) -> state::AttemptRow {
    state::AttemptRow {
        transaction: fill.hash(),
        fee_sat: fill.wide(),
        vbytes: fill.small(),
        signed_tip: fill.wide(),
        seen: true,
        conflict_height: fill.wide(),
    }
}

fn anchor_block(fill: &mut Fill) -> state::AnchorBlock {
    state::AnchorBlock {
        txid: fill.hash(),
        height: fill.wide(),
        header: fill.hash(),
        position: fill.small(),
        branch: vec![fill.hash(), fill.hash()],
    }
}

fn anchor_row(fill: &mut Fill) -> state::AnchorRow {
    state::AnchorRow {
        count: fill.small(),
        root: fill.hash(),
        planned_ms: fill.wide(),
        attempts: vec![attempt_row(fill), attempt_row(fill)],
        block: Some(anchor_block(fill)),
        r#final: true,
        upstream: fill.hash(),
        bump_sat_per_kvb: fill.wide(),
    }
}

/// A oneof's variant: its name, and how it is filled.
type Variant<T> = (&'static str, fn(&mut Fill) -> T);

/// Wire bytes by `package.Message`, and by `package.Message.variant` for a oneof. Each is decoded
/// again, so that the bytes are known to hold all that was put in.
struct Snapshot(BTreeMap<String, Vec<u8>>);

impl Snapshot {
    fn add<M: Message + Default + PartialEq>(&mut self, name: &str, make: impl FnOnce(&mut Fill) -> M) {
        let message = make(&mut Fill(0));
        let bytes = message.encode_to_vec();
        assert!(
            M::decode(bytes.as_slice()).expect(name) == message,
            "{name} is not what it was after decoding"
        );
        assert!(self.0.insert(name.to_owned(), bytes).is_none(), "{name} stands twice");
    }

    fn all() -> Self {
        use log::ledger_input::Kind;
        let mut snapshot = Self(BTreeMap::new());
        snapshot.add("log.RecordId", record_id);
        let mut variant = |name: &str, make: fn(&mut Fill) -> Kind| {
            snapshot
                .add(&format!("log.LedgerInput.{name}"), |fill| log::LedgerInput { kind: Some(make(fill)) });
        };
        variant("submit", |fill| Kind::Submit(fill.hash()));
        variant("reserve", |fill| Kind::Reserve(reserve(fill)));
        variant("grant", |fill| Kind::Grant(grant(fill)));
        variant("refuse", |fill| Kind::Refuse(refuse(fill)));
        variant("settle", |fill| Kind::Settle(settle(fill)));
        variant("credits", |fill| Kind::Credits(credits(fill)));
        variant("tick", |_| Kind::Tick(log::Tick {}));
        snapshot.add("log.Tick", |_| log::Tick {});
        snapshot.add("log.Reserve", reserve);
        snapshot.add("log.Grant", grant);
        snapshot.add("log.InputFact", input_fact);
        snapshot.add("log.Refuse", refuse);
        snapshot.add("log.Settle", settle);
        snapshot.add("log.Credits", credits);
        snapshot.add("log.Credit", credit);
        snapshot.add("log.Rejection", rejection);
        snapshot.add("log.Decision", decision);
        snapshot.add("log.Outpoint", outpoint);
        snapshot.add("log.Changes", changes);
        snapshot.add("log.RowChange", row_change);
        snapshot.add("log.Message", message);
        snapshot.add("log.Outbox", outbox);
        snapshot.add("log.Sent", |fill| log::Sent { partition: fill.small(), count: fill.wide() });
        snapshot.add("log.Checkpoint", checkpoint);
        snapshot.add_timestamps();
        snapshot.add("state.OutputRow", output_row);
        snapshot.add("state.TransactionRow", transaction_row);
        snapshot.add("state.TotalRow", |fill| state::TotalRow { amount: fill.wide() });
        snapshot.add("state.PendingRow", pending_row);
        snapshot.add("state.LocalInput", local_input);
        snapshot.add("state.WorkerRow", worker_row);
        snapshot
    }

    fn add_timestamps(&mut self) {
        use log::anchor_input::Kind;
        use log::stamp_input::Kind as Stamp;
        let kinds: [Variant<Stamp>; 2] =
            [("digests", |fill| Stamp::Digests(digests(fill))), ("tick", |_| Stamp::Tick(log::Tick {}))];
        for (name, make) in kinds {
            self.add(&format!("log.StampInput.{name}"), |fill| log::StampInput { kind: Some(make(fill)) });
        }
        let kinds: [Variant<Kind>; 11] = [
            ("closed", |fill| Kind::Closed(interval_closed(fill))),
            ("tick", |_| Kind::Tick(log::Tick {})),
            ("fee", |fill| Kind::Fee(log::FeeEstimate { sat_per_kvb: fill.wide() })),
            ("signed", |fill| Kind::Signed(signed(fill))),
            ("mempool", |fill| Kind::Mempool(log::Mempool { txid: fill.hash(), present: true })),
            ("tip", |fill| Kind::Tip(log::Tip { height: fill.wide() })),
            ("confirmed", |fill| Kind::Confirmed(confirmed(fill))),
            ("disconnected", |fill| Kind::Disconnected(log::Disconnected { height: fill.wide() })),
            ("conflicted", |fill| Kind::Conflicted(conflicted(fill))),
            ("upstream", |fill| {
                Kind::Upstream(log::UpstreamAnswer { anchor: fill.wide(), timestamp: fill.hash() })
            }),
            ("bump", |fill| Kind::Bump(log::BumpRequest { anchor: fill.wide(), sat_per_kvb: fill.wide() })),
        ];
        for (name, make) in kinds {
            self.add(&format!("log.AnchorInput.{name}"), |fill| log::AnchorInput { kind: Some(make(fill)) });
        }
        use log::stamp_event::Kind as Event;
        let kinds: [Variant<Event>; 2] = [
            ("placed", |fill| Event::Placed(placed(fill))),
            ("closed", |fill| Event::Closed(interval_closed(fill))),
        ];
        for (name, make) in kinds {
            self.add(&format!("log.StampEvent.{name}"), |fill| log::StampEvent { kind: Some(make(fill)) });
        }
        self.add("log.Placed", placed);
        self.add("log.PlacedRun", placed_run);
        self.add("log.Digests", digests);
        self.add("log.IntervalClosed", interval_closed);
        self.add("log.FeeEstimate", |fill| log::FeeEstimate { sat_per_kvb: fill.wide() });
        self.add("log.Signed", signed);
        self.add("log.Mempool", |fill| log::Mempool { txid: fill.hash(), present: true });
        self.add("log.Tip", |fill| log::Tip { height: fill.wide() });
        self.add("log.Confirmed", confirmed);
        self.add("log.Disconnected", |fill| log::Disconnected { height: fill.wide() });
        self.add("log.Conflicted", conflicted);
        self.add("log.UpstreamAnswer", |fill| log::UpstreamAnswer {
            anchor: fill.wide(),
            timestamp: fill.hash(),
        });
        self.add("log.BumpRequest", |fill| log::BumpRequest {
            anchor: fill.wide(),
            sat_per_kvb: fill.wide(),
        });
        self.add("log.AnchorEvent", anchor_event);
        self.add("state.StamperRow", stamper_row);
        self.add("state.IntervalRow", interval_row);
        self.add("state.AnchorerRow", anchorer_row);
        self.add("state.AttemptRow", attempt_row);
        self.add("state.AnchorBlock", anchor_block);
        self.add("state.AnchorRow", anchor_row);
    }
}

/// `name = number` of each enumeration's values, read off the contract and asked of the code.
fn enumerations() -> BTreeMap<String, Vec<String>> {
    fn values(number_to_name: impl Fn(i32) -> Option<&'static str>) -> Vec<String> {
        (0..64).filter_map(|number| Some(format!("{number} {}", number_to_name(number)?))).collect()
    }
    BTreeMap::from([
        ("log.State".to_owned(), values(|n| log::State::try_from(n).ok().map(|value| value.as_str_name()))),
        ("log.Reason".to_owned(), values(|n| log::Reason::try_from(n).ok().map(|value| value.as_str_name()))),
        (
            "log.AnchorChange".to_owned(),
            values(|n| log::AnchorChange::try_from(n).ok().map(|value| value.as_str_name())),
        ),
        (
            "state.Stage".to_owned(),
            values(|n| state::Stage::try_from(n).ok().map(|value| value.as_str_name())),
        ),
    ])
}

#[test]
fn records_and_rows_keep_their_wire_form() {
    let snapshot = Snapshot::all();
    let mut made: serde_json::Map<String, Value> =
        snapshot.0.iter().map(|(name, bytes)| (name.clone(), hex::encode(bytes).into())).collect();
    made.extend(enumerations().into_iter().map(|(name, values)| (name, values.into())));
    vectors::compare(FILE, &Value::Object(made));
    // The fuzzer's first byte chooses the message by its place among the sorted names.
    let message = |name: &str| name.split('.').take(2).collect::<Vec<_>>().join(".");
    let messages: BTreeSet<_> = snapshot.0.keys().map(|name| message(name)).collect();
    for (name, bytes) in &snapshot.0 {
        let place = messages.iter().position(|other| *other == message(name)).expect("one of them");
        let selector = u8::try_from(place).expect("few messages");
        vectors::seed("records", name, &[&[selector], bytes.as_slice()].concat());
    }
}

#[test]
fn every_message_and_enumeration_of_the_contract_is_in_the_snapshot() {
    let (snapshot, enumerations) = (Snapshot::all(), enumerations());
    let mut declared = 0;
    for (package, text) in PROTO {
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let (kind, Some(name)) = (words.next(), words.next()) else { continue };
            let name = format!("{package}.{name}");
            match kind {
                Some("message") => {
                    let variants = format!("{name}.");
                    let covered = snapshot.0.keys().any(|key| *key == name || key.starts_with(&variants));
                    assert!(covered, "message {name} has no snapshot");
                }
                Some("enum") => assert!(enumerations.contains_key(&name), "enum {name} has no snapshot"),
                _ => continue,
            }
            declared += 1;
        }
    }
    assert!(declared >= 20, "the contract was not read: {declared} declarations found");
}
