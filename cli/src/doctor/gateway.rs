//! Does Discord let the bot in, and how often still?

use std::time::Duration;

use shardlake_ingest::Secret;
use twilight_http::Client;
use twilight_model::gateway::connection_info::BotConnectionInfo;

use super::finding::{Findings, Level};
use crate::query::duration;

const DEADLINE: Duration = Duration::from_secs(10);

/// `shards_total`: of the clusters that run, if any does. `proxy`: what stands in for Discord.
pub(super) async fn check(token: &Secret, proxy: Option<&str>, shards_total: Option<u64>) -> Findings {
    let mut found = Findings::about("gateway");
    let client = Client::builder().token(token.reveal().to_owned()).timeout(DEADLINE);
    let client = match proxy {
        Some(proxy) => client.proxy(proxy.to_owned(), true).ratelimiter(None).build(),
        None => client.build(),
    };
    let info = match client.gateway().authed().await {
        Ok(reply) => reply.model().await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match info {
        Ok(info) => judge(&info, shards_total, &mut found),
        Err(why) => found.fail(
            format!("Discord does not answer GET /gateway/bot: {why}"),
            "check the token, and that this machine reaches discord.com",
        ),
    }
    found
}

fn judge(info: &BotConnectionInfo, shards_total: Option<u64>, found: &mut Findings) {
    found.ok("Discord takes the token");
    let limit = &info.session_start_limit;
    let shards = shards_total.unwrap_or(info.shards.into());
    #[expect(clippy::cast_precision_loss, reason = "it is less than a day")]
    let reset = duration((limit.reset_after / 1_000) as f64);
    let left = format!(
        "{} of {} session starts are left, for {shards} shards; all of them again in {reset}",
        limit.remaining, limit.total
    );
    match u64::from(limit.remaining) {
        remaining if remaining >= 2 * shards => found.ok(left),
        remaining => {
            let level = if remaining < shards { Level::Failed } else { Level::Warning };
            found.bad(level, left, "restart nothing until then: each start of a cluster takes one per shard, and past the limit the token is reset");
        }
    }
    let recommended = u64::from(info.shards);
    match shards_total {
        None => found.ok(format!("Discord recommends {recommended} shards; no cluster runs that could be compared")),
        Some(shards) if shards >= recommended => found.ok(format!("the bot runs {shards} shards, Discord recommends {recommended}")),
        Some(shards) => found.warn(
            format!("the bot runs {shards} shards, Discord recommends {recommended}"),
            "start all clusters with more --total-shards soon; `shardlake query clusters/capacity` says how near the limit is",
        ),
    }
}
