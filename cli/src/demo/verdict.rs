//! Whether everything arrived: what the simulator says it sent against what ClickHouse holds, per shard.

use std::collections::BTreeMap;

use clickhouse::Client;
use shardlake_schema::TimeMs;
use shardlake_simulator::LedgerSnapshot;

/// Compares, prints what differs, and says whether nothing did. Rows of earlier demonstrations in the same directory are
/// left out: their processes started before `since`.
pub(super) async fn hold(sent: &LedgerSnapshot, reader: &Client, since: TimeMs) -> anyhow::Result<bool> {
    // The upper 42 bits of a boot are its start; see the column comment of `processes.boot`.
    let first_boot = since.0.saturating_sub(TimeMs::DISCORD_EPOCH.0).cast_unsigned() << 22;
    let stored: Vec<(u16, String, u64)> = reader
        .query_raw("SELECT shard, toString(event), toUInt64(sum(dispatches)) FROM gateway_counts WHERE boot >= {boot:UInt64} GROUP BY shard, event")
        .param("boot", first_boot)
        .fetch_all()
        .await?;
    let stored: BTreeMap<_, _> =
        stored.into_iter().map(|(shard, event, count)| ((u32::from(shard), event), count)).collect();
    let sent_each = sent.shards.iter().flat_map(|(shard, ledger)| {
        let dispatches = ledger.dispatches.iter();
        dispatches.map(|(event, tally)| ((*shard, event.to_string()), tally.distinct()))
    });
    let sent_each: BTreeMap<_, _> = sent_each.filter(|(_, count)| *count > 0).collect();

    let mut agree = true;
    for key in sent_each.keys().chain(stored.keys().filter(|key| !sent_each.contains_key(*key))) {
        let (sent, stored) = (sent_each.get(key).copied().unwrap_or(0), stored.get(key).copied().unwrap_or(0));
        if sent != stored {
            agree = false;
            println!("shard {} {}: {sent} sent, {stored} stored", key.0, key.1);
        }
    }
    let interactions: u64 = reader
        .query_raw("SELECT uniqExact(interaction_id) FROM interactions WHERE boot >= {boot:UInt64}")
        .param("boot", first_boot)
        .fetch_one()
        .await?;
    println!(
        "Discord sent {} dispatches, {} of them interactions; ClickHouse holds {} and {interactions}",
        sent.distinct_total(),
        sent.interactions_sent(),
        stored.values().sum::<u64>(),
    );
    Ok(agree && interactions == sent.interactions_sent())
}
