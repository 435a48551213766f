//! Dates of RFC 3339, as moments.

use tidegate_core::Moment;

const SECONDS_PER_DAY: i64 = 86_400;

/// Reads `2027-09-01T00:00:00Z`, also with an offset and with fractions of a second; `None` for
/// anything else, and for dates before 1970.
pub(crate) fn moment(text: &str) -> Option<Moment> {
    let (date, time) = text.split_at_checked(10)?;
    let time = time.strip_prefix(['T', 't', ' '])?;
    let days = day(date)?;
    let (clock, rest) = time.split_at_checked(8)?;
    let seconds = clock_seconds(clock)?;
    let (millis, zone) = fraction(rest)?;
    let offset = offset_seconds(zone)?;
    let total = days.checked_mul(SECONDS_PER_DAY)?.checked_add(seconds)?.checked_sub(offset)?;
    let millis = total.checked_mul(1000)?.checked_add(millis)?;
    u64::try_from(millis).ok().map(Moment)
}

/// A fixed number of digits.
fn digits(text: &str, len: usize) -> Option<i64> {
    let is_number = text.len() == len && text.bytes().all(|it| it.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn day(date: &str) -> Option<i64> {
    let mut parts = date.splitn(3, '-');
    let year = digits(parts.next()?, 4)?;
    let month = digits(parts.next()?, 2)?;
    let day = digits(parts.next()?, 2)?;
    let is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let days_in_month = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => return None,
    };
    if !(1..=days_in_month).contains(&day) {
        return None;
    }
    // The year is taken to begin in March, so that the leap day is its last one.
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let days_before_month = (153 * month + 2) / 5;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    Some(365 * year + leap_days + days_before_month + day - 1 - 719_468)
}

fn clock_seconds(clock: &str) -> Option<i64> {
    let mut parts = clock.splitn(3, ':');
    let hour = digits(parts.next()?, 2)?;
    let minute = digits(parts.next()?, 2)?;
    let second = digits(parts.next()?, 2)?;
    // Second 60 is a leap second.
    (hour <= 23 && minute <= 59 && second <= 60).then_some(hour * 3600 + minute * 60 + second)
}

/// The milliseconds of a fraction, and what follows it.
fn fraction(text: &str) -> Option<(i64, &str)> {
    let Some(rest) = text.strip_prefix('.') else { return Some((0, text)) };
    let end = rest.find(|it: char| !it.is_ascii_digit())?;
    let (fraction, zone) = rest.split_at(end);
    let millis: String = fraction.chars().chain("000".chars()).take(3).collect();
    if fraction.is_empty() { None } else { Some((digits(&millis, 3)?, zone)) }
}

fn offset_seconds(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, rest) = match zone.strip_prefix('+') {
        Some(rest) => (1, rest),
        None => (-1, zone.strip_prefix('-')?),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        let millis = |text| moment(text).map(|it| it.0);
        assert_eq!(millis("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(millis("2000-02-29T00:00:00Z"), Some(951_782_400_000));
        assert_eq!(millis("2027-09-01T00:00:00Z"), Some(1_819_756_800_000));
        assert_eq!(millis("2027-09-01T02:00:00.1234+02:00"), Some(1_819_756_800_123));
        assert_eq!(millis("2027-08-31T19:30:00-04:30"), Some(1_819_756_800_000));
        assert_eq!(millis("2016-12-31T23:59:60Z"), millis("2017-01-01T00:00:00Z"));
        assert_eq!(millis("9999-12-31T23:59:59z"), Some(253_402_300_799_000));
    }

    #[test]
    fn what_is_no_date_is_refused() {
        let texts = [
            "",
            "2027-09-01",
            "2027-09-01T00:00:00",
            "2027-13-01T00:00:00Z",
            "2027-02-29T00:00:00Z",
            "2027-09-00T00:00:00Z",
            "2027-09-01T24:00:00Z",
            "2027-09-01T00:60:00Z",
            "2027-09-01T00:00:00.Z",
            "2027-09-01T00:00:00+2:00",
            "2027-09-01T00:00:00ZZ",
            "1969-12-31T23:59:59Z",
            "+027-09-01T00:00:00Z",
            "2027-09-01Tüü:00:00Z",
            "20270901T000000Z",
        ];
        for text in texts {
            assert_eq!(moment(text), None, "{text}");
        }
    }
}
