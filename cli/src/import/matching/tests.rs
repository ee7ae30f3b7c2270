use super::*;

const DAY: i64 = 20_000;

fn at(seconds: f64) -> i64 {
    #[allow(clippy::cast_possible_truncation, reason = "a few days in microseconds")]
    let us = (seconds * 1e6) as i64;
    Day::number(DAY).start_us() + us
}

fn receipt(seconds: f64, kind: &'static str) -> Event {
    Event { at_us: at(seconds), what: What::Receipt { kind: kind.into() } }
}

fn command(seconds: f64, name: &'static str, duration_us: i64) -> Event {
    Event { at_us: at(seconds), what: What::Command { name: name.into(), duration_us } }
}

fn day(mut events: Vec<Event>, number: i64) -> Matched {
    events.sort_by_key(|event| event.at_us);
    let (from, to) = Day::number(number).decided_by();
    events.retain(|event| (from..to).contains(&event.at_us));
    let mut matched = day_of_guild(&events, Day::number(number));
    matched.told.sort_by_key(|told| told.at_us);
    matched
}

fn brief(matched: &Matched) -> Vec<(i64, &str, Option<i64>)> {
    matched.told.iter().map(|told| (told.at_us - at(0.0), told.command.as_str(), told.duration_us)).collect()
}

#[test]
fn a_command_takes_the_nearest_free_receipt() {
    let matched = day(
        vec![
            receipt(10.0, COMMAND_KIND),
            receipt(10.2, COMMAND_KIND),
            receipt(10.2, "component"),
            receipt(30.0, COMMAND_KIND),
            command(10.19, "a", 5),
            command(10.21, "b", 6),
            command(31.1, "far", 7),
        ],
        DAY,
    );
    let expected = [
        (10_000_000, "b", Some(6)),
        (10_200_000, "a", Some(5)),
        (10_200_000, "", None),
        (30_000_000, "", None),
        (31_100_000, "far", Some(7)),
    ];
    let mut brief = brief(&matched);
    brief.sort_by_key(|told| (told.0, std::cmp::Reverse(told.2)));
    assert_eq!(brief, expected);
    assert_eq!((matched.rows, matched.pairs), (7, 2));
}

#[test]
fn midnight_cuts_nothing_in_two() {
    // A chain over midnight, with what follows after a gap; a component is cut by the clock.
    let events = vec![
        receipt(-0.4, COMMAND_KIND),
        command(0.1, "late", 9),
        receipt(0.9, COMMAND_KIND),
        receipt(0.95, "component"),
        receipt(2.5, COMMAND_KIND),
        command(2.5, "next", 9),
    ];
    let before = day(events.clone(), DAY - 1);
    let after = day(events, DAY);
    assert_eq!(brief(&before), [(-400_000, "late", Some(9)), (900_000, "", None)]);
    assert_eq!(brief(&after), [(950_000, "", None), (2_500_000, "next", Some(9))]);
    assert_eq!((before.rows + after.rows, before.pairs + after.pairs), (6, 2));
}

#[test]
fn a_guild_that_never_rests_is_cut_all_the_same() {
    let mut events = Vec::new();
    for tenth in -20..8_000 {
        events.push(receipt(f64::from(tenth) / 10.0, COMMAND_KIND));
        events.push(command(f64::from(tenth) / 10.0, "x", 1));
    }
    let (before, after) = (day(events.clone(), DAY - 1), day(events, DAY));
    assert_eq!(before.told.last().unwrap().at_us, at(599.9));
    assert_eq!(after.told[0].at_us, at(600.0));
    assert_eq!(before.rows, before.pairs * 2);
    assert_eq!(after.pairs, 2_000, "what is left of the 8,000");
}

#[test]
fn a_command_that_took_hours_belongs_to_the_day_of_its_end() {
    let two_hours = 2 * LONGEST_COMMAND_MS * 1000;
    let events = vec![receipt(-3600.0, COMMAND_KIND), command(3600.0, "slow", two_hours)];
    assert_eq!(brief(&day(events.clone(), DAY - 1)), [(-3_600_000_000, "", None)]);
    assert_eq!(brief(&day(events, DAY)), [(-3_600_000_000, "slow", Some(two_hours))]);
}

#[test]
fn every_row_is_in_one_day() {
    // A generator of its own: the same rows on every run.
    let mut state = 7_u64;
    let mut next = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        i64::try_from((state >> 33) % below).unwrap()
    };
    for spread in [40, 400, 4_000] {
        let events: Vec<Event> = (0..2_000)
            .map(|_| {
                let at_us = at(0.0) + next(2 * spread * 1_000_000) - i64::try_from(spread).unwrap() * 1_000_000;
                let name = Name::from("x");
                let what = if next(2) == 0 {
                    What::Receipt { kind: COMMAND_KIND.into() }
                } else {
                    What::Command { name, duration_us: 5 }
                };
                Event { at_us, what }
            })
            .collect();
        let days: Vec<_> = (DAY - 2..=DAY + 1).map(|number| day(events.clone(), number)).collect();
        assert_eq!(days.iter().map(|day| day.rows).sum::<u64>(), 2_000);
        for day in days {
            assert_eq!(day.told.len() as u64 + day.pairs, day.rows);
        }
    }
}
