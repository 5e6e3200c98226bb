//! What the shell talks to: a server, or a directory opened in this process.

use anyhow::Result;

use super::table::Sink;

/// Gives the next piece of what `\copy … from` sends; `None` at the end.
pub(super) type ReadChunk<'a> = &'a mut dyn FnMut() -> Result<Option<Vec<u8>>>;

/// Takes the next piece of what `\copy … to` receives.
pub(super) type WriteChunk<'a> = &'a mut dyn FnMut(&[u8]) -> Result<()>;

/// One connection or session.
pub(super) trait Backend {
    /// Runs one statement and gives its results to `sink`. An error's text is ready to be shown.
    fn run(&mut self, statement: &str, sink: &mut dyn Sink) -> Result<()>;

    /// Runs `COPY … FROM STDIN` with the data that `chunks` gives; the number of rows.
    fn copy_in(&mut self, statement: &str, chunks: ReadChunk<'_>) -> Result<u64>;

    /// Runs `COPY … TO STDOUT`, giving the data to `chunks`; the number of rows where it is known.
    fn copy_out(&mut self, statement: &str, chunks: WriteChunk<'_>) -> Result<Option<u64>>;

    /// What was said beside the results since the last call, ready to be shown.
    fn notices(&mut self) -> Vec<String>;
}

/// An error or notice as the shell shows it, after psql's manner.
#[derive(Debug, Default)]
pub(super) struct Report<'a> {
    pub(super) severity: &'a str,
    pub(super) code: &'a str,
    pub(super) message: &'a str,
    pub(super) detail: Option<&'a str>,
    pub(super) hint: Option<&'a str>,
    /// In characters from 1.
    pub(super) position: Option<usize>,
}

impl Report<'_> {
    /// The text, with the line of `statement` that the position points into.
    pub(super) fn text(&self, statement: &str) -> String {
        let mut text = format!("{}:  {} ({})", self.severity, self.message, self.code);
        if let Some(place) = self.position.and_then(|position| point_at(statement, position)) {
            text.push('\n');
            text.push_str(&place);
        }
        for (label, more) in [("DETAIL", self.detail), ("HINT", self.hint)] {
            if let Some(more) = more {
                text.push_str(&format!("\n{label}:  {more}"));
            }
        }
        text
    }
}

/// The line that holds the character `position` (from 1), with a caret below it.
fn point_at(statement: &str, position: usize) -> Option<String> {
    let mut before = position.checked_sub(1)?;
    for (number, line) in statement.split('\n').enumerate() {
        let length = line.chars().count();
        if before <= length {
            let label = format!("LINE {}: ", number + 1);
            // Tabs stay tabs, so that the caret stands below its character.
            let blank = |c: char| if c == '\t' { '\t' } else { ' ' };
            let gap: String = label.chars().chain(line.chars().take(before)).map(blank).collect();
            return Some(format!("{label}{line}\n{gap}^"));
        }
        before -= length + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_points_into_the_statement() {
        let report = Report {
            severity: "ERROR",
            code: "42601",
            message: "syntax error",
            hint: Some("think"),
            position: Some(12),
            ..Report::default()
        };
        let text = report.text("SELECT 1\n, é FRM t");
        assert_eq!(text, "ERROR:  syntax error (42601)\nLINE 2: , é FRM t\n          ^\nHINT:  think");
        assert!(Report { position: Some(99), ..report }.text("SELECT 1").contains("42601"));
    }
}
