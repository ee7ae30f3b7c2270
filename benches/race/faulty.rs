//! The course with faults: a steady bot, connections that break in the middle of bodies, answers that are lost, and one
//! kill of ClickHouse while an insert is under way.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::sync::mpsc;

use crate::{
    contestant::{self, Lane},
    proxy::{Fault, Message, Proxy},
    server::Server,
};

const ROWS: u64 = 300_000;
const PER_SECOND: u64 = 20_000;
/// Small, so that there are many inserts to break.
const BATCH_ROWS: usize = 2_000;
/// Of the inserts into `interactions`, each such one is broken, in turn in one of these ways.
const EVERY: u64 = 5;
const FAULTS: [Fault; 4] = [Fault::CutInBody(50), Fault::AnswerLost, Fault::HalfAnswered(50), Fault::CutAfterBody];
/// ClickHouse is killed with this insert on its way.
const KILLED_WITH: u64 = 101;

/// Runs the course; returns its table.
pub(crate) async fn run(lanes: &[Lane]) -> String {
    let mut table = String::from(
        "| writer | inserts | of them broken | lost | twice | rows that the view counted, minus rows | recording held up s |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for lane in lanes {
        table += &one(*lane).await;
    }
    table
}

async fn one(lane: Lane) -> String {
    let mut server = Server::start().await;
    let (kill, mut killing) = mpsc::channel(1);
    let seen = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&seen);
    let proxy = Proxy::start(server.port(), move |request| {
        if !is_insert(request) {
            return None;
        }
        let number = count.fetch_add(1, Relaxed) + 1;
        if number == KILLED_WITH {
            let _ = kill.try_send(()); // the race is over: nothing to kill
        }
        number.is_multiple_of(EVERY).then(|| FAULTS[usize::try_from(number / EVERY).unwrap() % FAULTS.len()])
    })
    .await;

    let job = server.job(lane, proxy.port, ROWS, PER_SECOND, BATCH_ROWS);
    let mut finish = pin!(contestant::finish(contestant::start(&job)));
    let finish = tokio::select! {
        finish = &mut finish => panic!("too few inserts for a kill: {seen:?}, {finish:?}"),
        _ = killing.recv() => {
            server.kill_and_restart().await;
            finish.await
        }
    };
    drop(proxy);
    let stored = server.stored().await;
    server.stop().await;

    let inserts = seen.load(Relaxed);
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let held_up_s = finish.recording_s - ROWS as f64 / PER_SECOND as f64;
    eprintln!("{}: {finish:?}", lane.name());
    format!(
        "| {} | {inserts} | {} | {} | {} | {} | {:.1} |\n",
        lane.name(),
        inserts / EVERY,
        ROWS - stored.distinct,
        stored.rows - stored.distinct,
        stored.counted.cast_signed() - stored.rows.cast_signed(),
        held_up_s.max(0.0),
    )
}

fn is_insert(request: &Message) -> bool {
    let line = request.head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    line.contains("INSERT+INTO+") && line.contains("interactions")
}
