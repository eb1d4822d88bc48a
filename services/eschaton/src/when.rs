//! Times as people write them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};

/// A moment, absolute or from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// Milliseconds since 1970.
    At(u64),
    /// Milliseconds from now.
    In(u64),
}

impl When {
    /// Milliseconds since 1970.
    pub(crate) fn resolve(self, now_ms: u64) -> anyhow::Result<u64> {
        match self {
            Self::At(ms) => Ok(ms),
            Self::In(ms) => now_ms.checked_add(ms).context("that time is too far away; give an earlier one"),
        }
    }
}

/// Milliseconds since 1970, `2030-01-01T00:00:00Z`, or `+10m` from now.
pub(crate) fn parse(text: &str) -> Result<When, String> {
    let wrong = || {
        format!(
            "`{text}` is no time; write milliseconds since 1970, 2030-01-01T00:00:00Z, or +10m for 10 minutes from now"
        )
    };
    if let Some(wait) = text.strip_prefix('+') {
        let wait = humantime::parse_duration(wait).map_err(|_| wrong())?;
        return u64::try_from(wait.as_millis()).map(When::In).map_err(|_| wrong());
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map(When::At).map_err(|_| wrong());
    }
    let at = humantime::parse_rfc3339(text).map_err(|_| wrong())?;
    let since = at.duration_since(UNIX_EPOCH).map_err(|_| wrong())?;
    u64::try_from(since.as_millis()).map(When::At).map_err(|_| wrong())
}

/// This machine's clock, milliseconds since 1970.
pub(crate) fn now_ms() -> anyhow::Result<u64> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|_| anyhow!("this machine's clock stands before 1970; set it"))?;
    u64::try_from(since.as_millis()).context("this machine's clock is too far ahead; set it")
}

/// As `2026-11-21T12:00:00.000Z`; a number when no calendar has it.
pub(crate) fn show(ms: u64) -> String {
    const CALENDAR_END_MS: u64 = 253_402_300_800_000; // year 10000, where RFC 3339 ends
    match UNIX_EPOCH.checked_add(Duration::from_millis(ms)).filter(|_| ms < CALENDAR_END_MS) {
        Some(at) => humantime::format_rfc3339_millis(at).to_string(),
        None => format!("{ms} ms"),
    }
}

/// A duration in its two largest parts, such as `3h 5m`.
pub(crate) fn lasting(ms: u64) -> String {
    let text = humantime::format_duration(Duration::from_secs(ms / 1_000)).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn three_forms() {
        assert_eq!(parse("1700000000000"), Ok(When::At(1_700_000_000_000)));
        assert_eq!(parse("2023-11-14T22:13:20Z"), Ok(When::At(1_700_000_000_000)));
        assert_eq!(parse("+10m"), Ok(When::In(600_000)));
        assert_eq!(When::In(5).resolve(7).unwrap(), 12);
        assert!(When::In(5).resolve(u64::MAX).is_err());
        for bad in ["", "soon", "+", "+x", "-5", "1.5", "2023-13-01T00:00:00Z", "1969-01-01T00:00:00Z"] {
            assert!(bad.is_empty() || parse(bad).is_err(), "{bad}");
        }
        assert!(parse("").is_err());
    }

    #[test]
    fn shown_times_read_back() {
        assert_eq!(show(1_700_000_000_001), "2023-11-14T22:13:20.001Z");
        assert_eq!(show(u64::MAX), format!("{} ms", u64::MAX));
        assert_eq!(lasting(0), "0s");
        assert_eq!(lasting(3_661_000), "1h 1m");
    }
}
