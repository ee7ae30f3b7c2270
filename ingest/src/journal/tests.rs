use std::sync::Mutex;

use shardlake_schema::{Labels, TimeMs, rows::Sample};

use super::*;

fn row(time: i64) -> Sample {
    Sample { time: TimeMs(time), name: "up".into(), kind: "gauge".into(), labels: Labels::default(), value: 1.0 }
}

fn parse(bytes: &[u8]) -> (Vec<Sample>, Option<usize>) {
    let mut rows = Vec::new();
    let damage = each_row(bytes, |row| rows.push(row));
    (rows, damage)
}

fn times(rows: &[Sample]) -> Vec<i64> {
    rows.iter().map(|row| row.time.0).collect()
}

#[test]
fn rows_outlive_the_process_file_by_file() {
    let spool = tempfile::tempdir().unwrap();
    let journal = Journal::new::<Sample>(spool.path(), 7, Arc::default()).unwrap();
    let queued = Mutex::new(Vec::new());
    for time in 1..=3 {
        journal.append(row(time), |row, _| {
            queued.lock().unwrap().push(row);
            true
        });
    }
    let closed = journal.close_file(|| queued.lock().unwrap().clear());
    assert_eq!((closed.first_batch, closed.first_missed_batch, closed.only_here), (1, 2, 0));
    journal.append(row(4), |_, _| true);
    drop(journal); // nothing is written on the way out, as in a kill

    let left = left_behind::<Sample>(spool.path()).unwrap();
    assert_eq!(left.iter().map(|left| (left.boot, left.first_batch)).collect::<Vec<_>>(), [(7, 1), (7, 2)]);
    assert_eq!(times(&left[0].sealed().rows().unwrap().0), [1, 2, 3]);
    assert_eq!(times(&left[1].sealed().rows().unwrap().0), [4]);
    closed.sealed.remove();
    assert_eq!(left_behind::<Sample>(spool.path()).unwrap().len(), 1);
    assert!(left_behind::<shardlake_schema::rows::Process>(spool.path()).unwrap().is_empty(), "another table's");
}

#[test]
fn a_file_cut_or_damaged_anywhere_yields_the_rows_before() {
    let spool = tempfile::tempdir().unwrap();
    let journal = Journal::new::<Sample>(spool.path(), 7, Arc::default()).unwrap();
    for time in 1..=3 {
        journal.append(row(time), |_, _| true);
    }
    let whole = fs::read(spool.path().join("journal/samples-7-0000000001.rows")).unwrap();
    let record = (whole.len() - HEADER_BYTES) / 3;
    for position in 0..whole.len() {
        let expected = position.saturating_sub(HEADER_BYTES) / record;
        let (rows, damaged) = parse(&whole[..position]);
        assert_eq!(rows.len(), expected, "cut to {position}");
        let whole_records =
            position == 0 || (position >= HEADER_BYTES && (position - HEADER_BYTES).is_multiple_of(record));
        let last_whole = if position < HEADER_BYTES { 0 } else { HEADER_BYTES + expected * record };
        assert_eq!(damaged, (!whole_records).then_some(last_whole), "cut to {position}");

        let mut flipped = whole.clone();
        flipped[position] ^= 0x20;
        let (rows, damaged) = parse(&flipped);
        let last_whole = if position < HEADER_BYTES { 0 } else { HEADER_BYTES + expected * record };
        assert_eq!((rows.len(), damaged), (expected, Some(last_whole)), "byte {position}");
    }
}
