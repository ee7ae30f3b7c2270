//! The statements of a migration.
//!
//! A statement ends with `;` at the end of a line, and that is all that is known of SQL here: no line of a comment or of a
//! text may end so, and a `;` anywhere else means nothing.

/// The statements of a migration's text, without those that are nothing but comments.
pub(crate) fn statements(sql: &str) -> Vec<&str> {
    let pieces = sql.split(";\n").map(|piece| piece.trim().trim_end_matches(';'));
    pieces.filter(|piece| code_lines(piece).next().is_some()).collect()
}

/// Its lines without comment lines and empty ones, trimmed.
pub(crate) fn code_lines(statement: &str) -> impl Iterator<Item = &str> {
    statement.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("--"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What makes a statement one that can run twice in a row and change nothing the second time.
    const REPEATABLE: &[&[&str]] = &[
        &["CREATE TABLE IF NOT EXISTS ", "CREATE VIEW IF NOT EXISTS ", "CREATE MATERIALIZED VIEW IF NOT EXISTS "],
        &["CREATE OR REPLACE "],
        &["DROP TABLE IF EXISTS ", "DROP VIEW IF EXISTS "],
        &["RENAME TABLE IF EXISTS "],
    ];

    /// An action of ALTER that can be repeated.
    const REPEATABLE_ACTIONS: &[&str] = &[
        "ADD COLUMN IF NOT EXISTS ",
        "ADD CONSTRAINT IF NOT EXISTS ",
        "ADD INDEX IF NOT EXISTS ",
        "ADD PROJECTION IF NOT EXISTS ",
        "DROP COLUMN IF EXISTS ",
        "DROP CONSTRAINT IF EXISTS ",
        "DROP INDEX IF EXISTS ",
        "DROP PROJECTION IF EXISTS ",
        "RENAME COLUMN IF EXISTS ",
        "MODIFY COLUMN IF EXISTS ",
        "COMMENT COLUMN IF EXISTS ",
        "MODIFY COMMENT ",
        "MODIFY ORDER BY ",
        "MODIFY TTL ",
        "MODIFY SETTING ",
    ];

    fn is_repeatable(statement: &str) -> bool {
        let mut lines = code_lines(statement);
        let first = lines.next().unwrap();
        if let Some(alter) = first.strip_prefix("ALTER TABLE ") {
            // One action a line, the first beside the name of the table or below it.
            let beside = alter.split_once(' ').map(|(_, action)| action);
            let actions: Vec<&str> = beside.into_iter().chain(lines).collect();
            return !actions.is_empty()
                && actions.iter().all(|action| REPEATABLE_ACTIONS.iter().any(|start| action.starts_with(start)));
        }
        if first.starts_with("INSERT INTO ") {
            return statement.contains(" NOT IN (SELECT "); // adds what is not there
        }
        if let Some(made) = first.strip_prefix("CREATE OR REPLACE TABLE ").and_then(|rest| rest.split(' ').next()) {
            // With replicas it is made empty, and then filled: of itself it would be filled with nothing.
            return !statement.split_whitespace().collect::<Vec<_>>().windows(2).any(|words| words == ["FROM", made]);
        }
        REPEATABLE.iter().copied().flatten().any(|start| first.starts_with(start))
    }

    #[test]
    fn every_statement_can_be_repeated() {
        for migration in super::super::MIGRATIONS {
            let statements = statements(migration.sql);
            assert!(!statements.is_empty());
            for statement in statements {
                let version = migration.version;
                assert!(is_repeatable(statement), "{version:04}: an interrupted run cannot repeat {statement}");
            }
        }
    }

    #[test]
    fn what_does_something_else_the_second_time_is_not_repeatable() {
        for statement in [
            "-- x\nCREATE TABLE IF NOT EXISTS a (b UInt8) ENGINE = Null",
            "CREATE OR REPLACE TABLE a ENGINE = Null AS\nSELECT 1",
            "RENAME TABLE IF EXISTS a TO b",
            "ALTER TABLE a\n    ADD COLUMN IF NOT EXISTS b UInt8 COMMENT 'x',\n    DROP COLUMN IF EXISTS c",
            "ALTER TABLE a MODIFY TTL toDateTime(time) + INTERVAL 1 DAY",
        ] {
            assert!(is_repeatable(statement), "{statement}");
        }
        for statement in [
            "CREATE TABLE a (b UInt8) ENGINE = Null -- IF NOT EXISTS",
            "EXCHANGE TABLES a AND b",
            "INSERT INTO a SELECT * FROM b",
            "RENAME TABLE a TO b",
            "ALTER TABLE a ADD COLUMN b UInt8",
            "ALTER TABLE a\nADD COLUMN IF NOT EXISTS b UInt8,\nDROP COLUMN c",
            "ALTER TABLE a\nUPDATE b = b + 1 WHERE 1",
            "TRUNCATE TABLE a",
            "CREATE OR REPLACE TABLE a\n(b UInt8) ENGINE = Null AS SELECT b\nFROM a\nSETTINGS max_threads = 1",
            // Changes what tokens of inserts are made of, until the server is started again: see 0015.
            "ALTER TABLE a MODIFY QUERY SELECT b FROM c",
        ] {
            assert!(!is_repeatable(statement), "{statement}");
        }
    }

    #[test]
    fn a_statement_ends_where_a_line_ends_with_a_semicolon() {
        let sql = "-- a; b\nSELECT ';' AS x,\n    'two;lines\n' /* one;two\n*/;\n\n-- only a comment;\n\nSELECT 2;\n-- the end\n";
        assert_eq!(statements(sql), ["-- a; b\nSELECT ';' AS x,\n    'two;lines\n' /* one;two\n*/", "SELECT 2"]);
        assert_eq!(statements("SELECT 1;\nSELECT ';' || 2;"), ["SELECT 1", "SELECT ';' || 2"]);
        assert_eq!(statements("-- nothing;\n\n"), [""; 0]);
    }
}
