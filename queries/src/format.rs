//! The form of an answer: a suffix of the path names it, or else `Accept` does.
//!
//! `/v1/interactions/volume.csv` is CSV whatever the client accepts: what somebody typed is what they want. Without a suffix
//! the format with the highest quality in `Accept` is taken, and of several the first in [`Format::ALL`]; browsers, curl and
//! clients without the header get JSON.

use crate::error::AskError;

/// A form that an answer can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// One document, with everything that is known about the answer.
    Json,
    /// A line for each row, a JSON object of the same form as in the document.
    Ndjson,
    /// A line for each row, after one with the names.
    Csv,
    /// Apache Arrow, as a stream of record batches.
    Arrow,
    /// Apache Parquet.
    Parquet,
    /// Prometheus' text format: a gauge for each measure.
    Prometheus,
}

/// How a format is asked for and what it is called in the reply.
struct Names {
    suffix: &'static str,
    content_type: &'static str,
    /// Types in `Accept` that mean it.
    accepted: &'static [(&'static str, &'static str)],
}

impl Format {
    /// All of them, those first that are meant when several would do.
    pub(crate) const ALL: [Format; 6] =
        [Format::Json, Format::Ndjson, Format::Csv, Format::Arrow, Format::Parquet, Format::Prometheus];

    const fn names(self) -> Names {
        let (suffix, content_type, accepted): (_, _, &[_]) = match self {
            Format::Json => ("json", "application/json", &[("application", "json")]),
            Format::Ndjson => {
                ("ndjson", "application/x-ndjson", &[("application", "x-ndjson"), ("application", "jsonl")])
            }
            Format::Csv => ("csv", "text/csv; charset=utf-8; header=present", &[("text", "csv")]),
            Format::Arrow => {
                ("arrow", "application/vnd.apache.arrow.stream", &[("application", "vnd.apache.arrow.stream")])
            }
            Format::Parquet => ("parquet", "application/vnd.apache.parquet", &[("application", "vnd.apache.parquet")]),
            Format::Prometheus => ("prom", "text/plain; version=0.0.4; charset=utf-8", &[("text", "plain")]),
        };
        Names { suffix, content_type, accepted }
    }

    /// The end of a path that asks for it.
    pub(crate) const fn suffix(self) -> &'static str {
        self.names().suffix
    }

    /// What `Content-Type` calls it.
    pub(crate) const fn content_type(self) -> &'static str {
        self.names().content_type
    }

    /// Whether it is sent while ClickHouse writes it.
    pub(crate) const fn is_streamed(self) -> bool {
        matches!(self, Format::Ndjson | Format::Csv | Format::Arrow | Format::Parquet)
    }

    /// Splits `name.suffix`; a question's name has no dot.
    ///
    /// # Errors
    /// [`AskError::UnknownFormat`].
    pub(crate) fn split(name: &str) -> Result<(&str, Option<Self>), AskError> {
        let Some((name, suffix)) = name.rsplit_once('.') else { return Ok((name, None)) };
        let format = Self::ALL.into_iter().find(|format| format.suffix() == suffix);
        let unknown = || AskError::UnknownFormat { format: suffix.chars().take(20).collect() };
        format.map(|format| (name, Some(format))).ok_or_else(unknown)
    }

    /// The best of what `accept`, the header's value, allows.
    ///
    /// # Errors
    /// [`AskError::NotAcceptable`].
    pub(crate) fn negotiate(accept: &str) -> Result<Self, AskError> {
        let ranges: Vec<MediaRange<'_>> = accept.split(',').filter_map(MediaRange::parse).collect();
        if ranges.is_empty() {
            return Ok(Self::Json); // nothing that could be understood asks for nothing
        }
        let quality = |format: Self| {
            let accepted = format.names().accepted.iter();
            accepted.map(|name| quality(&ranges, *name)).max().unwrap_or(0)
        };
        let best = Self::ALL.into_iter().rev().max_by_key(|format| quality(*format));
        best.filter(|format| quality(*format) > 0).ok_or(AskError::NotAcceptable)
    }

    /// The suffixes and types, for people.
    pub(crate) fn list() -> String {
        let one = |format: Self| {
            let accepted = format.names().accepted[0];
            format!(".{} ({}/{})", format.suffix(), accepted.0, accepted.1)
        };
        Self::ALL.map(one).join(", ")
    }
}

/// One element of `Accept`. Parameters other than `q` are not looked at: no format has variants.
struct MediaRange<'a> {
    main: &'a str,
    sub: &'a str,
    /// Thousandths.
    q: u16,
}

impl<'a> MediaRange<'a> {
    /// `None`: it is no media range, and means nothing.
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (main, sub) = parts.next()?.split_once('/')?;
        let is_known = !main.is_empty() && !sub.is_empty() && (main != "*" || sub == "*");
        let q = parts.find_map(|parameter| parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q=")));
        let q = q.map_or(Some(1000), thousandths)?;
        is_known.then_some(Self { main, sub, q })
    }

    /// How closely it names the type; `None`: not at all.
    fn closeness(&self, (main, sub): (&str, &str)) -> Option<u8> {
        match (self.main, self.sub) {
            ("*", _) => Some(0),
            (named, "*") => named.eq_ignore_ascii_case(main).then_some(1),
            (named, sub_named) => {
                (named.eq_ignore_ascii_case(main) && sub_named.eq_ignore_ascii_case(sub)).then_some(2)
            }
        }
    }
}

/// The range that names a type most closely decides, so that `text/*, text/csv;q=0` is not CSV.
fn quality(ranges: &[MediaRange<'_>], name: (&str, &str)) -> u16 {
    let naming = ranges.iter().filter_map(|range| Some((range.closeness(name)?, range.q)));
    naming.max().map_or(0, |(_, q)| q)
}

/// `0`, `0.5`, `1.000`: at most three digits after the point, at most 1.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number || !matches!(whole, "0" | "1") {
        return None;
    }
    let fraction: u16 = format!("{fraction:0<3}").parse().ok()?;
    Some(if whole == "1" { 1000 + fraction } else { fraction }).filter(|q| *q <= 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_chooses() {
        for (accept, format) in [
            ("", Format::Json),
            ("*/*", Format::Json),
            ("nonsense", Format::Json),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Format::Json),
            ("text/csv", Format::Csv),
            ("TEXT/CSV; charset=utf-8", Format::Csv),
            ("application/json;q=0.5, text/csv", Format::Csv),
            ("text/csv;q=0.5, application/json;q=0.501", Format::Json),
            ("application/*, application/json;q=0", Format::Ndjson),
            ("text/*;q=1, text/csv;q=0", Format::Prometheus),
            ("application/vnd.apache.arrow.stream", Format::Arrow),
            ("application/vnd.apache.parquet;q=0.3, */*;q=0.1", Format::Parquet),
            ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3", Format::Prometheus),
            ("text/csv;q=2, application/x-ndjson;q=0.1", Format::Ndjson),
        ] {
            assert_eq!(Format::negotiate(accept).unwrap(), format, "{accept}");
        }
        for accept in ["text/html", "application/json;q=0", "*/*;q=0.000"] {
            assert!(matches!(Format::negotiate(accept), Err(AskError::NotAcceptable)), "{accept}");
        }
    }

    #[test]
    fn a_suffix_chooses() {
        for format in Format::ALL {
            let name = format!("volume.{}", format.suffix());
            assert_eq!(Format::split(&name).unwrap(), ("volume", Some(format)));
        }
        assert_eq!(Format::split("volume").unwrap(), ("volume", None));
        assert!(Format::split("volume.xml").unwrap_err().to_string().contains("xml"));
    }

    proptest::proptest! {
        #[test]
        fn any_header_has_an_answer(accept in "[a-z*/;,=q.0-9 \u{0}-\u{ff}]{0,80}") {
            let _ = Format::negotiate(&accept);
        }

        #[test]
        fn what_is_named_alone_is_taken(at in 0_usize..6, q in 1_u16..1000, junk in "[a-z]{0,5}") {
            let name = Format::ALL[at].names().accepted[0];
            let accept = format!("{junk};q=9, {}/{};x={junk};q=0.{q:03}", name.0, name.1);
            proptest::prop_assert_eq!(Format::negotiate(&accept).unwrap(), Format::ALL[at]);
        }
    }
}
