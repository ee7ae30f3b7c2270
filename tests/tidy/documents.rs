//! Documents: a map that names what is gone is worse than no map.

use crate::{
    house::{File, Finding, House, folder, join},
    markdown::Page,
};

/// A name with one of these endings is a file of ours, wherever it is named.
const OUR_ENDINGS: &[&str] = &["md", "rs", "service", "sh", "sql"];
/// Others have such files too: only with a folder before it is the name meant to be one of ours.
const SHARED_ENDINGS: &[&str] = &["css", "html", "js", "json", "svg", "toml", "yaml", "yml"];
/// Most lines of the pages that a newcomer reads first: past it they are not read.
const FIRST_PAGES: &[(&str, usize)] = &[("README.md", 199), ("ARCHITECTURE.md", 149)];

/// Every path in backticks and in blocks of code.
pub(crate) fn paths_exist(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in house.ending(".md") {
        let page = Page::parse(&file.text);
        let spans = page.spans.iter().flat_map(|(line, span)| {
            // A single word is a name; in a command only what starts with a folder of ours is surely one.
            let alone = !span.contains(char::is_whitespace);
            span.split_whitespace().map(move |word| (*line, word, alone))
        });
        let blocks = page.code.iter().flat_map(|(line, code)| code.split_whitespace().map(|word| (*line, word, false)));
        for (line, word, alone) in spans.chain(blocks) {
            let word = word.trim_matches(|c| "\"'(),;".contains(c)).trim_end_matches([':', '.']);
            let wrong = expanded(word).into_iter().any(|path| {
                (in_our_folder(house, &path) || alone && looks_like_path(house, file, &path))
                    && !exists(house, file, &path)
            });
            if wrong {
                findings.push(Finding::new(
                    file,
                    line,
                    format!("`{word}` exists neither from here nor from the root: correct the page, which someone will follow"),
                ));
            }
        }
    }
    findings
}

/// Every link, with its anchor.
pub(crate) fn links_lead_somewhere(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in house.ending(".md") {
        for (line, link) in &Page::parse(&file.text).links {
            if let Err(why) = follow(house, file, link) {
                findings.push(Finding::new(file, *line, format!("the link to {link} is dead: {why}")));
            }
        }
    }
    findings
}

fn follow(house: &House, from: &File, link: &str) -> Result<(), &'static str> {
    let link = link.trim_matches(['<', '>']);
    if ["http://", "https://", "mailto:"].iter().any(|scheme| link.starts_with(scheme)) {
        return Ok(());
    }
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    let path = match path {
        "" => from.path.clone(),
        path => join(folder(&from.path), path).ok_or("it leads out of the checkout")?,
    };
    if !house.paths.contains(&path) {
        return Err("there is no such file; links start at the page's own folder");
    }
    let page = house.ending(".md").find(|file| file.path == path).map(|file| Page::parse(&file.text));
    match (anchor, page) {
        (Some(anchor), Some(page)) if !page.has_anchor(anchor) => Err("the page has no such heading"),
        _ => Ok(()),
    }
}

/// A page without a title, or with two, is two pages or none.
pub(crate) fn have_one_title(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in house.ending(".md") {
        let page = Page::parse(&file.text);
        let titles: Vec<_> = page.headings.iter().filter(|(_, level, _)| *level == 1).collect();
        let line = titles.get(1).map_or(1, |(line, ..)| *line);
        if titles.len() != 1 {
            findings.push(Finding::new(file, line, format!("{} titles (`# …`): a page has one subject", titles.len())));
        }
    }
    findings
}

/// README and ARCHITECTURE.
pub(crate) fn first_pages_are_short(house: &House) -> Vec<Finding> {
    let check = |(path, most): &(&str, usize)| match house.file(path) {
        None => Some(Finding::missing(path, "a newcomer looks for this page first, and it is not there")),
        Some(file) => {
            let lines = file.text.lines().count();
            let what = format!("{lines} lines: past {most} nobody reads it; move the rest nearer to what it is about");
            (lines > *most).then(|| Finding::new(file, lines, what))
        }
    };
    FIRST_PAGES.iter().filter_map(check).collect()
}

/// `a/{b,c}.rs` as `a/b.rs` and `a/c.rs`.
fn expanded(word: &str) -> Vec<String> {
    let parts =
        word.split_once('{').and_then(|(before, rest)| rest.split_once('}').map(|(list, after)| (before, list, after)));
    let Some((before, list, after)) = parts else { return vec![word.to_owned()] };
    list.split(',').map(|item| format!("{before}{item}{after}")).collect()
}

/// Whether the first folder of `path` is one of the checkout's.
fn in_our_folder(house: &House, path: &str) -> bool {
    path.split_once('/').is_some_and(|(first, _)| !first.is_empty() && house.paths.contains(first))
}

fn looks_like_path(house: &House, from: &File, path: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/*<>@".contains(c);
    if !path.chars().all(plain) || path.starts_with(['/', '~']) || path.starts_with("target/") {
        return false;
    }
    let has_ending = |endings: &[&str]| path.rsplit_once('.').is_some_and(|(_, ending)| endings.contains(&ending));
    let first = path.split('/').next().unwrap_or_default();
    let here = join(folder(&from.path), first).is_some_and(|first| house.paths.contains(&first));
    let in_folder = path.contains('/') && (here || first.starts_with('.') || has_ending(SHARED_ENDINGS));
    in_folder || has_ending(OUR_ENDINGS)
}

/// From the page's folder or the root; a bare file name, anywhere. A question of the catalogue may go without `.sql`.
fn exists(house: &House, from: &File, path: &str) -> bool {
    let places = [join(folder(&from.path), path), join("", path)];
    let found = places.into_iter().flatten().any(|place| {
        house
            .paths
            .iter()
            .any(|path| alike(path, &place) || path.strip_suffix(".sql").is_some_and(|path| path == place))
    });
    let anywhere = format!("/{path}");
    found || !path.contains('/') && house.paths.iter().any(|path| path.ends_with(&anywhere))
}

/// Whether `path` fits `pattern`, in which `*` and `<noun>` stand for anything but a `/`.
fn alike(path: &str, pattern: &str) -> bool {
    let (paths, patterns) = (path.split('/'), pattern.split('/'));
    paths.clone().count() == patterns.clone().count()
        && paths.zip(patterns).all(|(part, pattern)| part_alike(part, pattern))
}

fn part_alike(part: &str, pattern: &str) -> bool {
    let Some((before, rest)) = pattern.split_once(['*', '<']) else { return part == pattern };
    let after = if pattern[before.len()..].starts_with('<') {
        rest.split_once('>').map_or("", |(_, after)| after)
    } else {
        rest
    };
    let Some(rest) = part.strip_prefix(before) else { return false };
    rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| part_alike(&rest[at..], after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn house(page: &str) -> House {
        let files = ["ingest/src/row.rs", "ingest/src/batch.rs", "queries/catalogue/shards/latency.sql", "Makefile"];
        let mut all: Vec<_> = files.iter().map(|path| (*path, "")).collect();
        all.extend([("ARCHITECTURE.md", "# Design\n## One `way` through\n"), ("ingest/README.md", page)]);
        House::of(&all)
    }

    #[test]
    fn a_path_that_is_gone_is_found() {
        for page in [
            "`src/gone.rs`",
            "`ingest/src/gone`",
            "`gone.rs`",
            "`cat ingest/gone`",
            "`ingest/src/{row,gone}.rs`",
            "`ingest/*.rs`",
            "`schema/<noun>/x.sql`",
            "`./gone`",
            "text\n```sh\nwc (ingest/gone)\n```",
        ] {
            assert_eq!(paths_exist(&house(page)).len(), 1, "{page}");
        }
    }

    #[test]
    fn a_path_that_is_there_and_what_is_no_path_are_not() {
        for page in [
            "`src/row.rs` `ingest/src/row.rs` `row.rs` `src` `src/` `../Makefile` `ingest/src/{row,batch}.rs`",
            "`ingest/src/*.rs` `queries/catalogue/<noun>/<question>.sql` `queries/catalogue/shards/latency`",
            "`/v1/shards/latency` `application/json` `shards/latency` `~/.cache/x.rs` `target/debug/x.rs` `config.toml`",
            "`a.b(c/d.rs)` `make test` `discord_*` `ingest`",
            "```\nsee gone/x.rs and ingest/src/row.rs.\n```",
        ] {
            assert_eq!(paths_exist(&house(page)), [], "{page}");
        }
    }

    #[test]
    fn dead_links_are_found() {
        for page in
            ["[x](gone.md)", "[x](ingest/src/row.rs)", "[x](#gone)", "[x](../ARCHITECTURE.md#gone)", "[x](../../y)"]
        {
            assert_eq!(links_lead_somewhere(&house(page)).len(), 1, "{page}");
        }
        let fine =
            "# Here\n[x](src/row.rs) [x](#here) [x](../ARCHITECTURE.md#one-way-through) [x](https://y.z) [x](src#L3)";
        assert_eq!(links_lead_somewhere(&house(fine)), []);
    }

    #[test]
    fn titles_are_counted() {
        assert_eq!(have_one_title(&house("# One\n## Two\n")), []);
        assert_eq!(have_one_title(&house("# One\n# Two\n")).len(), 1);
        assert_eq!(have_one_title(&house("nothing")).len(), 1);
    }

    #[test]
    fn long_and_missing_first_pages_are_found() {
        let page = |lines: usize| "x\n".repeat(lines);
        let of =
            |readme: &str, architecture: &str| House::of(&[("README.md", readme), ("ARCHITECTURE.md", architecture)]);
        assert_eq!(first_pages_are_short(&of(&page(199), &page(149))), []);
        assert_eq!(first_pages_are_short(&of(&page(200), &page(150))).len(), 2);
        assert_eq!(first_pages_are_short(&House::of(&[])).len(), 2);
    }
}
