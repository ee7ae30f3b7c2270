//! Lines of Braille dots.

/// Dots of a character of Braille, across and down.
const DOTS: (usize, usize) = (2, 4);

/// Bits of U+2800 by row and column.
const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

pub(super) struct Canvas {
    width: usize,
    height: usize,
    /// Of each character: its dots, and whose line came last.
    cells: Vec<(u8, Option<usize>)>,
}

impl Canvas {
    pub(super) fn new(width: usize, height: usize) -> Self {
        Self { width, height, cells: vec![(0, None); width * height] }
    }

    /// Draws a line through `points`, which lie in 0 to 1, with the origin below on the left. `None` is a hole.
    pub(super) fn line(&mut self, owner: usize, points: impl Iterator<Item = Option<(f64, f64)>>) {
        let (across, down) = (self.width * DOTS.0, self.height * DOTS.1);
        let mut last: Option<(i64, i64)> = None;
        for point in points {
            let here = point.map(|(x, y)| (nearest(x, across), nearest(1.0 - y, down)));
            match (last, here) {
                (Some(from), Some(to)) => self.stroke(owner, from, to),
                (None, Some(only)) => self.dot(owner, only),
                (_, None) => {}
            }
            last = here;
        }
    }

    /// A row of characters, from above; `paint` gives each the colour of whose line it is.
    pub(super) fn row(&self, row: usize, paint: impl Fn(char, usize) -> String) -> String {
        let cells = &self.cells[row * self.width..(row + 1) * self.width];
        let braille = |dots: u8| char::from_u32(0x2800 + u32::from(dots)).expect("the block has 256 characters");
        let drawn = cells
            .iter()
            .map(|(dots, owner)| owner.map_or_else(|| " ".to_owned(), |owner| paint(braille(*dots), owner)));
        drawn.collect()
    }

    /// Points along the longer side of the way, one each.
    fn stroke(&mut self, owner: usize, from: (i64, i64), to: (i64, i64)) {
        let (across, down) = (to.0 - from.0, to.1 - from.1);
        let steps = across.abs().max(down.abs()).max(1);
        for step in 0..=steps {
            // Rounded to the nearest; all are far from where 64 bits end.
            let along = |way: i64| (2 * way * step + way.signum() * steps) / (2 * steps);
            self.dot(owner, (from.0 + along(across), from.1 + along(down)));
        }
    }

    fn dot(&mut self, owner: usize, (x, y): (i64, i64)) {
        let (x, y) = (usize::try_from(x).unwrap_or(0), usize::try_from(y).unwrap_or(0));
        let cell = &mut self.cells[y / DOTS.1 * self.width + x / DOTS.0];
        let bit = BITS[y % DOTS.1][x % DOTS.0];
        *cell = (cell.0 | bit, Some(owner));
    }
}

/// The point of `points` at this share of the way.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a terminal has few points")]
fn nearest(share: f64, points: usize) -> i64 {
    let last = points.saturating_sub(1);
    (share.clamp(0.0, 1.0) * last as f64).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(points: &[Option<(f64, f64)>]) -> Vec<String> {
        let mut canvas = Canvas::new(4, 2);
        canvas.line(0, points.iter().copied());
        (0..2).map(|row| canvas.row(row, |dots, _| dots.to_string())).collect()
    }

    #[test]
    fn a_line_goes_from_corner_to_corner() {
        assert_eq!(drawn(&[Some((0.0, 0.0)), Some((1.0, 1.0))]), ["  ⡠⠊", "⡠⠊  "]);
        assert_eq!(drawn(&[Some((0.0, 1.0)), Some((1.0, 1.0))]), ["⠉⠉⠉⠉", "    "]);
    }

    #[test]
    fn a_hole_stays_one_and_a_lone_value_is_seen() {
        assert_eq!(drawn(&[Some((0.0, 0.0)), None, Some((1.0, 0.0))]), ["    ", "⡀  ⢀"]);
    }
}
