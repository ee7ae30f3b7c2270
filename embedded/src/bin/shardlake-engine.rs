//! What becomes the engine's process where the embedding program is not `shardlake` itself: in tests, examples and bots.

use std::process::ExitCode;

fn main() -> ExitCode {
    shardlake_embedded::engine_main(std::env::args_os().skip(1))
}
