use http::Uri;
use zeroize::Zeroizing;

use crate::{ChainKind, Credentials};

/// Settings that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The address. Not shown, for it may hold a password.
    #[error(
        "address of the chain node is malformed: {0}; give http://host:port, or http://user:password@host:port"
    )]
    Address(&'static str),
    /// No such chain.
    #[error("chain {found} is unknown; possible are {possible}")]
    Network {
        /// What was given.
        found: String,
        /// All names.
        possible: String,
    },
}

/// How to reach a node.
#[derive(Clone, Debug)]
pub struct RpcConfig {
    /// Which chain it must be a node of.
    pub kind: ChainKind,
    /// `host:port`, without the login.
    pub address: String,
    /// The login.
    pub credentials: Credentials,
    /// How long one request may take, ms.
    pub request_ms: u64,
    /// How long a call goes on trying while the node is away, ms; at least one attempt is made.
    pub retry_ms: u64,
    /// How often the tip is looked at while waiting for a block, ms.
    pub poll_ms: u64,
    /// Blocks that are kept in memory, in bytes as they were received.
    pub cache_bytes: usize,
    /// Requests at once.
    pub requests_max: usize,
}

impl RpcConfig {
    /// With this address, `http://[user:password@]host:port`, and defaults for the rest.
    pub fn new(kind: ChainKind, url: &str) -> Result<Self, ConfigError> {
        let uri: Uri = url.parse().map_err(|_| ConfigError::Address("it is no URL"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(ConfigError::Address(
                    "TLS is not spoken; put a proxy on this host before the node",
                ));
            }
            _ => return Err(ConfigError::Address("it does not begin with http://")),
        }
        let authority = uri.authority().ok_or(ConfigError::Address("there is no host"))?.as_str();
        let (login, address) = match authority.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, authority),
        };
        if address.is_empty() || uri.port_u16().is_none() {
            return Err(ConfigError::Address("there is no port"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(ConfigError::Address("there is something after the port"));
        }
        let credentials = match login {
            None => Credentials::None,
            Some(login) => {
                let (user, password) =
                    login.split_once(':').ok_or(ConfigError::Address("there is a user without password"))?;
                let decoded = |text| {
                    percent_decode(text).ok_or(ConfigError::Address("a % is not followed by two digits"))
                };
                Credentials::Given { user: decoded(user)?, password: Zeroizing::new(decoded(password)?) }
            }
        };
        Ok(Self {
            kind,
            address: address.to_owned(),
            credentials,
            request_ms: 30_000,
            retry_ms: 5_000,
            poll_ms: 500,
            cache_bytes: 64 << 20,
            requests_max: 8,
        })
    }

    /// `host:port`, without the login.
    pub fn address(&self) -> &str {
        &self.address
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let decoded = match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?
            }
            _ => byte,
        };
        bytes.push(decoded);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    #[test]
    fn addresses_with_and_without_login() {
        let plain = RpcConfig::new(ChainKind::BitcoinRegtest, "http://127.0.0.1:18443").unwrap();
        assert_eq!(plain.address(), "127.0.0.1:18443");
        assert!(matches!(plain.credentials, Credentials::None));
        let url = "http://some%40one:hunter%3A2@node.example:8332/";
        let login = RpcConfig::new(ChainKind::Bitcoin, url).unwrap();
        assert_eq!(login.address(), "node.example:8332");
        let Credentials::Given { user, password } = &login.credentials else { panic!("{login:?}") };
        assert_eq!((user.as_str(), password.as_str()), ("some@one", "hunter:2"));
        assert!(!format!("{login:?}").contains("hunter"));
        for wrong in [
            "127.0.0.1:18443",
            "https://u:hunter2@127.0.0.1:18443",
            "http://u:hunter2@127.0.0.1",
            "http://u:hunter2@127.0.0.1:18443/wallet",
            "http://hunter2@127.0.0.1:18443",
            "http://u:hunter2%4@127.0.0.1:18443",
            "",
        ] {
            let error = RpcConfig::new(ChainKind::Bitcoin, wrong).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
