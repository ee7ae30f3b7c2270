//! The file of keys: TOML, a `[[key]]` for each.
//!
//! ```toml
//! [[key]]
//! name = "grafana"                        # for logs; letters, digits, `-`, `_` and `.`
//! sha256 = "…"                            # of the key, 64 hexadecimal digits
//! clusters = ["*"]                        # or names: ["0", "1"]
//! questions = ["interactions/*", "shards/timeline"]
//! sql = false                             # `POST /v1/sql`; only for a key that opens everything
//! per_second = 10                         # requests, in the long run
//! concurrent = 8                          # requests at a time
//! ```
//!
//! `shardlake queries key new NAME` writes one. Clusters are names and not patterns: a pattern would open what is not there
//! yet.

use serde::Deserialize;

use super::ALL;

/// Longest name of a key, characters: it goes into every entry of ClickHouse's query log.
const MAX_NAME_CHARS: usize = 64;

/// What a key has that names no limits: a page of panels, reloaded now and then.
const DEFAULT_PER_SECOND: u32 = 10;
const DEFAULT_CONCURRENT: u16 = 8;

/// More is no limit.
const MAX_PER_SECOND: u32 = 100_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    key: Vec<Raw>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: String,
    sha256: String,
    clusters: Vec<String>,
    questions: Vec<String>,
    #[serde(default)]
    sql: bool,
    #[serde(default = "default_per_second")]
    per_second: u32,
    #[serde(default = "default_concurrent")]
    concurrent: u16,
}

fn default_per_second() -> u32 {
    DEFAULT_PER_SECOND
}

fn default_concurrent() -> u16 {
    DEFAULT_CONCURRENT
}

/// A key in the file, checked.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) sha256: [u8; 32],
    pub(super) clusters: Vec<String>,
    pub(super) questions: Vec<String>,
    pub(super) sql: bool,
    per_second: u32,
    concurrent: u16,
}

impl Entry {
    /// Requests per second, and at a time.
    pub(super) fn limits(&self) -> (u32, u16) {
        (self.per_second, self.concurrent)
    }
}

/// Reads a file's text. An error never repeats it: somebody may have put a key where its hash belongs.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>, String> {
    let file: File = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(0, |span| 1 + text[..span.start].matches('\n').count());
        format!("line {line}: {}", without_values(error.message()))
    })?;
    let mut entries: Vec<Entry> = Vec::new();
    for raw in file.key {
        let entry = check(raw)?;
        if entries.iter().any(|known| known.name == entry.name || known.sha256 == entry.sha256) {
            return Err(format!("the name or the hash of `{}` is there twice", entry.name));
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// A message about a wrong type quotes the value.
fn without_values(message: &str) -> &str {
    if message.contains('"') { "a value has the wrong type" } else { message }
}

/// Whether a key may have this name.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let is_plain = name.chars().all(|char| char.is_ascii_alphanumeric() || "-_.".contains(char));
    if name.is_empty() || name.len() > MAX_NAME_CHARS || !is_plain {
        return Err(format!(
            "the name of a key has letters, digits, `-`, `_` and `.`, and at most {MAX_NAME_CHARS} of them"
        ));
    }
    Ok(())
}

fn check(raw: Raw) -> Result<Entry, String> {
    check_name(&raw.name)?;
    let wrong = |what: &str| Err(format!("key `{}`: {what}", raw.name));
    let Some(sha256) = unhex(&raw.sha256) else {
        return wrong("`sha256` is not 64 hexadecimal digits; `shardlake queries key new` makes them");
    };
    let is_all = raw.clusters == [ALL];
    if !is_all && raw.clusters.iter().any(|name| name.is_empty() || name.contains(['*', ','])) {
        return wrong("`clusters` is [\"*\"] for all, or a list of names without `*` and commas");
    }
    if !is_all && raw.clusters.is_empty() {
        return wrong("`clusters` names none; say [\"*\"] for all");
    }
    if !raw.questions.iter().all(|pattern| is_pattern(pattern)) {
        return wrong("`questions` has \"*\", \"noun/*\" or \"noun/question\"");
    }
    if raw.sql && !(is_all && raw.questions.iter().any(|pattern| pattern == ALL)) {
        return wrong("`sql` reads everything, so it needs clusters = [\"*\"] and questions = [\"*\"]");
    }
    if !(1..=MAX_PER_SECOND).contains(&raw.per_second) || raw.concurrent == 0 {
        return wrong("`per_second` is from 1 to 100000, and `concurrent` at least 1");
    }
    let Raw { name, clusters, questions, sql, per_second, concurrent, .. } = raw;
    Ok(Entry { name, sha256, clusters, questions, sql, per_second, concurrent })
}

fn is_pattern(pattern: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.chars().all(|char| char.is_ascii_alphanumeric() || char == '_');
    match pattern.split_once('/') {
        None => pattern == ALL,
        Some((noun, name)) => is_word(noun) && (name == ALL || is_word(name)),
    }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(line: &str) -> String {
        let hash = "ab".repeat(32);
        let mut lines = vec![
            "[[key]]".to_owned(),
            "name = \"n\"".to_owned(),
            format!("sha256 = \"{hash}\""),
            "clusters = [\"*\"]".to_owned(),
            "questions = [\"*\"]".to_owned(),
        ];
        let key = line.split(' ').next().unwrap();
        lines.retain(|known| !known.starts_with(key));
        lines.push(line.to_owned());
        lines.join("\n")
    }

    #[test]
    fn a_file_is_taken_or_refused_with_its_reason() {
        assert!(parse("").unwrap().is_empty());
        let entry = parse(&with("concurrent = 3")).unwrap().remove(0);
        assert_eq!((entry.limits(), entry.sql, entry.sha256), ((DEFAULT_PER_SECOND, 3), false, [0xab; 32]));
        for (line, reason) in [
            ("name = \"a b\"", "letters"),
            ("sha256 = \"abc\"", "64"),
            ("clusters = [\"0\", \"*\"]", "for all"),
            ("clusters = [\"0*\"]", "for all"),
            ("clusters = []", "names none"),
            ("questions = [\"shards\"]", "noun/*"),
            ("questions = [\"*/top\"]", "noun/*"),
            ("per_second = 0", "from 1"),
            ("per_second = -1", "line 6"),
            ("concurrent = 0", "at least 1"),
            ("colour = 1", "unknown field"),
            ("name = ", "line"),
        ] {
            let error = parse(&with(line)).unwrap_err();
            assert!(error.contains(reason), "{line}: {error}");
        }
        let limited = with("clusters = [\"0\"]");
        assert!(
            parse(&limited).is_ok() && parse(&format!("{limited}\nsql = true")).unwrap_err().contains("everything")
        );
        assert!(parse(&format!("{limited}\n{limited}")).unwrap_err().contains("twice"));
        assert!(parse("[[key]]\nname = \"n\"").unwrap_err().contains("sha256"));
    }

    #[test]
    fn an_error_does_not_repeat_a_secret() {
        for line in ["sha256 = \"shardlake_5ec2e7\"", "per_second = \"shardlake_5ec2e7\"", "sha256 = shardlake_5ec2e7"]
        {
            let error = parse(&with(line)).unwrap_err();
            assert!(!error.contains("5ec2e7"), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_taken_or_refused(text in "(\\[\\[key\\]\\]|name|sha256|=|\"|\n|[a-z*/\\[\\],0-9ä ]){0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn any_value_is_taken_or_refused(key in "sha256|clusters|questions|per_second|sql", value in "\\PC{0,40}") {
            let _ = parse(&with(&format!("{key} = {value}")));
        }
    }
}
