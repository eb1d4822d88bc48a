//! What holds of the repository as a whole: who may depend on whom, what cores may not touch, and what
//! the README promises.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// From the ground up. A package depends on packages of lower layers and on no others.
const LAYERS: &[&[&str]] = &[
    &["eschaton-types", "eschaton-api"],
    &["eschaton-core", "eschaton-proof", "eschaton-headers", "eschaton-ots"],
    &["eschaton-ledger", "eschaton-merkle", "eschaton-gossip", "eschaton-timestamp"],
    &["eschaton-ports", "eschaton-client"],
    &[
        "eschaton-embedded",
        "eschaton-cql",
        "eschaton-kafka",
        "eschaton-driver",
        "eschaton-transfer",
        "eschaton-chain",
        "eschaton-regtest",
    ],
    &["eschaton-kit", "eschaton-onchain"],
    &["conflict-resolver", "gossip-ingress", "merkle-prover", "timestamp-aggregator"],
    &["eschaton-node", "eschaton-sim"],
    &["eschaton", "eschaton-loadtest"],
];

/// Deterministic: no clock, no randomness, no IO, no async.
const PURE: &[&str] = &[
    "eschaton-types",
    "eschaton-core",
    "eschaton-proof",
    "eschaton-ledger",
    "eschaton-merkle",
    "eschaton-gossip",
    "eschaton-ots",
    "eschaton-timestamp",
    "eschaton-headers",
];
const IMPURE_PACKAGES: &[&str] = &[
    "tokio",
    "async-trait",
    "futures",
    "rand",
    "rand_core",
    "getrandom",
    "fjall",
    "tonic",
    "parking_lot",
    "rayon",
];
const IMPURE_MODULES: &[&str] = &["env", "fs", "io", "net", "process", "thread", "time"];
const IMPURE_WORDS: &[&str] = &["async ", ".await", "unsafe ", "thread_rng", "OsRng"];

/// Implement the ports on real engines.
const ADAPTERS: &[&str] =
    &["eschaton-embedded", "eschaton-cql", "eschaton-kafka", "eschaton-chain", "eschaton-regtest"];
/// The only sources outside those packages and tests that may name them: who opens them, and the settings, which
/// hold theirs.
const WIRING: &[&str] = &[
    "services/node/src/anchoring.rs",
    "services/node/src/block_headers.rs",
    "services/node/src/check.rs",
    "services/node/src/cluster.rs",
    "services/node/src/config.rs",
    "services/node/src/settings.rs",
    "services/node/src/transfer/engines.rs",
    "services/node/src/wiring.rs",
];

const FILE_LINES_MAX: usize = 700;

/// From this package, where cargo runs its tests: a path fixed at compile time could be another clone's.
fn root() -> PathBuf {
    fs::canonicalize("../..").unwrap()
}

/// One package of the workspace.
struct Package {
    name: String,
    description: String,
    dir: PathBuf,
    /// Names, without those for tests and build scripts.
    dependencies: BTreeSet<String>,
}

fn packages() -> Vec<Package> {
    let made = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let metadata: Value = serde_json::from_slice(&made.stdout).unwrap();
    let package = |package: &Value| Package {
        name: package["name"].as_str().unwrap().to_owned(),
        description: package["description"].as_str().unwrap_or_default().to_owned(),
        dir: Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned(),
        dependencies: package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|dependency| dependency["kind"].is_null())
            .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
            .collect(),
    };
    metadata["packages"].as_array().unwrap().iter().map(package).collect()
}

/// All Rust sources under a directory.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {}", dir.display());
    found
}

/// A source without its comments, on one line, blanks gathered.
fn code(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

/// Whether code names a module of `std`: by its path, or in a group as in `use std::{fs, io}`.
fn names_module(code: &str, module: &str) -> bool {
    code.match_indices("std::").any(|(at, path)| {
        let rest = &code[at + path.len()..];
        let Some(group) = rest.strip_prefix('{') else { return starts_with_word(rest, module) };
        // Of a nested group only the outermost names count; they follow its opening or a comma.
        let mut depth = 0;
        let outermost: String = group
            .chars()
            .take_while(|char| {
                depth += i32::from(*char == '{') - i32::from(*char == '}');
                depth >= 0
            })
            .collect();
        outermost.split(',').any(|name| starts_with_word(name.trim(), module))
    })
}

fn starts_with_word(text: &str, word: &str) -> bool {
    let after = text.strip_prefix(word).map(|rest| rest.chars().next());
    after.is_some_and(|next| !next.is_some_and(|char| char.is_alphanumeric() || char == '_'))
}

#[test]
fn packages_depend_downwards_only() {
    let packages = packages();
    let layer_of = |name: &str| LAYERS.iter().position(|layer| layer.contains(&name));
    let ours: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    for layered in LAYERS.iter().flat_map(|layer| layer.iter()) {
        assert!(ours.contains(layered), "{layered} has a layer and is no package; take it out of LAYERS");
    }
    for package in &packages {
        let name = &package.name;
        let layer = layer_of(name).unwrap_or_else(|| panic!("{name} has no layer; give it one in LAYERS"));
        for dependency in package.dependencies.iter().filter(|name| ours.contains(name.as_str())) {
            let below = layer_of(dependency).is_some_and(|below| below < layer);
            assert!(
                below,
                "{name} depends on {dependency}, which is not below it; turn the dependency around"
            );
        }
    }
}

#[test]
fn cores_touch_nothing_of_the_world() {
    let packages = packages();
    for name in PURE {
        let package = packages.iter().find(|package| package.name == *name).unwrap();
        for impure in IMPURE_PACKAGES {
            assert!(
                !package.dependencies.contains(*impure),
                "{name} depends on {impure}; hand in what it needs"
            );
        }
        for path in sources(&package.dir.join("src")) {
            let text = fs::read_to_string(&path).unwrap();
            // A length of time is a plain value.
            let code = code(&text).replace("std::time::Duration", "");
            for module in IMPURE_MODULES {
                assert!(
                    !names_module(&code, module),
                    "{} uses std::{module}; hand in what it needs",
                    path.display()
                );
            }
            for word in IMPURE_WORDS {
                assert!(
                    !code.contains(word),
                    "{} contains `{word}`; a core is synchronous and safe",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn the_scan_finds_what_it_looks_for() {
    let yes =
        ["use std::fs;", "let x = std::fs::read(p);", "use std::{\n    collections::BTreeMap,\n    fs,\n};"];
    for text in
        yes.iter().chain(&["use std::{fs::File, path::Path};", "use std::{path::{Path, PathBuf}, fs};"])
    {
        assert!(names_module(&code(text), "fs"), "{text}");
    }
    for text in ["// std::fs", "use std::fsync;", "use std::{fmt, format}; mod fs;", "use std::path::Path;"] {
        assert!(!names_module(&code(text), "fs"), "{text}");
    }
}

#[test]
fn only_the_wiring_names_adapters() {
    let root = root();
    let mut naming = BTreeSet::new();
    for package in packages() {
        let others: Vec<&str> = ADAPTERS.iter().copied().filter(|adapter| *adapter != package.name).collect();
        for adapter in &others {
            let depends = package.dependencies.contains(*adapter);
            assert!(!depends || package.name == "eschaton-node", "{} depends on {adapter}", package.name);
        }
        for path in sources(&package.dir.join("src")) {
            let code = code(&fs::read_to_string(&path).unwrap());
            if others.iter().any(|adapter| code.contains(&adapter.replace('-', "_"))) {
                naming.insert(path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    assert_eq!(
        naming,
        WIRING.iter().map(|path| (*path).to_owned()).collect(),
        "sources that name one of {ADAPTERS:?}"
    );
}

#[test]
fn files_are_short_and_packages_described() {
    for package in packages() {
        assert!(
            package.description.len() >= 20,
            "{} has no description; say its duty in its manifest",
            package.name
        );
        for path in sources(&package.dir.join("src")) {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            assert!(lines <= FILE_LINES_MAX, "{} has {lines} lines; which duty can leave?", path.display());
        }
    }
}

#[test]
fn key_libraries_are_there_once() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let mut versions: BTreeMap<&str, usize> = BTreeMap::new();
    for name in lock.lines().filter_map(|line| line.strip_prefix("name = ")) {
        *versions.entry(name.trim_matches('"')).or_default() += 1;
    }
    // The types of crate `bitcoin` bring its own secp256k1, which the money's keys are not of.
    for (name, count) in
        [("bitcoin", 1), ("bytes", 1), ("prost", 1), ("secp256k1", 2), ("tokio", 1), ("tonic", 1)]
    {
        assert_eq!(
            versions.get(name),
            Some(&count),
            "versions of {name} in Cargo.lock; `cargo tree -d` shows who asks"
        );
    }
}

/// Commands of a README's fence with this tag.
fn fences(readme: &str, tag: &str) -> Vec<String> {
    let opening = format!("```{tag}\n");
    let bodies = readme.split(&opening).skip(1);
    bodies.map(|rest| rest.split("```").next().unwrap_or_default().trim().to_owned()).collect()
}

#[test]
fn the_readme_has_one_command_to_run_and_one_to_test() {
    let root = root();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let run = fences(&readme, "sh run");
    let [run] = &run[..] else { panic!("README.md has {} fences `sh run`, not one", run.len()) };
    assert!(run.lines().count() == 1 && run.contains(" run --data-dir "), "{run}");
    let test = fences(&readme, "sh test");
    let [test] = &test[..] else { panic!("README.md has {} fences `sh test`, not one", test.len()) };
    // CI runs the very command that people are told to run.
    let ci = fs::read_to_string(root.join(".ci/run")).unwrap();
    assert!(ci.lines().any(|line| line.trim_start_matches("exec ") == test), "`{test}` is not in .ci/run");
    for script in [".ci/run", test] {
        let mode = fs::metadata(root.join(script)).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{script} is not executable; run chmod +x on it");
    }
}

#[test]
fn every_ban_has_its_reason() {
    let bans = fs::read_to_string(root().join("clippy.toml")).unwrap();
    let bans: Vec<&str> = bans.lines().filter(|line| line.contains("path = ")).collect();
    assert!(bans.len() >= 5, "{bans:?}");
    for ban in bans {
        let reason = ban.split("reason = \"").nth(1).unwrap_or_default();
        assert!(reason.len() > 20, "no reason: {ban}");
    }
}
