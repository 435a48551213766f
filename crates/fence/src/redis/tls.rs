//! How connections to a Redis are encrypted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate_core::policy::fencing::RedisTls;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

/// Why connections cannot be encrypted as the policy says.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file has no certificate or key that can be read.
    #[error("read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// There is nobody to believe.
    #[error("no certificate of an authority is found")]
    NoRoots,
    /// What the files say does not go together.
    #[error("use the certificates for a Redis")]
    Config(#[from] rustls::Error),
}

pub(super) fn connector(rules: &RedisTls) -> Result<TlsConnector, TlsError> {
    let mut roots = RootCertStore::empty();
    match &rules.ca {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate)?;
            }
        }
        None => {
            for certificate in rustls_native_certs::load_native_certs().unwrap_or_default() {
                // One odd certificate of the system is no reason to believe nobody.
                roots.add(certificate).ok();
            }
        }
    }
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let config = match &rules.client {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let says = |source| TlsError::File { path: key.clone(), source };
            let key = PrivateKeyDer::from_pem_file(key).map_err(says)?;
            config.with_client_auth_cert(certificates(certificate)?, key)?
        }
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let says = |source| TlsError::File { path: path.to_owned(), source };
    CertificateDer::pem_file_iter(path).map_err(says)?.collect::<Result<_, _>>().map_err(says)
}
