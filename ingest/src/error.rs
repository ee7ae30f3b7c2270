//! What can go wrong while a recorder is set up. Once it runs it returns no errors: what fails is counted, logged once
//! where it is handled, and shown on `/metrics`.

use crate::spool::SpoolError;

/// Why a recorder or its exporter could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is out of its range.
    #[error("{setting} is {value}, but must be {expected}")]
    Setting {
        /// Name of the setting.
        setting: &'static str,
        /// The value that was given.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// The spool's directory cannot be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The writer's thread could not be started.
    #[error("the writer's thread cannot be started")]
    Thread(#[source] std::io::Error),
    /// A metric could not be registered. It means that this build declares a name twice.
    #[error("the metrics of this process cannot be registered")]
    Metrics(#[from] prometheus::Error),
    /// The exporter's listener failed.
    #[error("the exporter stopped serving /metrics")]
    Exporter(#[source] std::io::Error),
}
