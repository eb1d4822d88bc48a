//! Upstream calendars: other aggregators of ours, or any OpenTimestamps calendar. Each anchor's root is stamped by all
//! of them, and what they prove is merged into its proof, beside this installation's own transaction or instead of one.
//!
//! Works where the anchorer is. Level-triggered, as the chain's part: a crash loses nothing but what was asked and not
//! told, which is asked again; a calendar that was asked twice has two promises in the proof, and both hold.

mod client;
mod questions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use eschaton_kit::Health;
use eschaton_ots::{CalendarUri, Timestamp};
use eschaton_ports::Clock;
use eschaton_timestamp::{Anchor, AnchorInput};
use futures::future::join_all;
use metrics::{counter, describe_counter};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{AnchorInbox, AnchorView};

pub use client::{CalendarClient, CalendarError};
use questions::{Question, known, questions};

/// Questions to one calendar in one turn.
const QUESTIONS_AT_ONCE: usize = 32;
/// Part in health.
const PART: &str = "upstream";
const ANSWERS: &str = "eschaton_upstream_answers_total";

/// Which calendars stand above this installation, and how they are asked.
#[derive(Clone, Debug)]
pub struct UpstreamConfig {
    /// Whom to ask. None of them may stand on this one.
    pub calendars: Vec<CalendarUri>,
    /// Between two questions for the same proof, ms.
    pub ask_ms: u64,
    /// Before a calendar is asked again that gave no answer, ms.
    pub retry_ms: u64,
    /// No chain carries anchors besides: without these calendars no proof becomes complete.
    pub alone: bool,
}

/// How each calendar fares, in words.
#[derive(Clone, Default)]
pub struct UpstreamReport(Arc<Mutex<Vec<(String, String)>>>);

impl UpstreamReport {
    /// Address and words, in the order of the settings.
    pub fn calendars(&self) -> Vec<(String, String)> {
        self.0.lock().clone()
    }
}

/// What upstream calendars are asked with.
pub struct UpstreamParts {
    /// The anchorer, while it is here.
    pub view: AnchorView,
    /// Where it is told.
    pub inbox: AnchorInbox,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// Asks until `stop`.
pub fn start(
    config: UpstreamConfig,
    parts: UpstreamParts,
    health: Health,
    stop: CancellationToken,
) -> UpstreamReport {
    describe_counter!(ANSWERS, "questions to upstream calendars, by calendar and what came of them");
    let report = UpstreamReport::default();
    let calendars = config.calendars.iter().map(|uri| Upstream::new(uri.clone())).collect();
    let asker = Asker { config, calendars, parts, health, report: report.clone() };
    tokio::spawn(asker.run(stop));
    report
}

/// Anchors by number, with what is known of their roots from upstream.
type Anchors<'a> = BTreeMap<u64, (&'a Anchor, Timestamp)>;

/// One calendar, and what it was asked.
struct Upstream {
    uri: CalendarUri,
    http: CalendarClient,
    /// When, by question.
    asked: BTreeMap<Question, u64>,
    /// It is left alone until then.
    silent_until: u64,
    words: String,
}

struct Asker {
    config: UpstreamConfig,
    calendars: Vec<Upstream>,
    parts: UpstreamParts,
    health: Health,
    report: UpstreamReport,
}

impl Asker {
    async fn run(mut self, stop: CancellationToken) {
        let turns = async {
            loop {
                self.turn().await;
                let wait = self.config.ask_ms.min(self.config.retry_ms);
                // Not more often than this, whatever happens.
                self.parts.clock.sleep_ms(wait.min(200)).await;
                tokio::select! {
                    changed = self.parts.view.changed() => if changed.is_err() { return },
                    () = self.parts.clock.sleep_ms(wait) => {}
                }
            }
        };
        tokio::select! {
            () = turns => {}
            () = stop.cancelled() => {}
        }
    }

    async fn turn(&mut self) {
        let Some(anchorer) = self.parts.view.borrow_and_update().clone() else {
            self.health.well(PART);
            return;
        };
        let mut anchors = BTreeMap::new();
        for anchor in anchorer.anchors().filter(|anchor| !anchor.is_final || !anchor.upstream.is_empty()) {
            match known(anchor) {
                Ok(known) => drop(anchors.insert(anchor.number, (anchor, known))),
                Err(error) => tracing::error!(anchor = anchor.number, %error, "an anchor's row is damaged"),
            }
        }
        let (now, config) = (self.parts.clock.now_ms(), &self.config);
        let turns = self.calendars.iter_mut().map(|calendar| calendar.turn(&anchors, now, config));
        let told: Vec<AnchorInput> = join_all(turns).await.into_iter().flatten().collect();
        if let Err(error) = self.parts.inbox.tell(&told).await {
            // Asked again when it is due again: the answers are the calendars', and they keep them.
            tracing::warn!(%error, "what upstream calendars said could not be told");
        }
        let said = |calendar: &Upstream| (calendar.uri.as_str().to_owned(), calendar.words.clone());
        *self.report.0.lock() = self.calendars.iter().map(said).collect();
        let silent: Vec<String> = self
            .calendars
            .iter()
            .filter(|calendar| calendar.silent_until > 0)
            .map(|calendar| format!("{} {}", calendar.uri.as_str(), calendar.words))
            .collect();
        // Where a chain carries anchors too, others' calendars are no reason to send payments elsewhere.
        if silent.is_empty() || !self.config.alone {
            self.health.well(PART);
        } else {
            self.health.degraded(PART, silent.join("; "));
        }
    }
}

impl Upstream {
    fn new(uri: CalendarUri) -> Self {
        Self {
            uri,
            http: CalendarClient::default(),
            asked: BTreeMap::new(),
            silent_until: 0,
            words: "not asked yet".to_owned(),
        }
    }

    /// Asks what is due, one after the other; what came of it. The first failure ends the turn.
    async fn turn(&mut self, anchors: &Anchors<'_>, now: u64, config: &UpstreamConfig) -> Vec<AnchorInput> {
        // The clock may have been set back.
        if now < self.silent_until && self.silent_until - now <= config.retry_ms {
            return Vec::new();
        }
        let mut open = BTreeSet::new();
        for (anchor, known) in anchors.values() {
            match questions(anchor, known, &self.uri) {
                Ok(found) => open.extend(found),
                Err(error) => tracing::error!(anchor = anchor.number, %error, "an anchor's row is damaged"),
            }
        }
        self.asked.retain(|question, _| open.contains(question));
        open.retain(|question| self.asked.get(question).is_none_or(|at| now.abs_diff(*at) >= config.ask_ms));
        let mut told = Vec::new();
        for question in open.into_iter().take(QUESTIONS_AT_ONCE) {
            let Some((anchor, known)) = anchors.get(&question.anchor()) else { continue };
            let answer = self.ask(anchor, known, &question).await;
            let outcome = match &answer {
                Ok(Ok(_)) => "answered",
                Ok(Err(_)) => "waits",
                Err(_) => "failed",
            };
            counter!(ANSWERS, "calendar" => self.uri.as_str().to_owned(), "outcome" => outcome).increment(1);
            match answer {
                Ok(answer) => {
                    self.silent_until = 0;
                    self.words = match answer {
                        Ok(timestamp) => {
                            told.push(AnchorInput::Upstream { anchor: anchor.number, timestamp });
                            "well".to_owned()
                        }
                        Err(words) => format!("well; of anchor {} it says: {words}", anchor.number),
                    };
                    self.asked.insert(question, now);
                }
                Err(error) => {
                    tracing::warn!(calendar = self.uri.as_str(), %error, "an upstream calendar gave no answer");
                    self.words = error.to_string();
                    self.silent_until = now.saturating_add(config.retry_ms);
                    break;
                }
            }
        }
        told
    }

    /// The whole timestamp of the anchor's root with the answer in it, or words.
    async fn ask(
        &self,
        anchor: &Anchor,
        known: &Timestamp,
        question: &Question,
    ) -> Result<Result<bytes::Bytes, String>, CalendarError> {
        let mut whole = known.clone();
        match question {
            Question::Stamp { root, .. } => {
                whole = self.http.stamp(&self.uri, root).await?;
                // Else it would be asked for ever: nothing of what it said is its promise.
                let promised = whole.pending(root)?;
                if !promised.iter().any(|pending| pending.uri == self.uri) {
                    let words = format!("it does not promise under {}", self.uri.as_str());
                    return Err(CalendarError::Refused { words });
                }
            }
            Question::Proof { commitment, .. } => match self.http.proof(&self.uri, commitment).await? {
                Ok(proof) => {
                    whole.upgrade(&anchor.root, commitment, &proof)?;
                }
                Err(words) => return Ok(Err(words)),
            },
        }
        Ok(Ok(whole.to_bytes()?.into()))
    }
}
