//! The writer's own thread, with a runtime of its own: encoding, compression, disk and network never take a turn from the
//! bot's tasks, and a bot that stalls does not stall the writer.

use std::{io, thread};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// The thread. It ends when this is dropped; tasks that still run on it are dropped with it.
#[derive(Debug)]
pub(crate) struct Writer {
    handle: Handle,
    _stop: oneshot::Sender<()>,
}

impl Writer {
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        thread::Builder::new().name("shardlake".into()).spawn(move || {
            let _ = runtime.block_on(stopped); // the sender was dropped: that is the signal
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, _stop: stop })
    }

    /// None at all: the lanes run where the caller does.
    #[cfg(test)]
    pub(crate) fn here() -> Self {
        Self { handle: Handle::current(), _stop: oneshot::channel().0 }
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}
