//! What ClickHouse really answers to an insert, and what we make of it: each code is provoked with our client.
//!
//! Listed in `answer.rs`, and not to be provoked: 192 `UNKNOWN_USER`, 193 `WRONG_PASSWORD` and 194 `REQUIRED_PASSWORD`. This server answers
//! 516 to all three, so that nobody learns which users there are; older ones did not.
//!
//! Not listed, so tried again, and not provoked: 242 `TABLE_IS_READ_ONLY`, 285 `TOO_FEW_LIVE_REPLICAS`, 319 `UNKNOWN_STATUS_OF_INSERT` and 999
//! `KEEPER_EXCEPTION` need replicated tables, which this server keeps read-only; 243 `NOT_ENOUGH_SPACE` needs a full disk.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{collections::BTreeSet, io, sync::Arc, time::Duration};

use arrow::{
    array::{
        ArrayRef, BinaryArray, Date32Array, Int32Array, RecordBatch, RunArray, StringArray, UInt8Array, UInt32Array,
    },
    ipc::writer::StreamWriter,
};
use clickhouse::{Client, Compression, error::Error};
use shardlake_embedded::{Clickhouse, Options, User};
use shardlake_schema::answer::{
    self,
    Verdict::{self, Busy, Quarantine, Retry, Split, Stop},
};
use tokio::{net::TcpListener, time::sleep};

/// Listed, and not provoked: see the head.
const UNPROVOKED: [u32; 3] = [192, 193, 194];
/// Provoked beside a query that runs: see `a_server_that_has_enough_to_do_does_nothing_of_one_more_insert`.
const PROVOKED_BESIDE: u32 = 202;
/// Codes end below this (`ErrorCodes.cpp`).
const PAST_ALL_CODES: u32 = 2_000;

const ARROW: &str = "INSERT INTO t FORMAT ArrowStream";

const SETUP: &[&str] = &[
    "CREATE DATABASE shardlake",
    "CREATE TABLE shardlake.t (n UInt8) ENGINE = MergeTree ORDER BY ()",
    "CREATE TABLE default.t (n UInt8) ENGINE = MergeTree ORDER BY ()",
    "CREATE TABLE shardlake.several (n UInt8, day Date32, uuid UUID, word Enum8('a' = 1)) ENGINE = MergeTree ORDER BY ()",
    "CREATE TABLE shardlake.scattered (n UInt32) ENGINE = MergeTree PARTITION BY n ORDER BY ()",
    "CREATE TABLE shardlake.full (n UInt8) ENGINE = MergeTree ORDER BY () SETTINGS parts_to_delay_insert = 1, parts_to_throw_insert = 1",
    "INSERT INTO shardlake.full VALUES (1)",
    "CREATE VIEW shardlake.nowhere_to AS SELECT toUInt8(1) AS n",
    "CREATE TABLE shardlake.far (n UInt8) ENGINE = Distributed('nowhere', 'shardlake', 't')",
];

/// A cluster without a server behind it.
const NOWHERE: &str = "<clickhouse><remote_servers><nowhere><shard><replica><host>127.0.0.1</host><port>1</port></replica></shard></nowhere>\
                       </remote_servers></clickhouse>";

/// An insert that fails.
struct Case {
    code: u32,
    name: &'static str,
    verdict: Verdict,
    sql: &'static str,
    body: Vec<u8>,
    settings: Vec<(&'static str, &'static str)>,
    user: User,
    password: Option<&'static str>,
    database: &'static str,
}

impl Case {
    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.settings.push((name, value));
        self
    }
}

fn case(code: u32, name: &'static str, verdict: Verdict, sql: &'static str, body: impl Into<Vec<u8>>) -> Case {
    let (body, settings) = (body.into(), Vec::new());
    Case { code, name, verdict, sql, body, settings, user: User::Writer, password: None, database: "shardlake" }
}

/// A column as an Arrow stream.
fn arrow(name: &str, values: impl Into<ArrayRef>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter([(name, values.into())]).unwrap();
    let mut stream = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    stream.write(&batch).unwrap();
    stream.into_inner().unwrap()
}

fn column<A: arrow::array::Array + 'static>(name: &str, values: A) -> Vec<u8> {
    arrow(name, Arc::new(values) as ArrayRef)
}

/// What is wrong is the content.
fn poison() -> Vec<Case> {
    let numbers = || column("n", UInt8Array::from(vec![7; 1000]));
    let runs = RunArray::try_new(&Int32Array::from(vec![1]), &UInt8Array::from(vec![7])).unwrap();
    let text = |code, name, sql, body: &str| case(code, name, Quarantine, sql, body);
    vec![
        case(33, "CANNOT_READ_ALL_DATA", Quarantine, ARROW, &numbers()[..700]),
        case(50, "UNKNOWN_TYPE", Quarantine, ARROW, column("n", runs)),
        case(6, "CANNOT_PARSE_TEXT", Quarantine, ARROW, column("n", StringArray::from(vec!["x"]))),
        case(
            349,
            "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN",
            Quarantine,
            ARROW,
            column("n", UInt8Array::from(vec![None])),
        )
        .with("input_format_null_as_default", "0"),
        case(
            691,
            "UNKNOWN_ELEMENT_OF_ENUM",
            Quarantine,
            "INSERT INTO several (word) FORMAT ArrowStream",
            column("word", StringArray::from(vec!["z"])),
        ),
        case(
            376,
            "CANNOT_PARSE_UUID",
            Quarantine,
            "INSERT INTO several (uuid) FORMAT ArrowStream",
            column("uuid", BinaryArray::from(vec![&b"0123456789abcdef"[..]])),
        ),
        case(
            321,
            "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE",
            Quarantine,
            "INSERT INTO several (day) FORMAT ArrowStream",
            column("day", Date32Array::from(vec![i32::MAX])),
        ),
        case(
            252,
            "TOO_MANY_PARTS",
            Quarantine,
            "INSERT INTO scattered FORMAT ArrowStream",
            column("n", UInt32Array::from_iter_values(0..200)),
        ),
        text(27, "CANNOT_PARSE_INPUT_ASSERTION_FAILED", "INSERT INTO t FORMAT TSV", "x\n"),
        text(117, "INCORRECT_DATA", "INSERT INTO t FORMAT JSONEachRow", "{\"m\": 1}")
            .with("input_format_skip_unknown_fields", "0"),
        text(26, "CANNOT_PARSE_QUOTED_STRING", "INSERT INTO t SELECT length(CAST('[a]' AS Array(String)))", ""),
        text(38, "CANNOT_PARSE_DATE", "INSERT INTO t SELECT CAST('x' AS Date)", ""),
        text(41, "CANNOT_PARSE_DATETIME", "INSERT INTO t SELECT CAST('x' AS DateTime)", ""),
        text(53, "TYPE_MISMATCH", "INSERT INTO t FORMAT Values", "(('a', 1))"),
        text(70, "CANNOT_CONVERT_TYPE", "INSERT INTO t SELECT accurateCast(300, 'UInt8')", ""),
        text(72, "CANNOT_PARSE_NUMBER", "INSERT INTO t SELECT CAST('x' AS Float64)", ""),
        text(131, "TOO_LARGE_STRING_SIZE", "INSERT INTO t SELECT length(CAST('abc' AS FixedString(2)))", ""),
    ]
}

/// What is wrong is the table, the user or the settings.
fn needs_a_human() -> Vec<Case> {
    let good = || column("n", UInt8Array::from(vec![7]));
    let stop = |code, name, sql| case(code, name, Stop, sql, good());
    vec![
        case(8, "THERE_IS_NO_COLUMN", Stop, ARROW, column("m", UInt8Array::from(vec![7])))
            .with("input_format_arrow_allow_missing_columns", "0"),
        stop(16, "NO_SUCH_COLUMN_IN_TABLE", "INSERT INTO t (m) FORMAT ArrowStream"),
        case(43, "ILLEGAL_TYPE_OF_ARGUMENT", Stop, "INSERT INTO t SELECT plus('a', [1])", ""),
        stop(48, "NOT_IMPLEMENTED", "INSERT INTO nowhere_to FORMAT ArrowStream"),
        stop(60, "UNKNOWN_TABLE", "INSERT INTO nothing FORMAT ArrowStream"),
        Case { database: "nowhere", ..stop(81, "UNKNOWN_DATABASE", ARROW) },
        stop(115, "UNKNOWN_SETTING", ARROW).with("no_such_setting", "1"),
        Case { user: User::Reader, ..stop(164, "READONLY", ARROW) },
        stop(497, "ACCESS_DENIED", "INSERT INTO default.t FORMAT ArrowStream"),
        Case { password: Some("wrong"), ..stop(516, "AUTHENTICATION_FAILED", ARROW) },
    ]
}

/// Later it may work, or a part of it.
fn passes() -> Vec<Case> {
    let good = || column("n", UInt8Array::from(vec![7]));
    let slow = "INSERT INTO t SELECT sleepEachRow(1) FROM numbers(3)";
    let big = "INSERT INTO t SELECT length(groupArray(number)) FROM numbers(10000000)";
    vec![
        case(252, "TOO_MANY_PARTS", Retry, "INSERT INTO full FORMAT ArrowStream", good()),
        case(241, "MEMORY_LIMIT_EXCEEDED", Split, big, "").with("max_memory_usage", "1000000"),
        case(159, "TIMEOUT_EXCEEDED", Retry, slow, "").with("max_execution_time", "1").with("max_block_size", "1"),
        case(210, "NETWORK_ERROR", Retry, "INSERT INTO far FORMAT ArrowStream", good())
            .with("distributed_foreground_insert", "1"),
    ]
}

struct Server {
    clickhouse: Clickhouse,
    _directory: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let drop_ins = directory.path().join("config/config.d");
        std::fs::create_dir_all(&drop_ins).unwrap();
        std::fs::write(drop_ins.join("nowhere.xml"), NOWHERE).unwrap();
        let clickhouse = Clickhouse::start(Options::new(directory.path())).await.unwrap();
        let server = Self { clickhouse, _directory: directory };
        for sql in SETUP {
            server.client(User::Admin).query_raw(sql).execute().await.unwrap();
        }
        server
    }

    fn client(&self, user: User) -> Client {
        let login = self.clickhouse.credentials(user);
        let client = Client::default().with_url(self.clickhouse.url()).with_compression(Compression::None);
        client.with_user(login.user).with_password(login.password)
    }

    /// Inserts as the writer does.
    async fn fail(&self, case: &Case) -> Error {
        let mut client = self.client(case.user).with_database(case.database);
        if let Some(password) = case.password {
            client = client.with_password(password);
        }
        insert(&client, case.sql, &case.body, &case.settings).await.expect_err(case.name)
    }
}

async fn insert(client: &Client, sql: &str, body: &[u8], settings: &[(&str, &str)]) -> Result<(), Error> {
    let mut insert = client.insert_formatted_with(sql).with_setting("async_insert", "0");
    for (name, value) in settings {
        insert = insert.with_setting(*name, *value);
    }
    insert.send(body.to_vec().into()).await?;
    insert.end().await
}

/// What the server said differs from what the case says.
fn differs(case: &Case, error: &Error) -> Option<String> {
    let text = error.to_string();
    let code = text.split_once(": ").and_then(|(_, answer)| answer::exception_code(answer));
    let as_told = code == Some(case.code)
        && text.contains(&format!("({})", case.name))
        && answer::classify(error, None) == case.verdict;
    (!as_told)
        .then(|| format!("{} {} {:?}: {:?} {text}", case.code, case.name, case.verdict, answer::classify(error, None)))
}

#[tokio::test]
async fn every_listed_code_is_what_the_server_answers() {
    let server = Server::start().await;
    let mut wrong = Vec::new();
    let mut provoked = BTreeSet::from(UNPROVOKED);
    provoked.insert(PROVOKED_BESIDE);
    for case in poison().into_iter().chain(needs_a_human()).chain(passes()) {
        wrong.extend(differs(&case, &server.fail(&case).await));
        provoked.extend((case.verdict != Retry).then_some(case.code));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));

    let verdict = |code: &u32| answer::classify(&Error::BadResponse(format!("Code: {code}. DB::Exception")), None);
    let listed = (0..PAST_ALL_CODES).filter(|code| verdict(code) != Retry);
    for by_its_text in [241, 252] {
        provoked.remove(&by_its_text);
    }
    assert_eq!(provoked, listed.collect(), "each listed code has a case or a reason for having none");
    server.clickhouse.stop().await.unwrap();
}

/// Runs until it is killed.
const SLOW: &str = "INSERT INTO t SELECT sleepEachRow(1) FROM numbers(100)";
const SLOWLY: [(&str, &str); 3] =
    [("query_id", "slow"), ("max_block_size", "1"), ("function_sleep_max_microseconds_per_block", "0")];

/// Waits for [`SLOW`].
async fn runs(admin: &Client) {
    let running = "SELECT count() FROM system.processes WHERE query_id = 'slow'";
    while admin.query_raw(running).fetch_one::<u64>().await.unwrap() == 0 {
        sleep(Duration::from_millis(10)).await;
    }
}

async fn kill(admin: &Client) {
    admin.query_raw("KILL QUERY WHERE query_id = 'slow' SYNC").execute().await.unwrap();
}

#[tokio::test]
async fn a_server_that_has_enough_to_do_does_nothing_of_one_more_insert() {
    let server = Server::start().await;
    let (admin, writer) = (server.client(User::Admin), server.client(User::Writer).with_database("shardlake"));
    let beside = async {
        runs(&admin).await;
        let rows = column("n", UInt8Array::from(vec![7]));
        let one = [("max_concurrent_queries_for_user", "1")];
        let turned_away = insert(&writer, ARROW, &rows, &one).await.unwrap_err();
        assert_eq!(answer::code(&turned_away), Some(PROVOKED_BESIDE), "{turned_away}");
        assert_eq!(answer::classify(&turned_away, None), Busy);
        let sevens = "SELECT count() FROM shardlake.t WHERE n = 7";
        assert_eq!(admin.query_raw(sevens).fetch_one::<u64>().await.unwrap(), 0);
        insert(&writer, ARROW, &rows, &[]).await.unwrap();
        assert_eq!(admin.query_raw(sevens).fetch_one::<u64>().await.unwrap(), 1);
        kill(&admin).await;
    };
    let (killed, ()) = tokio::join!(insert(&writer, SLOW, b"", &SLOWLY), beside);
    assert!(killed.is_err());
    server.clickhouse.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_query_and_a_server_that_is_away_are_tried_again() {
    let server = Server::start().await;
    let writer = server.client(User::Writer).with_database("shardlake");
    let admin = server.client(User::Admin);
    let beside = async {
        runs(&admin).await;
        let twin = insert(&writer, SLOW, b"", &SLOWLY).await.unwrap_err();
        assert!(twin.to_string().contains("(QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING)"), "{twin}");
        assert_eq!(answer::classify(&twin, None), Retry);
        kill(&admin).await;
    };
    let (killed, ()) = tokio::join!(insert(&writer, SLOW, b"", &SLOWLY), beside);
    let killed = killed.unwrap_err();
    assert!(killed.to_string().contains("(QUERY_WAS_CANCELLED)"), "{killed}");
    assert_eq!(answer::classify(&killed, None), Retry);

    server.clickhouse.stop().await.unwrap();
    let refused = insert(&writer, ARROW, b"rows", &[]).await.unwrap_err();
    assert!(matches!(refused, Error::Network(_)), "{refused}");
    assert_eq!(answer::classify(&refused, None), Retry);
}

#[tokio::test]
async fn silence_is_tried_again_and_an_impossible_address_is_not() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::default().with_url(format!("http://{}", silent.local_addr().unwrap()));
    let moment = Some(Duration::from_millis(200));
    let mut insert = client.insert_formatted_with(ARROW).with_timeouts(moment, moment);
    insert.send("rows".into()).await.unwrap();
    let unanswered = insert.end().await.unwrap_err();
    assert!(matches!(unanswered, Error::TimedOut), "{unanswered}");
    assert_eq!(answer::classify(&unanswered, None), Retry);

    let impossible = Client::default().with_url("no address");
    let impossible = self::insert(&impossible, ARROW, b"rows", &[]).await.unwrap_err();
    assert!(matches!(impossible, Error::InvalidParams(_)), "{impossible}");
    assert_eq!(answer::classify(&impossible, None), Stop);
    let lost: Error = Error::Other(Box::new(io::Error::other("anything else")));
    assert_eq!(answer::classify(&lost, None), Retry);
}
