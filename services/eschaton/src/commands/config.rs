//! `eschaton config`: what a process would run with.

use clap::{Args, Subcommand};
use eschaton_node::Shown;
use serde_json::json;

use crate::out::Out;
use crate::settings::SettingsArgs;

/// Look at the configuration without running anything.
#[derive(Args, Debug)]
pub(crate) struct ConfigCommand {
    #[command(subcommand)]
    task: ConfigTask,
}

#[derive(Subcommand, Debug)]
enum ConfigTask {
    /// Check file, environment and options together; exits 1 and names every mistake
    #[command(after_help = "Example:\n  eschaton config check --config cluster.toml")]
    Check(SettingsArgs),
    /// Show every setting that has a value, and where it comes from; secrets are hidden
    #[command(after_help = "Example:\n  ESCHATON_WINDOW_MS=50 eschaton config show --config cluster.toml")]
    Show(SettingsArgs),
}

pub(crate) fn perform(command: &ConfigCommand, out: Out) -> anyhow::Result<()> {
    match &command.task {
        ConfigTask::Check(args) => {
            args.read_to_run()?;
            out.show("the configuration can be used", &json!({"ok": true}))
        }
        ConfigTask::Show(args) => {
            let layers = args.layers()?;
            for Shown { key, value, source } in layers.settings()?.shown(&layers) {
                let source = source.map_or("default".to_owned(), |source| source.to_string());
                let object = json!({"key": key, "value": value, "source": source});
                out.show(format!("{key} = {value}  # {source}"), &object)?;
            }
            Ok(())
        }
    }
}
