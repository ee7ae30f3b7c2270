//! Finds the `{name:Type}` of a statement, as ClickHouse would: not in strings, quoted names or comments.

/// A server-side parameter where the SQL uses it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Placeholder<'a> {
    /// Line in the text, from 1.
    pub(super) line: usize,
    /// Its name.
    pub(super) name: &'a str,
    /// Its type, as written.
    pub(super) sql_type: &'a str,
}

/// What a statement holds besides its words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scan<'a> {
    /// Every placeholder, in order.
    pub(super) placeholders: Vec<Placeholder<'a>>,
    /// Line of the first statement that follows another.
    pub(super) second_statement: Option<usize>,
    /// Whether there is any statement.
    pub(super) has_statement: bool,
}

/// Reads `sql` once. Never fails: what it does not understand is left to ClickHouse.
pub(super) fn scan(sql: &str) -> Scan<'_> {
    let mut scan = Scan::default();
    let mut ended = false;
    let mut at = 0;
    while let Some(next) = sql[at..].chars().next() {
        let rest = &sql[at..];
        let length = match next {
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            _ if next.is_whitespace() => next.len_utf8(),
            ';' => {
                ended = true;
                1
            }
            _ => {
                scan.has_statement = true;
                if ended {
                    scan.second_statement.get_or_insert_with(|| line_of(sql, at));
                }
                match next {
                    '\'' | '"' | '`' => quoted_length(rest, next),
                    '{' => placeholder(rest).map_or(1, |(name, sql_type, length)| {
                        scan.placeholders.push(Placeholder { line: line_of(sql, at), name, sql_type });
                        length
                    }),
                    _ => next.len_utf8(),
                }
            }
        };
        at += length;
    }
    scan
}

fn line_of(sql: &str, at: usize) -> usize {
    1 + sql[..at].matches('\n').count()
}

/// Length of the quoted text that `rest` starts with. A backslash escapes; a doubled quote reads as two quoted texts.
fn quoted_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, char) in rest.char_indices().skip(1) {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if char == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Name, type and length of the placeholder that `rest` starts with. A map literal such as `{'a': 1}` is none.
fn placeholder(rest: &str) -> Option<(&str, &str, usize)> {
    let end = rest.find('}')?;
    let (name, sql_type) = rest[1..end].split_once(':')?;
    let name = name.trim();
    is_name(name).then(|| (name, sql_type.trim(), end + 1))
}

/// Whether `text` is a plain identifier: letters, digits and underscores, no digit first.
pub(super) fn is_name(text: &str) -> bool {
    !text.starts_with(|first: char| first.is_ascii_digit())
        && !text.is_empty()
        && text.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(sql: &str) -> Vec<&str> {
        scan(sql).placeholders.iter().map(|placeholder| placeholder.name).collect()
    }

    #[test]
    fn finds_placeholders_and_their_lines() {
        let found = scan("SELECT {a:UInt8},\n  { b : DateTime64(3, 'UTC') }").placeholders;
        assert_eq!(found[0], Placeholder { line: 1, name: "a", sql_type: "UInt8" });
        assert_eq!(found[1], Placeholder { line: 2, name: "b", sql_type: "DateTime64(3, 'UTC')" });
    }

    #[test]
    fn leaves_strings_comments_and_maps_alone() {
        assert_eq!(names(r"SELECT '{a:UInt8}', 'it\'s {b:UInt8}', 'x''{c:UInt8}', `{d:UInt8}`, {e:UInt8}"), ["e"]);
        assert_eq!(names("SELECT 1 -- {a:UInt8} isn't\n, /* {b:UInt8} ' */ {c:UInt8}"), ["c"]);
        assert_eq!(names("SELECT {'a': 1}, {}, {1:2}, {"), [""; 0]);
    }

    #[test]
    fn sees_a_second_statement() {
        assert_eq!(scan("SELECT 1;\n -- done\n").second_statement, None);
        assert_eq!(scan("SELECT ';';\n\nDROP TABLE x").second_statement, Some(3));
        assert!(!scan(" -- nothing\n;").has_statement);
    }
}
