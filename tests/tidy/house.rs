//! All files of the project, read once.

use std::{collections::BTreeSet, fmt, fs, path::Path, process::Command, sync::LazyLock};

/// The files of a project.
pub(crate) struct House {
    pub(crate) files: Vec<File>,
    /// Files and folders.
    pub(crate) paths: BTreeSet<String>,
}

/// One file.
pub(crate) struct File {
    /// From the root of the checkout, with `/`.
    pub(crate) path: String,
    /// Empty for what is not text.
    pub(crate) text: String,
}

/// Something that breaks a rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    what: String,
}

impl Finding {
    /// In line `line`, counted from 1.
    pub(crate) fn new(file: &File, line: usize, what: impl Into<String>) -> Self {
        Self { path: file.path.clone(), line, what: what.into() }
    }

    /// About a file that is not there.
    pub(crate) fn missing(path: &str, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: 0, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

impl House {
    /// This checkout.
    pub(crate) fn here() -> &'static Self {
        static HERE: LazyLock<House> = LazyLock::new(|| House::read(Path::new(env!("CARGO_MANIFEST_DIR"))));
        &HERE
    }

    /// A made-up one: paths and texts.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        Self::new(
            files.iter().map(|(path, text)| File { path: (*path).to_owned(), text: (*text).to_owned() }).collect(),
        )
    }

    fn new(files: Vec<File>) -> Self {
        let mut paths = BTreeSet::new();
        for file in &files {
            paths.extend(file.path.match_indices('/').map(|(at, _)| file.path[..at].to_owned()));
            paths.insert(file.path.clone());
        }
        Self { files, paths }
    }

    fn read(root: &Path) -> Self {
        let listing = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .expect("git is installed");
        assert!(listing.status.success(), "git ls-files failed: {}", String::from_utf8_lossy(&listing.stderr));
        let listing = String::from_utf8(listing.stdout).expect("paths are UTF-8");

        let read = |path: &str| {
            // A file that was deleted stays listed until the deletion is staged.
            let bytes = fs::read(root.join(path)).ok()?;
            Some(File { path: path.to_owned(), text: String::from_utf8(bytes).unwrap_or_default() })
        };
        let files: Vec<_> = listing.split_terminator('\0').filter_map(read).collect();
        assert!(files.len() > 50, "git lists only {} files: these rules would hold for nothing", files.len());
        Self::new(files)
    }

    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Files whose names end with `ending`.
    pub(crate) fn ending<'a>(&'a self, ending: &'a str) -> impl Iterator<Item = &'a File> {
        self.files.iter().filter(move |file| file.path.ends_with(ending))
    }
}

/// The folder of `path`, empty for the root.
pub(crate) fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// `path` as seen from `folder`, without `.` and `..`. `None` if it leads out of the checkout.
pub(crate) fn join(folder: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_checkout_is_read() {
        let house = House::here();
        assert!(house.file("tests/tidy/house.rs").is_some_and(|file| file.text.contains("this_checkout_is_read")));
        assert!(house.paths.contains("schema/migrations"), "a folder is a path too");
    }

    #[test]
    fn paths_are_joined() {
        assert_eq!(join("a/b", "../c").as_deref(), Some("a/c"));
        assert_eq!(join("", "./c/").as_deref(), Some("c"));
        assert_eq!(join("a", "../../c"), None);
    }
}
