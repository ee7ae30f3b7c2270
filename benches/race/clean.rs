//! The clean course: as fast as it goes, and nothing breaks. Once with our batches as they are by default, once with larger
//! ones: the crate's own example allows for 750,000 rows.

use std::fmt::Write as _;

use crate::{
    contestant::{self, Lane},
    server::Server,
};

const ROWS: u64 = 2_000_000;
pub(crate) const BATCH_ROWS: [usize; 2] = [50_000, 250_000];
const ROUNDS: usize = 3;

/// One contestant in one round. CPU is in seconds per million rows.
struct Round {
    rows_per_s: f64,
    client_cpu_s: f64,
    bot_cpu_s: f64,
    engine_cpu_s: f64,
    /// Of `engine_cpu_s`, the inserts with their views.
    insert_cpu_s: f64,
    /// Of `engine_cpu_s`, the merges that followed.
    merge_cpu_s: f64,
    peak_mib: f64,
    wire_bytes_per_row: f64,
}

/// Runs the course with batches of so many rows; returns its table.
pub(crate) async fn run(lanes: &[Lane], batch_rows: usize) -> String {
    let mut server = Server::start().await;
    let mut results: Vec<Vec<Round>> = lanes.iter().map(|_| Vec::new()).collect();
    for number in 1..=ROUNDS {
        for (lane, rounds) in lanes.iter().zip(&mut results) {
            let round = round(&mut server, *lane, batch_rows).await;
            let cpu = round.client_cpu_s + round.engine_cpu_s;
            eprintln!("round {number}, {}: {:.0} rows/s, {cpu:.2} CPU s/M rows", lane.name(), round.rows_per_s);
            rounds.push(round);
        }
    }
    server.stop().await;
    format!("Batches of {batch_rows} rows:\n\n{}", table(lanes, &results))
}

async fn round(server: &mut Server, lane: Lane, batch_rows: usize) -> Round {
    server.clear().await;
    let (engine_s, wire_bytes) = (server.cpu_s(), server.received_bytes().await);
    let job = server.job(lane, server.port(), ROWS, 0, batch_rows);
    let finish = contestant::finish(contestant::start(&job)).await;
    server.merged().await;
    let engine_s = server.cpu_s() - engine_s;
    let wire_bytes = server.received_bytes().await - wire_bytes;
    let (insert_s, merge_s) = server.bill_s().await;
    let stored = server.stored().await;
    assert_eq!((stored.rows, stored.distinct, stored.counted), (ROWS, ROWS, ROWS), "{lane:?} {finish:?}");

    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let (rows, wire_bytes, peak_bytes) = (ROWS as f64, wire_bytes as f64, finish.peak_bytes as f64);
    let per_million = 1e6 / rows;
    Round {
        rows_per_s: rows / finish.took_s,
        client_cpu_s: finish.cpu_s * per_million,
        bot_cpu_s: finish.bot_cpu_s * per_million,
        engine_cpu_s: engine_s * per_million,
        insert_cpu_s: insert_s * per_million,
        merge_cpu_s: merge_s * per_million,
        peak_mib: peak_bytes / f64::from(1 << 20),
        wire_bytes_per_row: wire_bytes / rows,
    }
}

fn table(lanes: &[Lane], results: &[Vec<Round>]) -> String {
    let mut table = String::from(
        "| writer | rows/s | CPU s per million rows | of it client | of that the bot's thread | of it engine | \
         inserts | merges | client's peak MiB | bytes/row received |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for (lane, rounds) in lanes.iter().zip(results) {
        let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
        let _ = writeln!(
            table,
            "| {} | {:.0} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.0} | {:.1} |",
            lane.name(),
            of(|round| round.rows_per_s),
            of(|round| round.client_cpu_s + round.engine_cpu_s),
            of(|round| round.client_cpu_s),
            of(|round| round.bot_cpu_s),
            of(|round| round.engine_cpu_s),
            of(|round| round.insert_cpu_s),
            of(|round| round.merge_cpu_s),
            of(|round| round.peak_mib),
            of(|round| round.wire_bytes_per_row),
        ); // a string always has room
    }
    table
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
