//! The words of a statement, so that what stands in a string or a comment is not taken for one.

/// A word, a number, a string or quoted identifier as a whole, or a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    /// Where it begins in the statement, in bytes.
    pub(super) start: usize,
    /// How many parentheses are open around it.
    pub(super) depth: usize,
}

impl Token<'_> {
    pub(super) fn end(&self) -> usize {
        self.start + self.text.len()
    }

    pub(super) fn is(&self, word: &str) -> bool {
        self.text.eq_ignore_ascii_case(word)
    }

    /// Whether it can be the name of a table.
    pub(super) fn is_name(&self) -> bool {
        self.text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '`')
    }
}

/// All tokens of `sql`, in order, without its comments.
pub(super) fn tokens(sql: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut start, mut depth) = (0, 0_usize);
    while let Some(first) = sql[start..].chars().next() {
        let rest = &sql[start..];
        let length = if first.is_whitespace() {
            first.len_utf8()
        } else if rest.starts_with("--") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else {
            let length = match first {
                '\'' | '`' | '"' => quoted_length(rest, first),
                _ if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
                _ => first.len_utf8(),
            };
            if first == ')' {
                depth = depth.saturating_sub(1);
            }
            tokens.push(Token { text: &rest[..length], start, depth });
            if first == '(' {
                depth += 1;
            }
            length
        };
        start += length;
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Length of a string that `text` begins with, quotes included. Inside, a quote is doubled or has a backslash before it; one
/// that is doubled makes two strings here, which changes nothing.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_or_commented_is_no_word() {
        let sql =
            "CREATE /* ENGINE */ TABLE `a b` -- ENGINE\n(c UInt8 COMMENT 'it''s \\' ENGINE = x (') ENGINE = Äpfel(1)";
        let words: Vec<_> = tokens(sql).iter().map(|token| (token.text, token.depth)).collect();
        let inside = [("c", 1), ("UInt8", 1), ("COMMENT", 1), ("'it'", 1), ("'s \\' ENGINE = x ('", 1)];
        let before = [("CREATE", 0), ("TABLE", 0), ("`a b`", 0), ("(", 0)];
        let after = [(")", 0), ("ENGINE", 0), ("=", 0), ("Äpfel", 0), ("(", 0), ("1", 1), (")", 0)];
        assert_eq!(words, [&before[..], &inside, &after].concat());
        for token in tokens(sql) {
            assert_eq!(&sql[token.start..token.end()], token.text);
        }
    }

    #[test]
    fn what_does_not_end_ends_with_the_text() {
        for sql in ["'", "a 'b", "/* x", "-- x", "`", "'\\"] {
            assert!(tokens(sql).last().is_none_or(|token| token.end() == sql.len()), "{sql}");
        }
    }
}
