//! Which files a user wants, and what that means for the pieces.
//!
//! Files have priorities; a piece has the best of the files it holds bytes of. The
//! [`Ledger`](super::ledger::Ledger) only knows wanted and not, the
//! [`Picker`](super::picker::Picker) the classes.

use crate::proto::geometry::Geometry;

/// How much a file, or a piece of it, is wanted; the best is the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Priority {
    /// Before all others.
    High,
    /// As usual.
    #[default]
    Normal,
    /// After all others.
    Low,
    /// Not at all.
    Off,
}

impl Priority {
    /// By BitTornado's number: 0 to 2, and -1 for [`Off`](Priority::Off).
    pub fn from_number(number: i64) -> Option<Priority> {
        match number {
            0 => Some(Priority::High),
            1 => Some(Priority::Normal),
            2 => Some(Priority::Low),
            -1 => Some(Priority::Off),
            _ => None,
        }
    }

    /// BitTornado's number.
    pub fn number(self) -> i64 {
        match self {
            Priority::Off => -1,
            wanted => wanted as i64,
        }
    }

    /// Whether it is wanted at all.
    pub fn is_wanted(self) -> bool {
        self != Priority::Off
    }
}

/// The priority of every piece, from that of every file; files beyond the list are
/// [`Normal`](Priority::Normal).
pub fn of_pieces(geometry: &Geometry, files: &[Priority]) -> Vec<Priority> {
    let mut pieces = vec![Priority::Off; geometry.piece_count() as usize];
    for file in 0..geometry.file_count() {
        let priority = files.get(file).copied().unwrap_or_default();
        for piece in geometry.pieces_of_file(file) {
            let piece = &mut pieces[piece as usize];
            *piece = priority.min(*piece);
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use Priority::{High, Low, Normal, Off};

    #[test]
    fn a_piece_is_wanted_as_much_as_the_best_of_its_files() {
        // Pieces of ten bytes: the second one holds the end of a file, a whole one, and the
        // beginning of a third.
        let geometry = Geometry::new(10, [15, 2, 0, 25]).unwrap();
        let pieces = |files: &[Priority]| of_pieces(&geometry, files);
        assert_eq!(pieces(&[]), [Normal; 5]);
        assert_eq!(pieces(&[Off, Off, Off, Off]), [Off; 5]);
        assert_eq!(pieces(&[Off, Low, High, Off]), [Off, Low, Off, Off, Off]);
        assert_eq!(pieces(&[Low, Off, Off, High]), [Low, High, High, High, High]);
        assert_eq!(pieces(&[Off]), [Off, Normal, Normal, Normal, Normal]);
    }

    #[test]
    fn numbers_are_those_of_the_original() {
        for number in [-1, 0, 1, 2] {
            assert_eq!(Priority::from_number(number).map(Priority::number), Some(number));
        }
        assert_eq!((Priority::from_number(3), Priority::from_number(-2)), (None, None));
    }
}
