use eschaton_ports::StoreError;
use scylla::errors::{
    ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError, ExecutionError,
    MetadataError, NewSessionError, PrepareError, RequestAttemptError,
};

use crate::CqlConfig;

/// Why a store could not be opened or migrated, and what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A setting cannot work.
    #[error("store settings: {detail}")]
    Config {
        /// Which one, and what is possible.
        detail: String,
    },
    /// No node took a connection.
    #[error("no node of the store answers at {nodes}: {detail}; start it, or correct the addresses")]
    Unreachable {
        /// The configured addresses.
        nodes: String,
        /// What the last attempt met.
        detail: String,
    },
    /// The cluster refused the login, or asked for one.
    #[error("the store refuses {user}: {detail}; correct user and password")]
    Credentials {
        /// Who wanted in.
        user: String,
        /// What the engine said.
        detail: String,
    },
    /// A node's certificate is not trusted, or nodes do not speak TLS.
    #[error(
        "no trusted connection to the store at {nodes}: {detail}; correct tls.ca_file, or have the nodes' certificates name \
         their addresses"
    )]
    Certificate {
        /// The configured addresses.
        nodes: String,
        /// What the handshake met.
        detail: String,
    },
    /// The keyspace or its tables are not there.
    #[error("keyspace {keyspace} has no tables of this program; run `eschaton migrate`")]
    NotMigrated {
        /// The keyspace.
        keyspace: String,
    },
    /// The tables are of an older program.
    #[error("keyspace {keyspace} has schema {found}, this program needs {wanted}; run `eschaton migrate`")]
    SchemaOld {
        /// The keyspace.
        keyspace: String,
        /// Its schema.
        found: u32,
        /// This program's schema.
        wanted: u32,
    },
    /// The tables are of a newer program.
    #[error(
        "keyspace {keyspace} has schema {found}, this program knows none above {wanted}; use the newer program"
    )]
    SchemaNew {
        /// The keyspace.
        keyspace: String,
        /// Its schema.
        found: u32,
        /// This program's newest schema.
        wanted: u32,
    },
    /// The tables were cut otherwise than configured.
    #[error(
        "keyspace {keyspace} was installed with partition_bits {installed} and the settings say {configured}; set \
         {installed}, or choose another keyspace, migrate it and let the rows be rebuilt from the log"
    )]
    PartitionBits {
        /// The keyspace.
        keyspace: String,
        /// What the tables have.
        installed: u8,
        /// What the settings say.
        configured: u8,
    },
    /// The keyspace is another ledger's.
    #[error(
        "keyspace {keyspace} was made for the ledger {found}, not for {wanted}; correct the settings and keys, or choose \
         another keyspace"
    )]
    OtherLedger {
        /// The keyspace.
        keyspace: String,
        /// What is recorded.
        found: String,
        /// What the caller is.
        wanted: String,
    },
    /// The local datacenter is not known, or the wrong one.
    #[error("store settings: local_datacenter {detail}; the cluster has {found}")]
    Datacenter {
        /// What is wrong.
        detail: String,
        /// Names of the cluster's datacenters.
        found: String,
    },
    /// The user may not do it.
    #[error("user {user} has no right for it: {detail}; {advice}")]
    Rights {
        /// Who.
        user: String,
        /// What the engine said.
        detail: String,
        /// What to grant.
        advice: &'static str,
    },
    /// Another migration is under way, or was killed a moment ago.
    #[error(
        "another migration of keyspace {keyspace} holds the lock; wait for it, or five minutes if it was killed"
    )]
    Locked {
        /// The keyspace.
        keyspace: String,
    },
    /// Anything else.
    #[error("store: {doing}: {detail}")]
    Failed {
        /// What was being done.
        doing: String,
        /// What the engine said.
        detail: String,
    },
}

impl OpenError {
    /// Whether waiting may mend it.
    pub fn is_passing(&self) -> bool {
        matches!(self, OpenError::Unreachable { .. } | OpenError::Locked { .. } | OpenError::Failed { .. })
    }

    /// Of a session that could not be made.
    pub(crate) fn connecting(config: &CqlConfig, error: &NewSessionError) -> Self {
        let refused = refused_login(error);
        match refused {
            Some(detail) => OpenError::Credentials { user: user(config), detail },
            None if is_distrust(error) => {
                OpenError::Certificate { nodes: config.addresses(), detail: error.to_string() }
            }
            None => OpenError::Unreachable { nodes: config.addresses(), detail: error.to_string() },
        }
    }

    /// Of a request while opening or migrating.
    pub(crate) fn request(
        config: &CqlConfig,
        doing: impl Into<String>,
        advice: &'static str,
        error: &Failure,
    ) -> Self {
        match error.db() {
            Some((DbError::Unauthorized, message)) => {
                OpenError::Rights { user: user(config), detail: message.to_owned(), advice }
            }
            _ => OpenError::Failed { doing: doing.into(), detail: error.to_string() },
        }
    }
}

fn user(config: &CqlConfig) -> String {
    config.user.as_ref().map_or_else(|| "a client without login".to_owned(), |user| format!("{user:?}"))
}

/// Whether the TLS handshake failed: by the kind at the end of the chain, for the driver has none of its own.
fn is_distrust(error: &NewSessionError) -> bool {
    let NewSessionError::MetadataError(MetadataError::ConnectionPoolError(ConnectionPoolError::Broken {
        last_connection_error: ConnectionError::IoError(error),
    })) = error
    else {
        return false;
    };
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

fn refused_login(error: &NewSessionError) -> Option<String> {
    let NewSessionError::MetadataError(MetadataError::ConnectionPoolError(ConnectionPoolError::Broken {
        last_connection_error: ConnectionError::ConnectionSetupRequestError(setup),
    })) = error
    else {
        return None;
    };
    match &setup.error {
        ConnectionSetupRequestErrorKind::DbError(DbError::AuthenticationError, message) => {
            Some(message.clone())
        }
        ConnectionSetupRequestErrorKind::MissingAuthentication => {
            Some("the nodes ask for a login".to_owned())
        }
        _ => None,
    }
}

/// Why a request did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Execution(Box<ExecutionError>),
    #[error(transparent)]
    Prepare(Box<PrepareError>),
    /// An answer of another form than asked for.
    #[error("the answer cannot be read: {0}")]
    Answer(String),
}

impl From<ExecutionError> for Failure {
    fn from(error: ExecutionError) -> Self {
        Failure::Execution(Box::new(error))
    }
}

impl From<PrepareError> for Failure {
    fn from(error: PrepareError) -> Self {
        Failure::Prepare(Box::new(error))
    }
}

impl Failure {
    /// Of a form error.
    pub(crate) fn answer(error: impl std::fmt::Display) -> Self {
        Failure::Answer(error.to_string())
    }

    /// What the database itself said.
    pub(crate) fn db(&self) -> Option<(&DbError, &str)> {
        let attempt = match self {
            Failure::Execution(error) => match &**error {
                ExecutionError::LastAttemptError(attempt) => attempt,
                ExecutionError::PrepareError(error) => first_attempt(error)?,
                _ => return None,
            },
            Failure::Prepare(error) => first_attempt(error)?,
            Failure::Answer(_) => return None,
        };
        match attempt {
            RequestAttemptError::DbError(error, message) => Some((error, message)),
            _ => None,
        }
    }

    /// For the port: what waiting may mend is unavailable, and a write may have happened.
    pub(crate) fn into_store(self, doing: &str) -> StoreError {
        let advice = match (&self, self.db()) {
            (Failure::Execution(error), _) if matches!(**error, ExecutionError::BadQuery(_)) => {
                "the values do not fit the tables; run `eschaton migrate`, or report this defect"
            }
            (_, Some((DbError::Unauthorized, _))) => {
                "grant the store's user SELECT and MODIFY on the keyspace, then start again"
            }
            (_, Some((DbError::Invalid | DbError::SyntaxError | DbError::ConfigError, _))) => {
                "was the schema dropped or changed, or does a guardrail of the cluster refuse it? run `eschaton migrate`"
            }
            (Failure::Answer(_), _) => {
                "the schema is not the one that this program made; run `eschaton migrate`"
            }
            _ => return StoreError::Unavailable { detail: format!("{doing}: {self}") },
        };
        StoreError::Fatal { detail: format!("{doing}: {self}; {advice}") }
    }
}

fn first_attempt(error: &PrepareError) -> Option<&RequestAttemptError> {
    match error {
        PrepareError::AllAttemptsFailed { first_attempt } => Some(first_attempt),
        _ => None,
    }
}
