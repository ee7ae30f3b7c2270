//! A ClickHouse of a test's own, and its administrator.

use clickhouse::Client;
use shardlake_embedded::{Clickhouse, Options, User};

/// The client's database is `shardlake`, which is not there yet.
pub(crate) async fn server() -> (Clickhouse, Client, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let clickhouse = Clickhouse::start(Options::new(directory.path())).await.unwrap();
    let admin = clickhouse.credentials(User::Admin);
    let client = Client::default()
        .with_url(clickhouse.url())
        .with_database("shardlake")
        .with_user(admin.user)
        .with_password(admin.password);
    (clickhouse, client, directory)
}
