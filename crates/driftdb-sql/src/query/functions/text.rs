//! Functions on strings (PostgreSQL manual, "String Functions and Operators"). Positions count characters from 1.

use driftdb_types::{DataType as T, Error, Result, SqlState, Value, format_value};
use md5::{Digest, Md5};

use super::{Builtin, Facts, Kind, Nulls, Overload, Returns, mismatch, out_of_range};

/// A string longer than this is not built.
const TEXT_BYTES_MAX: usize = 64 << 20;

macro_rules! function {
    ($name:literal, $nulls:ident, [$(($($kind:expr),*) => $returns:expr, $eval:expr);+ $(;)?]) => {
        Builtin {
            name: $name,
            nulls: Nulls::$nulls,
            volatile: false,
            overloads: &[$(Overload { args: &[$(Kind::Is($kind)),*], rest: None, returns: Returns::Is($returns), eval: $eval }),+],
        }
    };
}
pub(super) use function;

const fn variadic(name: &'static str, eval: &'static [Overload]) -> Builtin {
    Builtin { name, nulls: Nulls::Called, volatile: false, overloads: eval }
}

pub(super) const FUNCTIONS: &[Builtin] = &[
    function!("lower", Strict, [(T::Text) => T::Text, |_, a| Ok(Value::Text(text(a, 0)?.to_lowercase()))]),
    function!("upper", Strict, [(T::Text) => T::Text, |_, a| Ok(Value::Text(text(a, 0)?.to_uppercase()))]),
    function!("initcap", Strict, [(T::Text) => T::Text, |_, a| Ok(Value::Text(initcap(text(a, 0)?)))]),
    function!("length", Strict, [(T::Text) => T::Int4, char_length; (T::Bytea) => T::Int4, octet_length]),
    function!("char_length", Strict, [(T::Text) => T::Int4, char_length]),
    function!("character_length", Strict, [(T::Text) => T::Int4, char_length]),
    function!("octet_length", Strict, [(T::Text) => T::Int4, octet_length; (T::Bytea) => T::Int4, octet_length]),
    function!("bit_length", Strict, [(T::Text) => T::Int4, |f, a| bits(octet_length(f, a)?); (T::Bytea) => T::Int4, |f, a| bits(octet_length(f, a)?)]),
    function!("substring", Strict, [
        (T::Text, T::Int4) => T::Text, substring; (T::Text, T::Int4, T::Int4) => T::Text, substring;
        (T::Text, T::Text) => T::Text, super::pattern::regex_substring;
    ]),
    function!("substr", Strict, [(T::Text, T::Int4) => T::Text, substring; (T::Text, T::Int4, T::Int4) => T::Text, substring]),
    function!("left", Strict, [(T::Text, T::Int4) => T::Text, left]),
    function!("right", Strict, [(T::Text, T::Int4) => T::Text, right]),
    function!("lpad", Strict, [(T::Text, T::Int4) => T::Text, |_, a| pad(a, true); (T::Text, T::Int4, T::Text) => T::Text, |_, a| pad(a, true)]),
    function!("rpad", Strict, [(T::Text, T::Int4) => T::Text, |_, a| pad(a, false); (T::Text, T::Int4, T::Text) => T::Text, |_, a| pad(a, false)]),
    function!("btrim", Strict, [(T::Text) => T::Text, |_, a| trim(a, true, true); (T::Text, T::Text) => T::Text, |_, a| trim(a, true, true)]),
    function!("ltrim", Strict, [(T::Text) => T::Text, |_, a| trim(a, true, false); (T::Text, T::Text) => T::Text, |_, a| trim(a, true, false)]),
    function!("rtrim", Strict, [(T::Text) => T::Text, |_, a| trim(a, false, true); (T::Text, T::Text) => T::Text, |_, a| trim(a, false, true)]),
    function!("replace", Strict, [(T::Text, T::Text, T::Text) => T::Text, replace]),
    function!("translate", Strict, [(T::Text, T::Text, T::Text) => T::Text, translate]),
    function!("repeat", Strict, [(T::Text, T::Int4) => T::Text, repeat]),
    function!("reverse", Strict, [(T::Text) => T::Text, |_, a| Ok(Value::Text(text(a, 0)?.chars().rev().collect()))]),
    function!("strpos", Strict, [(T::Text, T::Text) => T::Int4, strpos]),
    function!("split_part", Strict, [(T::Text, T::Text, T::Int4) => T::Text, split_part]),
    function!("starts_with", Strict, [(T::Text, T::Text) => T::Bool, |_, a| Ok(Value::Bool(text(a, 0)?.starts_with(text(a, 1)?)))]),
    function!("ascii", Strict, [(T::Text) => T::Int4, |_, a| Ok(Value::Int4(text(a, 0)?.chars().next().map_or(0, |c| u32::from(c).cast_signed())))]),
    function!("chr", Strict, [(T::Int4) => T::Text, chr]),
    function!("overlay", Strict, [(T::Text, T::Text, T::Int4) => T::Text, overlay; (T::Text, T::Text, T::Int4, T::Int4) => T::Text, overlay]),
    function!("to_hex", Strict, [
        (T::Int4) => T::Text, |_, a| Ok(Value::Text(format!("{:x}", int(a, 0)?)));
        (T::Int8) => T::Text, |_, a| match a { [Value::Int8(v)] => Ok(Value::Text(format!("{v:x}"))), o => Err(mismatch("to_hex", o)) }
    ]),
    function!("quote_ident", Strict, [(T::Text) => T::Text, |_, a| Ok(Value::Text(quote_ident(text(a, 0)?)))]),
    function!("quote_literal", Strict, [(T::Text) => T::Text, |_, a| Ok(Value::Text(quote_literal(text(a, 0)?)))]),
    function!("quote_nullable", Called, [(T::Text) => T::Text, |_, a| match a {
        [Value::Null] => Ok(Value::Text("NULL".to_owned())),
        a => Ok(Value::Text(quote_literal(text(a, 0)?))),
    }]),
    function!("encode", Strict, [(T::Bytea, T::Text) => T::Text, encode]),
    function!("decode", Strict, [(T::Text, T::Text) => T::Bytea, decode]),
    function!("md5", Strict, [(T::Text) => T::Text, |_, a| Ok(Value::Text(hex(Md5::digest(text(a, 0)?).as_slice())));
        (T::Bytea) => T::Text, |_, a| match a { [Value::Bytea(v)] => Ok(Value::Text(hex(Md5::digest(v).as_slice()))), o => Err(mismatch("md5", o)) }]),
    variadic(
        "concat",
        &[Overload { args: &[Kind::Any], rest: Some(Kind::Any), returns: Returns::Is(T::Text), eval: concat }],
    ),
    variadic(
        "concat_ws",
        &[Overload {
            args: &[Kind::Is(T::Text)],
            rest: Some(Kind::Any),
            returns: Returns::Is(T::Text),
            eval: concat_ws,
        }],
    ),
    variadic(
        "format",
        &[Overload { args: &[Kind::Is(T::Text)], rest: Some(Kind::Any), returns: Returns::Is(T::Text), eval: format }],
    ),
];

pub(super) fn text(args: &[Value], position: usize) -> Result<&str> {
    match args.get(position) {
        Some(Value::Text(text) | Value::Json(text) | Value::Jsonb(text)) => Ok(text),
        _ => Err(mismatch("a string function", args)),
    }
}

pub(super) fn int(args: &[Value], position: usize) -> Result<i32> {
    match args.get(position) {
        Some(Value::Int4(value)) => Ok(*value),
        _ => Err(mismatch("a function of an integer", args)),
    }
}

fn count(length: usize) -> Result<Value> {
    i32::try_from(length).map(Value::Int4).map_err(|_| out_of_range("integer"))
}

fn bits(bytes: Value) -> Result<Value> {
    match bytes {
        Value::Int4(bytes) => bytes.checked_mul(8).map(Value::Int4).ok_or_else(|| out_of_range("integer")),
        other => Ok(other),
    }
}

fn char_length(_: &Facts, args: &[Value]) -> Result<Value> {
    count(text(args, 0)?.chars().count())
}

fn octet_length(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [Value::Bytea(bytes)] => count(bytes.len()),
        args => count(text(args, 0)?.len()),
    }
}

fn initcap(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        if inside {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        inside = c.is_alphanumeric();
    }
    out
}

/// `substring(s from start [for length])`: positions before 1 count, but give nothing.
fn substring(_: &Facts, args: &[Value]) -> Result<Value> {
    let source = text(args, 0)?;
    let start = i64::from(int(args, 1)?);
    let end = match args.get(2) {
        None => i64::MAX,
        Some(_) => {
            let length = i64::from(int(args, 2)?);
            if length < 0 {
                return Err(Error::new(SqlState::SUBSTRING_ERROR, "negative substring length not allowed"));
            }
            start.saturating_add(length)
        }
    };
    let skip = usize::try_from(start.max(1) - 1).unwrap_or(usize::MAX);
    let take = usize::try_from((end - start.max(1)).max(0)).unwrap_or(usize::MAX);
    Ok(Value::Text(source.chars().skip(skip).take(take).collect()))
}

/// A negative count leaves that many off at the other end.
fn left(_: &Facts, args: &[Value]) -> Result<Value> {
    let (source, n) = (text(args, 0)?, int(args, 1)?);
    let keep = kept(source, n);
    Ok(Value::Text(source.chars().take(keep).collect()))
}

fn right(_: &Facts, args: &[Value]) -> Result<Value> {
    let (source, n) = (text(args, 0)?, int(args, 1)?);
    let keep = kept(source, n);
    let skip = source.chars().count().saturating_sub(keep);
    Ok(Value::Text(source.chars().skip(skip).collect()))
}

fn kept(source: &str, n: i32) -> usize {
    match usize::try_from(n) {
        Ok(n) => n,
        Err(_) => source.chars().count().saturating_sub(usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX)),
    }
}

fn too_long() -> Error {
    Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "requested length too large")
}

fn pad(args: &[Value], before: bool) -> Result<Value> {
    let source = text(args, 0)?;
    let length = usize::try_from(int(args, 1)?).unwrap_or(0);
    let fill = if args.len() > 2 { text(args, 2)? } else { " " };
    if length > TEXT_BYTES_MAX / 4 {
        return Err(too_long());
    }
    let has = source.chars().count();
    if has >= length || fill.is_empty() {
        return Ok(Value::Text(source.chars().take(length).collect()));
    }
    let padding: String = fill.chars().cycle().take(length - has).collect();
    Ok(Value::Text(if before { padding + source } else { source.to_owned() + &padding }))
}

fn trim(args: &[Value], start: bool, end: bool) -> Result<Value> {
    let mut source = text(args, 0)?;
    let set: Vec<char> = if args.len() > 1 { text(args, 1)?.chars().collect() } else { vec![' '] };
    if start {
        source = source.trim_start_matches(set.as_slice());
    }
    if end {
        source = source.trim_end_matches(set.as_slice());
    }
    Ok(Value::Text(source.to_owned()))
}

fn replace(_: &Facts, args: &[Value]) -> Result<Value> {
    let (source, from, to) = (text(args, 0)?, text(args, 1)?, text(args, 2)?);
    if from.is_empty() {
        return Ok(Value::Text(source.to_owned()));
    }
    let hits = source.matches(from).count();
    if source.len().saturating_add(hits.saturating_mul(to.len())) > TEXT_BYTES_MAX {
        return Err(too_long());
    }
    Ok(Value::Text(source.replace(from, to)))
}

fn translate(_: &Facts, args: &[Value]) -> Result<Value> {
    let (source, from, to) = (text(args, 0)?, text(args, 1)?, text(args, 2)?);
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    let translated = source.chars().filter_map(|c| match from.iter().position(|candidate| *candidate == c) {
        None => Some(c),
        Some(position) => to.get(position).copied(),
    });
    Ok(Value::Text(translated.collect()))
}

fn repeat(_: &Facts, args: &[Value]) -> Result<Value> {
    let source = text(args, 0)?;
    let times = usize::try_from(int(args, 1)?).unwrap_or(0);
    if source.len().saturating_mul(times) > TEXT_BYTES_MAX {
        return Err(too_long());
    }
    Ok(Value::Text(source.repeat(times)))
}

fn strpos(_: &Facts, args: &[Value]) -> Result<Value> {
    let (source, part) = (text(args, 0)?, text(args, 1)?);
    match source.split_once(part) {
        Some((before, _)) => count(before.chars().count() + 1),
        None => Ok(Value::Int4(0)),
    }
}

fn split_part(_: &Facts, args: &[Value]) -> Result<Value> {
    let (source, delimiter, field) = (text(args, 0)?, text(args, 1)?, int(args, 2)?);
    if field == 0 {
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "field position must not be zero"));
    }
    let parts: Vec<&str> = if delimiter.is_empty() { vec![source] } else { source.split(delimiter).collect() };
    let distance = usize::try_from(field.unsigned_abs()).unwrap_or(usize::MAX);
    let position = if field > 0 { distance.checked_sub(1) } else { parts.len().checked_sub(distance) };
    Ok(Value::Text(
        position.and_then(|position| parts.get(position)).map_or_else(String::new, |part| (*part).to_owned()),
    ))
}

fn chr(_: &Facts, args: &[Value]) -> Result<Value> {
    let code = int(args, 0)?;
    if code < 0 {
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "character number must be positive"));
    }
    if code == 0 {
        return Err(Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "null character not permitted"));
    }
    match u32::try_from(code).ok().and_then(char::from_u32) {
        Some(c) => Ok(Value::Text(c.to_string())),
        None => Err(Error::new(
            SqlState::PROGRAM_LIMIT_EXCEEDED,
            format!("requested character not valid for encoding: {code}"),
        )),
    }
}

fn overlay(_: &Facts, args: &[Value]) -> Result<Value> {
    let (source, by, start) = (text(args, 0)?, text(args, 1)?, int(args, 2)?);
    let length = if args.len() > 3 { int(args, 3)? } else { i32::try_from(by.chars().count()).unwrap_or(i32::MAX) };
    let Some(before) = start.checked_sub(1).and_then(|before| usize::try_from(before).ok()) else {
        return Err(Error::new(SqlState::SUBSTRING_ERROR, "negative substring length not allowed"));
    };
    let after = usize::try_from(i64::from(start) - 1 + i64::from(length)).unwrap_or(0);
    let mut out: String = source.chars().take(before).collect();
    out.push_str(by);
    out.extend(source.chars().skip(after));
    Ok(Value::Text(out))
}

/// PostgreSQL's keywords that are reserved in some place.
const RESERVED: &str = "all analyse analyze and any array as asc asymmetric authorization between bigint binary bit \
    boolean both case cast char character check coalesce collate collation column concurrently constraint create cross \
    current_catalog current_date current_role current_schema current_time current_timestamp current_user dec decimal \
    default deferrable desc distinct do else end except exists extract false fetch float for foreign freeze from full \
    grant greatest group grouping having ilike in initially inner inout int integer intersect interval into is isnull \
    join lateral leading least left like limit localtime localtimestamp national natural nchar none normalize not \
    notnull null nullif numeric offset on only or order out outer overlaps overlay placing position precision primary \
    real references returning right row select session_user setof similar smallint some substring symmetric table \
    tablesample then time timestamp to trailing treat trim true union unique user using values varchar variadic verbose \
    when where window with xmlattributes xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot \
    xmlserialize xmltable";

pub(super) fn quote_ident(name: &str) -> String {
    let plain = name.chars().next().is_some_and(|c| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let keyword = RESERVED.split_ascii_whitespace().any(|keyword| keyword == name);
    if plain && !keyword { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn encode(_: &Facts, args: &[Value]) -> Result<Value> {
    let Some(Value::Bytea(bytes)) = args.first() else { return Err(mismatch("encode", args)) };
    Ok(Value::Text(match text(args, 1)? {
        "hex" => hex(bytes),
        "base64" => base64(bytes),
        "escape" => bytes
            .iter()
            .map(|byte| match byte {
                b'\\' => "\\\\".to_owned(),
                0 | 128.. => format!("\\{byte:03o}"),
                other => char::from(*other).to_string(),
            })
            .collect(),
        other => return Err(unknown_encoding(other)),
    }))
}

fn unknown_encoding(name: &str) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("unrecognized encoding: \"{name}\""))
}

fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    let mut column = 0;
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |group, byte| (group << 8) | u32::from(*byte)) << (8 * (3 - chunk.len()));
        if column == 76 {
            out.push('\n');
            column = 0;
        }
        for position in 0..4 {
            let digit = (group >> (18 - 6 * position)) & 63;
            let shown = if position <= chunk.len() {
                BASE64.get(usize::try_from(digit).unwrap_or(0)).map_or('=', |byte| char::from(*byte))
            } else {
                '='
            };
            out.push(shown);
        }
        column += 4;
    }
    out
}

fn decode(facts: &Facts, args: &[Value]) -> Result<Value> {
    let source = text(args, 0)?;
    match text(args, 1)? {
        "hex" => driftdb_types::parse_value(T::Bytea, &format!("\\x{source}"), &facts.zone),
        "escape" if source.starts_with("\\x") => Err(Error::unsupported("decode of this text as escape")),
        "escape" => driftdb_types::parse_value(T::Bytea, source, &facts.zone),
        "base64" => decode_base64(source),
        other => Err(unknown_encoding(other)),
    }
}

fn decode_base64(source: &str) -> Result<Value> {
    let bad = || Error::new(SqlState::INVALID_PARAMETER_VALUE, "invalid base64 end sequence");
    let mut out = Vec::new();
    let (mut group, mut digits, mut padding) = (0_u32, 0, 0);
    for byte in source.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        if byte == b'=' {
            padding += 1;
            group <<= 6;
        } else if let Some(digit) = BASE64.iter().position(|candidate| *candidate == byte).filter(|_| padding == 0) {
            group = (group << 6) | u32::try_from(digit).unwrap_or(0);
        } else {
            return Err(Error::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("invalid symbol \"{}\" found while decoding base64 sequence", char::from(byte)),
            ));
        }
        digits += 1;
        if digits == 4 {
            let bytes = group.to_be_bytes();
            let keep = 3_usize.checked_sub(padding).filter(|keep| *keep > 0).ok_or_else(bad)?;
            out.extend(bytes.iter().skip(1).take(keep));
            (group, digits) = (0, 0);
        }
    }
    if digits != 0 {
        return Err(bad());
    }
    Ok(Value::Bytea(out))
}

/// A value as its type's output function shows it.
fn shown(facts: &Facts, value: &Value) -> String {
    format_value(value, value.data_type().unwrap_or(T::Text), &facts.zone)
}

fn concat(facts: &Facts, args: &[Value]) -> Result<Value> {
    Ok(Value::Text(args.iter().filter(|value| !value.is_null()).map(|value| shown(facts, value)).collect()))
}

fn concat_ws(facts: &Facts, args: &[Value]) -> Result<Value> {
    let Some((separator, rest)) = args.split_first() else { return Err(mismatch("concat_ws", args)) };
    let Value::Text(separator) = separator else { return Ok(Value::Null) };
    let parts: Vec<String> = rest.iter().filter(|value| !value.is_null()).map(|value| shown(facts, value)).collect();
    Ok(Value::Text(parts.join(separator)))
}

/// `format` with `%s`, `%I`, `%L` and `%%`; positions and widths are refused.
fn format(facts: &Facts, args: &[Value]) -> Result<Value> {
    let Some((Value::Text(pattern), rest)) = args.split_first() else { return Ok(Value::Null) };
    let mut rest = rest.iter();
    let mut out = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let specifier = chars.next();
        if specifier == Some('%') {
            out.push('%');
            continue;
        }
        let specifier = match specifier {
            Some(specifier @ ('s' | 'I' | 'L')) => specifier,
            Some('0'..='9' | '-' | '*' | '$') => {
                return Err(Error::unsupported("a position or width in format()").hint("%s, %I, %L and %% are done."));
            }
            Some(other) => {
                return Err(Error::new(
                    SqlState::INVALID_PARAMETER_VALUE,
                    format!("unrecognized format() type specifier \"{other}\""),
                )
                .hint("For a single \"%\" use \"%%\"."));
            }
            None => {
                return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "unterminated format() type specifier")
                    .hint("For a single \"%\" use \"%%\"."));
            }
        };
        let Some(value) = rest.next() else {
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "too few arguments for format()"));
        };
        match (specifier, value.is_null()) {
            ('s', true) => {}
            ('s', false) => out.push_str(&shown(facts, value)),
            ('L', true) => out.push_str("NULL"),
            ('L', false) => out.push_str(&quote_literal(&shown(facts, value))),
            (_, true) => {
                return Err(Error::new(
                    SqlState::INVALID_PARAMETER_VALUE,
                    "null values cannot be formatted as an SQL identifier",
                ));
            }
            (_, false) => out.push_str(&quote_ident(&shown(facts, value))),
        }
    }
    Ok(Value::Text(out))
}
