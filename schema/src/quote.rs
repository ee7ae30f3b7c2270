//! Names and texts inside statements that take no parameters there: most of DDL.

/// `name` as an identifier, whatever it holds.
pub(crate) fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('\\', r"\\").replace('`', r"\`"))
}

/// `text` as a string, whatever it holds.
pub(crate) fn string(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_out_of_its_quotes() {
        assert_eq!(identifier("a"), "`a`");
        assert_eq!(identifier(r"a`b\"), r"`a\`b\\`");
        assert_eq!(string(r"it's \' over"), r"'it\'s \\\' over'");
    }
}
