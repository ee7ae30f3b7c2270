//! Several of these servers as one ClickHouse cluster: each is a shard that knows all of them.
//!
//! A server reads who the others are at its start and never again, so their native TCP ports have to be chosen before the
//! first of them is started, and stay the same for as long as their data does. They trust each other by a secret that
//! all of them hold: what a user asks of one server is asked of the others in that user's name, with the rights that the
//! user has there. There is one replica of each shard: this engine cannot replicate.

use std::fmt::{self, Write as _};

use crate::error::Error;
use crate::options::is_identifier;

/// A ClickHouse cluster of servers on this machine.
#[derive(Clone, PartialEq, Eq)]
pub struct Cluster {
    name: String,
    secret: String,
    tcp_ports: Vec<u16>,
}

impl Cluster {
    /// A cluster whose shards listen on these ports, on 127.0.0.1, in the order of their numbers.
    ///
    /// `name` is letters, digits and underscores; `secret` is letters and digits, and the same in all servers. Whoever knows it
    /// is any user to them, so make it long.
    pub fn new(name: impl Into<String>, secret: impl Into<String>, tcp_ports: impl Into<Vec<u16>>) -> Self {
        Self { name: name.into(), secret: secret.into(), tcp_ports: tcp_ports.into() }
    }

    /// The native TCP port of a shard, numbered from 1; `None` if there is no such shard.
    pub(crate) fn tcp_port(&self, shard: usize) -> Option<u16> {
        self.tcp_ports.get(shard.checked_sub(1)?).copied()
    }

    /// Refuses what would end up as broken configuration. `shard` is the one that is to be started.
    pub(crate) fn check(&self, shard: usize) -> Result<(), Error> {
        let refuse = |option, value: String, expected| Err(Error::BadOption { option, value, expected });
        if !is_identifier(&self.name) {
            let expected = "use letters, digits and underscores, and do not begin with a digit";
            return refuse("the cluster's name", self.name.clone(), expected);
        }
        if self.secret.is_empty() || !self.secret.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return refuse("the cluster's secret", "(hidden)".to_owned(), "use letters and digits");
        }
        let mut distinct = self.tcp_ports.clone();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.len() != self.tcp_ports.len() || distinct.first() == Some(&0) {
            return refuse("the cluster's ports", format!("{:?}", self.tcp_ports), "give each shard a port of its own");
        }
        if self.tcp_port(shard).is_none() {
            return refuse("the shard", shard.to_string(), "shards are numbered from 1, one for each port");
        }
        Ok(())
    }

    /// The part of the configuration by which shard number `shard` knows all of them, and itself.
    pub(crate) fn configuration(&self, shard: usize) -> String {
        let Self { name, secret, tcp_ports } = self;
        let mut shards = String::new();
        for port in tcp_ports {
            write!(shards, "<shard><replica><host>127.0.0.1</host><port>{port}</port></replica></shard>")
                .expect("a String takes any text");
        }
        format!(
            "    <remote_servers><{name}><secret>{secret}</secret>{shards}</{name}></remote_servers>
    <macros><cluster>{name}</cluster><shard>{shard}</shard><replica>1</replica></macros>
"
        )
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("name", &self.name).field("tcp_ports", &self.tcp_ports).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_that_configuration_cannot_say_is_refused() {
        let option = |cluster: Cluster, shard| match cluster.check(shard) {
            Err(Error::BadOption { option, .. }) => option,
            other => panic!("{other:?}"),
        };
        Cluster::new("lake", "s3cret", [9001, 9002]).check(2).unwrap();
        assert_eq!(option(Cluster::new("a><b", "s", [1]), 1), "the cluster's name");
        assert_eq!(option(Cluster::new("lake", "a<b", [1]), 1), "the cluster's secret");
        assert_eq!(option(Cluster::new("lake", "s", [1, 1]), 1), "the cluster's ports");
        assert_eq!(option(Cluster::new("lake", "s", [0, 1]), 1), "the cluster's ports");
        for shard in [0, 3] {
            assert_eq!(option(Cluster::new("lake", "s", [1, 2]), shard), "the shard");
        }
        assert!(!format!("{:?}", Cluster::new("lake", "hunter2", [1])).contains("hunter2"));
    }
}
