//! A ClickHouse with our schema and a month of rows up to now, asked as Grafana asks it.

use std::time::{SystemTime, UNIX_EPOCH};

use clickhouse::Client;
use shardlake_embedded::{Clickhouse, Options, User};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::plugin::Answer;

const DATABASE: &str = "shardlake";

/// The clusters that every table has rows of, one of them with a name to trip over.
pub(crate) const CLUSTERS: [&str; 3] = ["0", "1", "it's"];

/// A moment every 10 s in the last six hours, and every hour in the last 29 days (tables keep 30), in each cluster. `age`
/// is the time from then to now, in seconds.
const MOMENTS: &str = "
    (SELECT arrayJoin(['0', '1', 'it\\'s']) AS cluster, number AS id, if(number < 2160, number * 10 + 5, (number - 2160) * 3600 + 25) AS age,
        toDateTime64({now}, 3, 'UTC') - age AS at
     FROM numbers(2160 + 696))";

/// Rows of every table. Shards come and go every two minutes; the cluster `it's` died three minutes ago; of every cluster
/// the batch before the last is missing.
const ROWS: &[&str] = &[
    "INSERT INTO interactions (cluster, boot, batch, time, delivery_lag_ms, id_low, shards_total, shard_offset, guild_id, user_key, type, command, outcome, error_type, response_ms, duration_ms, locale, context)
     SELECT cluster, 1, 1, at, 200, id, 4, id % 4, id % 50, id % 500, 'application_command', concat('command ', toString(id % 7)), if(id % 30 = 7, 'error', 'success'), if(id % 30 = 7, 'Timeout', ''), 50 + id % 400, 60 + id % 900, 'en-GB', 'guild' FROM {moments}",
    "INSERT INTO shard_events (cluster, boot, batch, time, shard, event, state, cause, initiator, close_code, close_reason, resumable, in_state_ms, downtime_ms, replayed, latency_ms)
     SELECT cluster, 1, 1, at + toIntervalMillisecond(500 * step) AS time, id % 4, event, state, ['op7', 'connection', '', ''][step + 1], '', if(step = 0, 4000, 0), '', 1, 500, if(step = 3, 1500, 0), 3, 40
     FROM (SELECT *, arrayJoin(range(4)) AS step, ['disconnected', 'stuck', 'identifying', 'resumed'][step + 1] AS event, ['disconnected', 'disconnected', 'identifying', 'active'][step + 1] AS state FROM {moments}) WHERE (id % 12 = 0 OR id >= 2160) AND (event != 'stuck' OR id % 36 = 0)",
    "INSERT INTO guild_events (cluster, boot, batch, time, shard, guild_id, event, member_count, guilds, joined_at)
     SELECT cluster, 1, 1, at, id % 4, if(id % 3 = 0, 0, 1 + id % 50), ['counted', 'joined', 'left'][1 + id % 3], 900 + id % 90, 40 + id % 3, at - 100 * id FROM {moments}",
    "INSERT INTO gateway_counts (cluster, boot, batch, time, shard, event, dispatches, replayed, bytes)
     SELECT cluster, 1, 1, toStartOfInterval(at, toIntervalSecond(10)), arrayJoin(range(4)), 'MESSAGE_CREATE', 100 + id % 50, id % 3, 90000 FROM {moments}",
    "INSERT INTO samples (cluster, boot, batch, time, name, kind, labels, value)
     SELECT cluster, 1, 1, at, 'discord_shard_latency_seconds', 'gauge', map('shard', toString(arrayJoin(range(4)))), 0.03 + (id % 10) / 1000 FROM {moments}",
    "INSERT INTO samples (cluster, boot, batch, time, name, kind, labels, value)
     SELECT cluster, 1, 1, at, 'discord_event_loop_lag_seconds', 'gauge', map(), 0.001 * (id % 9) FROM {moments}",
    "INSERT INTO processes (cluster, boot, batch, time, last_seen_at, stopped_at, stop_reason, host, pid, version, shard_first, shard_count, shards_total, metrics_address, rows_observed, rows_landed, rows_spooled, rows_dropped)
     SELECT cluster, 1, 1, toDateTime64({now}, 3, 'UTC') - 2000000, toDateTime64({now}, 3, 'UTC') - if(cluster = 'it\\'s', 180, 10), 0, '', 'host', 1, '0.1.0', 0, 4, 12, '127.0.0.1:9191', 1000, 990, 7, 3 FROM {moments} WHERE id = 0",
    "INSERT INTO batches (cluster, boot, table, batch, rows, first_time, last_time, landed_at)
     SELECT cluster, 1, 'shard_events', 3, 1, at, at, at FROM {moments} WHERE id = 0",
];

pub(crate) struct Lake {
    clickhouse: Clickhouse,
    /// When the rows end, ms since 1970.
    pub(crate) now_ms: i64,
    _folder: tempfile::TempDir,
}

impl Lake {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clickhouse = Clickhouse::start(Options::new(folder.path())).await.unwrap();
        let admin = clickhouse.credentials(User::Admin);
        let admin = Client::default()
            .with_url(clickhouse.url())
            .with_user(admin.user)
            .with_password(admin.password)
            .with_database(DATABASE);
        shardlake_schema::migrate::apply(&admin, DATABASE).await.unwrap();

        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        for statement in ROWS {
            let sql = statement.replace("{moments}", MOMENTS).replace("{now}", &now_s.to_string());
            admin.query_raw(&sql).execute().await.unwrap_or_else(|error| panic!("{error}\n{sql}"));
        }
        Self { clickhouse, now_ms: i64::try_from(now_s).unwrap() * 1_000, _folder: folder }
    }

    /// One POST by the reader, with the settings of the plugin: the time that is left for the query and five seconds.
    pub(crate) async fn ask(&self, sql: &str) -> Answer {
        let reader = self.clickhouse.credentials(User::Reader);
        let request = format!(
            "POST /?database={DATABASE}&default_format=JSONCompact&max_execution_time=65 HTTP/1.0\r\n\
             X-ClickHouse-User: {}\r\nX-ClickHouse-Key: {}\r\nContent-Length: {}\r\n\r\n{sql}",
            reader.user,
            reader.password,
            sql.len()
        );
        let mut stream = TcpStream::connect(("127.0.0.1", self.clickhouse.http_port())).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{reply}\n{sql}"));
        assert!(head.contains(" 200 "), "{body}\n{sql}");
        Answer::parse(body)
    }

    pub(crate) async fn stop(self) {
        self.clickhouse.stop().await.unwrap();
    }
}
