//! `to_char` of numbers, after `NUM_processor` of PostgreSQL's formatting.c, with the patterns 9, 0, the point (`.` or
//! `D`), the comma (`,` or `G`) and FM. Others are refused.

use driftdb_types::{Decimal, Error, Result, Value};

use super::text::text;
use super::{Facts, mismatch};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Nine,
    Zero,
    Point,
    Comma,
}

/// A template read.
struct Template {
    places: Vec<Place>,
    /// `FM`: no blanks, and no zeros at the end that only fill.
    bare: bool,
    /// Places before and behind the point.
    whole: usize,
    fraction: usize,
    /// How many places there are before the first 0 in front of the point.
    zero_start: Option<usize>,
    /// How many places there are up to the last 0.
    zero_end: usize,
}

fn template(format: &str) -> Result<Template> {
    let refused = || {
        Error::unsupported(format!("the to_char pattern \"{format}\" of a number"))
            .hint("9, 0, a point, commas and FM are done.")
    };
    let bare = format.contains("FM") || format.contains("fm");
    let pattern = format.replace("FM", "").replace("fm", "");
    let mut out = Template { places: Vec::new(), bare, whole: 0, fraction: 0, zero_start: None, zero_end: 0 };
    let mut decimal = false;
    for c in pattern.chars() {
        let place = match c {
            '9' => Place::Nine,
            '0' => Place::Zero,
            '.' | 'D' | 'd' if !decimal => Place::Point,
            ',' | 'G' | 'g' => Place::Comma,
            _ => return Err(refused()),
        };
        match place {
            Place::Point => decimal = true,
            Place::Comma => {}
            Place::Nine | Place::Zero => {
                if place == Place::Zero && !decimal && out.zero_start.is_none() {
                    out.zero_start = Some(out.whole);
                }
                *(if decimal { &mut out.fraction } else { &mut out.whole }) += 1;
                if place == Place::Zero {
                    out.zero_end = out.whole + out.fraction;
                }
            }
        }
        out.places.push(place);
    }
    if out.places.is_empty() { Err(refused()) } else { Ok(out) }
}

fn decimal_of(args: &[Value], fraction: usize) -> Result<Decimal> {
    let scale = u8::try_from(fraction).unwrap_or(u8::MAX);
    let decimal = match args.first() {
        Some(Value::Int4(v)) => Decimal::from(i64::from(*v)),
        Some(Value::Int8(v)) => Decimal::from(*v),
        Some(Value::Numeric(v)) => *v,
        Some(Value::Float8(v)) => Decimal::from_f64(*v)?,
        _ => return Err(mismatch("to_char", args)),
    };
    decimal.rescale(scale)
}

pub(super) fn of_number(_: &Facts, args: &[Value]) -> Result<Value> {
    let format = text(args, 1)?;
    if format.is_empty() {
        return Ok(Value::Text(String::new()));
    }
    let template = template(format)?;
    let rounded = decimal_of(args, template.fraction)?;
    let mut digits = rounded.abs().to_string();
    let whole_digits = digits.find('.').unwrap_or(digits.len());
    if whole_digits > template.whole {
        // What does not fit is not shown at all.
        digits = format!("{}.{}", "#".repeat(template.whole), "#".repeat(template.fraction));
    }
    let blanks = template.whole.saturating_sub(whole_digits);
    let writer = Writer::new(&template, digits, blanks, rounded.is_negative());
    Ok(Value::Text(writer.write(&template)))
}

struct Writer {
    /// The digits and the point, and which of them is next.
    digits: Vec<char>,
    at: usize,
    /// Places that the number has no digits for.
    blanks: usize,
    /// Under FM the last digit behind the point that means something, or the point.
    last_relevant: Option<usize>,
    negative: bool,
    sign_written: bool,
    in_number: bool,
    out: String,
}

impl Writer {
    fn new(template: &Template, digits: String, blanks: usize, negative: bool) -> Writer {
        let digits: Vec<char> = digits.chars().collect();
        let point = digits.iter().position(|c| *c == '.').filter(|_| template.bare);
        let last_relevant = point.map(|point| {
            let tail = digits.iter().enumerate().skip(point + 1);
            let last = tail.rev().find(|(_, c)| **c != '0').map_or(point, |(at, _)| at);
            // A 0 in the template keeps the digits up to it.
            last.max(template.zero_end.saturating_sub(blanks).min(digits.len() - 1))
        });
        Writer {
            digits,
            at: 0,
            blanks,
            last_relevant,
            negative,
            sign_written: false,
            in_number: false,
            out: String::new(),
        }
    }

    /// A 0 alone before the point, which is shown as a blank.
    fn leading_zero(&self, template: &Template) -> bool {
        template.zero_start.is_none() && self.at == 0 && self.digits.first() == Some(&'0') && template.fraction > 0
    }

    fn ends_at_point(&self) -> bool {
        self.last_relevant.is_some_and(|last| self.digits.get(last) == Some(&'.'))
    }

    fn write(mut self, template: &Template) -> String {
        let mut current = 0;
        for place in &template.places {
            if *place == Place::Comma {
                match (self.in_number, template.bare) {
                    (true, _) => self.out.push(','),
                    (false, true) => {}
                    (false, false) => self.out.push(' '),
                }
                continue;
            }
            self.write_sign(template, current);
            self.write_place(template, *place, current);
            current += 1;
        }
        self.out
    }

    fn write_sign(&mut self, template: &Template, current: usize) {
        let number_begins = current >= self.blanks || template.zero_start == Some(current);
        if self.sign_written || !number_begins || (self.leading_zero(template) && !self.ends_at_point()) {
            return;
        }
        if self.negative {
            self.out.push('-');
        } else if !template.bare {
            self.out.push(' ');
        }
        self.sign_written = true;
    }

    fn write_place(&mut self, template: &Template, place: Place, current: usize) {
        if current < self.blanks {
            if template.zero_start.is_some_and(|start| start <= current) {
                self.out.push('0');
                self.in_number = true;
            } else if !template.bare {
                self.out.push(' ');
            }
            return;
        }
        let next = self.digits.get(self.at).copied();
        match next {
            Some('.') if self.last_relevant.is_none() || !self.ends_at_point() || template.bare => self.out.push('.'),
            Some('.') => {}
            Some(_) if self.last_relevant.is_some_and(|last| self.at > last) && place != Place::Zero => {}
            Some(_) if self.leading_zero(template) => {
                if !template.bare {
                    self.out.push(' ');
                } else if self.ends_at_point() {
                    self.out.push('0');
                }
            }
            Some(digit) => {
                self.out.push(digit);
                self.in_number = true;
            }
            None => {}
        }
        if next.is_some() {
            self.at += 1;
        }
    }
}
