//! `shardlake cluster`: run shards of a bot and record what they see.
//!
//! By itself it only watches: another process of the bot answers, so each interaction is recorded on receipt. With
//! `--answer` it is a small bot of its own, for demonstrations.

mod answer;

mod options;

mod plan;

use std::{process::ExitCode, sync::Arc};

use anyhow::Context as _;
use shardlake_ingest::{Observed, Receipt, Recorder};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use twilight_gateway::{CloseFrame, Event, EventTypeFlags, StreamExt as _};

use self::{answer::Answerer, plan::Plan};
use crate::signals;

pub(crate) use self::options::Options;

pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let settings = options.settle()?;
    let plan = Plan::draw(&settings).await?;
    println!("{plan}");

    let listener = match settings.metrics_listen {
        Some(address) => {
            let bound = TcpListener::bind(address).await;
            Some(bound.with_context(|| format!("cannot serve metrics on {address}; choose another --metrics-listen"))?)
        }
        None => None,
    };
    let recorder = Recorder::start(settings.recorder(&plan))?;
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let answerer = settings.answer.then(|| Arc::new(Answerer::new(plan::http(&settings), recorder.clone())));
    for shard in plan.shards(&settings) {
        tasks.spawn(run_shard(recorder.observe(shard), answerer.clone(), stopped.clone()));
    }
    if let Some(listener) = listener {
        println!("metrics    http://{}/metrics", listener.local_addr()?);
        let (recorder, mut stopped) = (recorder.clone(), stopped.clone());
        tasks.spawn(async move {
            let stop = async move {
                let _ = stopped.wait_for(|stop| *stop).await; // the sender is gone: also a reason to stop
            };
            if let Err(error) = recorder.serve_metrics(listener, stop).await {
                tracing::error!(%error, "metrics are not served any more");
            }
        });
    }

    let reason = tokio::select! {
        signal = signals::stop_requested() => signal,
        end = signals::input_ended(), if settings.until_input_ends => end,
        () = all_ended(&mut tasks) => "every shard was closed for good",
    };
    tracing::info!(reason, "draining");
    stop.send_replace(true);
    all_ended(&mut tasks).await;
    let receipt = recorder.shutdown(reason, settings.drain_deadline).await;
    Ok(report(&receipt))
}

async fn all_ended(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}

fn report(receipt: &Receipt) -> ExitCode {
    println!("\n{receipt}");
    if receipt.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The bot's own loop. It ends when the shard is closed for good, or after `stopped` when Discord has answered our
/// close: everything that was sent to us before has been seen then.
async fn run_shard(mut shard: Observed, answerer: Option<Arc<Answerer>>, mut stopped: watch::Receiver<bool>) {
    let wanted = if answerer.is_some() { EventTypeFlags::INTERACTION_CREATE } else { EventTypeFlags::empty() };
    let mut handlers = JoinSet::new();
    let mut closing = false;
    loop {
        let event = tokio::select! {
            event = shard.next_event(wanted) => event,
            _ = stopped.wait_for(|stop| *stop), if !closing => {
                closing = true;
                shard.close(CloseFrame::NORMAL);
                continue;
            }
            () = tokio::time::sleep(options::CLOSE_DEADLINE), if closing => break,
        };
        while handlers.try_join_next().is_some() {}
        match event {
            Some(Ok(Event::InteractionCreate(interaction))) => {
                if let Some(answerer) = &answerer {
                    handlers.spawn(Arc::clone(answerer).answer(interaction.0));
                }
            }
            Some(Ok(Event::GatewayClose(_))) if closing => break,
            Some(Ok(_)) => {}
            // The error's text may quote a payload; its kind does not.
            Some(Err(error)) => tracing::warn!(shard = shard.id().number(), kind = kind(&error), "gateway error"),
            None => break,
        }
    }
    all_ended(&mut handlers).await;
}

fn kind(error: &twilight_gateway::error::ReceiveMessageError) -> &'static str {
    use twilight_gateway::error::ReceiveMessageErrorType as Kind;
    match error.kind() {
        Kind::Compression => "a message could not be decompressed",
        Kind::Deserializing { .. } => "a message could not be parsed",
        Kind::Reconnect => "connecting failed",
        _ => "unknown",
    }
}
