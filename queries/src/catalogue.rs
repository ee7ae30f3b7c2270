//! Questions, and where they come from: files compiled in, and a folder of the user's own beside them.
//!
//! The header of a file is a block of comment lines. A line is `-- key: value`; a line with more than one space after its
//! dashes continues the one above; a bare `--` separates. Keys:
//!
//! | key | times | value |
//! |---|---|---|
//! | `title` | 1 | a few words |
//! | `description` | 1 | what is asked and how to read the answer |
//! | `panel` | 1 | how to draw it: see [`Panel`] |
//! | `table` | 1 | the table it reads; how fresh and complete an answer is, is judged by it |
//! | `rollup` | 0 or 1 | the rollups that answer, too, and the filters that they lack: see `catalogue/rollup.rs` |
//! | `min_step` | 0 or 1 | the finest `step` that makes sense, such as `10s`; a `step` is a multiple of it; default `1s` |
//! | `limit_by` | 0 or 1 | the columns whose combinations the parameter `limit` counts, such as `cluster, shard`; default: rows |
//! | `param` | any | `name Type [= default] meaning`; without a default it is required |
//! | `column` | any | `name unit meaning`, in the order of the answer: see [`Unit`] |
//!
//! `param: from` and `to` (both `DateTime64(3, 'UTC')`) and `step` (`UInt32`) are the range and the width of its buckets.
//! The text below the header is one statement. Every `{name:Type}` in it is declared, with the same type, and every declared
//! parameter is used; the parser insists.
//!
//! # Limits
//! A limit is announced: `meta.limited` says that it was reached. The statement of a question with `limit` ends with
//! `LIMIT {limit:UInt32} OFFSET {offset:UInt64}`, or has it where it chooses the series to draw. With an `{offset:UInt64}` the
//! question has the parameter `cursor`, and its answers `meta.next_cursor`. The service asks for one row more than `limit`
//! and does not answer it, so the surplus row must come last; where `limit` counts something else, `limit_by` names it.
//! Order by enough columns to make the order certain, or pages repeat rows and leave out others.
//!
//! # Comparisons
//! Every question with a range has the parameter `compare`: with `previous` its statement is asked a second time, for the
//! range before. There is nothing to declare.
//!
//! # Time zones and buckets
//! A question with a range also has the parameter `tz`, without declaring it: the zone in which words without an offset are
//! read, buckets are cut, and the answer's times are written. Its SQL sees `{tz:String}` if it wants to, and UTC otherwise.
//!
//! Days are not 86,400 seconds long, so the service cuts the buckets (`resolution/buckets.rs`). The statement of a question
//! with `step` gets `{edges:Array(Int64)}`: where each bucket begins, ms since 1970, and then where the last one ends. The
//! first edge is at or before `from`, the last at or after `to`; of the outer buckets an answer holds what lies in the range.
//!
//! ```sql
//! WITH {edges:Array(Int64)} AS edges
//! SELECT fromUnixTimestamp64Milli(edges[bucket], 'UTC') AS time, cluster, things / width_s AS things_per_s,
//!     (edges[bucket + 1] - edges[bucket]) / 1000 AS width_s
//! FROM
//! (
//!     SELECT
//!         roundDown(toUnixTimestamp64Milli(time), edges) AS edge, -- of a DateTime: 1000 * toInt64(time)
//!         transform(edge, edges, arrayEnumerate(edges), 0) AS bucket,
//!         cluster,
//!         count() AS things
//!     FROM …
//!     GROUP BY cluster, edge
//!     ORDER BY cluster, bucket WITH FILL FROM 1 TO length(edges)
//! )
//! WHERE cluster != '' -- with no row at all, the fill makes a series without a name
//! ORDER BY time, cluster
//! ```
//!
//! `roundDown` by 2,000 edges takes as long as `toStartOfInterval` (10 M rows: 0.21 s and 0.24 s). `transform` looks an edge up
//! in a table; `indexOf` would search all of them for each row (2,000 buckets of four clusters: 15 and 60 ms in all).

mod folder;
mod header;
mod implied;
mod placeholder;
mod rollup;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Serialize, Serializer};

use self::folder::{File, Folder};
pub(crate) use self::rollup::{Rollup, TABLE_PARAMETER, Tables};
use crate::parameter::Parameter;

/// Path and text of each file of `catalogue/`.
const BUILTIN: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/catalogue.rs"));

/// One file of the catalogue.
#[derive(Debug, Clone, Serialize)]
pub struct Question {
    /// What it is about: the file's folder.
    pub noun: String,
    /// What it asks: the file's name without `.sql`.
    pub name: String,
    /// A few words.
    pub title: String,
    /// What is asked and how to read the answer.
    pub description: String,
    /// How to draw the answer.
    pub panel: Panel,
    /// The table it reads.
    pub table: String,
    /// The finest step that makes sense, seconds; every step is a multiple of it.
    pub min_step_s: u32,
    /// The columns whose combinations `limit` counts; empty: it counts rows.
    #[serde(skip)]
    pub(crate) limit_by: Vec<String>,
    /// Its parameters: those that the header lists, and then those that every such question has.
    pub parameters: Vec<Parameter>,
    /// The columns of the answer, in order.
    pub columns: Vec<Column>,
    /// Header and statement as they stand in the file, which is what ClickHouse gets.
    #[serde(skip)]
    pub sql: String,
    /// How to ask it of rollups.
    #[serde(skip)]
    pub(crate) rollup: Option<Rollup>,
}

impl Question {
    /// `noun/name`: its name in the catalogue and the end of its path.
    pub fn id(&self) -> String {
        format!("{}/{}", self.noun, self.name)
    }

    /// The unit of the answer as a whole: that of its first column with a measure.
    pub fn unit(&self) -> Unit {
        let mut units = self.columns.iter().map(|column| column.unit);
        units.find(|unit| unit.is_measure()).unwrap_or(Unit::Text)
    }

    /// Its parameter of this name.
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }
}

/// A column of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// The unit of its values.
    pub unit: Unit,
    /// What it says.
    pub doc: String,
}

/// A set of words that a header may use, each with its variant.
macro_rules! words {
    ($(#[$meta:meta])* $type:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $type {
            $($(#[$doc])* $variant,)*
        }

        impl $type {
            /// Every one of them.
            pub const ALL: &[$type] = &[$($type::$variant,)*];

            /// The word in the header and in JSON.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $($type::$variant => $word,)*
                }
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

words! {
    /// How to draw an answer; the words are Grafana's panel types.
    Panel {
        /// Rows and columns.
        Table = "table",
        /// A line for each series; has a `time` column, ascending.
        Timeseries = "timeseries",
        /// One number.
        Stat = "stat",
        /// A bar for each row.
        Bargauge = "bargauge",
        /// A band for each thing that changes its state; has a `time` column, ascending.
        StateTimeline = "state-timeline",
    }
}

words! {
    /// The unit of a column.
    Unit {
        /// A name or number of something: always a string in JSON, also where the column holds 64-bit integers.
        Id = "id",
        /// Words.
        Text = "text",
        /// A moment, UTC.
        Time = "time",
        /// A number of things.
        Count = "count",
        /// A share, 0 to 1.
        Ratio = "ratio",
        /// Milliseconds.
        Milliseconds = "ms",
        /// Seconds.
        Seconds = "s",
        /// Bytes.
        Bytes = "bytes",
        /// Things per second.
        PerSecond = "per_s",
        /// Bytes per second.
        BytesPerSecond = "bytes_per_s",
    }
}

impl Unit {
    /// Whether it measures something; otherwise it names something.
    pub const fn is_measure(self) -> bool {
        !matches!(self, Unit::Id | Unit::Text | Unit::Time)
    }
}

/// Why a catalogue could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogueError {
    /// A file does not follow the format described in [`crate::catalogue`].
    #[error("{file}:{line}: {message}")]
    Malformed {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong and what was expected.
        message: String,
    },
    /// Two files have the same noun and name.
    #[error("{file}: there is a question {id} already; give this one another name")]
    Duplicate {
        /// The later file.
        file: String,
        /// Its noun and name.
        id: String,
    },
    /// A file or folder could not be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Questions by `noun/name`.
type Questions = BTreeMap<String, Arc<Question>>;

/// All questions.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    questions: Questions,
    /// The last folder that was added.
    folder: Option<Arc<Folder>>,
}

impl Catalogue {
    /// The questions that are compiled in.
    ///
    /// # Panics
    /// If a file of `catalogue/` is malformed, which this crate's tests rule out.
    pub fn builtin() -> Self {
        let mut catalogue = Self::default();
        for (path, text) in BUILTIN {
            let (noun, file) = path.split_once('/').expect("build.rs writes noun/file");
            catalogue.add(&format!("catalogue/{path}"), noun, file, text).expect("tests parse every compiled-in file");
        }
        catalogue
    }

    /// Adds the files `<noun>/<question>.sql` below `folder`, which a service then follows: see [`Catalogue::changed`]. Other
    /// files are ignored.
    ///
    /// # Errors
    /// [`CatalogueError`], at the first file that cannot be read, is malformed or takes the name of another question.
    pub fn with_folder(mut self, folder: &Path) -> Result<Self, CatalogueError> {
        let before = self.questions.clone();
        let files = folder::read(folder)?;
        for File { path, noun, name, text } in &files {
            self.add(&path.display().to_string(), noun, name, text)?;
        }
        self.folder = Some(Arc::new(Folder { path: folder.to_owned(), files, before }));
        Ok(self)
    }

    /// The catalogue with its folder as it is now; `None`: it has none, or nothing has changed there. Reads files.
    ///
    /// # Errors
    /// As [`Catalogue::with_folder`].
    pub fn changed(&self) -> Result<Option<Self>, CatalogueError> {
        let Some(folder) = &self.folder else { return Ok(None) };
        if folder::read(&folder.path)? == folder.files {
            return Ok(None);
        }
        let before = Self { questions: folder.before.clone(), folder: None };
        before.with_folder(&folder.path).map(Some)
    }

    /// Whether it has a folder that may change.
    pub(crate) fn has_folder(&self) -> bool {
        self.folder.is_some()
    }

    /// The question of this `noun/name`.
    pub fn get(&self, id: &str) -> Option<&Arc<Question>> {
        self.questions.get(id)
    }

    /// All questions, ordered by noun and name.
    pub fn questions(&self) -> impl Iterator<Item = &Arc<Question>> {
        self.questions.values()
    }

    /// `file` is what errors call it, `file_name` its last part.
    fn add(&mut self, file: &str, noun: &str, file_name: &str, text: &str) -> Result<(), CatalogueError> {
        let name = file_name.strip_suffix(".sql").unwrap_or(file_name);
        let question = header::parse(noun, name, text).map_err(|fault| CatalogueError::Malformed {
            file: file.to_owned(),
            line: fault.line,
            message: fault.message,
        })?;
        let id = question.id();
        if self.questions.contains_key(&id) {
            return Err(CatalogueError::Duplicate { file: file.to_owned(), id });
        }
        self.questions.insert(id, Arc::new(question));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_compiled_in_file_parses() {
        assert_eq!(Catalogue::builtin().questions().count(), BUILTIN.len());
    }

    #[test]
    fn a_folder_is_loaded_beside_ours() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mine/answer.sql");
        fs::create_dir(file.parent().unwrap()).unwrap();
        fs::write(folder.path().join("mine/notes.txt"), "not a question").unwrap();
        fs::write(
            &file,
            "-- title: T\n-- description: D\n-- panel: stat\n-- table: interactions\n-- column: n count N\nSELECT 42 AS n\n",
        )
        .unwrap();
        let catalogue = Catalogue::builtin().with_folder(folder.path()).unwrap();
        assert_eq!(catalogue.get("mine/answer").unwrap().unit(), Unit::Count);
        assert!(catalogue.get("interactions/volume").is_some());
        assert!(catalogue.changed().unwrap().is_none());
        let other = fs::read_to_string(&file).unwrap().replace("count N", "bytes N");
        fs::write(&file, other).unwrap();
        let changed = catalogue.changed().unwrap().unwrap();
        assert_eq!(changed.get("mine/answer").unwrap().unit(), Unit::Bytes);
        assert_eq!(changed.questions().count(), BUILTIN.len() + 1);

        fs::write(&file, "-- title: T\n-- panel: pie\n-- table: t\n-- description: D\nSELECT 42\n").unwrap();
        let error = Catalogue::builtin().with_folder(folder.path()).unwrap_err().to_string();
        assert!(error.contains("answer.sql:2: ") && error.contains("state-timeline"), "{error}");

        let twice = folder.path().join("clusters");
        fs::create_dir(&twice).unwrap();
        fs::remove_file(&file).unwrap();
        fs::write(twice.join("list.sql"), BUILTIN.iter().find(|(path, _)| *path == "clusters/list.sql").unwrap().1)
            .unwrap();
        let error = Catalogue::builtin().with_folder(folder.path()).unwrap_err();
        assert!(matches!(error, CatalogueError::Duplicate { id, .. } if id == "clusters/list"));
    }
}
