//! Pages of lists that operators read.

use tokio_postgres::Row;

/// The rows of one page, and how many there are on all pages.
#[derive(Debug)]
pub struct Paged<T> {
    pub total: i64,
    pub rows: Vec<T>,
}

impl<T> Default for Paged<T> {
    fn default() -> Self {
        Self { total: 0, rows: Vec::new() }
    }
}

impl<T> Paged<T> {
    /// Each row names the total; `read` gives nothing for the one row of an empty page.
    pub(super) fn read(rows: &[Row], read: impl FnMut(&Row) -> Option<T>) -> Self {
        let total = rows.first().map_or(0, |row| row.get("total"));
        Self { total, rows: rows.iter().filter_map(read).collect() }
    }
}
