//! TLS, and certificates that are renewed while the service runs: both files are looked at every minute, and new connections
//! get what is there. Files that do not fit together change nothing, and the log says so.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
};
use tokio_rustls::TlsAcceptor;

use crate::following;

/// How often the files are looked at: what renews certificates does it days before the old one ends.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file could not be read, or has nothing of the kind.
    #[error("{} has no PEM of a {what}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What it should have.
        what: &'static str,
        /// Why.
        source: pem::Error,
    },
    /// The certificate and the private key do not fit together.
    #[error("{} and {} do not fit together", certificate.display(), key.display())]
    Unfit {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the private key.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// What the service proves its name with.
#[derive(Debug)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    current: Mutex<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads the certificate, with those that lead to its authority after it, and its private key, both as PEM.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let current = Mutex::new(Arc::new(read(certificate, key)?));
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned(), current })
    }

    /// For a new connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

/// Follows the files, for ever.
pub(super) async fn follow(tls: Option<&Tls>) {
    let Some(tls) = tls else { return std::future::pending().await };
    following::follow(LOOK_EVERY, "the certificate stays", || async {
        *tls.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(read(&tls.certificate, &tls.key)?);
        Ok(())
    })
    .await;
}

fn read(certificate: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let no = |path: &Path, what| {
        let path = path.to_owned();
        move |source| TlsError::Read { path, what, source }
    };
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(no(certificate, "certificate"))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(no(key, "private key"))?;
    let unfit = |source| TlsError::Unfit { certificate: certificate.to_owned(), key: key.to_owned(), source };
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().map_err(unfit)?;
    let mut config = config.with_no_client_auth().with_single_cert(chain, private).map_err(unfit)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
