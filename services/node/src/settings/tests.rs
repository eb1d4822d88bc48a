#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use super::*;
use crate::Service;

fn file(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("eschaton.toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// Layers of a file's text, variables and options.
fn layers(text: &str, environment: &[(&str, &str)], options: &[(&str, &str)]) -> Layers {
    let dir = tempfile::tempdir().unwrap();
    let mut layers = Layers::default();
    layers.file(&file(dir.path(), text)).unwrap();
    layers.environment(environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    for (key, value) in options {
        layers.option(key, value);
    }
    layers
}

fn refused(layers: &Layers) -> String {
    match layers.settings() {
        Err(error) => error.to_string(),
        Ok(settings) => {
            let wrong = settings.node(layers).unwrap_err();
            wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        }
    }
}

#[test]
fn options_win_over_the_environment_and_that_over_the_file() {
    let text = "window_ms = 1\nshards = 2\ncheckpoint_ms = 30\ndata_dir = 'd'";
    let layers = layers(
        text,
        &[("ESCHATON_WINDOW_MS", "2"), ("ESCHATON_SHARDS", "3"), ("ESCHATON_ORIGIN", ""), ("HOME", "/x")],
        &[("window_ms", "3")],
    );
    let settings = layers.settings().unwrap();
    assert_eq!((settings.window_ms, settings.shards, settings.checkpoint_ms), (3, 3, 30));
    assert_eq!(settings.origin, Settings::default().origin, "an empty variable is none");
    assert_eq!(layers.source("window_ms"), Some(&Source::Option("--window-ms".to_owned())));
    assert_eq!(layers.source("shards"), Some(&Source::Environment("ESCHATON_SHARDS".to_owned())));
    assert!(matches!(layers.source("checkpoint_ms"), Some(Source::File(_))));
    assert_eq!(layers.source("network"), None);
    assert!(settings.node(&layers).unwrap().services.is_all());
}

#[test]
fn mistakes_name_key_value_source_and_remedy() {
    for (text, says) in [
        ("shards = 'many'", &["shards is \"many\"", "expected u32", "eschaton.toml"][..]),
        ("shard = 3", &["shard is 3", "there is no such key", "expected one of", "`shards`"]),
        ("shards = 0\ndata_dir = 'd'", &["shards is 0: it must be 1 to 256"]),
        ("window_ms = 60001\nshards = 999", &["window_ms is 60001", "shards is 999", "data_dir"]),
        ("network = 'moon'", &["network is \"moon\"", "main"]),
        (
            "network = 'main'\ndata_dir = 'd'",
            &["native_issuer", "set --native-issuer, ESCHATON_NATIVE_ISSUER"],
        ),
        ("native_issuer = 'x'\ndata_dir = 'd'", &["native_issuer is \"x\""]),
        ("grpc = 'here'", &["grpc is \"here\""]),
        ("services = 'query,router'", &["services", "no service \"router\"", "gossip-ingress"]),
        ("services = []", &["names no service"]),
        ("services = ['query']\ndata_dir = 'd'", &["services", "[kafka]"]),
        ("", &["data_dir", "set --data-dir, ESCHATON_DATA_DIR or data_dir in the configuration file"]),
    ] {
        let said = refused(&layers(text, &[], &[]));
        for words in says {
            assert!(said.contains(words), "`{text}`: `{words}` is not in: {said}");
        }
    }
    let said = refused(&layers("data_dir = 'd'", &[("ESCHATON_SHARDS", "x")], &[]));
    assert!(said.contains("set by ESCHATON_SHARDS"), "{said}");
}

#[test]
fn a_file_that_cannot_be_read_says_which_and_where() {
    let dir = tempfile::tempdir().unwrap();
    let mut layers = Layers::default();
    let error = layers.file(&dir.path().join("none.toml")).unwrap_err().to_string();
    assert!(error.contains("none.toml") && error.contains("--config"), "{error}");
    let error = layers.file(&file(dir.path(), "shards = 1\nwindow_ms = = 2\n")).unwrap_err().to_string();
    assert!(error.contains("line 2"), "{error}");
    let large = "# ".repeat(1 << 20);
    let error = layers.file(&file(dir.path(), &large)).unwrap_err().to_string();
    assert!(error.contains("bytes"), "{error}");
}

#[test]
fn services_come_as_a_list_or_as_text() {
    for text in ["services = ['query', 'gossip-ingress', 'query']", "services = 'gossip-ingress, query'"] {
        let settings = layers(text, &[], &[]).settings().unwrap();
        assert_eq!(settings.services.to_string(), "gossip-ingress,query");
        assert!(settings.services.has(Service::Query) && !settings.services.has(Service::MerkleProver));
    }
}

#[test]
fn what_is_shown_can_be_written_back() {
    let first = layers("window_ms = 7\ndata_dir = 'd'", &[], &[]);
    let shown = first.settings().unwrap().shown(&first);
    let text: String = shown.iter().map(|shown| format!("{} = {}\n", shown.key, shown.value)).collect();
    let second = layers(&text, &[], &[]);
    let mut again = second.settings().unwrap().shown(&second);
    again.iter_mut().zip(&shown).for_each(|(again, shown)| again.source.clone_from(&shown.source));
    assert_eq!(again, shown);
    assert!(shown.iter().any(|shown| shown.key == "window_ms" && shown.value == "7"));
}

#[cfg(feature = "cluster")]
mod cluster {
    use super::*;

    const BOTH: &str = "keys_dir = 'k'\n[kafka]\nbootstrap = 'a:9092'\n[cql]\nnodes = ['b:9042']\n";

    #[test]
    fn both_engines_make_a_cluster_and_one_alone_is_a_mistake() {
        let both = layers(BOTH, &[("ESCHATON_SERVICES", "query")], &[]);
        let config = both.settings().unwrap().node(&both).unwrap();
        assert!(matches!(config.engines, Engines::Cluster { .. }));
        for (text, missing) in [("[kafka]\nbootstrap = 'a:1'", "cql"), ("[cql]\nnodes = ['b:1']", "kafka")] {
            let said = refused(&layers(text, &[], &[]));
            assert!(said.contains(missing) && said.contains("both engines"), "{said}");
        }
    }

    #[test]
    fn sections_are_reached_from_the_environment_and_secrets_are_hidden() {
        let variables = [
            ("ESCHATON_KAFKA__LINGER_MS", "7"),
            ("ESCHATON_CQL__USER", "me"),
            ("ESCHATON_CQL__PASSWORD", "12345"),
        ];
        let both = layers(BOTH, &variables, &[]);
        let settings = both.settings().unwrap();
        assert_eq!(settings.kafka.as_ref().unwrap().linger_ms, 7);
        let shown = settings.shown(&both);
        assert!(
            shown.iter().any(|shown| shown.key == "cql.password" && shown.value == "(hidden)"),
            "{shown:?}"
        );
        assert!(!format!("{settings:?}{shown:?}").contains("12345"));
        let said = refused(&layers(BOTH, &[("ESCHATON_KAFKA__LINGER", "7")], &[]));
        assert!(said.contains("kafka.linger is 7") && said.contains("no such key"), "{said}");
        let said = refused(&layers(BOTH, &[("ESCHATON_CQL__REQUEST_TIMEOUT_MS", "soon")], &[]));
        assert!(said.contains("cql.request_timeout_ms is \"soon\""), "{said}");
    }

    #[test]
    fn a_secret_may_be_in_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "hunter2\n").unwrap();
        let name = path.to_string_lossy();
        let both = layers(BOTH, &[("ESCHATON_CQL__USER", "me"), ("ESCHATON_CQL__PASSWORD_FILE", &name)], &[]);
        let settings = both.settings().unwrap();
        assert_eq!(settings.cql.unwrap().password, Some("hunter2".to_owned().into()));
        let said = refused(&layers(BOTH, &[("ESCHATON_CQL__PASSWORD_FILE", "/none")], &[]));
        assert!(said.contains("cql.password_file is \"/none\"") && said.contains("cannot be read"), "{said}");
        let twice = [("ESCHATON_CQL__PASSWORD_FILE", &*name), ("ESCHATON_CQL__PASSWORD", "x")];
        let said = refused(&layers(BOTH, &twice, &[]));
        assert!(said.contains("leave one of them out"), "{said}");
    }
}

#[cfg(feature = "cluster")]
#[test]
fn only_who_signs_or_issues_needs_keys() {
    let needed = |services: &str, more: &str| {
        let text = format!(
            "services = '{services}'\n{more}\n[kafka]\nbootstrap = 'k:9092'\n[cql]\nnodes = ['c:9042']\n"
        );
        let layers = layers(&text, &[], &[]);
        let settings = layers.settings().unwrap();
        settings.node(&layers).unwrap();
        settings.runnable(&layers).err().map(|wrong| wrong[0].to_string())
    };
    for free in ["conflict-resolver", "query", "query,conflict-resolver"] {
        assert_eq!(needed(free, ""), None, "{free}");
    }
    let said = needed("query,merkle-prover", "").unwrap();
    assert!(said.contains("keys_dir") && said.contains("signs checkpoints with node.key"), "{said}");
    assert!(needed("gossip-ingress", "").unwrap().contains("dev-issuer.key"));
    let issuer = Address([7; 32]).to_text(Network::Dev);
    assert_eq!(needed("gossip-ingress", &format!("native_issuer = '{issuer}'")), None);
    assert_eq!(needed("merkle-prover", "keys_dir = 'k'"), None);
}
