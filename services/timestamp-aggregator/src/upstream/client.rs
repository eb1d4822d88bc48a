//! What others' calendars are asked, over HTTP. Redirections are not followed, and what comes back has bounds.

use std::time::Duration;

use bytes::Bytes;
use eschaton_ots::{ANSWER_BYTES_MAX, CalendarUri, OtsError, Timestamp};
use http::header::ACCEPT;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// How long a calendar may take.
const WAIT: Duration = Duration::from_secs(10);
/// Longest part of a calendar's words that is shown.
const SHOWN_CHARS: usize = 200;
const FORM: &str = "application/vnd.opentimestamps.v1";

/// Why a calendar gave no answer to use.
#[derive(Debug, thiserror::Error)]
pub enum CalendarError {
    /// Its address.
    #[error("its address is no URL")]
    Address,
    /// Not spoken here. Settings refuse such an upstream, so it is met in proofs alone.
    #[error("its address is https, which is not spoken here; use another client's upgrade")]
    Https,
    /// It is not there, or does not keep its connections.
    #[error("not reached: {detail}")]
    Unreached {
        /// What happened.
        detail: String,
    },
    /// It takes too long.
    #[error("not reached: no answer within {} s", WAIT.as_secs())]
    Late,
    /// It sends elsewhere, where nobody decided to go.
    #[error("it sends elsewhere ({status}), where the proof does not point")]
    Elsewhere {
        /// How.
        status: StatusCode,
    },
    /// Its answer is too long, or was cut off.
    #[error("its answer is too long or was cut off: {detail}")]
    Body {
        /// What happened.
        detail: String,
    },
    /// Its answer is not what it should be.
    #[error("its answer is no proof: {0}")]
    Proof(#[from] OtsError),
    /// It said no, in words.
    #[error("it says: {words}")]
    Refused {
        /// Its words, or the status.
        words: String,
    },
}

/// Asks calendars.
pub struct CalendarClient {
    http: Client<HttpConnector, Full<Bytes>>,
}

impl Default for CalendarClient {
    fn default() -> Self {
        Self { http: Client::builder(TokioExecutor::new()).build_http() }
    }
}

impl CalendarClient {
    /// Has a digest stamped: a timestamp of it, which is a promise as a rule.
    ///
    /// # Errors
    /// See [`CalendarError`].
    pub async fn stamp(&self, calendar: &CalendarUri, digest: &[u8]) -> Result<Timestamp, CalendarError> {
        let body = Bytes::copy_from_slice(digest);
        match self.answer(Method::POST, calendar, "/digest", body).await? {
            (StatusCode::OK, body) => Ok(Timestamp::from_answer(digest, &body)?),
            (status, body) => Err(CalendarError::Refused { words: words(status, &body) }),
        }
    }

    /// Asks for the rest of a proof; words where there is none yet.
    ///
    /// # Errors
    /// See [`CalendarError`].
    pub async fn proof(
        &self,
        calendar: &CalendarUri,
        commitment: &[u8],
    ) -> Result<Result<Timestamp, String>, CalendarError> {
        let path = format!("/timestamp/{}", hex::encode(commitment));
        match self.answer(Method::GET, calendar, &path, Bytes::new()).await? {
            (StatusCode::OK, body) => Ok(Ok(Timestamp::from_answer(commitment, &body)?)),
            (status, body) => Ok(Err(words(status, &body))),
        }
    }

    async fn answer(
        &self,
        method: Method,
        calendar: &CalendarUri,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), CalendarError> {
        let address = calendar.as_str().trim_end_matches('/');
        let uri: Uri = format!("{address}{path}").parse().map_err(|_| CalendarError::Address)?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(CalendarError::Https),
            _ => return Err(CalendarError::Address),
        }
        let request = Request::builder().method(method).uri(uri).header(ACCEPT, FORM).body(Full::new(body));
        let request = request.map_err(|_| CalendarError::Address)?;
        let asked = async {
            let answer = self.http.request(request).await.map_err(|error| {
                let why = std::error::Error::source(&error).map(ToString::to_string);
                CalendarError::Unreached { detail: why.unwrap_or_else(|| error.to_string()) }
            })?;
            let status = answer.status();
            if status.is_redirection() {
                return Err(CalendarError::Elsewhere { status });
            }
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| CalendarError::Body { detail: error.to_string() })?;
            Ok((status, body.to_bytes()))
        };
        tokio::time::timeout(WAIT, asked).await.unwrap_or(Err(CalendarError::Late))
    }
}

/// A text to show: no control characters, not long.
fn words(status: StatusCode, body: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(body).chars().take(SHOWN_CHARS).collect();
    let text = text.replace(|char: char| char.is_control(), " ").trim().to_owned();
    if text.is_empty() { status.to_string() } else { text }
}
