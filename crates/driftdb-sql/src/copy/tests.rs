#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

use driftdb_types::{DataType, TimeZone, Value};
use proptest::prelude::*;

use super::{CopyDecoder, CopyEncoder, CopyHeader, CopyOptions, CopyRow, ForceQuote};
use crate::outcome::ResultColumn;

fn decode_pieces(options: CopyOptions, columns: usize, pieces: &[&[u8]]) -> driftdb_types::Result<Vec<CopyRow>> {
    let columns = (0..columns).map(|n| (format!("c{n}"), DataType::Text)).collect();
    let mut decoder = CopyDecoder::new(options, columns, TimeZone::utc());
    let mut rows = Vec::new();
    for piece in pieces {
        decoder.push(piece, &mut rows)?;
    }
    decoder.finish(&mut rows)?;
    Ok(rows)
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

fn values(rows: Vec<CopyRow>) -> Vec<Vec<Value>> {
    rows.into_iter().map(|row| row.values).collect()
}

#[test]
fn text_escapes_nulls_and_end_marker() {
    let data = b"a\\tb\t\\N\n\\\\N\tx\\\ny\n\\.\nignored\t1\n";
    let rows = decode_pieces(CopyOptions::text(), 2, &[data]).unwrap();
    assert_eq!(rows[1].line, 2);
    assert_eq!(values(rows), vec![vec![text("a\tb"), Value::Null], vec![text("\\N"), text("x\ny")]]);
}

#[test]
fn text_octal_and_hex() {
    let rows = decode_pieces(CopyOptions::text(), 1, &[b"\\101\\x42\\x4g\n"]).unwrap();
    assert_eq!(values(rows), vec![vec![text("AB\u{4}g")]]);
}

#[test]
fn crlf_is_kept_to() {
    let rows = decode_pieces(CopyOptions::text(), 1, &[b"a\r", b"\nb\r\n"]).unwrap();
    assert_eq!(values(rows), vec![vec![text("a")], vec![text("b")]]);
    let error = decode_pieces(CopyOptions::text(), 1, &[b"a\r\nb\n"]).unwrap_err();
    assert_eq!(error.state.code(), "22P04");
}

#[test]
fn a_last_line_without_end_counts() {
    let rows = decode_pieces(CopyOptions::text(), 1, &[b"a\nb"]).unwrap();
    assert_eq!(values(rows), vec![vec![text("a")], vec![text("b")]]);
}

#[test]
fn wrong_numbers_of_columns() {
    let error = decode_pieces(CopyOptions::text(), 2, &[b"a\n"]).unwrap_err();
    assert_eq!(error.message, "missing data for column \"c1\"");
    assert_eq!(error.detail.unwrap(), "line 1");
    let error = decode_pieces(CopyOptions::text(), 1, &[b"x\na\tb\n"]).unwrap_err();
    assert_eq!(error.message, "extra data after last expected column");
    assert_eq!(error.detail.unwrap(), "line 2");
}

#[test]
fn csv_quotes_nulls_and_header() {
    let options = CopyOptions { header: CopyHeader::Yes, ..CopyOptions::csv() };
    let data = b"c0,c1\n\"a,\"\"b\"\"\n\",\n\"\",z\n";
    let rows = decode_pieces(options, 2, &[data]).unwrap();
    assert_eq!(rows[1].line, 4);
    assert_eq!(values(rows), vec![vec![text("a,\"b\"\n"), Value::Null], vec![text(""), text("z")]]);
}

#[test]
fn csv_header_match_and_open_quote() {
    let options = CopyOptions { header: CopyHeader::Match, ..CopyOptions::csv() };
    let error = decode_pieces(options, 2, &[b"c0,other\n1,2\n"]).unwrap_err();
    assert!(error.message.contains("column name mismatch in header line field 2"));
    let error = decode_pieces(CopyOptions::csv(), 1, &[b"\"a\n"]).unwrap_err();
    assert_eq!(error.message, "unterminated CSV quoted field");
}

#[test]
fn force_not_null_and_force_null() {
    let options =
        CopyOptions { force_not_null: vec!["c0".to_owned()], force_null: vec!["c1".to_owned()], ..CopyOptions::csv() };
    let rows = decode_pieces(options, 2, &[b",\"\"\n"]).unwrap();
    assert_eq!(values(rows), vec![vec![text(""), Value::Null]]);
}

#[test]
fn csv_other_escape() {
    let options = CopyOptions { escape: b'\\', ..CopyOptions::csv() };
    let rows = decode_pieces(options, 1, &[b"\"a\\\"b\\", b"\\c\\d\"\n"]).unwrap();
    assert_eq!(values(rows), vec![vec![text("a\"b\\c\\d")]]);
}

fn round_trip(options: &CopyOptions, rows: &[Vec<Option<String>>], cuts: &[usize], crlf: bool) {
    let columns: Vec<ResultColumn> = (0..3).map(|n| ResultColumn::new(format!("c{n}"), DataType::Text)).collect();
    let mut encoder = CopyEncoder::new(options.clone(), &columns, TimeZone::utc());
    let rows: Vec<Vec<Value>> = rows
        .iter()
        .map(|row| row.iter().map(|field| field.clone().map_or(Value::Null, Value::Text)).collect())
        .collect();
    let mut bytes = Vec::new();
    encoder.header(&mut bytes);
    for row in &rows {
        let mut line = Vec::new();
        encoder.row(row, &mut line);
        if crlf {
            line.pop();
            line.extend_from_slice(b"\r\n");
        }
        bytes.extend(line);
    }
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
    let decoded = decode_pieces(options.clone(), 3, &pieces).unwrap();
    assert_eq!(values(decoded), rows);
}

fn field() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(prop_oneof!["[ -~]{0,6}", "[\\\\\"',;|\t\n\rN.ä\u{8}\u{b}x0-7]{0,8}"])
}

proptest! {
    #[test]
    fn text_round_trips(
        rows in proptest::collection::vec(proptest::collection::vec(field(), 3), 0..8),
        cuts in proptest::collection::vec(any::<usize>(), 0..6),
        crlf in any::<bool>(),
    ) {
        round_trip(&CopyOptions::text(), &rows, &cuts, crlf);
        round_trip(&CopyOptions { delimiter: b'|', null: "nil".to_owned(), ..CopyOptions::text() }, &rows, &cuts, crlf);
    }

    #[test]
    fn csv_round_trips(
        rows in proptest::collection::vec(proptest::collection::vec(field(), 3), 0..8),
        cuts in proptest::collection::vec(any::<usize>(), 0..6),
    ) {
        let other = CopyOptions {
            delimiter: b';',
            quote: b'\'',
            escape: b'\\',
            header: CopyHeader::Match,
            force_quote: ForceQuote::Columns(vec!["c1".to_owned()]),
            ..CopyOptions::csv()
        };
        round_trip(&CopyOptions::csv(), &rows, &cuts, false);
        round_trip(&other, &rows, &cuts, false);
    }

    #[test]
    fn any_bytes_give_rows_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0_usize..200) {
        for options in [CopyOptions::text(), CopyOptions::csv()] {
            let cut = cut.min(bytes.len());
            let whole = decode_pieces(options.clone(), 2, &[&bytes]);
            let pieces = decode_pieces(options, 2, &[&bytes[..cut], &bytes[cut..]]);
            prop_assert_eq!(whole, pieces);
        }
    }
}
