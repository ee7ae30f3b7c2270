//! `GET` over HTTP or HTTPS, for roles that ask services: replies come as they are, whatever their status.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use axum::{
    body::Body,
    http::{Request, Response},
};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{ClientConfig, RootCertStore};

/// A service that is there takes a connection at once.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// A client. Clones share its connections.
#[derive(Debug, Clone)]
pub(crate) struct Http(Client<HttpsConnector<HttpConnector>, Body>);

impl Http {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let tls = match tls.clone().with_native_roots() {
            Ok(tls) => tls.with_no_client_auth(),
            // A machine without certificates can still speak without TLS.
            Err(_) => tls.with_root_certificates(RootCertStore::empty()).with_no_client_auth(),
        };
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(CONNECT_DEADLINE));
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        Ok(Self(Client::builder(TokioExecutor::new()).build(connector.wrap_connector(tcp))))
    }

    /// Sends `request`, whose URI is absolute; the head of the reply comes within `deadline`.
    pub(crate) async fn send(&self, request: Request<Body>, deadline: Duration) -> anyhow::Result<Response<Body>> {
        let to = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        match tokio::time::timeout(deadline, self.0.request(request)).await {
            Ok(Ok(reply)) => Ok(reply.map(Body::new)),
            Ok(Err(error)) => Err(error).with_context(|| format!("{to} cannot be reached")),
            Err(_) => bail!("{to} does not answer within {} s", deadline.as_secs()),
        }
    }
}
