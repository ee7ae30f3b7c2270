//! What can go wrong when a simulated Discord starts. Once it runs, nothing does: whatever a client
//! sends is answered as Discord would, with an opcode, a close code or a status.

/// Why the simulator did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The port is taken, or not ours to take.
    #[error("cannot listen on 127.0.0.1:{port}: {source}; choose another port, or 0 for any free one")]
    Listen {
        /// The port that was asked for; 0 stands for "any".
        port: u16,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A value of the scenario makes no sense.
    #[error("scenario: `{field}` is {value}, expected {expected}")]
    Scenario {
        /// The field's name, as in [`crate::Scenario`].
        field: &'static str,
        /// What it was set to.
        value: u64,
        /// What it may be.
        expected: &'static str,
    },
}
