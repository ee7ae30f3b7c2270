//! Which tables' data the statements of migrations read or write as a whole.
//!
//! Tables are named before they are renamed, and made of others: `RENAME a TO old_a`, `CREATE … a AS SELECT … FROM old_a`.
//! So the statements are followed in their order, and every name stands for the live tables that its data comes from.

use std::collections::{BTreeMap, BTreeSet};

use super::Rewrite;
use crate::migrate::statement::code_lines;

/// The live tables, and what other names stand for by now.
pub(super) struct Touched<'a> {
    live: &'a [Rewrite],
    stands_for: BTreeMap<String, BTreeSet<&'a str>>,
}

impl<'a> Touched<'a> {
    pub(super) fn among(live: &'a [Rewrite]) -> Self {
        let itself = |one: &'a Rewrite| (one.table.clone(), BTreeSet::from([one.table.as_str()]));
        Self { live, stands_for: live.iter().map(itself).collect() }
    }

    /// The tables that these statements, the next ones, go through.
    pub(super) fn by(&mut self, statements: &[&str]) -> Vec<Rewrite> {
        let mut touched = BTreeSet::new();
        for statement in statements {
            touched.extend(self.follow(statement));
        }
        self.live.iter().filter(|one| touched.contains(one.table.as_str())).cloned().collect()
    }

    fn follow(&mut self, statement: &str) -> BTreeSet<&'a str> {
        let words: Vec<&str> = words(statement).collect();
        if let ["RENAME", "TABLE", "IF", "EXISTS", from, "TO", to] = words[..] {
            let tables = self.stands_for.remove(from).unwrap_or_default();
            self.stands_for.insert(to.to_owned(), tables);
        }
        if !moves_data(statement) {
            return BTreeSet::new();
        }
        let touched: BTreeSet<_> =
            words.iter().filter_map(|word| self.stands_for.get(*word)).flatten().copied().collect();
        if words[0] == "CREATE" {
            let made = words.iter().skip(1).find(|word| !CREATES.contains(word));
            self.stands_for.insert((*made.unwrap_or(&"")).to_owned(), touched.clone());
        }
        touched
    }
}

/// What stands between CREATE and the name.
const CREATES: [&str; 6] = ["OR", "REPLACE", "TABLE", "IF", "NOT", "EXISTS"];

/// The words of a statement outside texts such as comments of columns, none of which spans lines.
pub(super) fn words(statement: &str) -> impl Iterator<Item = &str> {
    let is_separator = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    let code = code_lines(statement).flat_map(|line| line.split('\'').step_by(2));
    code.flat_map(move |code| code.split(is_separator)).filter(|word| !word.is_empty())
}

/// Whether a statement reads or writes the data of tables, rather than what is known of them.
fn moves_data(statement: &str) -> bool {
    let words: Vec<&str> = words(statement).collect();
    let says = |phrase: &[&str]| words.windows(phrase.len()).any(|window| window == phrase);
    match words.first() {
        Some(&"CREATE") => !words.iter().take(5).any(|word| *word == "VIEW") && says(&["AS", "SELECT"]),
        Some(&"ALTER") => {
            ["UPDATE", "DELETE", "MATERIALIZE"].iter().any(|action| says(&[action])) || says(&["MODIFY", "COLUMN"])
        }
        first => first == Some(&"INSERT"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_that_move_data_are_told_from_those_that_do_not() {
        for statement in [
            "-- x\nCREATE OR REPLACE TABLE a ENGINE = MergeTree ORDER BY b AS\nSELECT * FROM old_a",
            "INSERT INTO a SELECT * FROM b",
            "ALTER TABLE a MODIFY COLUMN IF EXISTS b UInt8",
            "ALTER TABLE a\n    MATERIALIZE INDEX c",
        ] {
            assert!(moves_data(statement), "{statement}");
        }
        for statement in [
            "CREATE TABLE IF NOT EXISTS a (b UInt8) ENGINE = Null",
            "CREATE MATERIALIZED VIEW IF NOT EXISTS a TO b AS SELECT 1 FROM c",
            "-- INSERT INTO a\nRENAME TABLE IF EXISTS a TO b",
            "ALTER TABLE a ADD COLUMN IF NOT EXISTS b UInt8",
        ] {
            assert!(!moves_data(statement), "{statement}");
        }
    }

    #[test]
    fn a_table_is_followed_through_its_names() {
        let live = ["a", "b"].map(|table| Rewrite { table: table.to_owned(), rows: 1, bytes: 1 });
        let mut touched = Touched::among(&live);
        let mut tables = |statements: &[&str]| -> Vec<String> {
            touched.by(statements).into_iter().map(|rewrite| rewrite.table).collect()
        };
        assert_eq!(tables(&["CREATE TABLE IF NOT EXISTS c (x UInt8) ENGINE = Null"]), [""; 0]);
        assert_eq!(tables(&["INSERT INTO c SELECT 'as in a, and a''s b' AS x"]), [""; 0]);
        let rebuild = [
            "RENAME TABLE IF EXISTS a TO old_a",
            "CREATE OR REPLACE TABLE next_a ENGINE = Null AS SELECT x FROM old_a",
        ];
        assert_eq!(tables(&rebuild), ["a"]);
        // What was made of it is as large.
        let rollup =
            ["RENAME TABLE IF EXISTS next_a TO a", "CREATE OR REPLACE TABLE rollup ENGINE = Null AS SELECT x FROM a"];
        assert_eq!(tables(&rollup), ["a"]);
    }
}
