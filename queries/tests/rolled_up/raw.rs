//! The questions that rollups answer, once more without them. (Also for `benches/years/`, which asks both how long they take.)

use std::fs;

use shardlake_queries::Catalogue;

/// Beside our catalogue, its questions with a rollup once more: without it, as `raw_<noun>/<question>`.
pub(crate) fn with_raw_questions() -> (Catalogue, Vec<String>) {
    let theirs = tempfile::tempdir().unwrap();
    let mut ids = Vec::new();
    for question in Catalogue::builtin().questions() {
        let raw = question.sql.split_inclusive('\n').filter(|line| !line.starts_with("-- rollup:")).collect::<String>();
        if raw == question.sql {
            continue;
        }
        let path = theirs.path().join(format!("raw_{}.sql", question.id()));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, raw).unwrap();
        ids.push(question.id());
    }
    (Catalogue::builtin().with_folder(theirs.path()).unwrap(), ids)
}
