//! What the writer says to ClickHouse, read as ClickHouse would: inserts with their rows, and the look for a batch.

use arrow::{
    array::{AsArray as _, RecordBatch},
    datatypes::{Float64Type, UInt32Type, UInt64Type},
    ipc::reader::StreamReader,
};
use hyper::body::Bytes;
use lz4_flex::frame::FrameDecoder;

/// Table, boot and number of a batch.
pub(super) type Key = (String, u64, u64);

pub(super) enum Request {
    Insert(Insert),
    Look(Look),
}

pub(super) struct Insert {
    pub(super) key: Key,
    pub(super) token: String,
    pub(super) rows: u64,
    /// Of tables whose rows carry one; see [`id_column`].
    pub(super) ids: Vec<u64>,
}

pub(super) struct Look {
    pub(super) key: Key,
}

pub(super) fn parse(query: &str, body: &Bytes) -> Option<Request> {
    let setting = |name: &str| {
        let mut settings = form_urlencoded::parse(query.as_bytes());
        settings.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    match setting("query") {
        Some(sql) => insert(&sql, setting("insert_deduplication_token")?, body).map(Request::Insert),
        None => look(std::str::from_utf8(body).ok()?).map(Request::Look),
    }
}

fn insert(sql: &str, token: String, body: &Bytes) -> Option<Insert> {
    let table = sql.strip_prefix("INSERT INTO ")?.split(' ').next()?;
    let stream = StreamReader::try_new(FrameDecoder::new(&body[..]), None).ok()?;
    let batches: Vec<RecordBatch> = stream.collect::<Result<_, _>>().ok()?;
    let [batch] = &batches[..] else { return None };
    let number = |column: &str| Some(batch.column_by_name(column)?.as_primitive::<UInt64Type>().value(0));
    let key = (table.to_owned(), number("boot")?, number("batch")?);
    let ids = id_column(table).map_or_else(Vec::new, |column| ids(batch, column));
    Some(Insert { key, token, rows: batch.num_rows() as u64, ids })
}

/// The column in which `process.rs` writes a row's id.
fn id_column(table: &str) -> Option<&'static str> {
    match table {
        "interactions" => Some("id_low"),
        "gateway_counts" => Some("bytes"),
        "samples" => Some("value"),
        _ => None,
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an id is a small whole number")]
fn ids(batch: &RecordBatch, column: &str) -> Vec<u64> {
    let column = batch.column_by_name(column).expect("the table has it");
    if let Some(numbers) = column.as_primitive_opt::<UInt64Type>() {
        return numbers.values().to_vec();
    }
    if let Some(numbers) = column.as_primitive_opt::<UInt32Type>() {
        return numbers.values().iter().map(|number| u64::from(*number)).collect();
    }
    column.as_primitive::<Float64Type>().values().iter().map(|value| *value as u64).collect()
}

fn look(form: &str) -> Option<Look> {
    let field = |name: &str| {
        let (_, value) = form.split_once(&format!("name=\"{name}\"\r\n\r\n"))?;
        value.split_once("\r\n--").map(|(value, _)| value)
    };
    let (_, table) = field("query")?.split_once("count() FROM ")?;
    let table = table.split(' ').next()?.to_owned();
    Some(Look { key: (table, field("param_boot")?.parse().ok()?, field("param_batch")?.parse().ok()?) })
}

/// The answer to a look, as `RowBinaryWithNamesAndTypes`.
pub(super) fn found(rows: u64, counted: u64, uptime_s: u64) -> Vec<u8> {
    let mut answer = vec![3];
    for text in ["rows", "counted", "uptime", "Nullable(UInt64)", "Nullable(UInt64)", "UInt64"] {
        answer.push(u8::try_from(text.len()).expect("it is short"));
        answer.extend_from_slice(text.as_bytes());
    }
    for number in [rows, counted] {
        answer.push(0);
        answer.extend_from_slice(&number.to_le_bytes());
    }
    answer.extend_from_slice(&uptime_s.to_le_bytes());
    answer
}
