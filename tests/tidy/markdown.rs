//! Just enough of Markdown: titles, spans of code, links.

/// What a page says that can be wrong. Lines are counted from 1.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Page {
    /// Level and text of each heading.
    pub(crate) headings: Vec<(usize, usize, String)>,
    /// Texts in backticks.
    pub(crate) spans: Vec<(usize, String)>,
    /// Lines of blocks of code.
    pub(crate) code: Vec<(usize, String)>,
    /// Targets of links and pictures.
    pub(crate) links: Vec<(usize, String)>,
}

impl Page {
    pub(crate) fn parse(text: &str) -> Self {
        let mut page = Self::default();
        let mut fence: Option<&str> = None;
        for (line, text) in (1..).zip(text.lines()) {
            let marker = ["```", "~~~"].into_iter().find(|marker| text.trim_start().starts_with(marker));
            match (fence, marker) {
                (None, Some(_)) => fence = marker,
                (Some(open), Some(marker)) if open == marker => fence = None,
                (Some(_), _) => page.code.push((line, text.to_owned())),
                (None, None) => page.prose(line, text),
            }
        }
        page
    }

    fn prose(&mut self, line: usize, text: &str) {
        let title = text.trim_start_matches('#');
        let level = text.len() - title.len();
        if level > 0 && title.starts_with(' ') {
            self.headings.push((line, level, title.trim().to_owned()));
        }

        // Every second piece between backticks is code; what it says of links is not meant.
        let pieces: Vec<_> = text.split('`').collect();
        let mut rest = String::new();
        for (index, piece) in pieces.iter().enumerate() {
            if index % 2 == 1 && index + 1 < pieces.len() {
                self.spans.push((line, (*piece).to_owned()));
            } else {
                rest.push_str(piece);
            }
        }
        let inline = rest.split("](").skip(1).filter_map(|after| after.split(')').next());
        let definition = rest.starts_with('[').then(|| rest.split_once("]: ")).flatten().map(|(_, target)| target);
        let target = |target: &str| target.split_whitespace().next().unwrap_or_default().to_owned();
        self.links.extend(inline.chain(definition).map(|text| (line, target(text))));
    }

    /// Whether `#anchor` leads to a heading, in GitHub's way of naming them.
    pub(crate) fn has_anchor(&self, anchor: &str) -> bool {
        let mut seen: Vec<String> = Vec::new();
        self.headings.iter().any(|(_, _, title)| {
            let name = slug(title);
            let earlier = seen.iter().filter(|other| **other == name).count();
            let unique = if earlier == 0 { name.clone() } else { format!("{name}-{earlier}") };
            seen.push(name);
            unique == anchor
        })
    }
}

fn slug(title: &str) -> String {
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_taken_apart() {
        let page = Page::parse(concat!(
            "# A `b` page\n",
            "See `x.rs` and [`y`](z.md \"title\"), ![p](p.png).\n",
            "```sh\n# not a title `q`\n```\n",
            "[ref]: ../r.md\n",
            "#no heading, `[not](a-link)`, one ` alone\n",
        ));
        assert_eq!(page.headings, [(1, 1, "A `b` page".to_owned())]);
        let spans: Vec<_> = page.spans.iter().map(|(line, text)| (*line, text.as_str())).collect();
        assert_eq!(spans, [(1, "b"), (2, "x.rs"), (2, "y"), (7, "[not](a-link)")]);
        let links: Vec<_> = page.links.iter().map(|(line, text)| (*line, text.as_str())).collect();
        assert_eq!(links, [(2, "z.md"), (2, "p.png"), (6, "../r.md")]);
        assert_eq!(page.code, [(4, "# not a title `q`".to_owned())]);
    }

    #[test]
    fn anchors_are_named_as_on_the_web() {
        let page = Page::parse("# The writer's promise\n## `make test`, or so\n## Same\n## Same\n");
        for anchor in ["the-writers-promise", "make-test-or-so", "same", "same-1"] {
            assert!(page.has_anchor(anchor), "{anchor}");
        }
        assert!(!page.has_anchor("same-2"));
        assert!(!page.has_anchor("Same"));
    }
}
