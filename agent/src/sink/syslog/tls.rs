//! TLS to a receiver: whom it must be vouched for by, and who the gateway is.
//!
//! In: paths of PEM files. Out: what a connection needs. Files are read for each connection, so that a renewed certificate is
//! used without a restart.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};

use super::{Identity, SendError, Tls};

impl Tls {
    /// Whether its files make a client for a receiver of this host.
    pub fn check(&self, host: &str) -> Result<(), SendError> {
        client(self, host).map(drop)
    }
}

/// A client that has said nothing yet, to a receiver of this host.
pub(super) fn client(tls: &Tls, host: &str) -> Result<ClientConnection, SendError> {
    let Tls { ca, identity, server_name } = tls;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(SendError::Setup)?
        .with_root_certificates(roots(ca.as_deref())?);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(Identity { certificate, key }) => {
            let found = PrivateKeyDer::from_pem_file(key).map_err(|cause| unusable(key, &cause))?;
            builder.with_client_auth_cert(certificates(certificate)?, found).map_err(SendError::Setup)?
        }
    };
    let name = server_name.as_deref().unwrap_or(host).to_owned();
    let name = ServerName::try_from(name.clone()).map_err(|_| SendError::Name { name })?;
    ClientConnection::new(Arc::new(config), name).map_err(SendError::Setup)
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, SendError> {
    let mut store = RootCertStore::empty();
    match ca {
        Some(path) => {
            for one in certificates(path)? {
                store.add(one).map_err(|cause| unusable(path, &cause))?;
            }
        }
        None => {
            // Systems trust some certificates that no library takes: the others do.
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                return Err(SendError::NoRoots);
            }
        }
    }
    Ok(store)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SendError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(unusable(path, &"it has no certificate")),
        Ok(found) => Ok(found),
        Err(cause) => Err(unusable(path, &cause)),
    }
}

fn unusable(path: &Path, cause: &dyn std::fmt::Display) -> SendError {
    SendError::Material { path: path.display().to_string(), cause: cause.to_string() }
}
