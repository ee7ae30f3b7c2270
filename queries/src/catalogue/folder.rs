//! A folder with questions of the user's own. It is read as a whole: a few files, whose texts tell whether they changed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{CatalogueError, Questions};

/// A folder, as it was when it was read.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) files: Vec<File>,
    /// The questions beside it.
    pub(super) before: Questions,
}

/// `<noun>/<name>` and its text; `name` has its `.sql`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) noun: String,
    pub(super) name: String,
    pub(super) text: String,
}

/// The files `<noun>/<question>.sql` below `folder`, in order.
pub(super) fn read(folder: &Path) -> Result<Vec<File>, CatalogueError> {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut files = Vec::new();
    for noun in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
        for path in entries(&noun)?.into_iter().filter(|path| path.extension().is_some_and(|end| end == "sql")) {
            let text =
                fs::read_to_string(&path).map_err(|source| CatalogueError::Read { path: path.clone(), source })?;
            files.push(File { noun: name(&noun), name: name(&path), path, text });
        }
    }
    Ok(files)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, CatalogueError> {
    let read = || fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>();
    let mut paths = read().map_err(|source| CatalogueError::Read { path: folder.to_owned(), source })?;
    paths.sort();
    Ok(paths)
}
