//! The server's configuration: what it listens on, who may do what, which limits hold, what it logs.
//!
//! ClickHouse merges every file of `config.d/` and `users.d/` beside these two into them, so what is not offered here can be added
//! there. Nobody but the owner may read the files.

use std::fmt::Write as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::data_dir::{Layout, write_private};
use crate::error::Error;
use crate::options::Options;
use crate::users::{Passwords, User, hex};

/// The file that the engine is started with, in the configuration directory.
pub(crate) const MAIN_FILE: &str = "config.xml";

/// The statements that open the listeners, beside it.
pub(crate) const START_FILE: &str = "start.sql";

const USERS_FILE: &str = "users.xml";

/// Query and part logs are for looking into this week's problem; without a limit they outgrow the data.
const SYSTEM_LOG_DAYS: u32 = 7;

/// The server's own log: two files of this size at most. One failed query takes about 3 kB.
const SERVER_LOG_SIZE: &str = "10M";

/// Background tasks (cleaning up, flushing) at a time. This engine's own choice is 2, of which a kind may take one: it then postpones
/// tasks several times a second, with a warning each.
const BACKGROUND_SCHEDULE_POOL_SIZE: u32 = 8;

/// ClickHouse's own limit is 5 GiB, more than the whole server may have here. It is filled only as far as marks are read.
const MARK_CACHE_BYTES: u64 = 256 << 20;

/// What a reader gets if it asks for nothing, and the most it may ask for. Grafana's data source asks for 65 s.
const READER_DEFAULT_EXECUTION_SECONDS: u32 = 60;
const READER_MAX_EXECUTION_SECONDS: u32 = 300;

/// What a reader gets if it asks for nothing: a picture or a table needs far fewer rows. More is an export, and asks for it.
const READER_DEFAULT_RESULT_ROWS: u64 = 1_000_000;
const READER_MAX_RESULT_ROWS: u64 = 20_000_000;

/// At a time. ClickHouse's own limit for a whole server, which this engine lifts. More would only wait for each other.
const READER_MAX_QUERIES: u32 = 100;
/// From how many rows and bytes on a second thread reads with the first, and how many granules one takes at a time, as `shardlake
/// schema users` has it: states of rollups cost some microseconds each.
const READER_ROWS_PER_THREAD: u32 = 1_024;
const READER_BYTES_PER_THREAD: u32 = 40 << 20;
const READER_GRANULES_PER_TASK: u32 = 4;

/// Values of one dictionary of a `LowCardinality` column on disk, before another one begins: as many as two bytes can number.
/// ClickHouse's own 8,192 are passed within days by the guilds and users of a cluster, which then stand in several
/// dictionaries each (`make bench BENCH="--bench encodings"`). Merges write with it; only the default profile reaches them.
const DICTIONARY_SIZE: u32 = 65_536;

/// At a time, of all clusters, as `shardlake schema users` has it: the rest is turned away, and comes again.
const WRITER_MAX_QUERIES: u32 = 32;

/// A reader may use one half of the server's memory, so that inserts and merges always find some.
const READER_MEMORY_SHARE: u64 = 2;

/// Writes all configuration files.
pub(crate) fn write(
    layout: &Layout,
    options: &Options,
    passwords: &Passwords,
    http_port: u16,
    tcp_port: Option<u16>,
) -> Result<(), Error> {
    let config = layout.config();
    write_private(&config.join(MAIN_FILE), &main_file(layout, options, http_port, tcp_port))?;
    write_private(&config.join(USERS_FILE), &users_file(options, passwords))?;
    write_private(&config.join(START_FILE), start_file(tcp_port.is_some()))
}

fn main_file(layout: &Layout, options: &Options, http_port: u16, tcp_port: Option<u16>) -> String {
    let path = xml_path(&layout.engine());
    let users = xml_path(&layout.config().join(USERS_FILE));
    let log = xml_path(&layout.log().join("clickhouse.log"));
    let history = xml_path(&layout.log().join("console_history"));
    let log_level = options.log_level.as_str();
    let memory_limit_bytes = options.memory_limit_bytes;
    let tcp_port = tcp_port.map(|port| format!("<tcp_port>{port}</tcp_port>")).unwrap_or_default();
    let cluster = options.cluster.as_ref().map(|(cluster, shard)| cluster.configuration(*shard)).unwrap_or_default();
    let query_log = system_log("query_log");
    let part_log = system_log("part_log");
    format!(
        "<!-- Written anew at each start. Add to it with files in config.d/. -->
<clickhouse>
    <path>{path}</path>
    <users_config>{users}</users_config>

    <listen_host>127.0.0.1</listen_host>
    <http_port>{http_port}</http_port>
    {tcp_port}
    <!-- Queries and health only. Left out: pages that run queries from a browser, and a terminal. -->
    <http_handlers>
        <rule>
            <url>/ping</url>
            <methods>GET,HEAD</methods>
            <handler><type>ping</type></handler>
        </rule>
        <rule>
            <url>/</url>
            <methods>GET,HEAD,POST,OPTIONS</methods>
            <handler><type>dynamic_query_handler</type></handler>
        </rule>
    </http_handlers>

    <!-- No overlay of a database with the file system; `default` is a database on disk like any other. -->
    <default_database></default_database>
    <database>default</database>

    <max_server_memory_usage>{memory_limit_bytes}</max_server_memory_usage>
    <mark_cache_size>{MARK_CACHE_BYTES}</mark_cache_size>
    <background_schedule_pool_size>{BACKGROUND_SCHEDULE_POOL_SIZE}</background_schedule_pool_size>
    <background_streaming_schedule_pool_size>{BACKGROUND_SCHEDULE_POOL_SIZE}</background_streaming_schedule_pool_size>

    <!-- The level has to stand outside of logger. -->
    <log-level>{log_level}</log-level>
    <logger>
        <log>{log}</log>
        <size>{SERVER_LOG_SIZE}</size>
        <count>1</count>
        <console>0</console>
    </logger>
{cluster}{query_log}{part_log}
    <!-- The console that nobody types into. It sets the mode of its history to 0600, so that must not be /dev/null. -->
    <disable_suggestion>1</disable_suggestion>
    <history_file>{history}</history_file>
    <progress>off</progress>
</clickhouse>
"
    )
}

fn system_log(table: &str) -> String {
    format!(
        "    <{table}>
        <database>system</database>
        <table>{table}</table>
        <ttl>event_date + INTERVAL {SYSTEM_LOG_DAYS} DAY DELETE</ttl>
    </{table}>
"
    )
}

/// What applies to whom.
fn profiles(options: &Options) -> String {
    let reader_memory_bytes = options.memory_limit_bytes / READER_MEMORY_SHARE;
    // The limit is for answers, so ClickHouse lifts it (0) for what one shard asks of another; at least 1 would cut that short.
    let min_result_rows = if options.cluster.is_some() { "" } else { "<min>1</min>" };
    format!(
        "        <default>
            <!-- As in any other ClickHouse server; `clickhouse-local` has them on. -->
            <implicit_select>0</implicit_select>
            <allow_introspection_functions>0</allow_introspection_functions>
            <low_cardinality_max_dictionary_size>{DICTIONARY_SIZE}</low_cardinality_max_dictionary_size>
        </default>
        <writer>
            <profile>default</profile>
            <max_concurrent_queries_for_user>{WRITER_MAX_QUERIES}</max_concurrent_queries_for_user>
        </writer>
        <reader>
            <profile>default</profile>
            <readonly>1</readonly>
            <max_execution_time>{READER_DEFAULT_EXECUTION_SECONDS}</max_execution_time>
            <max_memory_usage>{reader_memory_bytes}</max_memory_usage>
            <max_result_rows>{READER_DEFAULT_RESULT_ROWS}</max_result_rows>
            <max_concurrent_queries_for_user>{READER_MAX_QUERIES}</max_concurrent_queries_for_user>
            <!-- In a cluster: a subquery is asked of all shards, and its answer sent to each. Left to itself ClickHouse refuses. -->
            <distributed_product_mode>global</distributed_product_mode>
            <cancel_http_readonly_queries_on_client_close>1</cancel_http_readonly_queries_on_client_close>
            <merge_tree_min_rows_for_concurrent_read>{READER_ROWS_PER_THREAD}</merge_tree_min_rows_for_concurrent_read>
            <merge_tree_min_bytes_for_concurrent_read>{READER_BYTES_PER_THREAD}</merge_tree_min_bytes_for_concurrent_read>
            <merge_tree_min_read_task_size>{READER_GRANULES_PER_TASK}</merge_tree_min_read_task_size>
            <!-- What a reader may choose for a query: tighter limits, and what Grafana and the query service send. -->
            <constraints>
                <max_execution_time><min>1</min><max>{READER_MAX_EXECUTION_SECONDS}</max><changeable_in_readonly/></max_execution_time>
                <max_memory_usage><min>1</min><max>{reader_memory_bytes}</max><changeable_in_readonly/></max_memory_usage>
                <max_result_rows>{min_result_rows}<max>{READER_MAX_RESULT_ROWS}</max><changeable_in_readonly/></max_result_rows>
                <max_rows_to_read><changeable_in_readonly/></max_rows_to_read>
                <additional_table_filters><changeable_in_readonly/></additional_table_filters>
                <limit><changeable_in_readonly/></limit>
                <log_comment><changeable_in_readonly/></log_comment>
            </constraints>
        </reader>
        <console>
            <max_sessions_for_user>1</max_sessions_for_user>
        </console>
"
    )
}

fn users_file(options: &Options, passwords: &Passwords) -> String {
    let admin = user(User::Admin, "default", passwords, &["GRANT ALL ON *.* WITH GRANT OPTION".to_owned()]);
    let mut writer_grants = vec!["GRANT SELECT ON system.processes".to_owned()];
    let mut reader_grants = Vec::new();
    for database in &options.databases {
        writer_grants.push(format!("GRANT SELECT, INSERT ON {database}.*"));
        reader_grants.push(format!("GRANT SELECT ON {database}.*"));
    }
    let writer = user(User::Writer, "writer", passwords, &writer_grants);
    let reader = user(User::Reader, "reader", passwords, &reader_grants);
    let profiles = profiles(options);
    format!(
        "<!-- Written anew at each start. Add to it with files in users.d/. -->
<clickhouse>
    <profiles>
{profiles}    </profiles>
    <users>
{admin}{writer}{reader}
        <!-- The engine's console logs in under this name, without a password, before any listener is open. Its session is the only
             one that the user may have, so nobody else gets in, and it may do nothing but open the listeners. -->
        <default>
            <password></password>
            <networks><ip>127.0.0.1</ip></networks>
            <profile>console</profile>
            <quota>default</quota>
            <grants><query>GRANT SYSTEM LISTEN ON *.*</query></grants>
        </default>
    </users>
    <quotas><default></default></quotas>
</clickhouse>
"
    )
}

fn user(user: User, profile: &str, passwords: &Passwords, grants: &[String]) -> String {
    let name = user.name();
    let hash = hex(&Sha256::digest(passwords.of(user)));
    let mut queries = String::new();
    for grant in grants {
        write!(queries, "<query>{grant}</query>").expect("a String takes any text");
    }
    format!(
        "        <{name}>
            <password_sha256_hex>{hash}</password_sha256_hex>
            <networks><ip>127.0.0.1</ip></networks>
            <profile>{profile}</profile>
            <quota>default</quota>
            <grants>{queries}</grants>
        </{name}>
"
    )
}

/// HTTP last, so that once it answers, both are open.
fn start_file(tcp: bool) -> &'static str {
    if tcp { "SYSTEM START LISTEN TCP; SYSTEM START LISTEN HTTP;\n" } else { "SYSTEM START LISTEN HTTP;\n" }
}

/// A path as XML text. `DataDir::open` has refused those that XML cannot carry.
fn xml_path(path: &Path) -> String {
    path.to_string_lossy().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
