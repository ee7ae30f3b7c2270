//! Words that must not stand in our files, or on them.

use crate::house::{File, Finding, House};

/// Written by cargo, which names its registry there.
const LOCK: &str = "Cargo.lock";

/// Where a machine keeps what is its own. In two halves, or this file would name them too.
const MACHINE_FOLDERS: &[(&str, &str)] = &[("/ro", "ot"), ("/ho", "me"), ("/wo", "rk"), ("/Use", "rs")];

/// Package registries and their mirrors' usual homes, host and ending.
const REGISTRIES: &[(&str, &str)] = &[
    ("crates", "io"),
    ("docker", "io"),
    ("gcr", "io"),
    ("ghcr", "io"),
    ("quay", "io"),
    ("npmjs", "com"),
    ("npmjs", "org"),
    ("pypi", "org"),
    ("pythonhosted", "org"),
    ("debian", "org/debian"),
    ("ubuntu", "com/ubuntu"),
];

/// Names under which anything could lie.
const EMPTY_WORDS: &[&str] =
    &["common", "helper", "helpers", "manager", "managers", "misc", "util", "utilities", "utils"];

/// Absolute paths of somebody's machine.
pub(crate) fn no_machine(house: &House) -> Vec<Finding> {
    let names_one = |line: &str| MACHINE_FOLDERS.iter().any(|(a, b)| names_folder(line, &format!("{a}{b}")));
    lines(house)
        .filter(|(_, _, line)| names_one(line))
        .map(|(file, number, line)| {
            Finding::new(file, number, format!("a path of one machine, which no other has: {}", line.trim()))
        })
        .collect()
}

/// Whether `folder` starts an absolute path in `line`.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let starts = !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_-./~}$>)*".contains(c));
        let ends = !line[at + folder.len()..].starts_with(|c: char| c.is_alphanumeric() || "_-.".contains(c));
        starts && ends
    })
}

/// Addresses of package registries.
pub(crate) fn no_registry(house: &House) -> Vec<Finding> {
    let names_one = |line: &str| {
        REGISTRIES.iter().any(|(host, ending)| {
            let address = format!("{host}.{ending}");
            ["/", ".", "@"].iter().any(|before| line.contains(&format!("{before}{address}")))
        })
    };
    lines(house)
        .filter(|(file, _, line)| file.path != LOCK && names_one(line))
        .map(|(file, number, line)| {
            let what = "the address of a registry: name the package, the package client knows where to fetch it";
            Finding::new(file, number, format!("{what}: {}", line.trim()))
        })
        .collect()
}

fn lines(house: &House) -> impl Iterator<Item = (&File, usize, &str)> {
    house.files.iter().flat_map(|file| (1..).zip(file.text.lines()).map(move |(number, line)| (file, number, line)))
}

/// Files and folders whose names say nothing.
pub(crate) fn no_empty_words(house: &House) -> Vec<Finding> {
    let stem = |part: &str| part.split('.').next().unwrap_or_default().to_lowercase();
    let empty = |file: &&File| file.path.split('/').any(|part| EMPTY_WORDS.contains(&stem(part).as_str()));
    let what = "a name under which anything could lie: name the file after what it is about";
    house.files.iter().filter(empty).map(|file| Finding::new(file, 1, what)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rule: fn(&House) -> Vec<Finding>, text: &str) -> usize {
        rule(&House::of(&[("a.toml", text)])).len()
    }

    #[test]
    fn machines_are_found() {
        for (a, b) in MACHINE_FOLDERS {
            let folder = format!("{a}{b}");
            for text in [format!("x = \"{folder}/me/y\""), format!("cd {folder}"), format!("ok\n`{folder}/x` ")] {
                assert_eq!(found(no_machine, &text), 1, "{text}");
            }
            for text in [format!("https://host{folder}/x"), format!("{folder}space/x"), format!("$HOME{folder}/x")] {
                assert_eq!(found(no_machine, &text), 0, "{text}");
            }
        }
        assert_eq!(found(no_machine, "/etc/shardlake and /usr/bin and </body>"), 0);
    }

    #[test]
    fn registries_are_found() {
        for (host, ending) in REGISTRIES {
            let text = format!("https://index.{host}.{ending}/x\nhttps://{host}.{ending}\nby {host} dot {ending}");
            assert_eq!(found(no_registry, &text), 2, "{text}");
            assert!(no_registry(&House::of(&[(LOCK, &text)])).is_empty());
        }
        assert_eq!(found(no_registry, "https://docs.rs/clap and https://www.debian.org"), 0);
    }

    #[test]
    fn empty_words_are_found() {
        let house =
            House::of(&[("a/utils.rs", ""), ("a/common/mod.rs", ""), ("a/Helpers.test.js", ""), ("a/commons.rs", "")]);
        assert_eq!(no_empty_words(&house).len(), 3);
    }
}
