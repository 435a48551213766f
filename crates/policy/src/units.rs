//! Numbers with units, as a policy writes them: `500ms`, `16KiB`, `20%`.

use std::time::Duration;

/// Longest duration that a policy may name: a year with a leap day.
pub(crate) const DURATION_MAX: Duration = Duration::from_hours(366 * 24);

const DURATIONS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZES: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
const PERCENT: [(&str, u64); 1] = [("%", 1)];

/// Why a text is not the number with a unit that was wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnitError {
    /// It does not begin with a whole number.
    #[error("`{text}` is not {wanted}")]
    NotANumber { text: String, wanted: &'static str, example: &'static str },
    /// It is a number and nothing else.
    #[error("`{text}` has no unit")]
    NoUnit { text: String, suggestion: String },
    /// Its unit is not one of those that are known.
    #[error("`{text}` has an unknown unit")]
    UnknownUnit { text: String, units: String },
    /// It is larger than anything of its kind may be.
    #[error("`{text}` is too large")]
    TooLarge { text: String },
}

impl UnitError {
    /// What may be done about it.
    pub(crate) fn help(&self) -> Option<String> {
        match self {
            Self::NotANumber { example, .. } => {
                Some(format!("write a whole number and a unit: {example}"))
            }
            Self::NoUnit { suggestion, .. } => Some(format!("write `{suggestion}`")),
            Self::UnknownUnit { units, .. } => Some(format!("the units are {units}")),
            Self::TooLarge { .. } => None,
        }
    }
}

/// What kind of number is read.
struct Kind {
    wanted: &'static str,
    example: &'static str,
    usual: &'static str,
    units: &'static [(&'static str, u64)],
}

/// A duration: `500ms`, `10s`, `10m`, `1h`, `2d`.
pub(crate) fn duration(text: &str) -> Result<Duration, UnitError> {
    let kind = Kind {
        wanted: "a duration",
        example: "`500ms`, `10s`, `5m`",
        usual: "s",
        units: &DURATIONS,
    };
    let duration = Duration::from_millis(number(text, &kind)?);
    if duration > DURATION_MAX {
        return Err(UnitError::TooLarge { text: text.to_owned() });
    }
    Ok(duration)
}

/// A size in bytes: `512B`, `16KiB`, `1MiB`.
pub(crate) fn size(text: &str) -> Result<u64, UnitError> {
    let kind =
        Kind { wanted: "a size", example: "`512B`, `16KiB`, `1MiB`", usual: "KiB", units: &SIZES };
    number(text, &kind)
}

/// A share in percent: `20%`.
pub(crate) fn percent(text: &str) -> Result<u64, UnitError> {
    let kind = Kind { wanted: "a share in percent", example: "`20%`", usual: "%", units: &PERCENT };
    number(text, &kind)
}

/// A duration as a policy would write it, in the largest unit that it is a whole number of.
pub(crate) fn written(duration: &Duration) -> String {
    let millis = duration.as_millis();
    if Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)) != *duration {
        return format!("{duration:?}");
    }
    let is_whole = |size: u64| millis != 0 && millis.is_multiple_of(size.into());
    match DURATIONS.into_iter().rev().find(|(_, size)| is_whole(*size)) {
        Some((unit, size)) => format!("{}{unit}", millis / u128::from(size)),
        None => "0s".to_owned(),
    }
}

fn number(text: &str, kind: &Kind) -> Result<u64, UnitError> {
    let end = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    if digits.is_empty() || unit.starts_with(['.', ',', '_']) {
        let Kind { wanted, example, .. } = kind;
        return Err(UnitError::NotANumber { text: text.to_owned(), wanted, example });
    }
    if unit.is_empty() {
        let suggestion = format!("{digits}{}", kind.usual);
        return Err(UnitError::NoUnit { text: text.to_owned(), suggestion });
    }
    let Some((_, factor)) = kind.units.iter().find(|(name, _)| *name == unit) else {
        let units: Vec<String> = kind.units.iter().map(|(name, _)| format!("`{name}`")).collect();
        return Err(UnitError::UnknownUnit { text: text.to_owned(), units: units.join(", ") });
    };
    let value = digits.parse::<u64>().ok().and_then(|it| it.checked_mul(*factor));
    value.ok_or_else(|| UnitError::TooLarge { text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("10m"), Ok(Duration::from_mins(10)));
        assert_eq!(duration("1h"), Ok(Duration::from_hours(1)));
        assert_eq!(duration("2d"), Ok(Duration::from_hours(48)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn a_number_without_unit_is_told_which_one_was_probably_meant() {
        let help = |text| duration(text).unwrap_err().help();
        assert_eq!(help("5"), Some("write `5s`".to_owned()));
        assert_eq!(percent("5").unwrap_err().help(), Some("write `5%`".to_owned()));
        assert_eq!(help("5sec"), Some("the units are `ms`, `s`, `m`, `h`, `d`".to_owned()));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "s", "-5s", "1.5s", "1,5s", " 5s", "5 s", "5s ", "1h30m", "५s", "+5s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn overflow_is_an_error_like_any_other() {
        let large = |text| matches!(duration(text), Err(UnitError::TooLarge { .. }));
        assert!(large("18446744073709551615d") && large("99999999999999999999999s"));
        assert!(large("367d") && duration("366d").is_ok());
        assert!(matches!(size("18446744073709551615GiB"), Err(UnitError::TooLarge { .. })));
    }

    #[test]
    fn sizes_count_in_powers_of_two() {
        assert_eq!(size("16KiB"), Ok(16 * 1024));
        assert_eq!(size("512B"), Ok(512));
        assert_eq!(size("1MiB"), Ok(1 << 20));
        assert!(size("16KB").is_err() && size("16k").is_err());
    }

    #[test]
    fn percentages() {
        assert_eq!(percent("125%"), Ok(125));
        assert!(percent("20 %").is_err() && percent("0.2").is_err());
    }
}
