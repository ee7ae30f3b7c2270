//! What ClickHouse's answers mean for a batch: the one table that decides between trying again, setting the batch aside,
//! and calling for a human.
//!
//! Codes are those of `src/Common/ErrorCodes.cpp` in ClickHouse. Code 252 is two different errors, told apart by its
//! text. A code that is not listed is tried again: losing data over an unknown word would be worse than insisting.

use clickhouse::error::Error;

/// What to do with a batch after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The same batch may land later: the server is away or full, and what came of this attempt is not known.
    Retry,
    /// The same batch may land later, and nothing of this attempt was done: the server has as much under way as it wants.
    Busy,
    /// Part of this batch may land where all of it is too much: a proxy limits the size of a body, or the server its memory.
    Split,
    /// This batch can never land, others can: its content is refused.
    Quarantine,
    /// No batch for this table can land until a human acts: wrong password, missing table, missing right.
    /// Everything is kept and tried again slowly.
    Stop,
}

impl Verdict {
    /// The word used in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Retry => "retry",
            Verdict::Busy => "busy",
            Verdict::Split => "split",
            Verdict::Quarantine => "quarantine",
            Verdict::Stop => "stop",
        }
    }
}

/// The content of the batch is wrong, and will be wrong again.
const POISON: &[u32] = &[
    6,   // CANNOT_PARSE_TEXT
    26,  // CANNOT_PARSE_QUOTED_STRING
    27,  // CANNOT_PARSE_INPUT_ASSERTION_FAILED
    33,  // CANNOT_READ_ALL_DATA
    38,  // CANNOT_PARSE_DATE
    41,  // CANNOT_PARSE_DATETIME
    50,  // UNKNOWN_TYPE
    53,  // TYPE_MISMATCH
    70,  // CANNOT_CONVERT_TYPE
    72,  // CANNOT_PARSE_NUMBER
    117, // INCORRECT_DATA
    131, // TOO_LARGE_STRING_SIZE
    321, // VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
    349, // CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
    376, // CANNOT_PARSE_UUID
    691, // UNKNOWN_ELEMENT_OF_ENUM
];

/// The table, the user or the settings are wrong, whatever the batch.
const NEEDS_A_HUMAN: &[u32] = &[
    8,   // THERE_IS_NO_COLUMN: the schema is older or newer than this build
    16,  // NO_SUCH_COLUMN_IN_TABLE
    43,  // ILLEGAL_TYPE_OF_ARGUMENT: a materialized view does not fit its table
    48,  // NOT_IMPLEMENTED: the table is a view, or its engine takes no inserts
    60,  // UNKNOWN_TABLE
    81,  // UNKNOWN_DATABASE
    115, // UNKNOWN_SETTING
    164, // READONLY
    192, // UNKNOWN_USER
    193, // WRONG_PASSWORD
    194, // REQUIRED_PASSWORD
    497, // ACCESS_DENIED
    516, // AUTHENTICATION_FAILED
];

/// `TOO_MANY_PARTS`: back-pressure, unless the insert itself touches too many partitions.
const TOO_MANY_PARTS: u32 = 252;

/// `TOO_MANY_SIMULTANEOUS_QUERIES`: turned away at the door, before the query was anything
/// (`ProcessList::insert` in ClickHouse's `src/Interpreters/ProcessList.cpp`).
const TOO_MANY_QUERIES: u32 = 202;

/// `MEMORY_LIMIT_EXCEEDED`: of one insert, or of the whole server, which is back-pressure.
const MEMORY_LIMIT: u32 = 241;

/// `413 Content Too Large`: a proxy's limit, often 1 MiB. ClickHouse has none.
const TOO_LARGE: u16 = 413;

/// Decides about a batch whose insert failed with `error`; `status` is that of the HTTP answer, if there was one.
pub fn classify(error: &Error, status: Option<u16>) -> Verdict {
    match error {
        _ if status == Some(TOO_LARGE) => Verdict::Split,
        Error::BadResponse(text) => classify_exception(text),
        Error::InvalidParams(_) | Error::Unsupported(_) => Verdict::Stop, // no valid URL: nothing can be sent
        _ => Verdict::Retry,
    }
}

fn classify_exception(text: &str) -> Verdict {
    match exception_code(text) {
        Some(TOO_MANY_QUERIES) => Verdict::Busy,
        Some(TOO_MANY_PARTS) if text.contains("Too many partitions") => Verdict::Quarantine,
        Some(MEMORY_LIMIT) if text.contains("Query memory limit") || text.contains("(for query)") => Verdict::Split,
        Some(code) if POISON.contains(&code) => Verdict::Quarantine,
        Some(code) if NEEDS_A_HUMAN.contains(&code) => Verdict::Stop,
        _ => Verdict::Retry,
    }
}

/// The code of the exception that ClickHouse answered with; `None` if somebody else did, or nobody.
pub fn code(error: &Error) -> Option<u32> {
    match error {
        Error::BadResponse(text) => exception_code(text),
        _ => None,
    }
}

/// The code of a ClickHouse exception: `Code: 60. DB::Exception: …`, or `Code: 60` if its text was lost. `None` for any
/// other text.
pub fn exception_code(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("Code: ")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).map_or(rest, |end| &rest[..end]);
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_252_is_two_errors() {
        let busy = "Code: 252. DB::Exception: Too many parts (3001 with average size of 1.00 KiB). Merges are slower";
        let poison = "Code: 252. DB::Exception: Too many partitions for single INSERT block (more than 100).";
        assert_eq!(classify_exception(busy), Verdict::Retry);
        assert_eq!(classify_exception(poison), Verdict::Quarantine);
    }

    #[test]
    fn what_is_too_large_is_split() {
        let query =
            "Code: 241. DB::Exception: Query memory limit exceeded: would use 1.00 GiB. (MEMORY_LIMIT_EXCEEDED)";
        let server =
            "Code: 241. DB::Exception: (total) memory limit exceeded: would use 10 GiB. (MEMORY_LIMIT_EXCEEDED)";
        assert_eq!((classify_exception(query), classify_exception(server)), (Verdict::Split, Verdict::Retry));
        let html = Error::BadResponse("<html>nginx</html>".to_owned());
        assert_eq!((classify(&html, Some(413)), classify(&html, Some(502))), (Verdict::Split, Verdict::Retry));
    }

    #[test]
    fn unknown_and_odd_answers_are_tried_again() {
        for text in ["", "Code: ", "Code: x", "502 Bad Gateway", "Code: 99999999999. what", "Code: 1234567. new"] {
            assert_eq!(classify_exception(text), Verdict::Retry, "{text}");
        }
        assert_eq!(exception_code("Code: 516. DB::Exception"), Some(516));
        assert_eq!(classify_exception("Code: 516"), Verdict::Stop);
    }
}
