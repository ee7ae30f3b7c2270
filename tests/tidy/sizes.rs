//! Sizes: what does not fit into one look hides what is wrong with it.

use crate::{
    house::{Finding, House},
    rust_code::{closing, code_only, identifier, line, test_modules, words},
};

/// Lines of a file without its inline tests. Past it, it has more than one subject.
const MOST_FILE_LINES: usize = 400;
/// Lines of a function: a screen.
const MOST_FUNCTION_LINES: usize = 70;

/// Lines outside inline test modules.
pub(crate) fn files_are_short(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in house.ending(".rs") {
        let code = code_only(&file.text);
        let in_tests = |module: std::ops::Range<usize>| file.text[module].lines().count();
        let lines = file.text.lines().count() - test_modules(&code).into_iter().map(in_tests).sum::<usize>();
        if lines > MOST_FILE_LINES {
            let what =
                format!("{lines} lines, {MOST_FILE_LINES} are the most: make a folder of that name, a file per part");
            findings.push(Finding::new(file, 1, what));
        }
    }
    findings
}

/// From `fn` to the closing brace.
pub(crate) fn functions_are_short(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in house.ending(".rs") {
        let code = code_only(&file.text);
        for start in words(&code, "fn") {
            let name = identifier(&code[start + "fn".len()..]);
            let Some(open) = body(&code, start).filter(|_| !name.is_empty()) else { continue };
            let first = line(&code, start);
            let lines = line(&code, closing(&code, open) - 1) - first + 1;
            if lines > MOST_FUNCTION_LINES {
                let what = format!("`{name}` has {lines} lines, {MOST_FUNCTION_LINES} are the most: name its parts");
                findings.push(Finding::new(file, first, what));
            }
        }
    }
    findings
}

/// Where the body opens of the function that starts at `start`; `None` if it has none.
fn body(code: &str, start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        at += code[at..].find(['{', ';', '(', '['])?;
        match code.as_bytes()[at] {
            b'{' => return Some(at),
            b';' => return None,
            _ => at = closing(code, at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rule: fn(&House) -> Vec<Finding>, text: &str) -> usize {
        rule(&House::of(&[("a.rs", text)])).len()
    }

    #[test]
    fn long_files_are_found() {
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "// x\n".repeat(300));
        assert_eq!(found(files_are_short, &format!("{}{tests}", "// x\n".repeat(400))), 0);
        assert_eq!(found(files_are_short, &format!("{}{tests}", "// x\n".repeat(401))), 1);
    }

    #[test]
    fn long_functions_are_found() {
        let function = |lines: usize| {
            format!(
                "trait T {{ fn t(&self); }}\npub async fn f(x: [u8; 4]) -> u8 {{ // }}\n{}}}\n",
                "x;\n".repeat(lines - 2)
            )
        };
        assert_eq!(found(functions_are_short, &function(70)), 0);
        assert_eq!(found(functions_are_short, &function(71)), 1);
        assert_eq!(found(functions_are_short, &format!("type F = fn(u8);\n{}", "x;\n".repeat(100))), 0);
    }
}
