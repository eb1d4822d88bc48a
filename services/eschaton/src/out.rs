//! Standard output: lines for people, or one JSON object for each line.

use std::fmt::Display;
use std::io::{self, Write};

use anyhow::Context;
use serde_json::Value;

/// Where a command's results go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Out {
    json: bool,
}

impl Out {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// True when programs read along.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Shows one result in the form that was asked for.
    pub(crate) fn show(self, human: impl Display, json: &Value) -> anyhow::Result<()> {
        if self.json { line(json) } else { line(human) }
    }

    /// Shows a line to people alone.
    pub(crate) fn tell(self, human: impl Display) -> anyhow::Result<()> {
        if self.json { Ok(()) } else { line(human) }
    }
}

fn line(text: impl Display) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        // Without context, so that `main` knows it.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(error.into()),
        written => written.context("cannot write to standard output; free its space or give another"),
    }
}
