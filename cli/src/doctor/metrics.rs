//! Can the running clusters be watched: each /metrics by itself, and all of them through Prometheus?

use std::{collections::BTreeSet, time::Duration};

use axum::{
    body::{Body, to_bytes},
    http::{Request, Uri},
};
use clickhouse::Client;
use serde::Deserialize;
use tokio::task::JoinSet;

use super::{
    finding::{Findings, count, some},
    server::read,
};
use crate::http::Http;

/// Prometheus itself gives up after 10 s.
const DEADLINE: Duration = Duration::from_secs(10);

/// A scrape of a big cluster, generously.
const MOST_BYTES: usize = 64 << 20;

/// Of the clusters that were seen lately and did not stop: where they say that they serve.
const ADDRESSES: &str = "SELECT cluster, host, metrics_address FROM processes FINAL \
    WHERE last_seen_at > now64(3) - toIntervalMinute(2) AND stopped_at = toDateTime64(0, 3, 'UTC') ORDER BY cluster";

/// Each process's own page.
pub(super) async fn pages(client: &Client, http: &Http) -> Findings {
    let mut found = Findings::about("metrics");
    let clusters = match read(client.query_raw(ADDRESSES).fetch_all::<(String, String, String)>(), DEADLINE).await {
        Ok(clusters) => clusters,
        Err(why) => {
            found.fail(format!("addresses of clusters cannot be read: {why}"), "let the user read the table processes");
            return found;
        }
    };
    let mut scrapes = JoinSet::new();
    for (cluster, host, address) in clusters.into_iter().filter(|(_, _, address)| !address.is_empty()) {
        let (http, url) = (http.clone(), url(&host, &address));
        scrapes.spawn(async move {
            let scraped = scrape(&http, &url, &cluster).await;
            (cluster, url, scraped)
        });
    }
    let mut served = 0;
    let mut unserved = Vec::new();
    while let Some(scraped) = scrapes.join_next().await {
        match scraped {
            Ok((_, _, Ok(()))) => served += 1,
            Ok((cluster, url, Err(error))) => unserved.push(format!("cluster {cluster} at {url} ({error:#})")),
            Err(error) => unserved.push(error.to_string()),
        }
    }
    unserved.sort();
    if served > 0 {
        found.ok(format!("{} metrics", count(served, "cluster serves its", "clusters serve their")));
    }
    if !unserved.is_empty() {
        found.warn(
            format!("no metrics of {}", some(&unserved)),
            "if Prometheus reaches it and this machine does not, all is well; else look at --metrics-listen and the firewall",
        );
    }
    found
}

/// A process that listens on every address is reached by its host's name.
fn url(host: &str, address: &str) -> String {
    let port = address.rsplit_once(':').map_or(address, |(_, port)| port);
    let is_everywhere = address.starts_with("0.0.0.0:") || address.starts_with("[::]:");
    if is_everywhere { format!("http://{host}:{port}/metrics") } else { format!("http://{address}/metrics") }
}

async fn scrape(http: &Http, url: &str, cluster: &str) -> anyhow::Result<()> {
    let text = get(http, url).await?;
    let text = String::from_utf8_lossy(&text);
    if text.contains(&format!("cluster=\"{cluster}\"")) {
        return Ok(());
    }
    anyhow::bail!("what answers there is not this cluster")
}

async fn get(http: &Http, url: &str) -> anyhow::Result<Vec<u8>> {
    let uri: Uri = url.parse()?;
    let reply = http.send(Request::get(uri).body(Body::empty())?, DEADLINE).await?;
    anyhow::ensure!(reply.status().is_success(), "it answers {}", reply.status());
    let body = tokio::time::timeout(DEADLINE, to_bytes(reply.into_body(), MOST_BYTES)).await??;
    Ok(body.into())
}

/// Prometheus' answer to an instant query, and to `/api/v1/alerts`.
#[derive(Deserialize)]
struct Answer<D> {
    data: D,
}

#[derive(Deserialize)]
struct Vector {
    result: Vec<Labelled>,
}

#[derive(Deserialize)]
struct Alerts {
    alerts: Vec<Alert>,
}

#[derive(Deserialize)]
struct Alert {
    state: String,
    labels: Labels,
}

#[derive(Deserialize)]
struct Labelled {
    metric: Labels,
}

#[derive(Deserialize)]
struct Labels {
    cluster: Option<String>,
    alertname: Option<String>,
}

/// What Prometheus knows of the `running` clusters.
pub(super) async fn prometheus(http: &Http, url: &str, running: &[String]) -> Findings {
    let mut found = Findings::about("Prometheus");
    let url = url.trim_end_matches('/');
    let asked = async {
        let scraped: Answer<Vector> =
            serde_json::from_slice(&get(http, &format!("{url}/api/v1/query?query=discord_shards_configured")).await?)?;
        let alerts: Answer<Alerts> = serde_json::from_slice(&get(http, &format!("{url}/api/v1/alerts")).await?)?;
        let rules = String::from_utf8(get(http, &format!("{url}/api/v1/rules")).await?)?;
        anyhow::Ok((scraped.data.result, alerts.data.alerts, rules))
    };
    let (scraped, alerts, rules) = match asked.await {
        Ok(answers) => answers,
        Err(error) => {
            found.fail(format!("{url} does not answer: {error:#}"), "check --prometheus-url, and that Prometheus runs");
            return found;
        }
    };
    let scraped: BTreeSet<String> = scraped.into_iter().filter_map(|series| series.metric.cluster).collect();
    let unknown: Vec<String> = running.iter().filter(|name| !scraped.contains(*name)).cloned().collect();
    if unknown.is_empty() {
        found.ok(format!("it scrapes {}", count(scraped.len(), "cluster", "clusters")));
    } else {
        found.fail(
            format!("it does not scrape cluster {}", some(&unknown)),
            "add their hosts to its targets, as deploy/prometheus/prometheus.yml does, and look at its page of targets",
        );
    }
    if rules.contains("ShardlakeRowsDropped") {
        found.ok("it has our alerts");
    } else {
        found.warn("it has none of our alerts", "load deploy/prometheus/rules.yml");
    }
    let is_ours = |alert: &&Alert| {
        alert.state == "firing" && alert.labels.alertname.as_deref().is_some_and(|name| name.starts_with("Shardlake"))
    };
    for alert in alerts.iter().filter(is_ours) {
        let name = alert.labels.alertname.as_deref().unwrap_or_default();
        let of = alert.labels.cluster.as_ref().map(|cluster| format!(" for cluster {cluster}")).unwrap_or_default();
        found.warn(format!("the alert {name} fires{of}"), "deploy/prometheus/rules.yml says what it means");
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_looked_for_on_its_host() {
        for (address, at) in [
            ("0.0.0.0:9191", "http://bot-1:9191/metrics"),
            ("[::]:9191", "http://bot-1:9191/metrics"),
            ("127.0.0.1:9191", "http://127.0.0.1:9191/metrics"),
            ("10.0.0.7:80", "http://10.0.0.7:80/metrics"),
        ] {
            assert_eq!(url("bot-1", address), at);
        }
    }
}
