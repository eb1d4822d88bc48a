use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

/// The longest credentials, in bytes.
const BYTES_MAX: u64 = 4_096;

/// How this program logs in. Never shown: `Debug` and every error name the source alone.
#[derive(Clone)]
pub enum Credentials {
    /// No login.
    None,
    /// User and password as given, for example in the address.
    Given {
        /// User.
        user: String,
        /// Password.
        password: Zeroizing<String>,
    },
    /// A file with one line `user:password`: a node's `.cookie`, which it writes anew at each start, or a secret that
    /// was mounted. Read again when the node refuses what was read before.
    File(PathBuf),
}

impl Credentials {
    /// Where they come from, for people.
    pub(crate) fn source(&self) -> String {
        match self {
            Self::None => "none were given".to_owned(),
            Self::Given { .. } => "those in the settings".to_owned(),
            Self::File(path) => format!("those of {}", path.display()),
        }
    }

    /// The value of the header `authorization`; an error says what is wrong with the file.
    pub(crate) fn header(&self) -> Result<Option<Zeroizing<String>>, String> {
        let pair = match self {
            Self::None => return Ok(None),
            Self::Given { user, password } => Zeroizing::new(format!("{user}:{}", password.as_str())),
            Self::File(path) => read(path)?,
        };
        Ok(Some(Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())))))
    }
}

fn read(path: &Path) -> Result<Zeroizing<String>, String> {
    let shown = path.display();
    let length = std::fs::metadata(path).map_err(|error| format!("{shown}: {error}"))?.len();
    if length > BYTES_MAX {
        return Err(format!("{shown} has {length} bytes, not one line `user:password`"));
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?);
    let line = text.trim_end_matches(['\r', '\n']);
    if !line.contains(':') || line.contains('\n') {
        return Err(format!("{shown} is not one line `user:password`"));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.source())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_cookie_is_read_anew_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".cookie");
        let file = Credentials::File(path.clone());
        assert!(file.header().unwrap_err().contains(".cookie"));
        for secret in ["hunter2", "other"] {
            std::fs::write(&path, format!("__cookie__:{secret}\n")).unwrap();
            let header = file.header().unwrap().unwrap();
            let expected = BASE64_STANDARD.encode(format!("__cookie__:{secret}"));
            assert_eq!(header.as_str(), format!("Basic {expected}"));
            assert!(!format!("{file:?}{}", file.source()).contains(secret));
        }
        for wrong in ["no colon", "a:b\nc:d", &"x:".repeat(4_000)] {
            std::fs::write(&path, wrong).unwrap();
            let error = file.header().unwrap_err();
            assert!(!error.contains(wrong), "{error}");
        }
        let password = Zeroizing::new("hunter2".to_owned());
        let given = Credentials::Given { user: "someone".into(), password };
        assert!(!format!("{given:?}").contains("hunter2"));
    }
}
