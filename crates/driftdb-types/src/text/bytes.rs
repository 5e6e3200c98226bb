//! `bytea` and `uuid`.

use crate::{DataType, Error, Result, SqlState};

use super::invalid;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Reads the hex format (`\x0aff`, blanks between bytes allowed) or the escape format (`a\\b\001`).
pub(super) fn parse_bytea(text: &str) -> Result<Vec<u8>> {
    match text.strip_prefix("\\x") {
        Some(hex) => parse_hex(hex),
        None => parse_escaped(text.as_bytes())
            .ok_or_else(|| Error::new(SqlState::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type bytea")),
    }
}

fn hex_digit(c: char) -> Result<u8> {
    c.to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
        .ok_or_else(|| Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid hexadecimal digit: \"{c}\"")))
}

fn parse_hex(text: &str) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 2);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c.is_ascii_whitespace() {
            continue;
        }
        let high = hex_digit(c)?;
        let odd = || Error::new(SqlState::INVALID_PARAMETER_VALUE, "invalid hexadecimal data: odd number of digits");
        let low = hex_digit(chars.next().ok_or_else(odd)?)?;
        out.push(high << 4 | low);
    }
    Ok(out)
}

fn parse_escaped(mut text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    loop {
        text = match text {
            [] => return Some(out),
            [b'\\', b'\\', rest @ ..] => {
                out.push(b'\\');
                rest
            }
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..] => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest
            }
            [b'\\', ..] => return None,
            [byte, rest @ ..] => {
                out.push(*byte);
                rest
            }
        };
    }
}

fn push_hex(out: &mut String, byte: u8) {
    let digit = |nibble: u8| HEX.get(usize::from(nibble)).map_or('0', |digit| char::from(*digit));
    out.push(digit(byte >> 4));
    out.push(digit(byte & 15));
}

/// The hex format.
pub(super) fn push_bytea(out: &mut String, bytes: &[u8]) {
    out.reserve(2 + bytes.len() * 2);
    out.push_str("\\x");
    for byte in bytes {
        push_hex(out, *byte);
    }
}

/// Reads 32 hexadecimal digits, a hyphen allowed after every fourth, braces around them.
pub(super) fn parse_uuid(text: &str) -> Result<[u8; 16]> {
    read_uuid(text).ok_or_else(|| invalid(DataType::Uuid, text))
}

fn read_uuid(text: &str) -> Option<[u8; 16]> {
    let digits = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}')?,
        None => text,
    };
    let mut uuid = [0; 16];
    let mut chars = digits.chars().peekable();
    for (at, byte) in uuid.iter_mut().enumerate() {
        if at > 0 && at % 2 == 0 {
            chars.next_if_eq(&'-');
        }
        let high = hex_digit(chars.next()?).ok()?;
        let low = hex_digit(chars.next()?).ok()?;
        *byte = high << 4 | low;
    }
    chars.next().is_none().then_some(uuid)
}

/// `a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11`.
pub(super) fn push_uuid(out: &mut String, uuid: &[u8; 16]) {
    for (at, byte) in uuid.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        push_hex(out, *byte);
    }
}
