//! The example bot, run as its author would run it, against a simulated Discord and a real engine.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    env,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use clickhouse::Client;
use shardlake_embedded::{Clickhouse, Options, User};
use shardlake_schema::migrate;
use shardlake_simulator::{Mix, Profile, Scenario, Simulator, Traffic};
use tokio::{process::Command, time::sleep};

const INTERACTIONS: u64 = 40;
const MOST_ADDED_LINES: usize = 10;
const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn recording_adds_at_most_ten_lines() {
    let source = include_str!("../examples/bot.rs");
    let added = source.lines().filter(|line| line.ends_with("// +")).count();
    assert!((1..=MOST_ADDED_LINES).contains(&added), "{added} lines are marked as added");
    let unmarked = |line: &&str| line.contains("recorder") && !line.ends_with("// +") && !line.starts_with("//");
    let unmarked: Vec<_> =
        source.lines().filter(unmarked).filter(|line| !line.trim_start().starts_with("///")).collect();
    assert!(unmarked.is_empty(), "lines that recording adds without saying so: {unmarked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_bot_is_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let clickhouse = Clickhouse::start(Options::new(directory.path())).await.unwrap();
    let credentials = clickhouse.credentials(User::Admin);
    let admin = Client::default()
        .with_url(clickhouse.url())
        .with_database("shardlake")
        .with_user(credentials.user)
        .with_password(credentials.password);
    let writer = clickhouse.credentials(User::Writer);
    migrate::apply(&admin, "shardlake").await.unwrap();
    let discord =
        Simulator::start(Scenario { shards: 1, guilds: 10, users: 100, ..Scenario::default() }).await.unwrap();

    let rest = discord.rest_url();
    let bot = Command::new(example("bot"))
        .env("DISCORD_TOKEN", discord.token())
        .env("GATEWAY_URL", discord.gateway_url())
        .env("REST_PROXY", rest.trim_start_matches("http://").trim_end_matches("/api/v10"))
        .env("CLICKHOUSE_URL", clickhouse.url())
        .env("CLICKHOUSE_USER", writer.user)
        .env("CLICKHOUSE_PASSWORD", writer.password)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("`cargo test` without `--test` builds the example too");
    let traffic = Traffic { mix: Mix::Interactions, ..Traffic::of(Profile::Normal).unpaced().budget(INTERACTIONS) };
    discord.traffic(&traffic).sent().await;
    let answered = || discord.ledger().interactions.iter().map(|count| count.answered).sum::<u64>();
    let deadline = Instant::now() + PATIENCE;
    let commands = discord
        .ledger()
        .interactions
        .iter()
        .filter(|c| matches!(c.kind.discord_type(), 2 | 4))
        .map(|c| c.sent)
        .sum::<u64>();
    while answered() < commands {
        assert!(Instant::now() < deadline, "{} of {commands} commands were answered", answered());
        sleep(Duration::from_millis(50)).await;
    }

    let pid = rustix::process::Pid::from_raw(i32::try_from(bot.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let output = bot.wait_with_output().await.unwrap();
    let receipt = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && receipt.contains("interactions"), "{receipt}");

    let outcomes: Vec<(String, u64)> = admin
        .query_raw("SELECT toString(outcome), count() FROM interactions GROUP BY outcome ORDER BY outcome")
        .fetch_all()
        .await
        .unwrap();
    let expected = [("error".to_owned(), INTERACTIONS - commands), ("success".to_owned(), commands)];
    assert_eq!(outcomes, expected, "components and modals are what this bot does not know\n{receipt}");
    discord.stop().await;
    clickhouse.stop().await.unwrap();
}

/// Cargo builds examples beside the tests: `…/debug/deps/<test>` and `…/debug/examples/<example>`.
fn example(name: &str) -> PathBuf {
    let deps = env::current_exe().unwrap().parent().unwrap().to_owned();
    deps.parent().unwrap().join("examples").join(name)
}
