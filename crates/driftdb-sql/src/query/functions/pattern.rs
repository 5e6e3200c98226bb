//! LIKE and regular expressions. The expressions are those of the `regex` crate, which agree with PostgreSQL's on what is
//! in common use; back references and look-around, which it does not have, are errors.

use std::cell::RefCell;

use driftdb_types::{DataType as T, Error, Result, SqlState, Value};
use regex::{Regex, RegexBuilder};

use super::text::{function, int, text};
use super::{Builtin, Facts, Kind, Nulls, Overload, Returns};

pub(super) const FUNCTIONS: &[Builtin] = &[
    function!("regexp_replace", Strict, [
        (T::Text, T::Text, T::Text) => T::Text, regexp_replace;
        (T::Text, T::Text, T::Text, T::Text) => T::Text, regexp_replace;
        (T::Text, T::Text, T::Text, T::Int4) => T::Text, regexp_replace_nth;
        (T::Text, T::Text, T::Text, T::Int4, T::Int4) => T::Text, regexp_replace_nth;
        (T::Text, T::Text, T::Text, T::Int4, T::Int4, T::Text) => T::Text, regexp_replace_nth;
    ]),
    function!("regexp_like", Strict, [
        (T::Text, T::Text) => T::Bool, regexp_like; (T::Text, T::Text, T::Text) => T::Bool, regexp_like;
    ]),
    function!("regexp_count", Strict, [(T::Text, T::Text) => T::Int4, regexp_count]),
    function!("regexp_substr", Strict, [(T::Text, T::Text) => T::Text, regex_substring]),
];

thread_local! {
    /// The expression used last: the pattern is nearly always a constant.
    static LAST: RefCell<Option<(String, String, Regex)>> = const { RefCell::new(None) };
}

fn with_regex<R>(pattern: &str, flags: &str, use_it: impl FnOnce(&Regex) -> R) -> Result<R> {
    LAST.with_borrow_mut(|last| {
        let same = last.as_ref().is_some_and(|(known, known_flags, _)| known == pattern && known_flags == flags);
        if !same {
            let mut builder = RegexBuilder::new(pattern);
            builder.size_limit(4 << 20);
            for flag in flags.chars() {
                match flag {
                    'i' => _ = builder.case_insensitive(true),
                    'c' => _ = builder.case_insensitive(false),
                    'n' | 'm' => _ = builder.multi_line(true),
                    's' => _ = builder.dot_matches_new_line(true),
                    'x' => _ = builder.ignore_whitespace(true),
                    'g' => {}
                    other => {
                        return Err(Error::new(
                            SqlState::INVALID_PARAMETER_VALUE,
                            format!("invalid regular expression option: \"{other}\""),
                        ));
                    }
                }
            }
            // PostgreSQL's `.` matches a line end unless asked otherwise.
            if !flags.contains(['n', 'm']) {
                builder.dot_matches_new_line(true);
            }
            let regex = builder.build().map_err(|error| {
                let reason = error.to_string();
                Error::new(SqlState::INVALID_REGULAR_EXPRESSION, format!("invalid regular expression: \"{pattern}\""))
                    .detail(reason.lines().last().unwrap_or_default().to_owned())
            })?;
            *last = Some((pattern.to_owned(), flags.to_owned(), regex));
        }
        match last {
            Some((.., regex)) => Ok(use_it(regex)),
            None => Err(Error::internal("a regular expression was not kept")),
        }
    })
}

pub(super) fn regex_match(_: &Facts, args: &[Value]) -> Result<Value> {
    let source = text(args, 0)?;
    with_regex(text(args, 1)?, "", |regex| Value::Bool(regex.is_match(source)))
}

pub(super) fn regex_match_nocase(_: &Facts, args: &[Value]) -> Result<Value> {
    let source = text(args, 0)?;
    with_regex(text(args, 1)?, "i", |regex| Value::Bool(regex.is_match(source)))
}

fn regexp_like(_: &Facts, args: &[Value]) -> Result<Value> {
    let source = text(args, 0)?;
    let flags = if args.len() > 2 { text(args, 2)? } else { "" };
    with_regex(text(args, 1)?, flags, |regex| Value::Bool(regex.is_match(source)))
}

fn regexp_count(_: &Facts, args: &[Value]) -> Result<Value> {
    let source = text(args, 0)?;
    let count = with_regex(text(args, 1)?, "", |regex| regex.find_iter(source).count())?;
    i32::try_from(count).map(Value::Int4).map_err(|_| super::out_of_range("integer"))
}

/// The part that matches, or the first group's part if there are groups.
pub(super) fn regex_substring(_: &Facts, args: &[Value]) -> Result<Value> {
    let source = text(args, 0)?;
    with_regex(text(args, 1)?, "", |regex| {
        let found = regex.captures(source).and_then(|captures| captures.get(1).or_else(|| captures.get(0)));
        found.map_or(Value::Null, |part| Value::Text(part.as_str().to_owned()))
    })
}

/// `\1` in the replacement is a group, `\&` the whole match.
fn regexp_replace(_: &Facts, args: &[Value]) -> Result<Value> {
    let source = text(args, 0)?;
    let flags = if args.len() > 3 { text(args, 3)? } else { "" };
    let wanted = if flags.contains('g') { 0 } else { 1 };
    replaced(source, text(args, 1)?, flags, text(args, 2)?, 0, wanted)
}

/// With the `wanted`-th match from a place on replaced, or all of them if that is 0.
fn replaced(source: &str, pattern: &str, flags: &str, by: &str, from: usize, wanted: usize) -> Result<Value> {
    let replacement = replacement(by);
    with_regex(pattern, flags, |regex| {
        let (mut out, mut copied, mut found, mut at) = (String::new(), 0, 0, from);
        while let Some(captures) = regex.captures_at(source, at) {
            let Some(whole) = captures.get(0) else { break };
            found += 1;
            if wanted == 0 || found == wanted {
                out.push_str(source.get(copied..whole.start()).unwrap_or_default());
                captures.expand(&replacement, &mut out);
                copied = whole.end();
            }
            if found == wanted {
                break;
            }
            // An empty match would be found again.
            let next = source.get(whole.end()..).and_then(|rest| rest.chars().next());
            match (whole.is_empty(), next) {
                (false, _) => at = whole.end(),
                (true, Some(c)) => at = whole.end() + c.len_utf8(),
                (true, None) => break,
            }
        }
        out.push_str(source.get(copied..).unwrap_or_default());
        Value::Text(out)
    })
}

/// From a character on, the n-th match, or all of them where n is 0.
fn regexp_replace_nth(_: &Facts, args: &[Value]) -> Result<Value> {
    let source = text(args, 0)?;
    let invalid = |name: &str, value: i32| {
        Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid value for parameter \"{name}\": {value}")))
    };
    let start = int(args, 3)?;
    let Some(skip) = start.checked_sub(1).and_then(|skip| usize::try_from(skip).ok()) else {
        return invalid("start", start);
    };
    let n = if args.len() > 4 { int(args, 4)? } else { 1 };
    let Ok(wanted) = usize::try_from(n) else { return invalid("n", n) };
    let flags = if args.len() > 5 { text(args, 5)? } else { "" };
    if source.chars().count() < skip {
        return Ok(Value::Text(source.to_owned()));
    }
    let from = source.char_indices().nth(skip).map_or(source.len(), |(at, _)| at);
    replaced(source, text(args, 1)?, flags, text(args, 2)?, from, wanted)
}

fn replacement(written: &str) -> String {
    let mut out = String::with_capacity(written.len());
    let mut chars = written.chars();
    while let Some(c) = chars.next() {
        match c {
            '$' => out.push_str("$$"),
            '\\' => match chars.next() {
                Some(digit @ '1'..='9') => out.push_str(&format!("${{{digit}}}")),
                Some('&') => out.push_str("${0}"),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            other => out.push(other),
        }
    }
    out
}

pub(super) fn like(_: &Facts, args: &[Value]) -> Result<Value> {
    let escape = escape_of(args)?;
    like_match(text(args, 0)?.as_bytes(), text(args, 1)?.as_bytes(), escape).map(Value::Bool)
}

pub(super) fn ilike(_: &Facts, args: &[Value]) -> Result<Value> {
    let escape = escape_of(args)?;
    like_match(text(args, 0)?.to_lowercase().as_bytes(), text(args, 1)?.to_lowercase().as_bytes(), escape)
        .map(Value::Bool)
}

/// `SIMILAR TO`: the whole text must match; `%` and `_` are as in LIKE, `| * + ? { } ( ) [ ]` as in a regular expression.
pub(super) fn similar_to(_: &Facts, args: &[Value]) -> Result<Value> {
    let escape = escape_of(args)?.map(char::from);
    let source = text(args, 0)?;
    let mut regex = String::from("^(?:");
    let mut chars = text(args, 1)?.chars();
    let mut in_brackets = false;
    while let Some(c) = chars.next() {
        if Some(c) == escape {
            let Some(literal) = chars.next() else {
                return Err(Error::new(
                    SqlState::INVALID_ESCAPE_SEQUENCE,
                    "pattern must not end with escape character",
                ));
            };
            regex.push_str(&regex::escape(literal.encode_utf8(&mut [0; 4])));
            continue;
        }
        match c {
            '[' => in_brackets = true,
            ']' => in_brackets = false,
            _ => {}
        }
        match c {
            '%' if !in_brackets => regex.push_str(".*"),
            '_' if !in_brackets => regex.push('.'),
            '.' | '^' | '$' if !in_brackets => {
                regex.push('\\');
                regex.push(c);
            }
            '\\' => regex.push_str("\\\\"),
            other => regex.push(other),
        }
    }
    regex.push_str(")$");
    with_regex(&regex, "", |regex| Value::Bool(regex.is_match(source)))
}

fn escape_of(args: &[Value]) -> Result<Option<u8>> {
    if args.len() < 3 {
        return Ok(Some(b'\\'));
    }
    let escape = text(args, 2)?;
    if escape.chars().count() > 1 {
        return Err(Error::new(SqlState::INVALID_ESCAPE_SEQUENCE, "invalid escape string")
            .hint("Escape string must be empty or one character."));
    }
    match escape.as_bytes() {
        [] => Ok(None),
        [byte] => Ok(Some(*byte)),
        _ => Err(Error::unsupported("an ESCAPE character outside ASCII")),
    }
}

/// Matches with at most one place to go back to, the last `%`: enough, because a later `%` can take over whatever an
/// earlier one could. Works on bytes, stepping over whole characters where `_` or `%` takes one.
pub(crate) fn like_match(text: &[u8], pattern: &[u8], escape: Option<u8>) -> Result<bool> {
    let (mut t, mut p) = (0_usize, 0_usize);
    let mut back: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(p) {
            Some(b'%') => {
                back = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some(b'_') if t < text.len() => Some((1, char_len(text, t))),
            Some(byte) if Some(*byte) == escape => match pattern.get(p + 1) {
                // At the end of the text nobody looks at what is escaped.
                _ if t >= text.len() => None,
                None => {
                    return Err(Error::new(
                        SqlState::INVALID_ESCAPE_SEQUENCE,
                        "LIKE pattern must not end with escape character",
                    ));
                }
                escaped => (escaped == text.get(t)).then_some((2, 1)),
            },
            Some(byte) if Some(byte) == text.get(t) => Some((1, 1)),
            None if t == text.len() => return Ok(true),
            _ => None,
        };
        match (step, back) {
            (Some((pattern_step, text_step)), _) => {
                p += pattern_step;
                t += text_step;
            }
            (None, Some((after, from))) if from < text.len() => {
                let next = from + char_len(text, from);
                back = Some((after, next));
                (p, t) = (after, next);
            }
            (None, _) => return Ok(false),
        }
    }
}

/// The length of the character that begins there.
fn char_len(text: &[u8], at: usize) -> usize {
    let follow = text.get(at + 1..).unwrap_or_default();
    1 + follow.iter().take_while(|byte| **byte & 0xc0 == 0x80).count()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::like_match;

    #[test]
    fn like_patterns() {
        let like = |text: &str, pattern: &str| like_match(text.as_bytes(), pattern.as_bytes(), Some(b'\\')).unwrap();
        assert!(like("abc", "a%"));
        assert!(like("abc", "%b%"));
        assert!(like("abc", "___"));
        assert!(!like("abc", "__"));
        assert!(like("äöü", "_ö_"));
        assert!(like("", "%"));
        assert!(!like("", "_"));
        assert!(like("a%c", "a\\%c"));
        assert!(!like("abc", "a\\%c"));
        assert!(like("aXbXc", "a%X%c"));
        assert!(!like("aab", "a%c"));
        assert!(!like("a", "a\\"));
        assert!(like_match(b"ab", b"a\\", Some(b'\\')).is_err());
    }
}
