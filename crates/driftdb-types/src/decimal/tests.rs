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
