//! What ClickHouse's answers mean for a batch: the one table that decides between trying again, setting the batch aside,
//! and calling for a human.
//!
//! Codes are those of `src/Common/ErrorCodes.cpp` in ClickHouse. Code 252 is two different errors, told apart by its
//! text. A code that is not listed is tried again: losing data over an unknown word would be worse than insisting.

use clickhouse::error::Error;

/// What to do with a batch after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The same batch may land later: the server is away, busy or full.
    Retry,
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

/// Decides about a batch whose insert failed with `error`.
pub fn classify(error: &Error) -> Verdict {
    match error {
        Error::BadResponse(text) => classify_exception(text),
        Error::InvalidParams(_) | Error::Unsupported(_) => Verdict::Stop, // no valid URL: nothing can be sent
        _ => Verdict::Retry,
    }
}

fn classify_exception(text: &str) -> Verdict {
    match exception_code(text) {
        Some(TOO_MANY_PARTS) if text.contains("Too many partitions") => Verdict::Quarantine,
        Some(code) if POISON.contains(&code) => Verdict::Quarantine,
        Some(code) if NEEDS_A_HUMAN.contains(&code) => Verdict::Stop,
        _ => Verdict::Retry,
    }
}

/// The code of a ClickHouse exception: `Code: 60. DB::Exception: …`. `None` for any other text.
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
    fn unknown_and_odd_answers_are_tried_again() {
        for text in ["", "Code: ", "Code: x", "502 Bad Gateway", "Code: 99999999999. what", "Code: 1234567. new"] {
            assert_eq!(classify_exception(text), Verdict::Retry, "{text}");
        }
        assert_eq!(exception_code("Code: 516. DB::Exception"), Some(516));
        assert_eq!(classify_exception("Code: 516"), Verdict::Stop);
    }
}
