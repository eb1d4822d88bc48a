//! A session with the cluster.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::frame::types::{Consistency as DriverConsistency, SerialConsistency};
use scylla::policies::load_balancing::DefaultPolicy;
use tokio::time::timeout;

use crate::config::{Compression, Consistency, CqlConfig, TlsConfig};
use crate::error::OpenError;
use crate::retry::Again;

/// Connects, logs in and learns the cluster's nodes.
pub(crate) async fn connect(config: &CqlConfig) -> Result<Session, OpenError> {
    config.check()?;
    let mut policy = DefaultPolicy::builder().token_aware(true).permit_dc_failover(false);
    if let Some(datacenter) = &config.local_datacenter {
        policy = policy.prefer_datacenter(datacenter.clone());
    }
    let (consistency, serial) = match config.consistency {
        Consistency::LocalQuorum => (DriverConsistency::LocalQuorum, SerialConsistency::LocalSerial),
        Consistency::Quorum => (DriverConsistency::Quorum, SerialConsistency::Serial),
    };
    let profile = ExecutionProfile::builder()
        .consistency(consistency)
        .serial_consistency(Some(serial))
        .request_timeout(Some(config.request_timeout()))
        .retry_policy(Arc::new(Again))
        .load_balancing_policy(policy.build())
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&config.nodes)
        .default_execution_profile_handle(profile.into_handle())
        .connection_timeout(config.connect_timeout())
        .hostname_resolution_timeout(Some(config.connect_timeout()))
        .keyspaces_to_fetch([config.keyspace.clone()])
        .fetch_full_schema_metadata(false)
        .compression(match config.compression {
            Compression::None => None,
            Compression::Lz4 => Some(scylla::frame::Compression::Lz4),
            Compression::Snappy => Some(scylla::frame::Compression::Snappy),
        });
    if let (Some(user), Some(password)) = (&config.user, &config.password) {
        builder = builder.user(user, password.expose());
    }
    if let Some(tls) = &config.tls {
        builder = builder.tls_context(Some(Arc::new(tls_settings(tls)?)));
    }
    // Nodes are tried one after the other.
    let patience = config.connect_timeout() * u32::try_from(config.nodes.len() + 1).unwrap_or(u32::MAX);
    let session = match timeout(patience, builder.build()).await {
        Ok(session) => session.map_err(|error| OpenError::connecting(config, &error))?,
        Err(_) => {
            return Err(OpenError::Unreachable {
                nodes: config.addresses(),
                detail: format!("no answer within {} ms", patience.as_millis()),
            });
        }
    };
    check_datacenter(config, &session)?;
    Ok(session)
}

/// A majority of "the local datacenter" means one datacenter only when all requests go to the same.
fn check_datacenter(config: &CqlConfig, session: &Session) -> Result<(), OpenError> {
    let state = session.get_cluster_state();
    let found: BTreeSet<&str> =
        state.get_nodes_info().iter().filter_map(|node| node.datacenter.as_deref()).collect();
    let detail = match &config.local_datacenter {
        Some(name) if found.contains(name.as_str()) => return Ok(()),
        Some(name) => format!("{name} is not there"),
        None if found.len() <= 1 => return Ok(()),
        None => "is not set".to_owned(),
    };
    Err(OpenError::Datacenter { detail, found: found.into_iter().collect::<Vec<_>>().join(", ") })
}

fn tls_settings(tls: &TlsConfig) -> Result<ClientConfig, OpenError> {
    let refuse = |path: &Path, detail: String| OpenError::Config {
        detail: format!("tls: {}: {detail}", path.display()),
    };
    let certificates = |path: &Path| -> Result<Vec<CertificateDer<'static>>, OpenError> {
        let text = fs::read(path).map_err(|error| refuse(path, error.to_string()))?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        match found {
            Ok(found) if !found.is_empty() => Ok(found),
            Ok(_) => Err(refuse(path, "holds no PEM certificate".to_owned())),
            Err(error) => Err(refuse(path, error.to_string())),
        }
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&tls.ca_file)? {
        roots.add(certificate).map_err(|error| refuse(&tls.ca_file, error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refuse(&tls.ca_file, error.to_string()))?
        .with_root_certificates(roots);
    let (Some(cert_file), Some(key_file)) = (&tls.client_cert_file, &tls.client_key_file) else {
        return Ok(builder.with_no_client_auth());
    };
    let key = PrivateKeyDer::from_pem_file(key_file).map_err(|error| refuse(key_file, error.to_string()))?;
    builder
        .with_client_auth_cert(certificates(cert_file)?, key)
        .map_err(|error| refuse(cert_file, error.to_string()))
}
