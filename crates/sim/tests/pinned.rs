//! Seeds that once broke an invariant, and what they found. A change of the workload makes other runs
//! of them; crates/ledger/tests shows each defect by itself.

use eschaton_sim::run;

const PINNED: [(u64, &str); 16] = [
    (1, "L2: one that waited for an input spent another that was spent meanwhile"),
    (3, "L2: the same"),
    (16, "L2: accepted though an output that it only reads was spent meanwhile"),
    (75, "L2: the same"),
    (472, "L3: after loading, queues were in another order than in memory"),
    (571, "L3: the same"),
    (256, "L3: after loading, a deadline that had passed made a window end out of its order"),
    (841, "L3: the same"),
    (111, "L4: a grant to an attempt that was given up was taken for one to the next attempt"),
    (1_210, "L4: the same"),
    (5, "L3: a shard without a say answered an accepted transaction with a rejection of its own"),
    (9, "state: a shard without a say wrote the coordinator's row"),
    (2_342, "L4: a worker that was taken over took its successor's rows for damage"),
    (8_902, "state: one that was taken over while it opened took them for a store ahead of the log"),
    (9_861, "state: the same"),
    (78, "L4: of two workers of a shard the ticker saw the fenced one alone; a defect of the simulator"),
];

#[test]
fn seeds_that_failed_once() {
    for (seed, found) in PINNED {
        let violation = run(seed, None, false).err().map(|violation| violation.to_string());
        assert_eq!(violation, None, "it once found {found}");
    }
}
