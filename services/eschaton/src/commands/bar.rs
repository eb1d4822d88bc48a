//! How far a long command is.

use eschaton_node::Step;
use indicatif::{ProgressBar, ProgressStyle};

/// A bar on standard error, if that is a terminal.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{msg:<28} {bar:30} {human_pos}/{human_len} {eta}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    pub(super) fn show(&self, step: Step) {
        if self.0.message() != step.what {
            self.0.reset();
            self.0.set_message(step.what);
        }
        self.0.set_length(step.all.max(step.done));
        self.0.set_position(step.done);
    }

    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }
}
