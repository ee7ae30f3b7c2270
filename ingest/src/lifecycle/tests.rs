use std::borrow::Cow;

use super::*;

const DOWN: ShardState = ShardState::Disconnected { reconnect_attempts: 0 };
const INTERVAL: Duration = Duration::from_millis(40);

/// Plays signs to a lifecycle, each one second after the one before, and renders the rows that come out.
struct Play {
    life: Lifecycle,
    now: TimeMs,
    unanswered_since: Option<Instant>,
    closing: bool,
    names: Names,
    rows: Vec<ShardEvent>,
}

impl Play {
    fn new() -> Self {
        Self {
            life: Lifecycle::new(0, DOWN, TimeMs(0)),
            now: TimeMs(0),
            unanswered_since: None,
            closing: false,
            names: Names::new("close_reason", 10),
            rows: Vec::new(),
        }
    }

    /// A shard that has connected and is active.
    fn active() -> Self {
        let mut play = Self::new();
        play.see(Sign::Nothing, ShardState::Identifying)
            .see(Sign::Hello(Some(INTERVAL)), ShardState::Identifying)
            .see(Sign::Ready, ShardState::Active);
        assert_eq!(play.told(), ["connecting", "identifying", "ready"]);
        play
    }

    fn see(&mut self, sign: Sign<'_>, state: ShardState) -> &mut Self {
        self.now.0 += 1_000;
        let reading = Reading {
            now: self.now,
            state,
            latency: None,
            unanswered_since: self.unanswered_since,
            closing: self.closing,
        };
        self.life.see(&sign, reading, &self.names, &mut self.rows);
        self
    }

    fn close(&mut self, code: u16, state: ShardState) -> &mut Self {
        let frame = CloseFrame { code, reason: Cow::Borrowed("") };
        self.see(Sign::Close(Some(&frame)), state)
    }

    fn resume(&mut self) -> &mut Self {
        self.see(Sign::Nothing, ShardState::Identifying)
            .see(Sign::Hello(Some(INTERVAL)), ShardState::Resuming)
            .see(Sign::Dispatch, ShardState::Resuming)
            .see(Sign::Dispatch, ShardState::Resuming)
            .see(Sign::Resumed, ShardState::Active)
    }

    /// The events since the last call: name, cause and initiator where there are any, close code.
    fn told(&mut self) -> Vec<String> {
        let tell = |row: ShardEvent| {
            let mut text = row.event.to_string();
            for part in [&row.cause, &row.initiator] {
                if !part.as_str().is_empty() {
                    text = format!("{text} {part}");
                }
            }
            if row.close_code > 0 { format!("{text} {}", row.close_code) } else { text }
        };
        self.rows.drain(..).map(tell).collect()
    }
}

#[test]
fn op7_is_one_loss_and_its_close_frame_is_our_own_echo() {
    let mut play = Play::active();
    play.see(Sign::Reconnect, DOWN).close(4000, DOWN).resume();
    let resumed = play.rows.last().unwrap();
    assert_eq!((resumed.downtime_ms, resumed.replayed), (6_000, 2));
    let told =
        ["reconnect_requested", "disconnected op7 server", "closed client 4000", "connecting", "resuming", "resumed"];
    assert_eq!(play.told(), told);
}

#[test]
fn op9_says_whether_the_session_lives() {
    let mut play = Play::active();
    play.see(Sign::InvalidSession(false), DOWN).close(1000, DOWN);
    assert_eq!(play.rows[0].resumable, 0);
    play.see(Sign::Nothing, ShardState::Identifying)
        .see(Sign::Hello(None), ShardState::Identifying)
        .see(Sign::Ready, ShardState::Active);
    let told =
        ["invalid_session", "disconnected op9 server", "closed client 1000", "connecting", "identifying", "ready"];
    assert_eq!(play.told(), told);
}

#[test]
fn a_reset_and_a_dead_peer_are_told_apart_by_the_heartbeat() {
    let mut play = Play::active();
    play.close(1006, DOWN);
    assert_eq!(play.told(), ["closed network 1006", "disconnected reset network"]);

    let mut play = Play::active();
    play.unanswered_since = Instant::now().checked_sub(INTERVAL);
    play.close(1006, DOWN);
    assert_eq!(play.told(), ["closed network 1006", "disconnected zombied network"]);

    // The heartbeat is still that of the connection before: this one has not even said HELLO.
    play.see(Sign::Nothing, ShardState::Identifying).close(1006, DOWN);
    assert_eq!(play.told(), ["connecting", "closed network 1006", "disconnected reset network"]);
}

#[test]
fn a_silent_end_is_told_by_the_next_sign_with_its_own_time() {
    let mut play = Play::active();
    play.see(Sign::Nothing, DOWN);
    let lost_at = play.now;
    play.see(Sign::Nothing, DOWN);
    assert!(play.rows.is_empty(), "it may still turn out to be our own close");
    play.resume();
    assert_eq!(play.rows[0].time, lost_at);
    assert_eq!(play.told(), ["disconnected silent network", "connecting", "resuming", "resumed"]);

    let mut play = Play::active();
    play.see(Sign::Nothing, DOWN).see(Sign::Dispatch, DOWN).see(Sign::Other, DOWN).close(1000, DOWN);
    assert_eq!(play.told(), ["disconnected client_close client", "closed client 1000"]);

    // The bot's close and its answer may fall into one poll.
    let mut play = Play::active();
    play.closing = true;
    play.close(1000, DOWN);
    assert_eq!(play.told(), ["closed client 1000", "disconnected client_close client"]);

    let mut play = Play::active();
    play.see(Sign::Nothing, DOWN);
    play.life.end(&mut play.rows);
    assert_eq!(play.told(), ["disconnected silent network"]);
}

#[test]
fn a_hello_on_a_live_connection_means_that_the_old_one_was_lost() {
    let mut play = Play::active();
    play.see(Sign::Hello(None), ShardState::Resuming).see(Sign::Resumed, ShardState::Active);
    assert_eq!(play.told(), ["disconnected silent network", "connecting", "resuming", "resumed"]);
}

#[test]
fn server_closes_keep_their_code_and_fatal_ones_end_the_shard() {
    let mut play = Play::active();
    play.close(4009, DOWN);
    assert_eq!(play.told(), ["closed server 4009", "disconnected server_close server 4009"]);

    let mut play = Play::active();
    play.close(4014, ShardState::FatallyClosed);
    assert_eq!(play.told(), ["closed server 4014", "disconnected server_close server 4014", "fatal"]);
}

#[test]
fn attempts_that_fail_are_told_one_by_one() {
    let mut play = Play::active();
    play.close(1006, DOWN)
        .see(Sign::Error { connect: true }, ShardState::Disconnected { reconnect_attempts: 1 })
        .see(Sign::Error { connect: true }, ShardState::Disconnected { reconnect_attempts: 2 });
    assert_eq!(play.told()[2..], ["connect_failed", "connect_failed"]);
}

#[test]
fn times_give_the_order_of_events() {
    let mut play = Play::active();
    let told_until = play.now;
    play.now.0 -= 10_000; // the clock is set back
    play.close(4000, DOWN).resume();
    let times: Vec<i64> = play.rows.iter().map(|row| row.time.0).collect();
    assert!(times.is_sorted_by(|a, b| a < b) && times[0] > told_until.0, "{times:?}");
}

#[test]
fn hello_tells_the_heartbeat_interval() {
    let hello = r#"{"t":null,"s":null,"op":10,"d":{"heartbeat_interval":41250,"_trace":[]}}"#;
    assert!(matches!(Sign::of_opcode(10, hello), Sign::Hello(Some(interval)) if interval.as_millis() == 41_250));
    assert!(matches!(Sign::of_opcode(10, "{}"), Sign::Hello(None)));
    assert!(matches!(Sign::of_opcode(9, r#"{"t":null,"s":null,"op":9,"d":true}"#), Sign::InvalidSession(true)));
    assert!(matches!(Sign::of_opcode(9, r#"{"t":null,"s":null,"op":9,"d":false}"#), Sign::InvalidSession(false)));
}
