//! What the terminal can show.

use console::Term;

/// Width of a chart that nobody watches.
const CHART_COLUMNS: usize = 100;

#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    /// Columns; `None`: as many as it takes, as into a file.
    pub(super) columns: Option<usize>,
    /// Whether things may be told apart by colour.
    pub(super) has_colors: bool,
}

impl Screen {
    /// `columns`: as the user wants it.
    pub(super) fn of_stdout(columns: Option<u16>) -> Self {
        let seen = Term::stdout().size_checked().map(|(_, columns)| columns);
        Self { columns: columns.or(seen).map(usize::from), has_colors: console::colors_enabled() }
    }

    pub(super) fn chart_columns(self) -> usize {
        self.columns.unwrap_or(CHART_COLUMNS)
    }
}
