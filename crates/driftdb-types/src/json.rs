//! Looking into JSON documents that are known to be valid: `json` as it was given, `jsonb` in its normal form.
//!
//! Parts are slices of the document's text, because `json` gives its parts back as they were written. PostgreSQL's
//! order of `jsonb` (manual, "jsonb Indexing") is that of the bytes of [`jsonb_key`].

use crate::text::push_json_string;
use crate::{Error, Result, SqlState};

/// What kind of value a document is, by its first character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonKind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// The kind of a document.
pub fn json_kind(text: &str) -> JsonKind {
    match text.trim_ascii_start().bytes().next() {
        Some(b'{') => JsonKind::Object,
        Some(b'[') => JsonKind::Array,
        Some(b'"') => JsonKind::String,
        Some(b't' | b'f') => JsonKind::Bool,
        Some(b'n') | None => JsonKind::Null,
        Some(_) => JsonKind::Number,
    }
}

/// The parts of an array or object between its brackets, cut at `separator` where no string or part is open.
fn cut(inner: &str, separator: u8, once: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut in_string, mut escaped, mut start) = (0usize, false, false, 0usize);
    for (at, byte) in inner.bytes().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            byte if byte == separator && depth == 0 && (!once || parts.is_empty()) => {
                parts.push(inner.get(start..at).unwrap_or_default().trim_ascii());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(inner.get(start..).unwrap_or_default().trim_ascii());
    parts
}

fn inside(text: &str, open: char, close: char) -> Option<&str> {
    text.trim_ascii().strip_prefix(open)?.strip_suffix(close)
}

/// The elements of an array, as they are written; `None` if it is none.
pub fn json_elements(text: &str) -> Option<Vec<&str>> {
    let inner = inside(text, '[', ']')?;
    Some(if inner.trim_ascii().is_empty() { Vec::new() } else { cut(inner, b',', false) })
}

/// The members of an object, keys unquoted and values as they are written; `None` if it is none.
pub fn json_members(text: &str) -> Option<Result<Vec<(String, &str)>>> {
    let inner = inside(text, '{', '}')?;
    if inner.trim_ascii().is_empty() {
        return Some(Ok(Vec::new()));
    }
    let members = cut(inner, b',', false).into_iter().map(|member| match cut(member, b':', true).as_slice() {
        [key, value] => Ok((json_unquoted(key)?, *value)),
        _ => Err(Error::internal("a member of an object is none")),
    });
    Some(members.collect())
}

/// The text that a string in quotes stands for.
pub fn json_unquoted(string: &str) -> Result<String> {
    match serde_json::from_str::<String>(string) {
        Ok(text) if !text.contains('\0') => Ok(text),
        // What remains of valid JSON that is no text: half a surrogate pair, and the character 0.
        _ => Err(Error::new(SqlState::UNTRANSLATABLE_CHARACTER, "unsupported Unicode escape sequence")),
    }
}

/// A text in quotes, with escapes.
pub fn json_quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_json_string(&mut out, text);
    out
}

/// The element at a position counted from 0, or from the end if negative; `None` if there is none.
pub fn json_element(text: &str, at: i64) -> Option<&str> {
    let elements = json_elements(text)?;
    let length = i64::try_from(elements.len()).ok()?;
    let position = if at < 0 { length + at } else { at };
    elements.get(usize::try_from(position).ok()?).copied()
}

/// The value of an object's member: of those with one key the last. `None` if there is none.
pub fn json_member<'a>(text: &'a str, key: &str) -> Result<Option<&'a str>> {
    let Some(members) = json_members(text) else { return Ok(None) };
    Ok(members?.into_iter().rev().find(|(name, _)| name == key).map(|(_, value)| value))
}

/// The steps of a path, `{a,0,"b c"}`; NULL among them, nested arrays and escapes are refused.
fn steps(path: &str) -> Result<Vec<String>> {
    let malformed =
        || Error::new(SqlState::INVALID_TEXT_REPRESENTATION, format!("malformed array literal: \"{path}\""));
    let inner = path.trim_ascii().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or_else(malformed)?;
    if inner.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    if inner.contains(['{', '}', '\\']) {
        return Err(Error::unsupported("a json path with braces or backslashes in it"));
    }
    let (mut steps, mut step, mut quoted, mut was_quoted) = (Vec::new(), String::new(), false, false);
    for c in inner.chars().chain([',']) {
        match c {
            '"' if quoted || step.is_empty() && !was_quoted => {
                quoted = !quoted;
                was_quoted = true;
            }
            ',' if !quoted => {
                let whole = std::mem::take(&mut step);
                let plain = if was_quoted { whole } else { whole.trim_ascii().to_owned() };
                if !was_quoted && plain.is_empty() {
                    return Err(malformed());
                }
                if !was_quoted && plain.eq_ignore_ascii_case("null") {
                    return Err(Error::unsupported("NULL in a json path"));
                }
                steps.push(plain);
                was_quoted = false;
            }
            // Blanks around a step do not belong to it.
            blank if !quoted && blank.is_ascii_whitespace() && (was_quoted || step.is_empty()) => {}
            _ if !quoted && was_quoted => return Err(malformed()),
            other => step.push(other),
        }
    }
    if quoted { Err(malformed()) } else { Ok(steps) }
}

/// The part at the end of a path, which is an array's text form; `None` if there is none.
pub fn json_along<'a>(document: &'a str, path: &str) -> Result<Option<&'a str>> {
    let mut at = document;
    for step in steps(path)? {
        let next = match json_kind(at) {
            JsonKind::Object => json_member(at, &step)?,
            JsonKind::Array => step.parse::<i32>().ok().and_then(|position| json_element(at, i64::from(position))),
            _ => None,
        };
        match next {
            Some(part) => at = part,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

/// `whole @> wanted`, of documents in normal form. An array may also contain a lone scalar, but only at the top.
pub fn jsonb_contains(whole: &str, wanted: &str) -> Result<bool> {
    let scalar = !matches!(json_kind(wanted), JsonKind::Array | JsonKind::Object);
    if json_kind(whole) == JsonKind::Array && scalar {
        return holds_element(whole, wanted);
    }
    holds(whole, wanted)
}

fn holds_element(array: &str, wanted: &str) -> Result<bool> {
    for element in json_elements(array).unwrap_or_default() {
        if holds(element, wanted)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn holds(whole: &str, wanted: &str) -> Result<bool> {
    match (json_kind(whole), json_kind(wanted)) {
        (JsonKind::Object, JsonKind::Object) => {
            for (key, value) in json_members(wanted).unwrap_or_else(|| Ok(Vec::new()))? {
                match json_member(whole, &key)? {
                    Some(found) if holds(found, value)? => {}
                    _ => return Ok(false),
                }
            }
            Ok(true)
        }
        (JsonKind::Array, JsonKind::Array) => {
            for element in json_elements(wanted).unwrap_or_default() {
                if !holds_element(whole, element)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (JsonKind::Number, JsonKind::Number) => Ok(jsonb_key(whole)? == jsonb_key(wanted)?),
        _ => Ok(whole == wanted),
    }
}

/// Bytes that order, and equal, as PostgreSQL orders `jsonb` documents in normal form: null, strings, numbers,
/// booleans, arrays by length, objects by count of members; and, as there, an empty array before all scalars.
pub fn jsonb_key(text: &str) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() + 8);
    if json_elements(text).is_some_and(|elements| elements.is_empty()) {
        out.push(TAG_EMPTY);
    } else {
        push_key(&mut out, text)?;
    }
    Ok(out)
}

const TAG_EMPTY: u8 = 0;
const TAG_NULL: u8 = 1;
const TAG_STRING: u8 = 2;
const TAG_NUMBER: u8 = 3;
const TAG_BOOL: u8 = 4;
const TAG_ARRAY: u8 = 5;
const TAG_OBJECT: u8 = 6;

fn push_key(out: &mut Vec<u8>, text: &str) -> Result<()> {
    match json_kind(text) {
        JsonKind::Null => out.push(TAG_NULL),
        JsonKind::Bool => out.extend([TAG_BOOL, u8::from(text.starts_with('t'))]),
        JsonKind::Number => {
            out.push(TAG_NUMBER);
            push_number_key(out, text);
        }
        JsonKind::String => {
            out.push(TAG_STRING);
            push_string_key(out, &json_unquoted(text)?);
        }
        JsonKind::Array => {
            let elements = json_elements(text).unwrap_or_default();
            out.push(TAG_ARRAY);
            push_count(out, elements.len());
            for element in elements {
                push_key(out, element)?;
            }
        }
        JsonKind::Object => {
            let members = json_members(text).unwrap_or_else(|| Ok(Vec::new()))?;
            out.push(TAG_OBJECT);
            push_count(out, members.len());
            for (key, value) in members {
                push_string_key(out, &key);
                push_key(out, value)?;
            }
        }
    }
    Ok(())
}

fn push_count(out: &mut Vec<u8>, count: usize) {
    out.extend(u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
}

/// No string in `jsonb` holds the character 0, so it ends one.
fn push_string_key(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

/// Sign, place of the first digit, digits; of a negative number the complement of what its magnitude has.
fn push_number_key(out: &mut Vec<u8>, text: &str) {
    let (negative, magnitude) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = magnitude.split_once('.').unwrap_or((magnitude, ""));
    let digits: String = whole.chars().chain(fraction.chars()).collect();
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        out.push(1);
        return;
    }
    let leading = i64::try_from(digits.len() - significant.len()).unwrap_or(0);
    let place = i64::try_from(whole.len()).unwrap_or(0) - leading;
    // Numbers have at most 131,072 digits before the point and 16,383 behind it.
    let mut key = u32::try_from(place + 0x8000_0000).unwrap_or(0).to_be_bytes().to_vec();
    key.extend_from_slice(significant.trim_end_matches('0').as_bytes());
    key.push(0);
    out.push(if negative { 0 } else { 2 });
    out.extend(key.into_iter().map(|byte| if negative { !byte } else { byte }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_order_as_in_postgres() {
        // As PostgreSQL 15 sorts them.
        let sorted = [
            "[]",
            "null",
            "\"\"",
            "\"a\"",
            "\"aa\"",
            "\"b\"",
            "-10",
            "-2.5",
            "-2",
            "-0.01",
            "0",
            "0.5",
            "1",
            "1.05",
            "9",
            "10",
            "false",
            "true",
            "[null]",
            "[\"a\"]",
            "[1]",
            "[[]]",
            "[{}]",
            "[1, 1]",
            "[1, 2]",
            "{}",
            "{\"a\": 1}",
            "{\"a\": 2}",
            "{\"b\": 1}",
            "{\"a\": 1, \"b\": 1}",
        ];
        for pair in sorted.windows(2) {
            assert!(jsonb_key(pair[0]).unwrap() < jsonb_key(pair[1]).unwrap(), "{pair:?}");
        }
        for (a, b) in [("1", "1.0"), ("0", "0.00"), ("[-2.50]", "[-2.5]"), ("{\"a\": 10}", "{\"a\": 10.0}")] {
            assert_eq!(jsonb_key(a).unwrap(), jsonb_key(b).unwrap(), "{a} {b}");
        }
    }

    #[test]
    fn parts_are_found() {
        assert_eq!(json_elements(" [ 1 , \"a,]\\\"\", [2, 3] ] ").unwrap(), ["1", "\"a,]\\\"\"", "[2, 3]"]);
        assert_eq!(json_elements("[ ]").unwrap(), [] as [&str; 0]);
        let members = json_members("{\"a:\" : {\"b\": 1}, \"c\":\"x:y\"}").unwrap().unwrap();
        assert_eq!(members, [("a:".to_owned(), "{\"b\": 1}"), ("c".to_owned(), "\"x:y\"")]);
        assert!(json_members("[1]").is_none());
        assert_eq!(json_unquoted("\"\\u00e4\\n\"").unwrap(), "ä\n");
        assert!(json_unquoted("\"\\u0000\"").is_err());
    }

    /// Answers of PostgreSQL 15.
    #[test]
    fn paths_are_walked() {
        let document = "{\"a\": {\"b\": [\"x\", 2]}}";
        assert_eq!(json_along(document, "{a,b,1}").unwrap(), Some("2"));
        assert_eq!(json_along(document, "{a, \"b\" ,-2}").unwrap(), Some("\"x\""));
        assert_eq!(json_along(document, "{a,c}").unwrap(), None);
        assert_eq!(json_along(document, "{}").unwrap(), Some(document));
        for malformed in ["a", "{a,,b}", "{\"a}", "{\"a\"b}"] {
            let state = json_along(document, malformed).unwrap_err().state;
            assert_eq!(state, SqlState::INVALID_TEXT_REPRESENTATION, "{malformed}");
        }
        assert_eq!(json_member("{\"a\":1,\"a\":{\"b\":[1,2]}}", "a").unwrap(), Some("{\"b\":[1,2]}"));
        assert_eq!(json_element("[1, 2]", -1), Some("2"));
        assert_eq!(json_element("[1, 2]", 2), None);
        assert_eq!(json_element("{}", 0), None);
    }

    /// Answers of PostgreSQL 15.
    #[test]
    fn documents_contain_others() {
        for (whole, wanted, expected) in [
            ("{\"a\": 1, \"b\": 2}", "{\"a\": 1.0}", true),
            ("[1, 2, [3]]", "[1]", true),
            ("[1, 2]", "1", true),
            ("1", "[1]", false),
            ("{\"a\": {\"b\": 1, \"c\": 2}}", "{\"a\": {\"c\": 2}}", true),
            ("[[1, 2]]", "[1]", false),
            ("[[1, 2]]", "1", false),
            ("[1]", "[]", true),
            ("[{\"a\": 1}]", "[{}]", true),
            ("{\"a\": 1}", "[\"a\"]", false),
        ] {
            assert_eq!(jsonb_contains(whole, wanted).unwrap(), expected, "{whole} @> {wanted}");
        }
    }
}
