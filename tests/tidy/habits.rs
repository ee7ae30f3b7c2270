//! Habits that lints allow, or that an attribute could switch off.

use crate::{
    house::{File, Finding, House},
    rust_code::{closing, code_only, line, test_modules, words},
};

/// The only file that speaks to a C library.
const UNSAFE_FILE: &str = "embedded/src/engine.rs";

/// What stands for work that was not done.
const UNFINISHED: &[(&str, &str)] = &[
    ("todo!", "it panics where somebody expects a feature: write it, or leave it out"),
    ("unimplemented!", "it panics where somebody expects a feature: write it, or leave it out"),
    ("dbg!", "it prints into somebody's terminal: use tracing, or take it out"),
    ("#[ignore", "a test that does not run protects nothing: repair it, or delete it"),
];

/// `unsafe` in any other file.
pub(crate) fn unsafe_in_one_file(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in house.ending(".rs").filter(|file| file.path != UNSAFE_FILE) {
        let what = format!("unsafe code: only {UNSAFE_FILE} may have it, where all of it is looked at");
        let code = code_only(&file.text);
        findings.extend(words(&code, "unsafe").map(|at| Finding::new(file, line(&code, at), &*what)));
    }
    findings
}

/// Stubs, traces of debugging, tests that are switched off.
pub(crate) fn nothing_unfinished(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in house.ending(".rs") {
        let code = code_only(&file.text);
        for (mark, why) in UNFINISHED {
            let whole = |at: &usize| !code[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let places = code.match_indices(mark).map(|(at, _)| at).filter(whole);
            findings.extend(places.map(|at| Finding::new(file, line(&code, at), format!("`{mark}`: {why}"))));
        }
    }
    findings
}

/// `#[allow(…)]` and `#[expect(…)]` outside tests.
pub(crate) fn silenced_lints_say_why(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in house.ending(".rs").filter(|file| !is_test(file)) {
        let code = code_only(&file.text);
        let tests = test_modules(&code);
        let attributes = ["#[allow(", "#![allow(", "#[expect(", "#![expect("];
        let places = attributes.iter().flat_map(|attribute| code.match_indices(attribute)).map(|(at, _)| at);
        for at in places.filter(|at| !tests.iter().any(|module| module.contains(at))) {
            if !has_reason(&file.text, &code, at) {
                let what = "a lint is silenced without a reason: say why beside it, so that the next reader can tell when it may go";
                findings.push(Finding::new(file, line(&code, at), what));
            }
        }
    }
    findings
}

fn is_test(file: &File) -> bool {
    file.path.split('/').any(|part| matches!(part, "tests" | "benches" | "tests.rs"))
}

/// A reason in the attribute at `at`, a comment behind it, or one on the line above.
fn has_reason(text: &str, code: &str, at: usize) -> bool {
    let end = closing(code, at + 1 + code[at + 1..].find('[').unwrap_or_default());
    let behind = text[end..].lines().next().unwrap_or_default();
    let above = text[..at].lines().rev().nth(usize::from(!text[..at].ends_with('\n'))).unwrap_or_default().trim_start();
    let comment = above.starts_with("//") && !above.starts_with("///") && !above.starts_with("//!");
    code[at..end].contains("reason =") || behind.contains("// ") || comment
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rule: fn(&House) -> Vec<Finding>, path: &str, text: &str) -> usize {
        rule(&House::of(&[(path, text)])).len()
    }

    #[test]
    fn unsafe_code_is_found() {
        assert_eq!(found(unsafe_in_one_file, "a/src/lib.rs", "fn a() { unsafe { b() } }"), 1);
        assert_eq!(found(unsafe_in_one_file, "a/src/lib.rs", "#![deny(unsafe_code)] // unsafe"), 0);
        assert_eq!(found(unsafe_in_one_file, UNSAFE_FILE, "unsafe {}"), 0);
    }

    #[test]
    fn unfinished_work_is_found() {
        for text in ["todo!()", "std::unimplemented!(\"x\")", "dbg!(x)", "#[test]\n#[ignore = \"slow\"]\nfn a() {}"] {
            assert_eq!(found(nothing_unfinished, "a.rs", text), 1, "{text}");
        }
        assert_eq!(found(nothing_unfinished, "a.rs", "// todo!()\nlet x = \"dbg!\"; my_dbg!(x); todo(y);"), 0);
    }

    #[test]
    fn silence_without_a_reason_is_found() {
        for text in [
            "#[allow(x)]\nfn a() {}",
            "#![allow(x)]",
            "    #[expect(x)]\n    fn a() {}",
            "/// Docs.\n#[allow(x)]\nfn a() {}",
            "// A comment.\n\n#[allow(x)]\nfn a() {}",
            "#[allow(\n  x,\n)]\nfn a() {} // why",
        ] {
            assert_eq!(found(silenced_lints_say_why, "a.rs", text), 1, "{text}");
            assert_eq!(found(silenced_lints_say_why, "a/tests/b.rs", text), 0, "{text}");
        }
        for text in [
            "#[allow(x)] // why\nfn a() {}",
            "#[allow(\n  x,\n)] // why\nfn a() {}",
            "// why\n#[allow(x)]\nfn a() {}",
            "    // why\n    #[allow(x)]\n    fn a() {}",
            "#[allow(x, reason = \"why\")]\nfn a() {}",
            "fn a() {}\n#[cfg(test)]\nmod tests {\n#[allow(x)]\nfn b() {}\n}",
        ] {
            assert_eq!(found(silenced_lints_say_why, "a.rs", text), 0, "{text}");
        }
    }
}
