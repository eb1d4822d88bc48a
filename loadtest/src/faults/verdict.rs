//! What is checked when the faults are over: answers, the log, the rows, the trees, and three ways to make the state.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use eschaton_node::{Engines, NodeConfig, check, check_engines, cluster_state, open_engines};
use serde::Serialize;

use super::decisions::{self, Decisions};
use super::proofs::Proven;
use super::rows::Money;
use crate::anew;
use crate::contest::Answers;
use crate::lookup::Found;
use crate::scenario::bar;

/// Faults of one kind.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Tally {
    pub(crate) fault: &'static str,
    pub(crate) times: u32,
    /// Longest time without any decision, mean and most over the times, in seconds.
    pub(crate) mean_stall_s: f64,
    pub(crate) longest_stall_s: f64,
}

/// What one run of scenario `faults` found.
#[derive(Serialize, Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) scenario: &'static str,
    pub(crate) seed: u64,
    pub(crate) faults: u32,
    pub(crate) by_fault: Vec<Tally>,
    /// Longest time without a decision between the last fault and the end of all waiting.
    pub(crate) last_stall_s: f64,
    /// Pairs of payments that exclude one another.
    pub(crate) pairs: usize,
    pub(crate) answers: Answers,
    pub(crate) found: Found,
    pub(crate) proven: Proven,
    pub(crate) decisions: Decisions,
    /// Transactions in the newest checkpoint.
    pub(crate) tree_size: u64,
    pub(crate) live_outputs: u64,
    pub(crate) accepted_rows: u64,
    pub(crate) pending: u64,
    /// Of the cluster's rows, of its log decided anew, of an embedded node's rows, of its log decided anew.
    pub(crate) state_hashes: [String; 4],
    pub(crate) records: u64,
    /// Published decisions that are those of the log decided anew.
    pub(crate) compared_decisions: u64,
    pub(crate) rows: u64,
    /// Processes that ended although nobody ended them.
    pub(crate) ended: Vec<String>,
    pub(crate) seconds: f64,
    pub(crate) cores: usize,
    pub(crate) cpu: String,
    pub(crate) commit: String,
    pub(crate) command: String,
}

/// What is found in the engines once all processes have ended.
pub(crate) struct Remains {
    pub(crate) decisions: Decisions,
    pub(crate) tree_size: u64,
    money: Money,
    hashes: [String; 4],
    records: u64,
    compared: u64,
    rows: u64,
    difference: Option<String>,
}

/// Reads the log and the rows, decides the log anew, and has an embedded node made from the same log.
pub(crate) async fn remains(config: &NodeConfig, dir: &Path, name: &str) -> anyhow::Result<Remains> {
    println!("counting decisions");
    let decisions = decisions::count(config).await?;
    let newest = cluster_state(config).await?.checkpoint.context("there is no checkpoint")?;
    println!("counting money");
    let money = {
        let (_, store) = open_engines(config, "loadtest").await?;
        Money::count(store.as_ref()).await?
    };
    let shown = bar("deciding the log anew", 1);
    let scratch = dir.join(format!("{name}.check"));
    let there = check_engines(config, &scratch, anew::progress(&shown)).await?;
    shown.finish_and_clear();
    println!("moving the log into an embedded node");
    let here = embedded(config, dir, name).await?;
    let shown = bar("deciding it anew there", 1);
    let again = check(&here, &scratch, config.window_ms, anew::progress(&shown)).await?;
    shown.finish_and_clear();
    Ok(Remains {
        decisions,
        tree_size: newest.size,
        money,
        hashes: [there.store_hash, there.replay_hash, again.store_hash, again.replay_hash],
        records: there.records,
        compared: there.decisions,
        rows: there.rows,
        difference: there.first_difference.or(again.first_difference),
    })
}

/// An embedded node's data, with the cluster's log at the same offsets.
async fn embedded(config: &NodeConfig, dir: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let (out, data_dir) = (dir.join(format!("{name}.export")), dir.join(format!("{name}.embedded")));
    eschaton_node::export(config, &out, true, &mut |_| Ok(()))
        .await
        .context("exporting the cluster's log")?;
    let target = NodeConfig {
        engines: Engines::Embedded { data_dir: data_dir.clone() },
        keys_dir: Some(data_dir.clone()),
        ..config.clone()
    };
    let imported = eschaton_node::import(&target, &out, &mut |_| Ok(())).await;
    imported.context("importing it into an embedded node")?;
    Ok(data_dir)
}

impl Verdict {
    /// Adds what was found in the engines.
    pub(crate) fn with(&mut self, remains: &Remains) {
        self.decisions = remains.decisions;
        self.tree_size = remains.tree_size;
        self.live_outputs = remains.money.live_outputs;
        self.accepted_rows = remains.money.accepted;
        self.pending = remains.money.pending;
        self.state_hashes.clone_from(&remains.hashes);
        (self.records, self.compared_decisions) = (remains.records, remains.compared);
        self.rows = remains.rows;
    }

    pub(crate) fn print(&self) {
        println!("\n  {:<44} {:>5} {:>12} {:>12}", "fault", "times", "mean stall", "longest");
        for Tally { fault, times, mean_stall_s, longest_stall_s } in &self.by_fault {
            println!("  {fault:<44} {times:>5} {mean_stall_s:>10.1} s {longest_stall_s:>10.1} s");
        }
        println!("  after the last one: {:.1} s\n", self.last_stall_s);
        let Self { seed, faults, answers, found, decisions, proven, .. } = self;
        println!(
            "{faults} faults, seed {seed}: {} acknowledged payments, {} refused contenders, {} lost, {} refused and yet accepted, {} outputs spent twice, {} contradictory answers",
            answers.accepted, answers.rejected, found.lost, found.revived, found.twice, answers.contradicted
        );
        println!(
            "{} decisions, {} first acceptances; {} ids repeated, {} accepted again, {} outputs spent twice, {} taken back on the log",
            decisions.records,
            decisions.accepted,
            decisions.repeated_ids,
            decisions.accepted_again,
            decisions.spent_twice,
            decisions.taken_back
        );
        println!(
            "{} accepted by the rows, {} in the trees; {} live outputs, what was issued is live or a fee; {} pending",
            self.accepted_rows, self.tree_size, self.live_outputs, self.pending
        );
        println!(
            "proofs checked: {} inclusions, {} spendings, {} consistencies of the latest of {} checkpoints with earlier ones",
            proven.inclusions, proven.spendings, proven.consistencies, proven.checkpoints
        );
        println!(
            "{} records decided anew, {} published decisions and {} rows compared",
            self.records, self.compared_decisions, self.rows
        );
        let what =
            ["the cluster's rows", "its log decided anew", "an embedded node's rows", "decided anew there"];
        for (what, hash) in what.iter().zip(&self.state_hashes) {
            println!("  {what:<28} {hash}");
        }
        for process in &self.ended {
            println!("ended by itself: {process}");
        }
    }

    /// Fails with the first thing that is not as it must be.
    pub(crate) fn check(&self, remains: &Remains) -> anyhow::Result<()> {
        let Self { answers, found, pairs, .. } = self;
        ensure!(
            answers.accepted == *pairs,
            "{pairs} pairs were handed in, {} payments are accepted; one of each must be",
            answers.accepted
        );
        ensure!(
            found.lost + found.twice + found.revived + answers.contradicted == 0,
            "money was lost or doubled"
        );
        ensure!(
            self.decisions.is_sound(),
            "invariant L2 or L3 broken: the log holds a decision twice, or takes one back"
        );
        remains.money.check()?;
        ensure!(
            self.tree_size == self.decisions.accepted && self.accepted_rows == self.decisions.accepted,
            "invariant P2 broken: {} transactions are accepted by the log, {} by the rows, {} are in the trees",
            self.decisions.accepted,
            self.accepted_rows,
            self.tree_size
        );
        let [first, others @ ..] = &self.state_hashes;
        ensure!(
            others.iter().all(|hash| hash == first) && remains.difference.is_none(),
            "the states differ: {}",
            remains.difference.as_deref().unwrap_or("see the hashes above")
        );
        ensure!(self.ended.is_empty(), "a process ended by itself; its messages are in the data directory");
        Ok(())
    }
}
