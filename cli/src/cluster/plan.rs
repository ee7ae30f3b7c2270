//! Which shards this cluster runs, and how fast it may identify them.
//!
//! Cluster i of n takes a contiguous range of the bot's shards, and the first `total % n` clusters take one more than the
//! others. Discord allows `max_concurrency` IDENTIFYs every 5 s for the whole bot; clusters do not talk to each other, so
//! each takes its part of that. Where even one each is too many, Discord refuses some with op 9 and twilight tries again.

use std::{fmt, time::Duration};

use anyhow::{Context as _, bail};
use twilight_gateway::{ConfigBuilder, Shard, ShardId, queue::InMemoryQueue};
use twilight_http::Client;
use twilight_model::gateway::connection_info::BotConnectionInfo;

use super::options::Settings;

/// The facts that Discord gave, and what follows from them.
#[derive(Debug)]
pub(super) struct Plan {
    cluster: u16,
    clusters: u16,
    pub(super) first: u16,
    pub(super) count: u16,
    pub(super) total: u16,
    concurrency: u16,
    discord: BotConnectionInfo,
}

impl Plan {
    /// Asks Discord, and computes.
    pub(super) async fn draw(settings: &Settings) -> anyhow::Result<Self> {
        let discord = http(settings)
            .gateway()
            .authed()
            .await
            .context("Discord does not answer GET /gateway/bot; check the token and the network")?
            .model()
            .await
            .context("Discord's answer to GET /gateway/bot cannot be read")?;
        let recommended = u16::try_from(discord.shards).unwrap_or(u16::MAX);
        let total = settings.total_shards.unwrap_or(recommended);
        let (first, count) = range(settings.cluster, settings.clusters, total);
        if count == 0 {
            bail!(
                "cluster {} of {} has no shard: the bot has {total} in all; run fewer clusters",
                settings.cluster,
                settings.clusters
            );
        }
        let share = discord.session_start_limit.max_concurrency / settings.clusters;
        let concurrency = settings.concurrency.unwrap_or(share.max(1));
        Ok(Self { cluster: settings.cluster, clusters: settings.clusters, first, count, total, concurrency, discord })
    }

    /// The shards, not connected yet.
    pub(super) fn shards(&self, settings: &Settings) -> Vec<Shard> {
        let limit = &self.discord.session_start_limit;
        let reset_after = Duration::from_millis(limit.reset_after);
        let remaining = limit.remaining.min(limit.total); // the queue panics on more
        let queue = InMemoryQueue::new(self.concurrency, remaining, reset_after, limit.total);
        let mut config = ConfigBuilder::new(settings.token.reveal().to_owned(), settings.intents).queue(queue);
        if let Some(url) = &settings.gateway_url {
            config = config.proxy_url(url.clone());
        }
        let config = config.build();
        let ids = (self.first..self.first + self.count).map(|id| ShardId::new(id.into(), self.total.into()));
        ids.map(|id| Shard::with_config(id, config.clone())).collect()
    }
}

/// A client for Discord's REST interface, or for what stands in for it.
pub(super) fn http(settings: &Settings) -> Client {
    let client = Client::builder().token(settings.token.reveal().to_owned());
    match &settings.rest_proxy {
        Some(proxy) => client.proxy(proxy.clone(), true).ratelimiter(None).build(),
        None => client.build(),
    }
}

/// First shard and number of shards of cluster `cluster` of `clusters`.
fn range(cluster: u16, clusters: u16, total: u16) -> (u16, u16) {
    let (each, more) = (total / clusters, total % clusters);
    (cluster * each + cluster.min(more), each + u16::from(cluster < more))
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = &self.discord.session_start_limit;
        writeln!(
            f,
            "Discord    recommends {} shards, allows {} IDENTIFYs per 5 s, {} of {} session starts left",
            self.discord.shards, limit.max_concurrency, limit.remaining, limit.total
        )?;
        write!(
            f,
            "cluster    {} of {}: shards {} to {} of {} ({} / {} = {} each, the first {} one more), {} IDENTIFYs per 5 s",
            self.cluster,
            self.clusters,
            self.first,
            self.first + self.count - 1,
            self.total,
            self.total,
            self.clusters,
            self.total / self.clusters,
            self.total % self.clusters,
            self.concurrency
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_contiguous_and_cover_every_shard_once() {
        for (clusters, total) in [(1, 1), (4, 16), (3, 16), (7, 100), (5, 3), (100, 1600)] {
            let mut next = 0;
            for cluster in 0..clusters {
                let (first, count) = range(cluster, clusters, total);
                assert_eq!(first, next, "cluster {cluster} of {clusters}, {total} shards");
                next += count;
            }
            assert_eq!(next, total);
        }
        assert_eq!(range(1, 3, 16), (6, 5));
    }
}
