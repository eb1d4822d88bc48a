use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{SettingError, Settings};

const PREFIX: &str = "ESCHATON_";
/// Variables of other programs and commands that share the prefix.
const OTHERS: [&str; 8] = ["CONFIG", "LIGHT", "LOADTEST", "NODE", "TARGET", "TEST", "WALLET", "WRITE"];
/// Files that this program reads in one piece have a bound.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The configuration file.
    File(PathBuf),
    /// A variable of the environment.
    Environment(String),
    /// An option of the command line.
    Option(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) => write!(f, "{}", path.display()),
            Source::Environment(name) => f.write_str(name),
            Source::Option(name) => f.write_str(name),
        }
    }
}

/// Values from all sources, later ones over earlier ones, and where each came from.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    values: Table,
    sources: BTreeMap<String, Source>,
}

impl Layers {
    /// Adds a TOML file.
    pub fn file(&mut self, path: &Path) -> Result<(), SettingError> {
        let cannot = |problem: String| SettingError {
            key: format!("configuration file {}", path.display()),
            value: None,
            problem,
            source_of: None,
        };
        let text =
            read_bounded(path).map_err(|problem| cannot(format!("{problem}; name another with --config")))?;
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let line =
                error.span().map_or(0, |span| text[..span.start.min(text.len())].lines().count().max(1));
            cannot(format!("line {line} is not TOML: {}", error.message()))
        })?;
        self.merge("", table, &Source::File(path.to_owned()));
        Ok(())
    }

    fn merge(&mut self, under: &str, table: Table, source: &Source) {
        for (key, value) in table {
            let key = if under.is_empty() { key } else { format!("{under}.{key}") };
            match value {
                Value::Table(inner) => {
                    // An empty section counts: it asks for its defaults.
                    put(&mut self.values, &key.split('.').collect::<Vec<_>>(), None);
                    self.merge(&key, inner, source);
                }
                value => self.set(&key, value, source.clone()),
            }
        }
    }

    /// Adds the variables that name settings; an empty one counts as not set.
    pub fn environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        for (name, text) in variables {
            let Some(key) = name.strip_prefix(PREFIX) else { continue };
            let first = key.split('_').next().unwrap_or_default();
            if text.is_empty() || OTHERS.contains(&first) {
                continue;
            }
            let key = key.to_ascii_lowercase().replace("__", ".");
            self.set(&key, value(&key, &text), Source::Environment(name));
        }
    }

    /// Adds an option of the command line.
    pub fn option(&mut self, key: &str, text: &str) {
        let option = format!("--{}", key.replace('_', "-"));
        self.set(key, value(key, text), Source::Option(option));
    }

    fn set(&mut self, key: &str, value: Value, source: Source) {
        put(&mut self.values, &key.split('.').collect::<Vec<_>>(), Some(value));
        self.sources.insert(key.to_owned(), source);
    }

    /// The settings that all layers make together. The first value of a wrong form is named.
    pub fn settings(&self) -> Result<Settings, SettingError> {
        let values = self.with_secrets()?;
        serde_path_to_error::deserialize(Value::Table(values)).map_err(|error| {
            let mut key = error.path().to_string();
            let problem = error.inner().message().trim().to_owned();
            // An unknown key is reported at its section; name the key itself.
            if let Some(unknown) =
                problem.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next())
            {
                key = match key.as_str() {
                    "." => unknown.to_owned(),
                    section if section.ends_with(unknown) => section.to_owned(),
                    section => format!("{section}.{unknown}"),
                };
                if cfg!(not(feature = "cluster")) && ["kafka", "cql"].contains(&key.as_str()) {
                    let built = "this program was built without the cluster's engines; build it with feature `cluster`";
                    return self.wrong(&key, built.to_owned());
                }
                return self.wrong(&key, format!("there is no such key; {}", problem_tail(&problem)));
            }
            self.wrong(&key, problem)
        })
    }

    /// All values, with what the files of secrets hold in place of their names: `password_file` stands for a
    /// `password` whose text is the file's, without the line's end.
    fn with_secrets(&self) -> Result<Table, SettingError> {
        let mut values = self.values.clone();
        for key in self.sources.keys() {
            let Some(secret) = key.strip_suffix("_file").filter(|secret| is_secret(secret)) else { continue };
            let Some(path) = lookup(&values, key).and_then(Value::as_str).map(str::to_owned) else {
                return Err(self.wrong(key, "it must be the name of a file, in quotes".to_owned()));
            };
            if lookup(&values, secret).is_some() {
                return Err(self.wrong(key, format!("{secret} is set as well; leave one of them out")));
            }
            let text = read_bounded(Path::new(&path)).map_err(|problem| self.wrong(key, problem))?;
            take(&mut values, &key.split('.').collect::<Vec<_>>());
            let text = Value::String(text.trim_end_matches(['\r', '\n']).to_owned());
            put(&mut values, &secret.split('.').collect::<Vec<_>>(), Some(text));
        }
        Ok(values)
    }

    /// Where a key's value came from; `None` is its default.
    pub fn source(&self, key: &str) -> Option<&Source> {
        self.sources.get(key)
    }

    /// An error about a key.
    pub fn wrong(&self, key: &str, problem: String) -> SettingError {
        let value = lookup(&self.values, key).filter(|value| !value.is_table() && !is_secret(key));
        SettingError {
            key: key.to_owned(),
            value: value.map(ToString::to_string),
            problem,
            source_of: self.sources.get(key).cloned(),
        }
    }
}

fn read_bounded(path: &Path) -> Result<String, String> {
    let cannot = |error: std::io::Error| format!("it cannot be read ({error})");
    let length = std::fs::metadata(path).map_err(cannot)?.len();
    if length > FILE_BYTES_MAX {
        return Err(format!("it has {length} bytes and at most {FILE_BYTES_MAX} are read"));
    }
    std::fs::read_to_string(path).map_err(cannot)
}

/// Removes the value at a path.
fn take(table: &mut Table, path: &[&str]) {
    match path {
        [] => {}
        [name] => {
            table.remove(*name);
        }
        [first, rest @ ..] => {
            if let Some(Value::Table(inner)) = table.get_mut(*first) {
                take(inner, rest);
            }
        }
    }
}

/// Sets a value at a path, or makes sure that a section is there.
fn put(table: &mut Table, path: &[&str], value: Option<Value>) {
    let Some((first, rest)) = path.split_first() else { return };
    match value {
        Some(value) if rest.is_empty() => {
            table.insert((*first).to_owned(), value);
        }
        value => {
            let mut inner = match table.remove(*first) {
                Some(Value::Table(inner)) => inner,
                _ => Table::new(),
            };
            put(&mut inner, rest, value);
            table.insert((*first).to_owned(), Value::Table(inner));
        }
    }
}

fn problem_tail(problem: &str) -> &str {
    problem.split_once(", ").map_or("see docs/configuration.md", |(_, tail)| tail)
}

/// Values whose text never appears in messages.
pub(super) fn is_secret(key: &str) -> bool {
    // The address of a chain's node may hold a login.
    key.ends_with("password") || key.ends_with("secret") || key == "bitcoin_rpc"
}

fn lookup<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((first, rest)) => lookup(table.get(first)?.as_table()?, rest),
    }
}

/// A number or a truth value where the text is one, a list or table in TOML's own form, else the text.
fn value(key: &str, text: &str) -> Value {
    if is_secret(key) {
        return Value::String(text.to_owned());
    }
    let toml = || format!("value = {text}").parse::<Table>().ok()?.remove("value");
    match toml() {
        Some(value) if !matches!(value, Value::Datetime(_)) => value,
        _ => Value::String(text.to_owned()),
    }
}
