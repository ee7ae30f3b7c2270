//! What can go wrong while a recorder is set up. Once it runs it returns no errors: what fails is counted, logged once
//! where it is handled, and shown on `/metrics`.

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
    /// A metric could not be registered. It means that this build declares a name twice.
    #[error("the metrics of this process cannot be registered")]
    Metrics(#[from] prometheus::Error),
    /// The exporter's listener failed.
    #[error("the exporter stopped serving /metrics")]
    Exporter(#[source] std::io::Error),
}
