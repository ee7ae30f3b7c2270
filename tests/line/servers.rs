//! A ClickHouse cluster on this machine: several real engines that know each other, each a shard without replicas.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicU16, Ordering::Relaxed},
};

use clickhouse::Client;
use rustix::process::{Pid, Signal, kill_process};
use shardlake_embedded::{Clickhouse, Cluster, Options, User};
use shardlake_schema::{
    migrate,
    topology::{Topology, distribute, readers_database},
};
use tempfile::TempDir;

use super::DATABASE;

pub const TOPOLOGY: &str = "cluster=lake,replicas=none";

pub struct Servers {
    pub running: Vec<Option<Clickhouse>>,
    options: Vec<Options>,
    http_ports: Vec<u16>,
    tcp_ports: Vec<u16>,
    pub directory: TempDir,
}

impl Servers {
    /// Starts `count` servers, without any table, whose users may use these databases.
    pub async fn start(count: usize, databases: &[&str]) -> Self {
        Self::start_with_users(count, databases, "<clickhouse></clickhouse>").await
    }

    /// The same with further users, in the form of ClickHouse's configuration.
    pub async fn start_with_users(count: usize, databases: &[&str], users: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (http_ports, tcp_ports) = (free_ports(count), free_ports(count));
        let cluster = Cluster::new("lake", "notasecretatall", tcp_ports.clone());
        let options = |shard: usize| {
            let path = directory.path().join(format!("shard-{shard}"));
            fs::create_dir_all(path.join("config/users.d")).unwrap();
            fs::write(path.join("config/users.d/users.xml"), users).unwrap();
            let options = Options::new(path).with_http_port(http_ports[shard - 1]).with_databases(databases.to_vec());
            // One password per user, as for any cluster: the processes of a fleet share one configuration.
            let known = User::ALL.into_iter();
            known
                .fold(options, |options, user| options.with_password(user, user.name()))
                .with_cluster(cluster.clone(), shard)
        };
        let options: Vec<_> = (1..=count).map(options).collect();
        let mut servers = Self { running: Vec::new(), options, http_ports, tcp_ports, directory };
        for options in &servers.options {
            servers.running.push(Some(Clickhouse::start(options.clone()).await.unwrap()));
        }
        servers
    }

    /// The same with our tables, and the readers' database over them.
    pub async fn with_schema(count: usize) -> Self {
        let servers = Self::start(count, &[DATABASE, &readers_database(DATABASE)]).await;
        servers.apply(DATABASE).await;
        servers
    }

    /// Brings `database` to the schema on each server, and the readers' database over it.
    pub async fn apply(&self, database: &str) {
        let Ok(Topology::Cluster(cluster)) = TOPOLOGY.parse() else { unreachable!("it is one") };
        for shard in 1..=self.options.len() {
            let admin = self.client(shard, User::Admin, "system");
            migrate::apply(&admin, database).await.unwrap();
            distribute(&admin, database, &cluster).await.unwrap();
        }
    }

    /// A client of the server of shard `shard`, from 1.
    pub fn client(&self, shard: usize, user: User, database: &str) -> Client {
        Client::default()
            .with_url(self.url(shard))
            .with_user(user.name())
            .with_password(user.name())
            .with_database(database)
    }

    pub fn url(&self, shard: usize) -> String {
        format!("http://127.0.0.1:{}", self.http_ports[shard - 1])
    }

    /// Where the other shards ask it.
    pub fn tcp_port(&self, shard: usize) -> u16 {
        self.tcp_ports[shard - 1]
    }

    /// What all processes of a bot are given.
    pub fn urls(&self) -> String {
        (1..=self.options.len()).map(|shard| self.url(shard)).collect::<Vec<_>>().join(",")
    }

    /// Ends a server in the midst of whatever it does.
    pub async fn kill(&mut self, shard: usize) {
        let mut server = self.running[shard - 1].take().unwrap();
        let pid = Pid::from_raw(server.pid().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        server.exited().await;
    }

    /// Starts it again, with the same ports and data.
    pub async fn restart(&mut self, shard: usize) {
        self.running[shard - 1] = Some(Clickhouse::start(self.options[shard - 1].clone()).await.unwrap());
    }

    pub async fn stop(self) {
        for server in self.running.into_iter().flatten() {
            server.stop().await.unwrap();
        }
    }
}

/// Ports that a restarted server finds free again: below those that the system hands out for outgoing connections.
fn free_ports(count: usize) -> Vec<u16> {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() * 31 % u32::from(COUNT)).unwrap();
    let candidates = std::iter::repeat_with(|| FIRST + start.wrapping_add(NEXT.fetch_add(1, Relaxed)) % COUNT);
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    candidates.filter(is_free).take(count).collect()
}
