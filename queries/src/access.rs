//! Who may ask what, and how often.
//!
//! Without a file of keys everybody may ask every question, which is right on a loopback address and nowhere else. With one,
//! everything below `/v1` needs `Authorization: Bearer <key>`. A key is limited to questions, and to clusters: a limited key
//! may only ask questions that have the filter `cluster`, and the filter never gets wider than the key. That a question uses
//! its filter is up to its file; ours do.
//!
//! A key is 256 random bits. Nobody finds those by trying, so the file holds plain SHA-256: what makes passwords need slow
//! and salted hashes is that people choose them, and a slow hash would cost every request. Hashes are compared in constant
//! time, and all of them each time.
//!
//! The file is looked at every second. A change counts from then on; a file that cannot be read or understood changes
//! nothing, and the log says why.

mod file;
mod rate;

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

use self::file::Entry;
pub(crate) use self::rate::{BURST_S, Bucket, Taken};
use crate::{
    catalogue::Question,
    error::AskError,
    following::follow,
    parameter::{Kind, Scalar, Value},
    resolution::CLUSTER,
};

/// What every key begins with, so that people and scanners of secrets know one when they see it.
const PREFIX: &str = "shardlake_";

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What stands in a list for everything.
const ALL: &str = "*";

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// The file could not be read.
    #[error("the file of keys {} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what the head of `access/file.rs` describes.
    #[error("the file of keys {}: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong and what was expected.
        message: String,
    },
}

/// A file of keys, followed.
#[derive(Debug)]
pub struct Keys {
    path: PathBuf,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    text: String,
    keys: Vec<Arc<Key>>,
}

/// A key, by what it opens. The key itself is nowhere.
#[derive(Debug)]
pub(crate) struct Key {
    entry: Entry,
    usage: Arc<Usage>,
}

/// What is counted of a key; it outlives a change of the file.
#[derive(Debug)]
pub(crate) struct Usage {
    pub(crate) bucket: Bucket,
    pub(crate) at_once: Arc<Semaphore>,
}

impl Keys {
    /// Reads the file.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn open(path: &Path) -> Result<Self, KeysError> {
        let text = std::fs::read_to_string(path).map_err(|source| KeysError::Read { path: path.to_owned(), source })?;
        let keys = read(path, &text, &[])?;
        Ok(Self { path: path.to_owned(), current: Mutex::new(Current { text, keys }) })
    }

    /// Follows the file, for ever. Cancel safety: safe, nothing is half taken over.
    pub(crate) async fn follow(&self) {
        follow(LOOK_EVERY, "the file of keys stays", || async {
            let text = tokio::fs::read_to_string(&self.path).await;
            self.take_over(text.map_err(|source| KeysError::Read { path: self.path.clone(), source })?)?;
            Ok(())
        })
        .await;
    }

    fn take_over(&self, text: String) -> Result<(), KeysError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.text != text {
            current.keys = read(&self.path, &text, &current.keys)?;
            current.text = text;
            tracing::info!(keys = current.keys.len(), "the file of keys has changed");
        }
        Ok(())
    }

    /// The key of a request's `Authorization`; `None`: there is none, or nobody has it.
    pub(crate) fn find(&self, authorization: &[u8]) -> Option<Arc<Key>> {
        let hash = Sha256::digest(bearer(authorization)?);
        let keys = self.current.lock().unwrap_or_else(PoisonError::into_inner).keys.clone();
        let mut found = None;
        for key in keys {
            if bool::from(key.entry.sha256.ct_eq(&hash)) {
                found = Some(key); // and on through all of them
            }
        }
        found
    }
}

/// What follows `Bearer`, in any case.
fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// The keys in `text`; one that was among `before` with the same limits goes on counting.
fn read(path: &Path, text: &str, before: &[Arc<Key>]) -> Result<Vec<Arc<Key>>, KeysError> {
    let malformed = |message| KeysError::Malformed { path: path.to_owned(), message };
    let key = |entry: Entry| {
        let same = before.iter().find(|key| key.entry.sha256 == entry.sha256 && key.entry.limits() == entry.limits());
        let usage = same.map_or_else(|| Arc::new(Usage::of(&entry)), |key| Arc::clone(&key.usage));
        Arc::new(Key { entry, usage })
    };
    Ok(file::parse(text).map_err(malformed)?.into_iter().map(key).collect())
}

impl Usage {
    fn of(entry: &Entry) -> Self {
        let (per_second, at_once) = entry.limits();
        Self { bucket: Bucket::new(per_second), at_once: Arc::new(Semaphore::new(at_once.into())) }
    }
}

impl Key {
    /// What people call it.
    pub(crate) fn name(&self) -> &str {
        &self.entry.name
    }

    pub(crate) fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Requests at a time.
    pub(crate) fn most_at_once(&self) -> u16 {
        self.entry.limits().1
    }

    /// Whether it opens SQL of one's own.
    pub(crate) fn may_sql(&self) -> bool {
        self.entry.sql
    }

    /// The clusters that it is limited to.
    fn only(&self) -> Option<&[String]> {
        Some(&self.entry.clusters[..]).filter(|clusters| clusters.iter().all(|name| name != ALL))
    }

    /// Whether it opens `question` at all.
    ///
    /// # Errors
    /// [`AskError::Forbidden`].
    pub(crate) fn check(&self, question: &Question) -> Result<(), AskError> {
        let opens = |pattern: &String| match pattern.split_once('/') {
            None => pattern == ALL,
            Some((noun, ALL)) => noun == question.noun,
            Some((noun, name)) => (noun, name) == (&question.noun, &question.name),
        };
        if !self.entry.questions.iter().any(opens) {
            return Err(AskError::Forbidden { what: format!("does not open {}", question.id()) });
        }
        let filter = question.parameter(CLUSTER).map(|parameter| parameter.kind);
        if self.only().is_some() && filter != Some(Kind::Many(Scalar::String)) {
            let what = format!("is limited to clusters, and {} has no filter `{CLUSTER}`", question.id());
            return Err(AskError::Forbidden { what });
        }
        Ok(())
    }

    /// Narrows a request that names no cluster to those of the key.
    pub(crate) fn narrow(&self, pairs: &mut Vec<(String, String)>) {
        let Some(only) = self.only() else { return };
        let names_some = |(name, value): &(String, String)| name == CLUSTER && !matches!(value.as_str(), "" | "[]");
        if !pairs.iter().any(names_some) {
            pairs.extend(only.iter().map(|name| (CLUSTER.to_owned(), name.clone())));
        }
    }

    /// Whether it opens all of `clusters`, as they go to ClickHouse; none means all of them.
    ///
    /// # Errors
    /// [`AskError::Forbidden`], which names the first that it does not.
    pub(crate) fn check_clusters(&self, clusters: &Value) -> Result<(), AskError> {
        let Some(only) = self.only() else { return Ok(()) };
        let closed = match clusters {
            Value::List(list) if !list.is_empty() => {
                let opens = |value: &&Value| matches!(value, Value::Text(name) if only.contains(name));
                list.iter().find(|value| !opens(value)).map(|value| match value {
                    Value::Text(name) => format!("does not open the cluster {name}"),
                    _ => "opens clusters by name".to_owned(),
                })
            }
            _ => Some("does not open all clusters".to_owned()),
        };
        closed.map_or(Ok(()), |what| Err(AskError::Forbidden { what }))
    }
}

/// A new key, and the lines of the file that let it in. Shown once: nothing keeps the key.
#[derive(Debug)]
pub struct NewKey {
    /// What the client sends.
    pub key: String,
    /// What to append to the file.
    pub lines: String,
}

impl NewKey {
    /// Makes a key called `name`, which opens every question and cluster until its lines say otherwise.
    ///
    /// # Errors
    /// What is wrong with the name.
    pub fn make(name: &str) -> Result<Self, String> {
        file::check_name(name)?;
        let key = format!("{PREFIX}{}", hex(&rand::random::<[u8; 32]>()));
        let sha256 = hex(&Sha256::digest(&key));
        let lines = format!(
            "[[key]]\nname = \"{name}\"\nsha256 = \"{sha256}\"\nclusters = [\"{ALL}\"]\nquestions = [\"{ALL}\"]\n"
        );
        Ok(Self { key, lines })
    }
}

/// Two digits a byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}"); // to a String
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Catalogue;

    fn keys(text: &str) -> Vec<Arc<Key>> {
        read(Path::new("keys.toml"), text, &[]).unwrap()
    }

    fn opened(clusters: &str, questions: &str) -> Arc<Key> {
        let hash = "0".repeat(64);
        let text =
            format!("[[key]]\nname = \"n\"\nsha256 = \"{hash}\"\nclusters = {clusters}\nquestions = {questions}");
        keys(&text).remove(0)
    }

    #[test]
    fn a_new_key_opens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        let (one, two) = (NewKey::make("one").unwrap(), NewKey::make("two").unwrap());
        assert_ne!(one.key, two.key);
        std::fs::write(&path, format!("{}\n{}", one.lines, two.lines)).unwrap();
        let keys = Keys::open(&path).unwrap();
        let name = |authorization: &str| keys.find(authorization.as_bytes()).map(|key| key.name().to_owned());
        assert_eq!(name(&format!("Bearer {}", one.key)).as_deref(), Some("one"));
        assert_eq!(name(&format!("bearer  {} ", two.key)).as_deref(), Some("two"));
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Basic x",
            &one.key,
            &format!("Bearer {}x", one.key),
            &format!("Bearer{}", one.key),
        ] {
            assert_eq!(name(wrong), None, "{wrong}");
        }
        assert!(!format!("{keys:?}").contains(&one.key) && !one.lines.contains(&one.key));
        assert!(NewKey::make("a\"b").is_err());
    }

    #[test]
    fn questions_are_opened_by_name_or_noun() {
        let catalogue = Catalogue::builtin();
        let may = |questions: &str, id: &str| opened("[\"*\"]", questions).check(catalogue.get(id).unwrap()).is_ok();
        assert!(may("[\"*\"]", "shards/timeline"));
        assert!(may("[\"shards/*\"]", "shards/timeline") && !may("[\"shards/*\"]", "commands/top"));
        assert!(may("[\"commands/top\"]", "commands/top") && !may("[\"commands/top\"]", "shards/timeline"));
        assert!(!may("[]", "commands/top"));
    }

    #[test]
    fn clusters_only_ever_get_fewer() {
        let key = opened("[\"0\", \"1\"]", "[\"*\"]");
        let narrowed = |query: &str| {
            let mut pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
            key.narrow(&mut pairs);
            let catalogue = Catalogue::builtin();
            let question = catalogue.get("interactions/volume").unwrap();
            let asked = crate::resolution::resolve(question, &pairs, shardlake_schema::TimeMs::now()).unwrap();
            key.check_clusters(&asked.clusters).map(|()| asked.clusters)
        };
        let list = |names: &[&str]| Value::List(names.iter().map(|name| Value::Text((*name).into())).collect());
        for query in ["", "cluster=", "cluster=[]", "cluster=&cluster=[]"] {
            assert_eq!(narrowed(query).unwrap(), list(&["0", "1"]), "{query}");
        }
        assert_eq!(narrowed("cluster=1").unwrap(), list(&["1"]));
        for query in ["cluster=2", "cluster=0,2", "cluster=1&cluster=2", "cluster=*"] {
            assert!(narrowed(query).unwrap_err().to_string().contains("does not open the cluster"), "{query}");
        }
        assert!(key.check_clusters(&Value::List(Vec::new())).is_err());
    }

    #[test]
    fn a_change_keeps_what_was_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        let new = NewKey::make("one").unwrap();
        std::fs::write(&path, &new.lines).unwrap();
        let keys = Keys::open(&path).unwrap();
        let key = || keys.find(format!("Bearer {}", new.key).as_bytes());
        let usage = Arc::clone(&key().unwrap().usage);
        assert!(keys.take_over("[[key]]".to_owned()).is_err() && key().is_some(), "a broken file changes nothing");
        keys.take_over(format!("{}sql = true\n", new.lines)).unwrap();
        assert!(key().unwrap().may_sql() && Arc::ptr_eq(&key().unwrap().usage, &usage));
        keys.take_over(format!("{}per_second = 1\n", new.lines)).unwrap();
        assert!(!Arc::ptr_eq(&key().unwrap().usage, &usage));
        keys.take_over(String::new()).unwrap();
        assert!(key().is_none());
    }

    proptest::proptest! {
        #[test]
        fn no_header_opens_by_chance(bytes in proptest::collection::vec(0_u8.., 0..80)) {
            let key = opened("[\"*\"]", "[\"*\"]");
            let current = Mutex::new(Current { text: String::new(), keys: vec![key] });
            let keys = Keys { path: PathBuf::new(), current };
            proptest::prop_assert!(keys.find(&bytes).is_none());
            proptest::prop_assert!(keys.find(&[b"Bearer ", &bytes[..]].concat()).is_none());
        }
    }
}
