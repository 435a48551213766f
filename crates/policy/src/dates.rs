//! Dates of RFC 3339, as moments.

use tidegate_core::Moment;

const SECONDS_PER_DAY: i64 = 86_400;
/// The end of the year 9999.
const MOMENT_MAX: Moment = Moment(253_402_300_799_999);

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

/// Writes a moment so that [`moment`] reads it back; beyond the year 9999 as a mere number.
pub(crate) fn written(moment: Moment) -> String {
    const DAY: u64 = 86_400_000;
    if MOMENT_MAX < moment {
        return moment.to_string();
    }
    let (mut days, in_day) = (moment.0 / DAY, moment.0 % DAY);
    let mut year = 1970;
    while days_in(year) <= days {
        days -= days_in(year);
        year += 1;
    }
    let is_leap = days_in(year) == 366;
    let february = if is_leap { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (seconds, millis) = (in_day / 1000, in_day % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = if millis == 0 { String::new() } else { format!(".{millis:03}") };
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z", days + 1)
}

fn days_in(year: u64) -> u64 {
    let is_leap = (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    if is_leap { 366 } else { 365 }
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
    fn what_is_written_is_read_back() {
        let day = 86_400_000;
        let moments = (0..5000_u64).map(|it| it * 37 * day + it * 12_345_679 % day);
        for it in moments.chain([MOMENT_MAX.0, 951_782_400_000, 951_868_799_999]).map(Moment) {
            let text = written(it);
            assert_eq!(moment(&text), Some(it).filter(|it| *it <= MOMENT_MAX), "{text}");
        }
        assert_eq!(written(Moment(1_819_756_800_000)), "2027-09-01T00:00:00Z");
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
