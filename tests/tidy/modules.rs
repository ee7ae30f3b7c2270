//! No file that nobody compiles: it would still be read, and believed.

use std::collections::BTreeSet;

use crate::{
    house::{File, Finding, House, folder, join},
    rust_code::{code_only, identifier, words},
};

const MIGRATIONS: &str = "schema/migrations/";
const MIGRATOR: &str = "schema/src/migrate.rs";

/// Every `.rs` file is a target of cargo or named by a `mod`.
pub(crate) fn no_orphan_source(house: &House) -> Vec<Finding> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<(&File, bool)> = targets(house).map(|file| (file, true)).collect();
    while let Some((file, is_root)) = open.pop() {
        if reached.insert(&file.path) {
            let modules = modules(file, is_root).into_iter().flatten();
            open.extend(modules.filter_map(|path| house.file(&path)).map(|file| (file, false)));
        }
    }
    let what = "no `mod` and no target of cargo leads here: nothing compiles it";
    house.ending(".rs").filter(|file| !reached.contains(&file.path)).map(|file| Finding::new(file, 1, what)).collect()
}

/// What cargo compiles by itself: its automatic targets, and the paths in a manifest.
fn targets(house: &House) -> impl Iterator<Item = &File> {
    let manifests: Vec<_> = house.files.iter().filter(|file| is_manifest(&file.path)).collect();
    house.ending(".rs").filter(move |file| {
        manifests.iter().any(|manifest| {
            let package = folder(&manifest.path);
            let inside = if package.is_empty() { Some(&*file.path) } else { file.path.strip_prefix(package) };
            let inside = inside.map(|path| path.trim_start_matches('/')).unwrap_or_default();
            is_automatic(inside) || !inside.is_empty() && manifest.text.contains(&format!("path = \"{inside}\""))
        })
    })
}

fn is_manifest(path: &str) -> bool {
    path == "Cargo.toml" || path.ends_with("/Cargo.toml")
}

/// Whether cargo finds a target at `path` in a package.
fn is_automatic(path: &str) -> bool {
    let parts: Vec<_> = path.split('/').collect();
    let place = match parts[..] {
        ["build.rs"] | ["src", "lib.rs" | "main.rs"] => return true,
        ["src", "bin", ref place @ ..] | ["tests" | "benches" | "examples", ref place @ ..] => place,
        _ => return false,
    };
    matches!(place, [_] | [_, "main.rs"])
}

/// Where the modules may lie that `file` names, two places each. Those inside inline modules are not looked for.
fn modules(file: &File, is_root: bool) -> Vec<[String; 2]> {
    let code = code_only(&file.text);
    let here = folder(&file.path);
    let own = if is_root || file.path.ends_with("/mod.rs") { here } else { file.path.trim_end_matches(".rs") };
    let place = |at: usize| {
        let name = identifier(&code[at + "mod".len()..]);
        let declared = code[at..].find([';', '{']).is_some_and(|end| code[at + end..].starts_with(';'));
        let start = code[..at].rfind([';', '{', '}']).map_or(0, |before| before + 1);
        let named = file.text[start..at].split_once("#[path = \"").and_then(|(_, rest)| rest.split('"').next());
        let places = match named {
            Some(path) => [join(here, path)?, String::new()],
            None => [join(own, &format!("{name}.rs"))?, join(own, &format!("{name}/mod.rs"))?],
        };
        declared.then_some(places)
    };
    words(&code, "mod").filter_map(place).collect()
}

/// Every migration is one that the migrator applies.
pub(crate) fn no_orphan_migration(house: &House) -> Vec<Finding> {
    let migrator = house.file(MIGRATOR).map_or("", |file| &file.text);
    let migrations = house.ending(".sql").filter(|file| file.path.starts_with(MIGRATIONS));
    let orphan = |file: &&File| !migrator.contains(&format!("\"{}\"", &file.path[MIGRATIONS.len()..]));
    let what = format!("{MIGRATOR} does not name it: no database ever gets it");
    migrations.filter(orphan).map(|file| Finding::new(file, 1, &*what)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orphans_are_found_and_nothing_else() {
        let house = House::of(&[
            ("Cargo.toml", ""),
            ("tests/flow.rs", "mod server;\n#[path = \"../shared.rs\"]\nmod shared;"),
            ("tests/server/mod.rs", "mod child;"),
            ("tests/server/child.rs", ""),
            ("shared.rs", ""),
            ("tests/tidy/main.rs", "mod rule;"),
            ("tests/tidy/rule.rs", ""),
            ("ingest/Cargo.toml", "[[bin]]\npath = \"odd/place.rs\""),
            ("ingest/odd/place.rs", ""),
            ("ingest/build.rs", ""),
            ("ingest/src/bin/tool.rs", ""),
            ("ingest/src/lib.rs", "pub(crate) mod a;\n// mod commented;\nmod inline { fn f() {} }"),
            ("ingest/src/a.rs", "#[cfg(test)]\nmod tests;\nconst TEXT: &str = \"mod quoted;\";"),
            ("ingest/src/a/tests.rs", ""),
            ("ingest/src/a/quoted.rs", ""),
            ("ingest/src/commented.rs", ""),
            ("ingest/src/inline.rs", ""),
            ("ingest/src/tests.rs", ""),
            ("ingest/deep/tests/x.rs", ""),
        ]);
        let what = |path: &str| {
            Finding::new(
                house.file(path).unwrap(),
                1,
                "no `mod` and no target of cargo leads here: nothing compiles it",
            )
        };
        let orphans = [
            "ingest/src/a/quoted.rs",
            "ingest/src/commented.rs",
            "ingest/src/inline.rs",
            "ingest/src/tests.rs",
            "ingest/deep/tests/x.rs",
        ];
        assert_eq!(no_orphan_source(&house), orphans.map(what));
    }

    #[test]
    fn orphan_migrations_are_found() {
        let migrator = (MIGRATOR, "migration!(1, \"one\", \"0001_one.sql\")");
        let house =
            House::of(&[migrator, ("schema/migrations/0001_one.sql", ""), ("schema/migrations/0002_two.sql", "")]);
        assert_eq!(no_orphan_migration(&house).len(), 1);
    }
}
