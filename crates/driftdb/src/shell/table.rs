//! Results as aligned text.

use std::io::{self, Write};

use comfy_table::{Cell, CellAlignment, ContentArrangement, ContentLineStyle, LineStyle, Table, TableStyle};

/// Rows that are aligned together. A longer result is shown in several blocks, so that a shell never holds more.
const BLOCK_ROWS: usize = 5_000;

/// psql's lines: one below the names, bars between columns.
const STYLE: TableStyle = TableStyle::new()
    .header_lines(ContentLineStyle::none().junction('|'))
    .header_separator(LineStyle::none().fill('-').junction('+'))
    .content_lines(ContentLineStyle::none().junction('|'));

/// Where a backend puts what a statement gives.
pub(super) trait Sink {
    /// The names of the columns; rows follow.
    fn columns(&mut self, names: Vec<String>) -> io::Result<()>;
    /// One row; `None` is NULL.
    fn row(&mut self, values: Vec<Option<String>>) -> io::Result<()>;
    /// The statement is done, having given or changed `rows` rows.
    fn done(&mut self, statement: &str, rows: u64) -> io::Result<()>;
}

/// Writes results as aligned tables.
pub(super) struct Aligned<W: Write> {
    out: W,
    names: Option<Vec<String>>,
    rows: Vec<Vec<Option<String>>>,
}

impl<W: Write> Aligned<W> {
    pub(super) fn new(out: W) -> Aligned<W> {
        Aligned { out, names: None, rows: Vec::new() }
    }

    fn flush_block(&mut self) -> io::Result<()> {
        let Some(names) = &self.names else { return Ok(()) };
        let rows = std::mem::take(&mut self.rows);
        let mut table = Table::new();
        table.load_style(STYLE).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(names.iter().map(|name| Cell::new(name).set_alignment(CellAlignment::Center)));
        let numbers: Vec<bool> = (0..names.len()).map(|column| is_number_column(&rows, column)).collect();
        for row in rows {
            let cells = row.into_iter().zip(&numbers).map(|(value, number)| {
                let alignment = if *number { CellAlignment::Right } else { CellAlignment::Left };
                Cell::new(value.unwrap_or_default()).set_alignment(alignment)
            });
            table.add_row(cells.collect::<Vec<_>>());
        }
        for line in table.lines() {
            writeln!(self.out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Whether a column looks like numbers all through: the simple protocol's values are text, and the reader's eye wants
/// numbers flush right.
fn is_number_column(rows: &[Vec<Option<String>>], column: usize) -> bool {
    let mut values = rows.iter().filter_map(|row| row.get(column)).flatten().peekable();
    values.peek().is_some() && values.all(|value| value.parse::<f64>().is_ok())
}

impl<W: Write> Sink for Aligned<W> {
    fn columns(&mut self, names: Vec<String>) -> io::Result<()> {
        self.names = Some(names);
        Ok(())
    }

    fn row(&mut self, values: Vec<Option<String>>) -> io::Result<()> {
        self.rows.push(values);
        if self.rows.len() >= BLOCK_ROWS {
            self.flush_block()?;
        }
        Ok(())
    }

    fn done(&mut self, statement: &str, rows: u64) -> io::Result<()> {
        if self.names.is_some() {
            if !self.rows.is_empty() || rows == 0 {
                self.flush_block()?;
            }
            self.names = None;
            writeln!(self.out, "({rows} {})\n", if rows == 1 { "row" } else { "rows" })?;
        } else {
            writeln!(self.out, "{}", tag(statement, rows))?;
        }
        self.out.flush()
    }
}

/// What to say after a statement without rows: its first words, and how many rows it changed.
fn tag(statement: &str, rows: u64) -> String {
    let words: Vec<String> = statement.split_whitespace().take(2).map(str::to_ascii_uppercase).collect();
    match words.first().map(String::as_str) {
        Some(verb @ ("INSERT" | "UPDATE" | "DELETE" | "COPY" | "SELECT")) => format!("{verb} {rows}"),
        Some("CREATE" | "DROP" | "ALTER") => words.join(" "),
        Some(verb) => verb.to_owned(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(names: &[&str], rows: &[&[Option<&str>]]) -> String {
        let mut out = Vec::new();
        let mut aligned = Aligned::new(&mut out);
        aligned.columns(names.iter().map(|name| (*name).to_owned()).collect()).unwrap();
        for row in rows {
            aligned.row(row.iter().map(|value| value.map(str::to_owned)).collect()).unwrap();
        }
        aligned.done("SELECT", rows.len() as u64).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_right_and_text_left() {
        let text = shown(&["id", "name"], &[&[Some("1"), Some("Ada")], &[Some("10"), None]]);
        assert_eq!(text, " id | name\n----+------\n  1 | Ada\n 10 |\n(2 rows)\n\n");
    }

    #[test]
    fn an_empty_result_shows_its_columns() {
        let text = shown(&["id"], &[]);
        assert!(text.starts_with(" id\n") && text.ends_with("(0 rows)\n\n"), "{text:?}");
    }

    #[test]
    fn commands_are_named() {
        assert_eq!(tag("insert into t values (1)", 1), "INSERT 1");
        assert_eq!(tag("create table t (a int)", 0), "CREATE TABLE");
        assert_eq!(tag("begin", 0), "BEGIN");
    }
}
