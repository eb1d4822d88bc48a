//! Vector files: compared with what the code makes, or rewritten when asked.

use std::path::PathBuf;

use serde_json::Value;

/// Set to write the files instead of comparing them.
const WRITE: &str = "ESCHATON_WRITE_VECTORS";

fn path(relative: &str) -> PathBuf {
    // From this package, where cargo runs its tests.
    PathBuf::from(relative)
}

/// Fails unless the file says exactly `made`, or writes it.
pub(crate) fn compare(file: &str, made: &Value) {
    let path = path("vectors").join(file);
    if std::env::var_os(WRITE).is_some() {
        let text = serde_json::to_string_pretty(made).expect("values print") + "\n";
        std::fs::write(&path, text).expect("the vectors directory is writable");
        return;
    }
    let found = load(file);
    for (at, made) in entries(made) {
        let found = entries(&found).into_iter().find(|(name, _)| *name == at).map(|(_, value)| value);
        assert_eq!(
            found,
            Some(made),
            "{file}, `{at}`: the wire format changed; that breaks every stored byte"
        );
    }
    assert_eq!(entries(&found).len(), entries(made).len(), "{file} has entries that the code does not make");
}

/// The file's content. A missing file fails the test.
pub(crate) fn load(file: &str) -> Value {
    let path = path("vectors").join(file);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; write it with {WRITE}=1", path.display()));
    serde_json::from_str(&text).expect("vectors are JSON")
}

/// Seeds the fuzzer of `target` with bytes that lead deep, when vectors are written.
pub(crate) fn seed(target: &str, name: &str, bytes: &[u8]) {
    if std::env::var_os(WRITE).is_some() {
        let folder = path("../fuzz/corpus").join(target);
        std::fs::create_dir_all(&folder).expect("the fuzz crate is writable");
        std::fs::write(folder.join(name), bytes).expect("the fuzz crate is writable");
    }
}

fn entries(value: &Value) -> Vec<(String, &Value)> {
    match value {
        Value::Object(map) => map.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(list) => list
            .iter()
            .map(|entry| (entry["name"].as_str().expect("entries have names").to_owned(), entry))
            .collect(),
        other => panic!("neither a list nor a map of vectors: {other}"),
    }
}
