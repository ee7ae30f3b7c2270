//! Just enough of Rust's grammar to find words and matching braces: text with its comments and literals blanked.

use std::ops::Range;

/// `text` with every comment, string and character literal replaced by spaces; the same length, the same lines.
pub(crate) fn code_only(text: &str) -> String {
    let mut code = text.as_bytes().to_vec();
    let mut at = 0;
    while at < code.len() {
        let skipped = not_code(&text.as_bytes()[at..]);
        let end = (at + skipped).min(code.len());
        code[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        at = end.max(at + 1);
    }
    String::from_utf8(code).expect("only whole characters were replaced")
}

/// Length of the comment or literal at the start of `rest`, 0 if there is none.
fn not_code(rest: &[u8]) -> usize {
    match rest {
        [b'/', b'/', ..] => rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(rest),
        [b'"', ..] => string(rest),
        [b'r', b'"' | b'#', ..] => raw_string(rest),
        [b'\'', b'\\', _, after @ ..] => 4 + after.iter().take_while(|byte| **byte != b'\'').count(),
        [b'\'', after @ ..] => character(after),
        _ => 0,
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

fn raw_string(rest: &[u8]) -> usize {
    let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
    let start = 1 + hashes;
    if rest.get(start) != Some(&b'"') {
        return 0; // a raw identifier
    }
    let mut end = vec![b'#'; hashes + 1];
    end[0] = b'"';
    let body = &rest[start + 1..];
    let length = body.windows(end.len()).position(|window| window == end).unwrap_or(body.len());
    start + 1 + length + end.len()
}

/// A character literal is one character and a quote; anything else after a quote is a lifetime.
fn character(after: &[u8]) -> usize {
    let width = match after.first() {
        Some(0x00..=0x7F) => 1,
        Some(0x80..=0xDF) => 2,
        Some(0xE0..=0xEF) => 3,
        _ => 4,
    };
    if after.get(width) == Some(&b'\'') { width + 2 } else { 0 }
}

/// Where `word` stands in `code` as a word of its own.
pub(crate) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| !code[..*at].ends_with(inside) && !code[at + word.len()..].starts_with(inside))
}

/// The identifier at the start of `code`, after white space.
pub(crate) fn identifier(code: &str) -> &str {
    let code = code.trim_start();
    &code[..code.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(code.len())]
}

/// The end of the bracket of any kind that opens at `open`, exclusive.
pub(crate) fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

/// The inline modules under `#[cfg(test)]`, from the attribute to the closing brace.
pub(crate) fn test_modules(code: &str) -> Vec<Range<usize>> {
    const ATTRIBUTE: &str = "#[cfg(test)]";
    let module = |(start, _): (usize, &str)| {
        let mut item = start + ATTRIBUTE.len();
        while code[item..].trim_start().starts_with("#[") {
            item = closing(code, item + code[item..].find('[')?);
        }
        let open = item + code[item..].find(['{', ';'])?;
        let is_module = words(&code[item..open], "mod").next().is_some() && code[open..].starts_with('{');
        is_module.then(|| start..closing(code, open))
    };
    code.match_indices(ATTRIBUTE).filter_map(module).collect()
}

/// The line of byte `at`, counted from 1.
pub(crate) fn line(text: &str, at: usize) -> usize {
    1 + text[..at].matches('\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked() {
        for (text, code) in [
            ("a // {\nb", "a b"),
            ("a /* { /* } */ \n */ b", "a b"),
            (r#"f("{\"{", x)"#, "f( , x)"),
            ("r##\"{\"#{\"## + 'ä' + b'{' + c\"{\"", "+ + b + c"),
            (r"('{', '\'', '\u{7d}', 'a')", "( , , , )"),
            ("fn f<'a>(r#type: &'a str)", "fn f<'a>(r#type: &'a str)"),
            ("\"never closed {", ""),
        ] {
            let blanked = code_only(text);
            assert_eq!(blanked.split_whitespace().collect::<Vec<_>>().join(" "), code, "{text}");
            assert_eq!(blanked.len(), text.len(), "{text}");
            assert_eq!(blanked.lines().count(), text.lines().count(), "{text}");
        }
    }

    #[test]
    fn words_stand_alone() {
        assert_eq!(words("unsafe_code unsafe { an_unsafe }", "unsafe").collect::<Vec<_>>(), [12]);
        assert_eq!(identifier("  run(x)"), "run");
    }

    #[test]
    fn test_modules_are_found() {
        let code =
            "fn a() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n fn b() {}\n}\n#[cfg(test)]\nmod far;\nfn c() {}";
        let modules = test_modules(code);
        assert_eq!(modules.len(), 1, "a module in a file of its own is no range here");
        assert!(code[modules[0].clone()].ends_with("fn b() {}\n}"));
        assert!(test_modules("#[cfg(test)]\nfn a() { mod b {} }").is_empty());
    }
}
