//! A part of a long answer, and the way to the next one.
//!
//! A limit is never silent: an answer says whether it was reached, and how to go on. Where it counts rows, one row more is
//! asked for than is answered, so that an answer of exactly so many rows is not called limited. Where it counts something
//! else (`limit_by` in the header), it was reached when that many of them are there.
//!
//! A cursor is opaque to clients. It holds the range, so that relative words mean on the second page what they meant on the
//! first; how much to leave out; and a digest of everything else that was asked, because the second page of another
//! question has no meaning; builds by different compilers may not take each other's. Rows that land late, or a table that changes as rows grow older than it is kept, can still shift
//! a page.

use std::{
    collections::HashSet,
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use serde_json::value::RawValue;
use shardlake_schema::TimeMs;

use super::{CURSOR, FROM, LIMIT, OFFSET, Range, TO, set_range};
use crate::{
    catalogue::Question,
    limits::MAX_ROWS,
    moment,
    parameter::{BadValue, Value, refuse},
};

/// Where a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cursor {
    digest: u32,
    offset: u64,
    range: Option<Range>,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.digest, self.offset)?;
        self.range.map_or(Ok(()), |range| write!(f, "-{:x}-{:x}", range.from.0, range.to.0))
    }
}

impl Cursor {
    /// Reads what [`fmt::Display`] wrote, and nothing else.
    fn parse(text: &str) -> Option<Self> {
        let numbers: Option<Vec<u64>> = text.split('-').map(|part| u64::from_str_radix(part, 16).ok()).collect();
        let (digest, offset, range) = match numbers?[..] {
            [digest, offset] => (digest, offset, None),
            [digest, offset, from, to] => {
                let time = |ms: u64| i64::try_from(ms).ok().map(TimeMs).filter(|time| moment::is_taken(*time));
                (digest, offset, Some(Range { from: time(from)?, to: time(to)? }))
            }
            _ => return None,
        };
        let cursor = Self { digest: u32::try_from(digest).ok()?, offset, range };
        (cursor.to_string() == text).then_some(cursor)
    }
}

/// A page of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Page {
    limit: u64,
    /// Where it begins, with the range that was asked for: a rollup widens it anew, in the same way.
    start: Cursor,
    /// What the SQL gets for the limit so that it brings one row more.
    pub(crate) one_more: Value,
    /// Whether the SQL can leave rows out.
    has_next: bool,
}

impl Page {
    /// Reads `limit` among the `values` of `question`, and the `cursor` that was given: puts the cursor's range and offset
    /// into them. `None`: the question has no limit.
    pub(super) fn turn(
        question: &Question,
        cursor: &str,
        values: &mut Vec<(String, Value)>,
        range: Option<Range>,
    ) -> Result<Option<Self>, BadValue> {
        let Some(&Value::UInt(limit)) = values.iter().find(|(name, _)| name == LIMIT).map(|(_, value)| value) else {
            return Ok(None);
        };
        let mut start = Cursor { digest: digest(question, values), offset: 0, range };
        if !cursor.is_empty() {
            let expected =
                || format!("the `next_cursor` of an answer to {}, and all else as it was asked", question.id());
            let given = Cursor::parse(cursor).ok_or_else(|| refuse(cursor, expected()))?;
            if given.digest != start.digest || given.range.is_some() != range.is_some() {
                return Err(BadValue { message: "it belongs to another question".to_owned(), expected: expected() });
            }
            start = given;
        }
        if let Some(range) = start.range {
            set_range(values, range);
        }
        values.push((OFFSET.to_owned(), Value::UInt(start.offset)));
        let one_more = if question.limit_by.is_empty() { (limit + 1).min(MAX_ROWS) } else { limit };
        let has_next = question.parameter(CURSOR).is_some();
        Ok(Some(Self { limit, start, one_more: Value::UInt(one_more), has_next }))
    }

    /// Cuts `rows`, whose columns have these `names`, to the limit. Whether there may be more.
    pub(crate) fn cut(&self, question: &Question, names: &[&str], rows: &mut Vec<Vec<&RawValue>>) -> bool {
        let is_probed = self.one_more != Value::UInt(self.limit);
        let counted = if question.limit_by.is_empty() {
            rows.len()
        } else {
            let is_counted = |name: &&str| question.limit_by.iter().any(|column| column == name);
            let counted: Vec<usize> = (0..names.len()).filter(|index| is_counted(&names[*index])).collect();
            let things: HashSet<Vec<&str>> =
                rows.iter().map(|row| counted.iter().map(|index| row[*index].get()).collect()).collect();
            things.len()
        } as u64;
        if question.limit_by.is_empty() {
            rows.truncate(usize::try_from(self.limit).unwrap_or(usize::MAX));
        }
        counted > self.limit || (counted == self.limit && !is_probed)
    }

    /// How much it holds.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// The cursor of the page after this one.
    pub(crate) fn next(&self) -> Option<String> {
        let offset = self.start.offset.saturating_add(self.limit);
        self.has_next.then(|| Cursor { offset, ..self.start }.to_string())
    }
}

/// Of all that was asked except the page itself and the range.
fn digest(question: &Question, values: &[(String, Value)]) -> u32 {
    let mut hasher = DefaultHasher::new();
    question.id().hash(&mut hasher);
    for (name, value) in values.iter().filter(|(name, _)| ![LIMIT, FROM, TO].contains(&name.as_str())) {
        format!("{name} {value:?}").hash(&mut hasher);
    }
    u32::try_from(hasher.finish() >> 32).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Catalogue,
        error::AskError,
        resolution::{Resolved, resolve},
    };

    const NOW: TimeMs = TimeMs(1_790_000_000_000);

    fn ask(id: &str, query: &str, now: TimeMs) -> Result<Resolved, AskError> {
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        resolve(Catalogue::builtin().get(id).unwrap(), &pairs, now)
    }

    #[test]
    fn the_next_page_is_of_the_same_range() {
        let first = ask("commands/top", "from=-1h&limit=5", NOW).unwrap();
        let cursor = first.page.as_ref().unwrap().next().unwrap();
        let later = TimeMs(NOW.0 + 60_000);
        let second = ask("commands/top", &format!("from=-1h&limit=7&cursor={cursor}"), later).unwrap();
        assert_eq!(second.range, first.range);
        assert!(second.values.contains(&("offset".into(), Value::UInt(5))));
        let third = second.page.unwrap().next().unwrap();
        assert!(
            ask("commands/top", &format!("cursor={third}"), later)
                .unwrap()
                .values
                .contains(&("offset".into(), Value::UInt(12)))
        );

        for (id, query) in [
            ("commands/top", format!("cursor={cursor}&cluster=0")),
            ("commands/top", format!("cursor={cursor}&tz=Europe/Berlin")),
            ("shards/timeline", format!("cursor={cursor}")),
        ] {
            let error = ask(id, &query, NOW).unwrap_err().to_string();
            assert!(error.contains("another question"), "{query}: {error}");
        }
        for text in
            ["x", "1", "1-2-3", "1-2-3-4-5", "01-2-3-4", "1-2--3-4", "123456789-1-2-3", "1-2-3-ffffffffffffffff"]
        {
            assert!(ask("commands/top", &format!("cursor={text}"), NOW).is_err(), "{text}");
        }
        assert!(ask("interactions/volume", &format!("cursor={cursor}"), NOW).is_err(), "it has no limit");
    }

    #[test]
    fn a_widened_range_is_widened_in_the_same_way_again() {
        let first = ask("commands/top", "from=2026-09-19T01:10:30&to=2026-09-21T01:00:01", NOW).unwrap();
        let cursor = first.page.as_ref().unwrap().next().unwrap();
        let second = ask("commands/top", &format!("cursor={cursor}"), NOW).unwrap();
        assert_eq!((second.range, &second.rollup), (first.range, &first.rollup));
        assert_eq!(
            first.rollup.as_deref(),
            Some("interactions_by_command_1m"),
            "the widened range alone would be of hours"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered_not_panicked_at(text in "\\PC{0,40}|[0-9a-f-]{0,40}") {
            if let Some(cursor) = Cursor::parse(&text) {
                proptest::prop_assert_eq!(cursor.to_string(), text);
            }
        }
    }
}
