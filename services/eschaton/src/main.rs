//! The one binary: `eschaton run` is a node, everything else is its client: wallet, payments,
//! transactions, proofs.

#![allow(
    clippy::disallowed_methods,
    reason = "the edge: a person with a clock, an environment and a terminal"
)]

mod cli;
mod commands;
mod out;
mod run;
mod session;
mod settings;
mod when;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Task};
use out::Out;
use session::Session;

// Worker threads allocate in one thread and free in another; the system's allocator is slow at that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match perform(cli) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has seen enough, as in `eschaton wallet history | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        // It was said in the result.
        Err(error) if error.is::<commands::ots::NotYet>() => ExitCode::from(3),
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn perform(cli: Cli) -> anyhow::Result<()> {
    let out = Out::new(cli.json);
    let task = match cli.task {
        Task::Run(args) => return run::run(*args),
        Task::Config(command) => return commands::config::perform(&command, out),
        Task::Export(args) => return threaded()?.block_on(commands::transfer::perform_export(&args, out)),
        Task::Import(args) => return threaded()?.block_on(commands::transfer::perform_import(&args, out)),
        Task::Verify(command) => return commands::verify::perform(*command, out, threaded),
        #[cfg(feature = "cluster")]
        Task::Migrate(args) => return threaded()?.block_on(commands::cluster::migrate(&args, out)),
        #[cfg(feature = "cluster")]
        Task::Cluster(command) => return threaded()?.block_on(commands::cluster::perform(&command, out)),
        Task::Client(task) => *task,
    };
    let session = Session::new(cli.node, out);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(commands::perform(task, &session))
}

/// For commands that speak with engines.
fn threaded() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

/// One line, whatever the error was made of. Nothing is left to say it to when that fails.
fn complain(text: &str) {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let _ = writeln!(std::io::stderr(), "error: {line}");
}

/// Help and version as clap prints them; a mistake in one line.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // The reader may be gone; that is no failure of ours.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return ExitCode::from(2);
    }
    let text = error.render().to_string();
    let said = text.split("\nUsage:").next().unwrap_or(&text);
    let said = said.split("\nFor more information").next().unwrap_or(said);
    complain(&format!("{}; see --help", said.trim().trim_start_matches("error: ")));
    ExitCode::from(2)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
