//! When to stop.

use tokio::{
    io::AsyncReadExt as _,
    signal::unix::{SignalKind, signal},
};

/// Waits for Ctrl-C or SIGTERM; says which.
pub(crate) async fn stop_requested() -> &'static str {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // No handler could be installed: then the signal's default ends the process, and there is nothing to wait for.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}

/// Waits for the end of standard input: the leash of a process whose parent may be killed.
pub(crate) async fn input_ended() -> &'static str {
    let mut input = tokio::io::stdin();
    let mut ignored = [0; 64];
    while let Ok(1..) = input.read(&mut ignored).await {}
    "end of standard input"
}
