//! What a header may say, and how it is told what it may not.

use super::*;

const GOOD: &str = "\
-- title: Interactions
-- description: How many,
--   and where from.
-- panel: timeseries
-- table: interactions
-- min_step: 10s
--
-- param: from  DateTime64(3, 'UTC') = -1h  Start of the range
-- param: to    DateTime64(3,'UTC')  = now  End of the range
-- param: step  UInt32               = auto Width of a bucket
-- param: shard Array(UInt16)        = 0,1  Shards
-- param: guild UInt64                      Guild
-- column: time time  Start of the bucket
-- column: n    count How many
SELECT {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')}, {step:UInt32}, {shard:Array(UInt16)}, {guild:UInt64}
";

#[test]
fn reads_a_header() {
    let question = parse("interactions", "volume", GOOD).unwrap();
    assert_eq!(question.description, "How many, and where from.");
    assert_eq!((question.panel, question.min_step_s, question.unit()), (Panel::Timeseries, 10, Unit::Count));
    let shard = question.parameter("shard").unwrap();
    assert_eq!((shard.kind.sql_type().as_str(), shard.default.as_deref()), ("Array(UInt16)", Some("0,1")));
    assert_eq!(question.parameter("guild").unwrap().default, None);
    assert_eq!(question.parameter("tz").unwrap().kind, Kind::Zone, "every range has a time zone");
    assert_eq!(question.parameter("compare").unwrap().kind, Kind::Word, "and one before it");
    assert_eq!(question.parameter("cursor"), None, "it has no limit");
    assert_eq!(question.sql, GOOD, "ClickHouse gets the file unchanged");
    parse("interactions", "volume", &GOOD.replace("{step:UInt32}", "{edges:Array(Int64)}, {tz:String}")).unwrap();
}

/// Each change of the good file, the line that is blamed, and a word of the reason.
#[test]
fn blames_the_right_line() {
    for (before, after, line, reason) in [
        ("-- title: Interactions", "-- tittle: Interactions", 1, "tittle"),
        ("-- title: Interactions\n", "", 1, "title"),
        ("-- title: Interactions", "-- title:", 1, "no value"),
        ("-- title: Interactions", "--   title: Interactions", 1, "above"),
        ("-- title: Interactions", "-- Interactions", 1, "key: value"),
        ("-- panel: timeseries", "-- panel: pie", 4, "bargauge"),
        ("-- panel: timeseries", "-- panel: table\n-- panel: stat", 5, "twice"),
        ("-- table: interactions", "-- table: a.b", 5, "table"),
        ("-- min_step: 10s", "-- min_step: soon", 6, "soon"),
        ("-- param: from ", "-- param: fr-om ", 8, "fr-om"),
        ("to    DateTime64(3,'UTC')", "to    DateTime", 9, "DateTime64"),
        ("step  UInt32               = auto", "step  UInt32 = often", 10, "often"),
        ("= 0,1  Shards", "= 0,65536  Shards", 11, "65535"),
        ("= 0,1  Shards", "= 0,1", 11, "meaning"),
        ("-- column: n    count How many", "-- column: n    pounds How many", 14, "pounds"),
        ("-- column: n    count How many", "-- column: n    count", 14, "meaning"),
        ("-- column: n    count How many", "-- column: time count How many", 14, "twice"),
        ("-- column: time time  Start", "-- column: at   time  Start", 4, "time"),
        ("-- panel: timeseries", "-- panel: table\n-- limit_by: n", 5, "limit"),
        ("-- param: guild UInt64", "-- param: limit UInt32", 4, "limit_by"),
        ("{guild:UInt64}", "{guild:UInt64}, {offset:UInt64}", 15, "not declared"),
        ("{guild:UInt64}", "{guild:UInt64}, {compare:String}", 15, "not declared"),
        ("-- param: guild UInt64  ", "-- param: edges Array(Int64)", 12, "not declared"),
        ("{guild:UInt64}", "1", 12, "never used"),
        ("{step:UInt32}", "1", 10, "never used"),
        ("{step:UInt32}", "{edges:Array(UInt64)}", 15, "Array(Int64)"),
        ("{guild:UInt64}", "{guild:UInt32}", 15, "UInt64"),
        ("{guild:UInt64}", "{guild:UInt64}, {other:UInt8}", 15, "other"),
        ("{guild:UInt64}\n", "{guild:UInt64};\nSELECT 2\n", 16, "second"),
    ] {
        let text = GOOD.replace(before, after);
        assert_ne!(text, GOOD, "{before} is not in the file");
        let fault = parse("interactions", "volume", &text).unwrap_err();
        assert_eq!(fault.line, line, "{after}: {}", fault.message);
        assert!(fault.message.contains(reason), "{after}: {}", fault.message);
    }
}

#[test]
fn a_range_is_whole() {
    let header = "-- title: T\n-- description: D\n-- panel: stat\n-- table: t\n-- column: n count N\n";
    let half = format!("{header}-- param: to DateTime64(3, 'UTC') = now End\nSELECT {{to:DateTime64(3, 'UTC')}}");
    assert_eq!(parse("a", "b", &half).unwrap_err().line, 6);
    let no_range = format!("{header}-- param: step UInt32 = 10 Step\nSELECT {{edges:Array(Int64)}}");
    assert_eq!(parse("a", "b", &no_range).unwrap_err().line, 6);
    let nothing = format!("{header}\n");
    assert!(parse("a", "b", &nothing).unwrap_err().message.contains("no statement"));
    assert!(parse("a", "b/c", header).unwrap_err().message.contains("b/c"));
}

proptest::proptest! {
    #[test]
    fn any_text_is_answered_not_panicked_at(text in "(-- ?[a-z_]{0,6}:? ?[ -~é]{0,20}\n){0,8}[ -~\n{}'é]{0,60}") {
        let _ = parse("a", "b", &text);
    }

    #[test]
    fn a_file_with_a_slip_of_the_pen_is_answered_too(
        slips in proptest::collection::vec((0..GOOD.len(), 0..9_usize, "\\PC{0,3}|[-{}():,='\\n ]{0,3}"), 1..4),
    ) {
        let mut text = GOOD.to_owned();
        for (at, length, other) in slips {
            let at = text.floor_char_boundary(at);
            let end = text.floor_char_boundary(at + length);
            text.replace_range(at..end, &other);
        }
        if let Err(fault) = parse("a", "b", &text) {
            proptest::prop_assert!((1..=text.lines().count().max(1) + 1).contains(&fault.line), "{:?}", fault);
        }
    }
}
