use super::*;
use crate::row;

/// When the process started, and moments after it.
const START: TimeMs = TimeMs(1_700_000_000_000);
const LATER: TimeMs = TimeMs(START.0 + 1_000);
/// 2021-03-04T05:06:07.891Z: long before.
const JOINED_AT: TimeMs = TimeMs(1_614_834_367_891);

const READY_7_8: &str = r#"{"t":"READY","d":{"guilds":[{"id":"7","unavailable":true},{"id":"8","unavailable":true}]}}"#;
const READY_7: &str = r#"{"t":"READY","d":{"guilds":[{"id":"7","unavailable":true}]}}"#;
const OUTAGE_7: &str = r#"{"t":"GUILD_DELETE","d":{"id":"7","unavailable":true}}"#;
const LEFT_7: &str = r#"{"t":"GUILD_DELETE","d":{"id":"7"}}"#;
const LEFT_8: &str = r#"{"t":"GUILD_DELETE","d":{"id":"8"}}"#;

fn there(id: u64) -> String {
    format!(
        r#"{{"t":"GUILD_CREATE","d":{{"id":"{id}","unavailable":false,"member_count":{id}0,"joined_at":"2021-03-04T05:06:07.891000+00:00"}}}}"#
    )
}

/// As [`there`], but joined a minute after [`START`].
fn new(id: u64) -> String {
    there(id).replace("2021-03-04T05:06:07.891", "2023-11-14T22:14:20.000")
}

/// What a shard that starts anew and sees all this tells: `event guild members guilds`.
fn told(payloads: &[&str]) -> Vec<String> {
    let mut guilds = Guilds::new(3, START);
    for payload in payloads {
        match payload {
            _ if payload.contains("READY") => guilds.ready(&row::ready(payload).unwrap(), LATER),
            _ if payload.contains("GUILD_CREATE") => guilds.create(row::guild(payload).unwrap(), LATER),
            _ => guilds.delete(row::guild(payload).unwrap(), LATER),
        }
    }
    let in_order = guilds.rows.is_sorted_by(|before, after| before.time < after.time);
    assert!(in_order && guilds.rows.iter().all(|row| row.shard == 3 && row.time >= LATER));
    let row = |row: &GuildEvent| format!("{} {} {} {}", row.event.as_str(), row.guild_id, row.member_count, row.guilds);
    guilds.rows.iter().map(row).collect()
}

#[test]
fn a_session_s_start_is_one_count_and_no_join() {
    let start: &[&str] = &[READY_7_8, &there(7), &there(8)];
    assert_eq!(told(&start[..2]), [""; 0], "one is awaited");
    assert_eq!(told(start), ["counted 0 150 2"]);
    assert_eq!(told(&[start, start].concat()), ["counted 0 150 2", "counted 0 150 2"]);
    assert_eq!(told(&[r#"{"t":"READY","d":{"guilds":[]}}"#]), ["counted 0 0 0"]);
}

#[test]
fn who_comes_and_goes_in_a_session_joins_and_leaves() {
    // By Discord's clock 9 may have been joined before our process started: READY did not name it, so it is new.
    assert_eq!(
        told(&[READY_7, &there(7), &there(9), LEFT_7, &new(7), LEFT_8]),
        ["counted 0 70 1", "joined 9 90 2", "left 7 70 1", "joined 7 70 2", "left 8 0 2"]
    );
    assert_eq!(told(&[READY_7, LEFT_7]), ["left 7 0 0", "counted 0 0 0"], "before it was there");
}

#[test]
fn who_came_and_went_while_the_shard_was_away_is_told_by_the_next_session() {
    assert_eq!(
        told(&[READY_7, &there(7), READY_7_8, &there(7), &new(8)]),
        ["counted 0 70 1", "joined 8 80 2", "counted 0 150 2"]
    );
    assert_eq!(
        told(&[READY_7_8, &there(7), &there(8), READY_7, &there(7)]),
        ["counted 0 150 2", "left 8 80 1", "counted 0 70 1"]
    );
    // Away and back, all of it unseen.
    assert_eq!(
        told(&[READY_7, &there(7), READY_7, &new(7), &new(7)]),
        ["counted 0 70 1", "left 7 70 0", "joined 7 70 1", "counted 0 70 1"]
    );
    // While the process waited for its turn to identify.
    assert_eq!(told(&[READY_7, &new(7)]), ["joined 7 70 1", "counted 0 70 1"]);
}

#[test]
fn an_outage_begins_once_and_ends_once() {
    assert_eq!(
        told(&[READY_7, &there(7), OUTAGE_7, OUTAGE_7, &there(7), &there(7)]),
        ["counted 0 70 1", "unavailable 7 70 1", "available 7 70 1"]
    );
    // From a session's start on, and over a new session.
    assert_eq!(
        told(&[READY_7, OUTAGE_7, READY_7, OUTAGE_7, &there(7)]),
        ["unavailable 7 0 1", "counted 0 0 1", "counted 0 0 1", "available 7 70 1"]
    );
    let marked = there(7).replace(r#""unavailable":false"#, r#""unavailable":true"#);
    assert_eq!(told(&[READY_7, &marked, LEFT_7]), ["unavailable 7 0 1", "counted 0 0 1", "left 7 0 0"]);
    // Joined in the middle of one: told when Discord says what was joined.
    let marked = new(9).replace(r#""unavailable":false"#, r#""unavailable":true"#);
    assert_eq!(told(&[READY_7, &there(7), &marked, &new(9)]), ["counted 0 70 1", "unavailable 9 0 2", "joined 9 90 2"]);
}

#[test]
fn a_session_of_an_earlier_process_lists_nothing_and_the_time_of_joining_decides() {
    assert_eq!(
        told(&[&there(7), OUTAGE_7, &there(7), &new(8), LEFT_7, LEFT_8]),
        ["unavailable 7 70 0", "available 7 70 0", "joined 8 80 0", "left 7 70 0", "left 8 80 0"]
    );
    assert_eq!(told(&[OUTAGE_7, &there(7), LEFT_8]), ["unavailable 7 0 0", "available 7 70 0", "left 8 0 0"]);
}

#[test]
fn a_stay_has_a_beginning_and_a_shard_is_counted_every_day() {
    let mut guilds = Guilds::new(0, START);
    guilds.pass(LATER);
    assert_eq!(guilds.rows, [], "nothing is known");
    guilds.ready(&[7, 8], LATER);
    guilds.create(row::guild(&there(7)).unwrap(), LATER);
    guilds.pass(LATER);
    guilds.pass(TimeMs(LATER.0 + DAY_MS)); // 8 never comes, as without the intent
    guilds.pass(TimeMs(LATER.0 + DAY_MS + 1));
    let [count] = &guilds.rows[..] else { panic!("{:?}", guilds.rows) };
    assert_eq!((count.time, count.joined_at), (TimeMs(LATER.0 + DAY_MS), TimeMs(0)));
    assert_eq!((count.event.as_str(), count.guilds, count.member_count), ("counted", 2, 70));
    guilds.delete(row::guild(LEFT_7).unwrap(), TimeMs(LATER.0 + 2 * DAY_MS));
    assert_eq!(guilds.rows[1].joined_at, JOINED_AT);
}
