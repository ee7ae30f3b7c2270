//! What may change while the service runs (keys, certificates, the folder of questions) is looked at now and then. What is
//! wrong with it changes nothing, and the log says it once, not at each look.

use std::{error::Error, time::Duration};

use tokio::time::sleep;

/// Looks every so often, for ever. `stays` says what a failure leaves as it was.
///
/// Cancel safety: that of `look`.
pub(crate) async fn follow<Looked>(every: Duration, stays: &str, look: impl Fn() -> Looked)
where
    Looked: Future<Output = Result<(), Box<dyn Error + Send + Sync>>>,
{
    let mut refused = String::new();
    loop {
        sleep(every).await;
        let why = look().await.map_or_else(|error| in_full(&*error), |()| String::new());
        if !why.is_empty() && why != refused {
            tracing::error!(error = why, "{stays} what it was");
        }
        refused = why;
    }
}

/// With its causes.
fn in_full(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {}", in_full(cause)))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("a file cannot be read")]
    struct Unread(#[source] io::Error);

    #[test]
    fn an_error_says_its_cause() {
        assert_eq!(in_full(&Unread(io::Error::other("it is a folder"))), "a file cannot be read: it is a folder");
    }
}
