//! Where a statement ends: cuts what is typed or read into statements and backslash commands.
//!
//! A semicolon ends a statement unless it stands in a string, a quoted name, a dollar-quoted body or a comment
//! (PostgreSQL manual, "Lexical Structure"). A backslash where a statement would begin starts a command that goes to
//! the end of the line, as in psql.

/// One thing to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A statement, without its semicolon.
    Statement(String),
    /// A command, from the backslash to the end of its line.
    Command(String),
}

/// Gathers text and hands out what is complete.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    text: String,
    /// How much of the text has been handed out.
    done: usize,
}

impl Splitter {
    /// Adds text.
    pub(super) fn push(&mut self, text: &str) {
        self.text.drain(..self.done);
        self.done = 0;
        self.text.push_str(text);
    }

    /// The next piece that is complete.
    pub(super) fn next_piece(&mut self) -> Option<Piece> {
        loop {
            self.done += skip_blank(self.rest())?;
            let rest = self.rest();
            let command = rest.starts_with('\\');
            let end = if command { rest.find('\n')? } else { statement_end(rest)? };
            let piece = rest.get(..end)?.trim().to_owned();
            // The semicolon or line end too.
            self.done += end + 1;
            if command {
                return Some(Piece::Command(piece));
            }
            if !piece.is_empty() {
                return Some(Piece::Statement(piece));
            }
        }
    }

    /// The next line as it is, with its end, for the data that follows a COPY; `None` when no whole line is there. What
    /// stands behind the statement on its own line is left out when `first`, as there is nothing but white space.
    pub(super) fn next_line(&mut self, first: bool) -> Option<String> {
        if first
            && let Some(end) = self.rest().find('\n')
            && self.text.get(..self.done).is_some_and(|before| before.ends_with(';'))
            && self.rest().get(..end).is_some_and(|left| left.trim().is_empty())
        {
            self.done += end + 1;
        }
        let end = self.rest().find('\n')? + 1;
        let line = self.rest().get(..end)?.to_owned();
        self.done += end;
        Some(line)
    }

    /// All that is left, where no line end follows it.
    pub(super) fn last_line(&mut self) -> Option<String> {
        let rest = self.rest().to_owned();
        *self = Splitter::default();
        Some(rest).filter(|rest| !rest.is_empty())
    }

    /// What is left at the end of the input: it counts as complete there.
    pub(super) fn finish(&mut self) -> Option<Piece> {
        self.done += skip_blank(self.rest()).unwrap_or_else(|| self.rest().len());
        let rest = self.rest().trim().to_owned();
        *self = Splitter::default();
        match rest {
            rest if rest.is_empty() => None,
            rest if rest.starts_with('\\') => Some(Piece::Command(rest)),
            rest => Some(Piece::Statement(rest)),
        }
    }

    fn rest(&self) -> &str {
        self.text.get(self.done..).unwrap_or_default()
    }
}

/// Whether `text` needs no more lines: it ends after a statement or a command, or holds nothing.
pub(super) fn is_complete(text: &str) -> bool {
    let mut splitter = Splitter::default();
    splitter.push(text);
    splitter.push("\n");
    while splitter.next_piece().is_some() {}
    skip_blank(splitter.rest()).is_some_and(|start| start >= splitter.rest().len())
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// The offset after white space and comments; `None` inside a comment that does not end.
fn skip_blank(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        match bytes.get(at) {
            Some(byte) if byte.is_ascii_whitespace() => at += 1,
            Some(b'-') if bytes.get(at + 1) == Some(&b'-') => at = line_end(bytes, at),
            Some(b'/') if bytes.get(at + 1) == Some(&b'*') => at = comment_end(bytes, at)?,
            _ => return Some(at),
        }
    }
}

/// The offset of the semicolon that ends the statement at the beginning of `text`.
fn statement_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    let mut in_name = false;
    while let Some(byte) = bytes.get(at) {
        let after_name = in_name;
        in_name = is_name(*byte);
        match byte {
            b';' => return Some(at),
            b'\'' => at = quote_end(bytes, at, b'\'', is_escape_string(bytes, at))?,
            b'"' => at = quote_end(bytes, at, b'"', false)?,
            b'-' if bytes.get(at + 1) == Some(&b'-') => at = line_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => at = comment_end(bytes, at)?,
            b'$' if !after_name => at = dollar_end(text, at)?,
            _ => at += 1,
        }
    }
    None
}

/// Whether the quote at `at` begins an `E'…'` string, in which a backslash hides the next character.
fn is_escape_string(bytes: &[u8], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).and_then(|place| bytes.get(place));
    matches!(before(1), Some(b'e' | b'E')) && !before(2).is_some_and(|byte| is_name(*byte))
}

/// The offset after the quoted text that begins at `at`. A doubled quote needs no care: it ends one and begins one.
fn quote_end(bytes: &[u8], at: usize, quote: u8, escapes: bool) -> Option<usize> {
    let mut at = at + 1;
    loop {
        match bytes.get(at)? {
            b'\\' if escapes => at += 2,
            byte if *byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes.iter().skip(at).position(|byte| *byte == b'\n').map_or(bytes.len(), |length| at + length)
}

/// The offset after the comment that begins at `at`; comments nest.
fn comment_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut depth = 0;
    let mut at = at;
    loop {
        match (bytes.get(at)?, bytes.get(at + 1)) {
            (b'/', Some(b'*')) => {
                depth += 1;
                at += 2;
            }
            (b'*', Some(b'/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => at += 1,
        }
    }
}

/// The offset after the dollar-quoted text that begins at `at`, or after the dollar if it begins none (`$1`).
fn dollar_end(text: &str, at: usize) -> Option<usize> {
    let after = text.get(at + 1..)?;
    let Some(length) = after.find('$') else { return Some(at + 1) };
    let tag = after.get(..length)?;
    let is_tag = tag.bytes().all(is_name) && !tag.starts_with(|first: char| first.is_ascii_digit());
    if !is_tag {
        return Some(at + 1);
    }
    let delimiter = text.get(at..at + length + 2)?;
    let body = at + delimiter.len();
    Some(body + text.get(body..)?.find(delimiter)? + delimiter.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<Piece> {
        let mut splitter = Splitter::default();
        splitter.push(text);
        let mut pieces: Vec<Piece> = std::iter::from_fn(|| splitter.next_piece()).collect();
        pieces.extend(splitter.finish());
        pieces
    }

    fn statements(text: &str) -> Vec<String> {
        let text_of = |piece| match piece {
            Piece::Statement(text) | Piece::Command(text) => text,
        };
        pieces(text).into_iter().map(text_of).collect()
    }

    #[test]
    fn semicolons_inside_other_things_end_nothing() {
        for whole in [
            "SELECT 'a;b'",
            "SELECT 'it''s; fine'",
            r"SELECT E'it\'s; fine'",
            r"SELECT 'back\', 1",
            "SELECT \"a;b\" FROM t",
            "SELECT $$ a; b $$",
            "SELECT $x$ a; $$ b $x$",
            "SELECT $1, a$b$c",
            "SELECT 1 -- a; b\n + 1",
            "SELECT 1 /* a; /* b; */ c; */ + 1",
        ] {
            assert_eq!(statements(&format!("{whole}; SELECT 2")), [whole, "SELECT 2"], "{whole}");
        }
    }

    #[test]
    fn commands_go_to_the_end_of_their_line() {
        let expected = [
            Piece::Statement("SELECT 1".to_owned()),
            Piece::Command(r"\d t;".to_owned()),
            Piece::Statement("SELECT 2".to_owned()),
        ];
        assert_eq!(pieces("SELECT 1;\n-- note\n\\d t;\nSELECT\n2".replace("SELECT\n2", "SELECT 2").as_str()), expected);
        assert_eq!(pieces("\\q"), [Piece::Command(r"\q".to_owned())]);
    }

    #[test]
    fn data_is_taken_line_by_line() {
        let mut splitter = Splitter::default();
        splitter.push("copy t from stdin; \n1\tit's\n\n\\.\nSELECT 1;");
        assert_eq!(splitter.next_piece(), Some(Piece::Statement("copy t from stdin".to_owned())));
        assert_eq!(splitter.next_line(true).unwrap(), "1\tit's\n");
        assert_eq!(splitter.next_line(false).unwrap(), "\n");
        assert_eq!(splitter.next_line(false).unwrap(), "\\.\n");
        assert_eq!(splitter.next_line(false), None);
        assert_eq!(splitter.next_piece(), Some(Piece::Statement("SELECT 1".to_owned())));
        splitter.push("\\copy t from stdin\n7");
        assert!(matches!(splitter.next_piece(), Some(Piece::Command(_))));
        assert_eq!((splitter.next_line(true), splitter.last_line().unwrap()), (None, "7".to_owned()));
    }

    #[test]
    fn nothing_is_nothing() {
        assert!(pieces(" \n;; -- only a note\n /* and another */ ;").is_empty());
        assert!(pieces("").is_empty());
    }

    #[test]
    fn what_is_open_waits_for_more() {
        for open in ["SELECT 1", "SELECT 'a;", "SELECT $$ ;", "/* ;", "SELECT \"a;"] {
            assert!(!is_complete(open), "{open}");
        }
        for complete in ["SELECT 1;", "", "  ", "\\d", "-- note", "SELECT 1; SELECT 2;", "\\timing\nSELECT 1;"] {
            assert!(is_complete(complete), "{complete}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_split_without_loss_of_statements(text in "[a-zé;'\"$\\\\/*\\- \n]{0,60}") {
            let _ = pieces(&text);
            let _ = is_complete(&text);
        }
    }
}
