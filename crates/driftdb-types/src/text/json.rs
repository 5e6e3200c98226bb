//! `json` and `jsonb`.
//!
//! `json` keeps the text, so it is only checked. `jsonb` is printed back from its meaning: of members with one key the last
//! stays, keys are sorted by length and then bytes, numbers are written without exponents, strings with the fewest
//! escapes. DriftDB keeps `jsonb` as that normal form's text, so equal documents are equal bytes (but for numbers:
//! `1.0` and `1.00` stay two texts, as they are in PostgreSQL's output).

use std::cmp::Ordering;
use std::fmt::Write;

use crate::{Error, Result, SqlState};

/// Values may be nested this deep: every level takes stack.
const DEPTH_MAX: usize = 512;
/// Digits PostgreSQL's `numeric` has before and behind the point.
const WHOLE_DIGITS_MAX: i64 = 131_072;
const FRACTION_DIGITS_MAX: i64 = 16_383;

/// Fails unless the text is JSON.
pub(super) fn validate(text: &str) -> Result<()> {
    Parser { text, at: 0, build: false }.document().map(drop)
}

/// The normal form of a JSON text.
pub(super) fn normalize(text: &str) -> Result<String> {
    Parser { text, at: 0, build: true }.document()
}

/// What kind of value a document in normal form is; casts of `jsonb` go by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    String,
    Array,
    Object,
}

/// The kind of a document in normal form.
pub(crate) fn scalar(jsonb: &str) -> Scalar<'_> {
    match jsonb.bytes().next() {
        Some(b'{') => Scalar::Object,
        Some(b'[') => Scalar::Array,
        Some(b'"') => Scalar::String,
        Some(b't') => Scalar::Bool(true),
        Some(b'f') => Scalar::Bool(false),
        Some(b'n') | None => Scalar::Null,
        Some(_) => Scalar::Number(jsonb),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    /// Whether the normal form is wanted; else the document is only checked.
    build: bool,
}

impl Parser<'_> {
    fn document(&mut self) -> Result<String> {
        let mut out = String::with_capacity(if self.build { self.text.len() } else { 0 });
        self.value(&mut out, 0)?;
        self.skip_blanks();
        if self.at < self.text.len() { Err(self.unexpected()) } else { Ok(out) }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// The text from `start` to here.
    fn since(&self, start: usize) -> &str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn error(&self, detail: impl Into<String>) -> Error {
        Error::new(SqlState::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type json").detail(detail)
    }

    fn unexpected(&self) -> Error {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let token = rest.get(..end).filter(|token| !token.is_empty()).map(str::to_owned);
        match token.or_else(|| rest.chars().next().map(String::from)) {
            Some(token) => self.error(format!("Token \"{token}\" is invalid.")),
            None => self.error("The input string ended unexpectedly."),
        }
    }

    fn value(&mut self, out: &mut String, depth: usize) -> Result<()> {
        self.skip_blanks();
        if depth >= DEPTH_MAX && matches!(self.peek(), Some(b'{' | b'[')) {
            let message = format!("json is nested more than {DEPTH_MAX} levels deep");
            return Err(Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
        }
        match self.peek() {
            Some(b'{') => self.object(out, depth),
            Some(b'[') => self.array(out, depth),
            Some(b'"') => {
                let string = self.string()?;
                if self.build {
                    push_escaped(out, &string);
                }
                Ok(())
            }
            Some(b'-' | b'0'..=b'9') => self.number(out),
            _ => self.word(out),
        }
    }

    fn word(&mut self, out: &mut String) -> Result<()> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let word = rest.get(..end).unwrap_or_default();
        if !matches!(word, "true" | "false" | "null") {
            return Err(self.unexpected());
        }
        if self.build {
            out.push_str(word);
        }
        self.at += word.len();
        Ok(())
    }

    /// After an element: whether another follows (`,`) or the container ends (`close`).
    fn more(&mut self, close: u8) -> Result<bool> {
        self.skip_blanks();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(false)
            }
            _ => Err(self.unexpected()),
        }
    }

    /// After the opening bracket: whether the container ends at once.
    fn closes(&mut self, close: u8) -> bool {
        self.at += 1;
        self.skip_blanks();
        let closes = self.peek() == Some(close);
        if closes {
            self.at += 1;
        }
        closes
    }

    fn array(&mut self, out: &mut String, depth: usize) -> Result<()> {
        out.push('[');
        if !self.closes(b']') {
            loop {
                self.value(out, depth + 1)?;
                if !self.more(b']')? {
                    break;
                }
                out.push_str(", ");
            }
        }
        out.push(']');
        Ok(())
    }

    fn object(&mut self, out: &mut String, depth: usize) -> Result<()> {
        let mut members: Vec<(String, String)> = Vec::new();
        if !self.closes(b'}') {
            loop {
                self.skip_blanks();
                if self.peek() != Some(b'"') {
                    return Err(self.unexpected());
                }
                let key = self.string()?;
                self.skip_blanks();
                if self.peek() != Some(b':') {
                    return Err(self.unexpected());
                }
                self.at += 1;
                let mut value = String::new();
                self.value(&mut value, depth + 1)?;
                if self.build {
                    members.push((key, value));
                }
                if !self.more(b'}')? {
                    break;
                }
            }
        }
        if self.build {
            push_object(out, members);
        }
        Ok(())
    }

    /// The string at the cursor; if the document is only checked, nothing in its place.
    fn string(&mut self) -> Result<String> {
        let mut out = String::new();
        self.at += 1;
        loop {
            let start = self.at;
            while !matches!(self.peek(), None | Some(b'"' | b'\\' | 0..=0x1F)) {
                self.at += 1;
            }
            if self.build {
                out.push_str(self.since(start));
            }
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    let c = self.escape()?;
                    out.extend(c);
                }
                Some(byte) => {
                    return Err(self.error(format!("Character with value 0x{byte:02x} must be escaped.")));
                }
                None => return Err(self.unexpected()),
            }
        }
    }

    /// The character of an escape sequence; `None` if only its form was checked.
    fn escape(&mut self) -> Result<Option<char>> {
        self.at += 1;
        let byte = self.peek().ok_or_else(|| self.unexpected())?;
        let c = match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(),
            _ => {
                let c = self.text.get(self.at..).and_then(|rest| rest.chars().next()).unwrap_or_default();
                return Err(self.error(format!("Escape sequence \"\\{c}\" is invalid.")));
            }
        };
        self.at += 1;
        Ok(self.build.then_some(c))
    }

    fn unicode_escape(&mut self) -> Result<Option<char>> {
        let unit = self.code_unit()?;
        if !self.build {
            return Ok(None);
        }
        let code = match unit {
            0 => {
                let error = Error::new(SqlState::UNTRANSLATABLE_CHARACTER, "unsupported Unicode escape sequence");
                return Err(error.detail("\\u0000 cannot be converted to text."));
            }
            0xD800..=0xDBFF => {
                let lone = "Unicode low surrogate must follow a high surrogate.";
                if !self.text.get(self.at..).is_some_and(|rest| rest.starts_with("\\u")) {
                    return Err(self.error(lone));
                }
                self.at += 1;
                let low = self.code_unit()?;
                if !(0xDC00..=0xDFFF).contains(&low) {
                    return Err(self.error(lone));
                }
                0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00)
            }
            unit => unit,
        };
        let c = char::from_u32(code);
        c.map(Some).ok_or_else(|| self.error("Unicode low surrogate must follow a high surrogate."))
    }

    /// The four hexadecimal digits after the `u` at the cursor.
    fn code_unit(&mut self) -> Result<u32> {
        let start = self.at + 1;
        let digits = self.text.get(start..start + 4).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        self.at = start + 4;
        unit.ok_or_else(|| self.error("\"\\u\" must be followed by four hexadecimal digits."))
    }

    /// Skips digits; fails if there are none.
    fn digits(&mut self, token: usize) -> Result<()> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(self.bad_number(token)) }
    }

    fn bad_number(&mut self, token: usize) -> Error {
        while matches!(self.peek(), Some(byte) if byte.is_ascii_alphanumeric()) {
            self.at += 1;
        }
        match self.since(token) {
            "" => self.error("The input string ended unexpectedly."),
            text => self.error(format!("Token \"{text}\" is invalid.")),
        }
    }

    fn number(&mut self, out: &mut String) -> Result<()> {
        let token = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let leading_zero = self.peek() == Some(b'0');
        let whole_at = self.at;
        self.digits(token)?;
        if leading_zero && self.at > whole_at + 1 {
            return Err(self.bad_number(token));
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits(token)?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits(token)?;
        }
        if matches!(self.peek(), Some(byte) if byte.is_ascii_alphanumeric()) {
            return Err(self.bad_number(token));
        }
        if self.build {
            push_number(out, self.since(token))?;
        }
        Ok(())
    }
}

/// The members sorted as `jsonb` sorts keys; of one key the last.
fn push_object(out: &mut String, mut members: Vec<(String, String)>) {
    members.sort_by(|(a, _), (b, _)| jsonb_key_order(a, b));
    out.push('{');
    let mut first = true;
    let mut members = members.into_iter().peekable();
    while let Some((key, value)) = members.next() {
        if members.peek().is_some_and(|(next, _)| *next == key) {
            continue;
        }
        if !first {
            out.push_str(", ");
        }
        first = false;
        push_escaped(out, &key);
        out.push_str(": ");
        out.push_str(&value);
    }
    out.push('}');
}

fn jsonb_key_order(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.as_bytes().cmp(b.as_bytes()))
}

/// A string in quotes, with the fewest escapes.
pub(crate) fn push_escaped(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A number as `numeric` prints it: no exponent, no sign of zero, fractional digits kept.
fn push_number(out: &mut String, text: &str) -> Result<()> {
    let overflow = || Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value overflows numeric format");
    let (negative, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| overflow())?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if negative && mantissa.bytes().any(|byte| matches!(byte, b'1'..=b'9')) {
        out.push('-');
    }
    let length = |part: &str| i64::try_from(part.len()).map_err(|_| overflow());
    let point = length(whole)? + i64::from(exponent);
    let scale = (length(fraction)? - i64::from(exponent)).max(0);
    if point > WHOLE_DIGITS_MAX || scale > FRACTION_DIGITS_MAX {
        return Err(overflow());
    }
    // The digits with zeros on both sides, as far as the point asks for them.
    let mut digits = whole.bytes().chain(fraction.bytes()).map(char::from).peekable();
    let mut leading = true;
    for left in (0..point).rev() {
        let digit = digits.next().unwrap_or('0');
        leading &= digit == '0' && left > 0;
        if !leading {
            out.push(digit);
        }
    }
    if point <= 0 {
        out.push('0');
    }
    if scale > 0 {
        out.push('.');
        let zeros = (-point).clamp(0, scale);
        (0..zeros).for_each(|_| out.push('0'));
        (zeros..scale).for_each(|_| out.push(digits.next().unwrap_or('0')));
    }
    Ok(())
}
