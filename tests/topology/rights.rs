//! The users of `shardlake schema users --topology …`: each does its work over two shards, and nothing else.

use std::time::Duration;

use clickhouse::Client;
use shardlake_embedded::User;
use shardlake_schema::{
    answer,
    migrate::{MIGRATIONS, apply_on},
    topology::{Topology, distribute, readers_database},
    users::{Role, Users},
};

use crate::{
    line::{
        DATABASE,
        servers::{Servers, TOPOLOGY},
    },
    recording::{record, start_as, stop, until},
};

const PASSWORD: &str = "a long password";
/// `ACCESS_DENIED`.
const DENIED: u32 = 497;

#[tokio::test(flavor = "multi_thread")]
async fn each_user_does_its_work_on_every_shard() {
    let topology: Topology = TOPOLOGY.parse().unwrap();
    let users = Users::of(DATABASE).unwrap().on(topology.clone());
    let users = Role::ALL.into_iter().fold(users, |users, role| users.with_password(role, PASSWORD).unwrap());
    let all = readers_database(DATABASE);
    let servers = Servers::start_with_users(2, &[], &users.xml().unwrap()).await;
    let client = |shard: usize, role: Role, database: &str| {
        let client = Client::default().with_url(servers.url(shard)).with_database(database);
        client.with_user(users.name(role)).with_password(PASSWORD)
    };

    the_parser_reads_them(&servers.client(1, User::Admin, "system"), &users).await;
    let Topology::Cluster(cluster) = &topology else { unreachable!("it is one") };
    for shard in [1, 2] {
        let migrator = client(shard, Role::Migrator, "system");
        for _again in 0..2 {
            apply_on(&migrator, DATABASE, &topology, MIGRATIONS).await.unwrap();
            distribute(&migrator, DATABASE, cluster).await.unwrap();
        }
    }

    // One of the first shard and one of the second.
    let spools = tempfile::tempdir().unwrap();
    for name in ["0", "1"] {
        let (spool, age) = (spools.path().join(name), Duration::from_millis(50));
        let recorder = start_as(&users.name(Role::Writer), PASSWORD, name, &spool, &servers.urls(), age);
        record(&recorder, 0..100);
        until(&recorder, "landed", |book| book.landed == 100).await;
        stop(&recorder, Duration::from_secs(30)).await;
    }

    for shard in [1, 2] {
        let reader = client(shard, Role::Reader, &all);
        for (sql, expected) in [
            ("SELECT count() FROM (SELECT time FROM interactions)", 200),
            ("SELECT count() FROM interactions WHERE (cluster, boot) IN (SELECT cluster, boot FROM batches)", 200),
            ("SELECT sum(rows) FROM batches WHERE table = 'interactions'", 200),
            // A view too: each of these interactions is two rows of it.
            ("SELECT count() FROM argus_events_view", 400),
            ("SELECT uniqExact(_shard_num) FROM interactions", 2),
        ] {
            let found: u64 = reader.query_raw(sql).fetch_one().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
            assert_eq!(found, expected, "{sql}");
        }
        for sql in [
            "INSERT INTO interactions (cluster) VALUES ('x')",
            "SELECT * FROM cluster('lake', system.one)",
            "SELECT * FROM remote('127.0.0.1:1', system.one)",
            "SELECT * FROM url('http://127.0.0.1:1/', LineAsString)",
            "SELECT * FROM system.users",
        ] {
            let refused = reader.query_raw(sql).execute().await.unwrap_err();
            assert!(matches!(answer::code(&refused), Some(DENIED | 164)), "{sql}: {refused}");
        }
        let writer = client(shard, Role::Writer, &all);
        let refused = writer.query_raw("SELECT count(command) FROM interactions").execute().await.unwrap_err();
        assert_eq!(answer::code(&refused), Some(DENIED), "{refused}");
    }
    servers.stop().await;
}

/// The engine keeps no users of this kind; its parser reads the words.
async fn the_parser_reads_them(admin: &Client, users: &Users) {
    for topology in [TOPOLOGY, "cluster=lake"] {
        for statement in users.clone().on(topology.parse().unwrap()).sql() {
            let query = admin.query_raw("SELECT formatQuery({statement:String})").param("statement", &statement);
            let parsed = query.fetch_one::<String>().await;
            assert!(parsed.is_ok(), "{statement}: {parsed:?}");
        }
    }
}
