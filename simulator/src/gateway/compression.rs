//! Transport compression: one context for the whole connection, flushed after every message, so that a
//! message can be read as soon as it is there. Every frame is binary then, HELLO included.

use bytes::Bytes;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use std::io::{self, Write};
use tokio_websockets::Message;

/// Discord favours speed as well; the ratio on its payloads is about 4 to 5 even so.
const LEVEL: u32 = 1;

/// What turns a payload's text into a WebSocket message.
pub(super) enum Encoder {
    /// No `compress=` in the address.
    Plain,
    /// `compress=zlib-stream`: messages end with 00 00 ff ff.
    Zlib(ZlibEncoder<Vec<u8>>),
    /// `compress=zstd-stream`.
    Zstd(Box<zstd::stream::write::Encoder<'static, Vec<u8>>>),
}

impl Encoder {
    /// By the value of `compress=`; None when Discord has no such compression.
    pub(super) fn new(compress: Option<&str>) -> Option<Self> {
        match compress {
            None => Some(Self::Plain),
            Some("zlib-stream") => Some(Self::Zlib(ZlibEncoder::new(Vec::new(), Compression::new(LEVEL)))),
            Some("zstd-stream") => {
                let level = i32::try_from(LEVEL).expect("a single digit");
                let encoder = zstd::stream::write::Encoder::new(Vec::new(), level);
                Some(Self::Zstd(Box::new(encoder.expect("a valid level needs nothing else"))))
            }
            Some(_) => None,
        }
    }

    /// The next message of this connection.
    pub(super) fn encode(&mut self, text: Bytes) -> io::Result<Message> {
        let compressed = match self {
            Self::Plain => return Ok(Message::text(text)),
            Self::Zlib(encoder) => {
                encoder.write_all(&text)?;
                encoder.flush()?;
                std::mem::take(encoder.get_mut())
            }
            Self::Zstd(encoder) => {
                encoder.write_all(&text)?;
                encoder.flush()?;
                std::mem::take(encoder.get_mut())
            }
        };
        Ok(Message::binary(Bytes::from(compressed)))
    }
}
