use super::*;

fn d(text: &str) -> Decimal {
    Decimal::parse(text).unwrap()
}

const NINES: &str = "99999999999999999999999999999999999999";

#[test]
fn input_beyond_38_digits_is_refused() {
    assert_eq!(d(NINES).to_string(), NINES);
    for text in
        [format!("{NINES}0"), format!("{NINES}.0"), "1e38".to_owned(), "1e-39".to_owned(), "1e99999999999".to_owned()]
    {
        assert_eq!(Decimal::parse(&text).unwrap_err().state, SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "{text}");
    }
    // But what a column rounds away may be as long as it likes.
    let third = format!("0.{}", "3".repeat(100));
    assert_eq!(Decimal::parse_constrained(&third, 5, 2).unwrap(), d("0.33"));
    assert_eq!(Decimal::parse_constrained("1e-100", 5, 2).unwrap(), d("0.00"));
    assert!(Decimal::parse_constrained("1e100", 5, 2).is_err());
    for text in ["NaN", "-Infinity", "inf"] {
        assert_eq!(Decimal::parse(text).unwrap_err().state, SqlState::FEATURE_NOT_SUPPORTED, "{text}");
    }
    assert!(Decimal::new(10i128.pow(38), 0).is_err());
    assert!(Decimal::new(i128::MIN, 0).is_err());
    assert!(Decimal::new(1, 39).is_err());
}

#[test]
fn results_beyond_38_digits_lose_the_last_ones_first() {
    let third = d("0.33333333333333333333");
    assert_eq!(third.checked_mul(third).unwrap(), d("0.11111111111111111110888888888888888889"));
    assert_eq!(d(NINES).checked_add(d("0.4")).unwrap(), d(NINES));
    assert_eq!(d(NINES).checked_sub(d("0.4")).unwrap(), d(NINES));
    for result in [
        d(NINES).checked_add(d("1")),
        d(NINES).checked_add(d("0.5")),
        d(NINES).checked_mul(d("-2")),
        d(NINES).checked_div(d("0.1")),
    ] {
        assert_eq!(result.unwrap_err().state, SqlState::NUMERIC_VALUE_OUT_OF_RANGE);
    }
    assert_eq!(d(NINES).checked_div(d(NINES)).unwrap().to_string(), "1.00000000000000000000");
    assert_eq!(d(NINES).checked_rem(d("1e-38")).unwrap().cmp_value(&Decimal::ZERO), Ordering::Equal);
    assert_eq!(d("1e-38").checked_rem(d(NINES)).unwrap(), d("1e-38"));
    assert_eq!(d(NINES).cmp_value(&d("0.00000000000000000000000000000000000001")), Ordering::Greater);
    assert_eq!(d("-1").cmp_value(&d("0.00000000000000000000000000000000000001")), Ordering::Less);
    assert_eq!(d("1").checked_div(d("0")).unwrap_err().state, SqlState::DIVISION_BY_ZERO);
}

#[test]
fn halves_round_away_from_zero() {
    assert_eq!(d("2.5").rescale(0).unwrap(), d("3"));
    assert_eq!(d("-2.5").rescale(0).unwrap(), d("-3"));
    assert_eq!(d("2.4999").rescale(0).unwrap(), d("2"));
    assert_eq!(d("-0.5").to_i64().unwrap(), -1);
    assert_eq!(d("9223372036854775807.4").to_i64().unwrap(), i64::MAX);
    assert!(d("9223372036854775807.5").to_i64().is_err());
    assert!(d(NINES).rescale(1).is_err());
}

#[test]
fn floats_convert_by_their_digits() {
    assert_eq!(Decimal::from_f64(0.1).unwrap().to_string(), "0.1");
    assert_eq!(Decimal::from_f64(-1234.5).unwrap().to_string(), "-1234.5");
    assert_eq!(Decimal::from_f64(1e-50).unwrap(), Decimal::ZERO);
    assert!(Decimal::from_f64(1e38).is_err());
    assert!(Decimal::from_f64(f64::NAN).is_err());
    assert_eq!(Decimal::from_f32(0.1).unwrap().to_string(), "0.1");
    assert_eq!(d("0.1").to_f64(), 0.1);
    assert_eq!(d(NINES).to_f64(), 1e38);
    assert_eq!(d("123456789012345678.9").to_f64(), 123_456_789_012_345_678.9);
}

/// Answers of PostgreSQL 15.
const RESULTS: &[(&str, &str)] = &[
    ("sqrt 2.0", "1.414213562373095"),
    ("sqrt 4", "2.000000000000000"),
    ("sqrt 0", "0.000000000000000"),
    ("sqrt 1e10", "100000.00000000000"),
    ("sqrt 0.0001", "0.01000000000000000"),
    ("sqrt 12345678901234567890.5", "3513641828.8201443"),
    ("exp 1.0", "2.7182818284590452"),
    ("exp -50.0", "0.0000000000000000000001928749847963918"),
    ("exp 0.0", "1.0000000000000000"),
    ("exp 50.0", "5184705528587072464087.5"),
    ("exp -26.2026", "0.000000000004172106716076801"),
    ("ln 2.0", "0.6931471805599453"),
    ("ln 1.0", "0.0000000000000000"),
    ("ln 1.000001", "0.0000009999995000003333"),
    ("ln 0.5", "-0.6931471805599453"),
    ("ln 1e30", "69.077552789821371"),
    ("ln 0.00000000001", "-25.328436022934503"),
    ("ln 46593774561136146", "38.380243334009265"),
    ("log 10 100.0", "2.0000000000000000"),
    ("log 2.0 8.0", "3.0000000000000000"),
    ("log 1.5 2.25", "2.0000000000000000"),
    ("log 543556568526519 1.000077", "0.0000022693472879408524"),
    ("log 10 0.9974", "-0.0011306361176557887"),
    ("power 2 3", "8.0000000000000000"),
    ("power 10 20", "100000000000000000000.0000000000000000"),
    ("power 1.1 100", "13780.6123398222701841"),
    ("power 2 0.5", "1.4142135623730950"),
    ("power 2.0 -3", "0.1250000000000000"),
    ("power 0.0 0", "1.0000000000000000"),
    ("power 0.0 2.5", "0.0000000000000000"),
    ("power -2.0 3", "-8.0000000000000000"),
    ("power 1.5 1", "1.5000000000000000"),
    ("power 1.000001 1000000", "2.7182804693193769"),
    ("power 2.5 1.5", "3.9528470752104742"),
    ("power 123.456 5.5", "318652337736.89691"),
    ("power 7.0 -1", "0.1428571428571429"),
    ("power 3398.398594 -10", "0.0000000000000000"),
    ("div 1 3.0", "0.33333333333333333333"),
    ("div 0.001 3", "0.00033333333333333333"),
    ("div 0.00012 7", "0.000017142857142857142857"),
    ("div 554.505088 5337.168498", "0.10389499379826400227"),
    ("div 2 0.3", "6.6666666666666667"),
];

#[test]
fn roots_powers_and_logarithms_have_the_digits_of_postgres() {
    for (call, expected) in RESULTS {
        let words: Vec<&str> = call.split(' ').collect();
        let got = match words.as_slice() {
            ["sqrt", x] => d(x).sqrt(),
            ["exp", x] => d(x).exp(),
            ["ln", x] => d(x).ln(),
            ["log", base, x] => d(x).log(d(base)),
            ["power", base, exponent] => d(base).power(d(exponent)),
            ["div", a, b] => d(a).checked_div(d(b)),
            _ => panic!("{call}"),
        };
        assert_eq!(got.unwrap().to_string(), *expected, "{call}");
    }
    for (got, state) in [
        (d("-1").sqrt(), SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION),
        (d("-1").power(d("0.5")), SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION),
        (d("0").power(d("-1")), SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION),
        (d("0").ln(), SqlState::INVALID_ARGUMENT_FOR_LOGARITHM),
        (d("3").log(d("1")), SqlState::DIVISION_BY_ZERO),
        (d("10000.0").exp(), SqlState::NUMERIC_VALUE_OUT_OF_RANGE),
        (d("10").power(d("38")), SqlState::NUMERIC_VALUE_OUT_OF_RANGE),
        (d("10").power(d("2000000000")), SqlState::NUMERIC_VALUE_OUT_OF_RANGE),
        (d("-200").exp(), SqlState::FEATURE_NOT_SUPPORTED),
    ] {
        assert_eq!(got.unwrap_err().state, state);
    }
}
