//! Moments as people and other programs read them.

use std::fmt;

use tidegate_core::Moment;

/// Characters of a date with milliseconds.
const CHARACTERS: usize = "2099-12-31T23:59:59.999Z".len();
/// Where the milliseconds stand in it.
const MILLISECONDS: usize = "2099-12-31T23:59:59.".len();

/// A moment as RFC 3339 has it, in UTC with milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Rfc3339(pub Moment);

impl Rfc3339 {
    fn characters(self) -> [u8; CHARACTERS] {
        let (days, of_day) = (self.0.0 / 86_400_000, self.0.0 % 86_400_000);
        let (year, month, day) = civil(days);
        let mut characters = *b"0000-00-00T00:00:00.000Z";
        // The numbers of the date, each with the place behind its last digit.
        let parts = [
            (year, 4),
            (month, 7),
            (day, 10),
            (of_day / 3_600_000, 13),
            (of_day / 60_000 % 60, 16),
            (of_day / 1000 % 60, 19),
            (of_day % 1000, 23),
        ];
        for (number, end) in parts {
            put(&mut characters, number, end);
        }
        characters
    }
}

/// Writes a number over the zeros before a place, as far as there are any.
fn put(characters: &mut [u8; CHARACTERS], number: u64, end: usize) {
    let zeros = characters.get_mut(..end).unwrap_or_default().iter_mut().rev();
    let mut left = number;
    for digit in zeros.take_while(|it| it.is_ascii_digit()) {
        *digit = b'0' + u8::try_from(left % 10).unwrap_or_default();
        left /= 10;
    }
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let characters = self.characters();
        f.write_str(std::str::from_utf8(&characters).unwrap_or_default())
    }
}

/// Shows moments that follow each other closely: the date of a second is put together once.
#[derive(Debug)]
pub(super) struct Clockwork {
    second: u64,
    characters: [u8; CHARACTERS],
}

impl Clockwork {
    /// A moment as [`Rfc3339`] shows it.
    pub(super) fn show(&mut self, moment: Moment) -> &[u8] {
        let second = moment.0 / 1000;
        if second == self.second {
            put(&mut self.characters, moment.0 % 1000, MILLISECONDS + 3);
        } else {
            *self = Self { second, characters: Rfc3339(moment).characters() };
        }
        &self.characters
    }
}

impl Default for Clockwork {
    fn default() -> Self {
        Self { second: 0, characters: Rfc3339(Moment(0)).characters() }
    }
}

/// Year, month and day of a day since the Unix epoch, counted in eras of 400 years from March on.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_as_dates() {
        let date = |ms| Rfc3339(Moment(ms)).to_string();
        assert_eq!(date(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(date(951_826_154_123), "2000-02-29T12:09:14.123Z");
        assert_eq!(date(4_102_444_799_999), "2099-12-31T23:59:59.999Z");
    }

    #[test]
    fn a_clockwork_shows_every_moment_as_its_date() {
        let mut clockwork = Clockwork::default();
        for ms in [0, 7, 999, 1000, 951_826_154_123, 951_826_154_999, 951_826_154_000, 5] {
            let date = Rfc3339(Moment(ms)).to_string();
            assert_eq!(clockwork.show(Moment(ms)), date.as_bytes(), "{ms}");
        }
    }
}
