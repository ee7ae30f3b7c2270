//! Which table answers: the raw rows or one of a rollup's five, of all clusters or guilds together where nobody asks for one.
//!
//! The coarsest that still divides the range finely enough, of those whose buckets the answer's are made of and that are kept
//! for so long: a day in Berlin is made of hours, a day in Kolkata of minutes, and weeks of UTC begin on Mondays, fortnights on
//! every second one. A question that has no buckets and looks at the clock is made of hours. A rollup answers for whole buckets,
//! so the range is widened to them, and the answer's `meta` says so.

use shardlake_schema::TimeMs;

use super::{Buckets, Range, Resolved, Step};
use crate::{
    catalogue::{Question, TABLE_PARAMETER, Tables},
    parameter::Value,
};

const DAY_S: u64 = 86_400;

const HOUR: Step = Step::Seconds(3_600);

/// A table or view of a rollup; `schema/migrations/` make them.
struct Grain {
    /// How its name ends.
    ending: &'static str,
    /// Of its buckets, seconds.
    width_s: u64,
    /// When one of them begins, seconds since 1970: that was a Thursday.
    phase_s: u64,
    /// From which range on it answers, seconds.
    ///
    /// So many buckets, 360, 48, 30, 30 and 26, that the edges of the range, widened to whole ones, change it by a few percent at
    /// most. The longest ranges have few enough that their states merge quickly (benches/README.md).
    shortest_s: u64,
    /// For how long it is kept by default, seconds.
    kept_s: u64,
}

const GRAINS: [Grain; 5] = [
    Grain { ending: "1m", width_s: 60, phase_s: 0, shortest_s: 6 * 3_600, kept_s: 90 * DAY_S },
    Grain { ending: "1h", width_s: 3_600, phase_s: 0, shortest_s: 2 * DAY_S, kept_s: 730 * DAY_S },
    Grain { ending: "1d", width_s: DAY_S, phase_s: 0, shortest_s: 30 * DAY_S, kept_s: u64::MAX },
    Grain { ending: "1w", width_s: 7 * DAY_S, phase_s: 4 * DAY_S, shortest_s: 210 * DAY_S, kept_s: u64::MAX },
    Grain { ending: "2w", width_s: 14 * DAY_S, phase_s: 4 * DAY_S, shortest_s: 364 * DAY_S, kept_s: u64::MAX },
];

impl Grain {
    fn ms(&self) -> i64 {
        ms(self.width_s)
    }

    /// The beginning of the bucket that holds this moment.
    fn start_of(&self, time: TimeMs) -> TimeMs {
        TimeMs(time.0 - (time.0 - ms(self.phase_s)).rem_euclid(self.ms()))
    }

    /// Whether these buckets are made of its buckets.
    fn makes(&self, buckets: &Buckets) -> bool {
        buckets.are_made_of(self.ms(), ms(self.phase_s))
    }
}

fn ms(seconds: u64) -> i64 {
    i64::try_from(1000 * seconds).unwrap_or(i64::MAX)
}

/// Points `asked` to a rollup if one answers it better than the raw rows.
pub(super) fn choose(question: &Question, asked: &mut Resolved, now: TimeMs) {
    let (Some(rollup), Some(range)) = (&question.rollup, asked.range) else { return };
    let is_empty = |value: &Value| matches!(value, Value::List(list) if list.is_empty());
    let serves =
        |without: &[String]| asked.values.iter().all(|(name, value)| !without.contains(name) || is_empty(value));
    if !serves(&rollup.without) {
        return;
    }
    let age_s = u64::try_from((now.0 - range.from.0) / 1000).unwrap_or(0);
    let fits = |grain: &Grain| match &asked.buckets {
        Some(buckets) => grain.makes(buckets),
        None => !rollup.uses_zone || grain.makes(&Buckets::new(range, HOUR, &asked.zone)),
    };
    let usable = |tables: &Tables| {
        let mut grains = GRAINS.iter().filter(|grain| tables.endings.contains(&grain.ending));
        grains.rfind(|grain| range.length_s() >= grain.shortest_s && age_s <= grain.kept_s && fits(grain))
    };
    let mut serving = rollup.tables.iter().rev().filter(|tables| serves(&tables.without));
    let Some((tables, grain)) = serving.find_map(|tables| Some((tables, usable(tables)?))) else { return };

    let last = TimeMs(range.to.0.saturating_add(grain.ms() - 1));
    let range = Range { from: grain.start_of(range.from), to: grain.start_of(last) };
    asked.range = Some(range);
    asked.values.retain(|(name, _)| !rollup.without.contains(name));
    super::set_range(&mut asked.values, range);
    let table = format!("{}_{}", tables.stem, grain.ending);
    asked.values.push((TABLE_PARAMETER.to_owned(), Value::Text(table.clone())));
    asked.rollup = Some(table);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Catalogue, resolution::resolve};

    const NOW: TimeMs = TimeMs(1_790_000_000_000);

    fn table(id: &str, query: &str) -> String {
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let catalogue = Catalogue::builtin();
        let question = catalogue.get(id).unwrap();
        resolve(question, &pairs, NOW).unwrap().rollup.unwrap_or_else(|| question.table.clone())
    }

    #[test]
    fn range_step_filters_and_age_choose_the_table() {
        for (query, expected) in [
            ("from=-1h", "interactions"),
            ("from=-6h", "interactions_by_cluster_1m"),
            ("from=-47h", "interactions_by_cluster_1m"),
            ("from=-2d", "interactions_by_cluster_1h"),
            ("from=-29d", "interactions_by_cluster_1h"),
            ("from=-30d", "interactions_by_cluster_1d"),
            ("from=-209d", "interactions_by_cluster_1d"),
            ("from=-363d", "interactions_by_cluster_1w"),
            ("from=-365d", "interactions_by_cluster_2w"),
            ("from=-1d&cluster=0", "interactions_by_cluster_1m"),
            ("from=-1d&command=play", "interactions"),
            ("from=-1d&shard=3", "interactions"),
            ("from=-200d&to=-199d", "interactions"),
            ("from=-200d&to=-190d", "interactions_by_cluster_1h"),
            ("from=-1000d&to=-900d", "interactions_by_cluster_1d"),
        ] {
            assert_eq!(table("interactions/by_cluster", query), expected, "{query}");
        }
        for (query, expected) in [
            ("from=-30d&step=1h", "interactions_by_cluster_1h"),
            ("from=-7d&step=15m", "interactions_by_cluster_1m"),
            ("from=-7d&step=400", "interactions"),
            ("from=-365d&step=1d", "interactions_by_cluster_1d"),
            ("from=-365d&step=7d", "interactions_by_cluster_1w"),
            ("from=-365d&step=14d", "interactions_by_cluster_2w"),
            ("from=-365d&step=28d", "interactions_by_cluster_2w"),
            ("from=-365d&step=21d", "interactions_by_cluster_1w"),
            ("from=-365d&step=7d&tz=Europe/Berlin", "interactions_by_cluster_1h"),
            ("from=-365d&step=36h", "interactions_by_cluster_1h"),
            ("from=-365d&step=1mo", "interactions_by_cluster_1d"),
            ("from=-365d&step=1d&tz=Europe/Berlin", "interactions_by_cluster_1h"),
            ("from=-60d&step=1d&tz=Asia/Kolkata", "interactions_by_cluster_1m"),
            ("from=-7d&step=1h&tz=Asia/Kolkata", "interactions_by_cluster_1m"),
        ] {
            assert_eq!(table("interactions/volume", query), expected, "{query}");
        }
    }

    #[test]
    fn only_tables_that_there_are_answer() {
        for (id, query, expected) in [
            ("shards/latency", "from=-7d&step=1h", "shard_latency_1h"),
            ("shards/latency", "from=-60d&step=1d", "shard_latency_1h"),
            ("shards/latency", "from=-7d&step=1800", "samples"),
            ("guilds/top", "from=-29d", "interactions"),
            ("guilds/top", "from=-30d", "interactions_by_guild_1d"),
            ("guilds/top", "from=-365d", "interactions_by_guild_1d"),
            ("guilds/activity", "from=-30d&step=6h", "interactions"),
            ("guilds/activity", "from=-60d&step=1d", "interactions_in_guilds_1d"),
            ("guilds/activity", "from=-60d&step=1d&guild=7", "interactions_by_guild_1d"),
            ("guilds/activity", "from=-60d&step=1d&cluster=7", "interactions"),
            ("guilds/activity", "from=-365d&step=7d", "interactions_in_guilds_1d"),
            ("guilds/activity", "from=-365d&step=7d&guild=7", "interactions_by_guild_1d"),
        ] {
            assert_eq!(table(id, query), expected, "{id}?{query}");
        }
    }

    #[test]
    fn a_question_about_the_clock_is_made_of_its_hours() {
        for (query, expected) in [
            ("from=-60d", "interactions_1h"),
            ("from=-60d&cluster=0", "interactions_by_cluster_1h"),
            ("from=-60d&tz=America/New_York", "interactions_1h"),
            ("from=-60d&tz=Asia/Kolkata", "interactions_1m"),
            ("from=-200d&tz=Asia/Kolkata", "interactions"),
        ] {
            assert_eq!(table("interactions/heatmap", query), expected, "{query}");
        }
    }

    #[test]
    fn the_range_is_widened_to_whole_buckets() {
        let pairs =
            [("from", "2026-08-11T10:30:01Z"), ("to", "2026-08-31T00:00:00Z")].map(|(a, b)| (a.into(), b.into()));
        let catalogue = Catalogue::builtin();
        let asked = resolve(catalogue.get("interactions/by_cluster").unwrap(), &pairs, NOW).unwrap();
        let range = asked.range.unwrap();
        assert_eq!(crate::moment::iso8601(range.from, &asked.zone), "2026-08-11T10:00:00.000Z");
        assert_eq!(crate::moment::iso8601(range.to, &asked.zone), "2026-08-31T00:00:00.000Z");
        assert!(asked.values.contains(&("from".into(), Value::Time(range.from))));
    }

    #[test]
    fn weeks_and_fortnights_begin_on_mondays() {
        let pairs =
            [("from", "2025-10-08T10:30:01Z"), ("to", "2026-08-31T00:00:00Z")].map(|(a, b)| (a.into(), b.into()));
        let catalogue = Catalogue::builtin();
        let asked = resolve(catalogue.get("interactions/by_cluster").unwrap(), &pairs, NOW).unwrap();
        let range = asked.range.unwrap();
        assert_eq!(crate::moment::iso8601(range.from, &asked.zone), "2025-10-06T00:00:00.000Z");
        assert_eq!(crate::moment::iso8601(range.to, &asked.zone), "2026-08-31T00:00:00.000Z");

        let pairs =
            [("from", "2025-07-15T10:30:01Z"), ("to", "2026-09-01T00:00:00Z")].map(|(a, b)| (a.into(), b.into()));
        let asked = resolve(catalogue.get("interactions/by_cluster").unwrap(), &pairs, NOW).unwrap();
        let range = asked.range.unwrap();
        assert_eq!(
            crate::moment::iso8601(range.from, &asked.zone),
            "2025-07-07T00:00:00.000Z",
            "the second of its fortnight"
        );
        assert_eq!(crate::moment::iso8601(range.to, &asked.zone), "2026-09-14T00:00:00.000Z");
    }
}
