//! Calendars that promised a proof are asked for it. Only addresses that stand in the proof are asked, redirections
//! are not followed, and what comes back has bounds.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use eschaton_ots::{ANSWER_BYTES_MAX, Pending, Timestamp};
use http::header::ACCEPT;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Questions of one run.
const QUESTIONS_MAX: usize = 10_000;
/// How long a calendar may take.
const WAIT: Duration = Duration::from_secs(10);
/// Longest part of a calendar's words that is shown.
const SHOWN_CHARS: usize = 200;

/// What a calendar said to a commitment.
#[derive(Clone)]
pub(super) enum Said {
    /// The rest of the proof, which may still be a promise.
    Proof(Timestamp),
    /// There is none yet, or it was not reached.
    Words(String),
}

/// Asks each calendar once for each commitment: files that were stamped together share one.
pub(super) struct Calendars {
    http: Client<HttpConnector, Empty<Bytes>>,
    said: HashMap<Pending, Said>,
}

impl Calendars {
    pub(super) fn new() -> Self {
        Self { http: Client::builder(TokioExecutor::new()).build_http(), said: HashMap::new() }
    }

    pub(super) async fn ask(&mut self, pending: &Pending) -> Said {
        if let Some(said) = self.said.get(pending) {
            return said.clone();
        }
        if self.said.len() >= QUESTIONS_MAX {
            return Said::Words(format!("not asked: {QUESTIONS_MAX} questions are enough for one run"));
        }
        let said = match tokio::time::timeout(WAIT, self.question(pending)).await {
            Ok(Ok(said)) => said,
            Ok(Err(error)) => Said::Words(format!("not reached: {error:#}")),
            Err(_) => Said::Words(format!("not reached: no answer within {} s", WAIT.as_secs())),
        };
        self.said.insert(pending.clone(), said.clone());
        said
    }

    async fn question(&self, pending: &Pending) -> anyhow::Result<Said> {
        let address = pending.uri.as_str().trim_end_matches('/');
        let uri: Uri = format!("{address}/timestamp/{}", hex::encode(&pending.commitment))
            .parse()
            .context("its address is no URL")?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                bail!("its address is https, which is not spoken here; use another client's upgrade")
            }
            _ => bail!("its address is no URL"),
        }
        let request =
            Request::get(uri).header(ACCEPT, "application/vnd.opentimestamps.v1").body(Empty::new())?;
        let answer = self.http.request(request).await.map_err(|error| {
            let why = std::error::Error::source(&error).map(ToString::to_string);
            anyhow::anyhow!(why.unwrap_or_else(|| error.to_string()))
        })?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body
            .map_err(|error| anyhow::anyhow!("its answer is too long or was cut off: {error}"))?
            .to_bytes();
        if status == StatusCode::OK {
            let proof =
                Timestamp::from_answer(&pending.commitment, &body).context("its answer is no proof")?;
            return Ok(Said::Proof(proof));
        }
        ensure!(!status.is_redirection(), "it sends elsewhere ({status}), where the proof does not point");
        Ok(Said::Words(words(&body).unwrap_or_else(|| status.to_string())))
    }
}

/// A text to show: no control characters, not long.
fn words(body: &[u8]) -> Option<String> {
    let text: String = String::from_utf8_lossy(body).chars().take(SHOWN_CHARS).collect();
    let text = text.replace(|char: char| char.is_control(), " ");
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
