//! Requests of calendar clients. Statuses, texts and headers are those of the reference server, which its clients
//! know.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eschaton_ots::tree::Hash;
use eschaton_timestamp::rows::DIGEST_MAX;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};

use super::{Parts, page};
use crate::{Progress, StampError};

const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain");
/// A final proof never changes.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000");
/// One that is awaited changes with the next block.
const A_MINUTE: HeaderValue = HeaderValue::from_static("public, max-age=60");

type Answer = Response<Full<Bytes>>;

pub(super) async fn answer(request: Request<Incoming>, parts: &Arc<Parts>) -> Answer {
    let path = request.uri().path().to_owned();
    match (request.method(), path.as_str()) {
        (&Method::POST, "/digest") => digest(request.into_body(), parts).await,
        (&Method::GET, "/") => page::answer(parts),
        (&Method::GET, path) if path.starts_with("/timestamp/") => {
            timestamp(path.trim_start_matches("/timestamp/"), parts).await
        }
        (_, "/digest") => not_allowed("POST"),
        (_, path) if path == "/" || path.starts_with("/timestamp/") => not_allowed("GET"),
        _ => text(StatusCode::NOT_FOUND, "Not found"),
    }
}

pub(super) fn with(status: StatusCode, kind: HeaderValue, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

fn text(status: StatusCode, words: impl Into<String>) -> Answer {
    with(status, TEXT, Bytes::from(words.into()))
}

fn not_allowed(method: &'static str) -> Answer {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, format!("use {method}"));
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(method));
    answer
}

/// Says so and ends the connection: the rest of the body is not read.
fn refused(status: StatusCode, words: &str) -> Answer {
    let mut answer = text(status, words);
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

async fn digest(body: Incoming, parts: &Parts) -> Answer {
    let too_long = || refused(StatusCode::BAD_REQUEST, "digest too long");
    if body.size_hint().lower() > DIGEST_MAX as u64 {
        return too_long();
    }
    let read = Limited::new(body, DIGEST_MAX).collect();
    let digest = match tokio::time::timeout(Duration::from_millis(parts.limits.body_ms), read).await {
        Err(_) => return refused(StatusCode::REQUEST_TIMEOUT, "the digest did not come in time"),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return too_long(),
        Ok(Err(_)) => return refused(StatusCode::BAD_REQUEST, "the body cannot be read"),
        Ok(Ok(body)) => body.to_bytes(),
    };
    match parts.intake.stamp(digest).await {
        Ok(stamp) => with(StatusCode::OK, BYTES, stamp.timestamp),
        Err(error @ StampError::Digest { .. }) => text(StatusCode::BAD_REQUEST, error.to_string()),
        Err(
            error @ (StampError::Busy { retry_ms }
            | StampError::Unanchored { retry_ms }
            | StampError::Late { retry_ms }),
        ) => {
            let mut answer = text(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_ms.div_ceil(1_000)));
            answer
        }
    }
}

async fn timestamp(commitment: &str, parts: &Parts) -> Answer {
    // Twice as long as a digest may be, so that decoding is bounded.
    let Some(bytes) =
        Some(commitment).filter(|text| text.len() <= 2 * DIGEST_MAX).and_then(|text| hex::decode(text).ok())
    else {
        return text(StatusCode::BAD_REQUEST, "commitment must be hex-encoded bytes");
    };
    let known = match <Hash>::try_from(&bytes[..]) {
        Ok(root) => parts.lookup.root(&root).await,
        Err(_) => Ok(None),
    };
    let waits = |words: String| {
        let mut answer = text(StatusCode::NOT_FOUND, words);
        answer.headers_mut().insert(CACHE_CONTROL, A_MINUTE);
        answer
    };
    let known = match known {
        Ok(Some(known)) => known,
        Ok(None) => return waits("Not found".to_owned()),
        Err(error) => {
            tracing::warn!(%error, "a timestamp cannot be looked up");
            return text(StatusCode::SERVICE_UNAVAILABLE, "the proof cannot be looked up now; ask again");
        }
    };
    let by = |txid: &Hash, more: u64| {
        let shown: Vec<u8> = txid.iter().rev().copied().collect();
        format!("Timestamped by transaction {}; waiting for {more} confirmations", hex::encode(shown))
    };
    let wanted = parts.lookup.final_blocks();
    // An upstream calendar's proof may be there before ours.
    let finished = known.timestamp.finished();
    match (known.progress, finished) {
        (_, Some(finished)) => match finished.to_bytes() {
            Ok(bytes) => {
                let mut answer = with(StatusCode::OK, BYTES, bytes);
                answer.headers_mut().insert(CACHE_CONTROL, FOR_EVER);
                answer
            }
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        },
        (Progress::Pending, None) => waits("Pending confirmation in Bitcoin blockchain".to_owned()),
        (Progress::Anchoring { txid }, None) => waits(by(&txid, wanted)),
        (Progress::Confirmed { txid, confirmations, .. }, None) => {
            waits(by(&txid, wanted.saturating_sub(confirmations)))
        }
    }
}
