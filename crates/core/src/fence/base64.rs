//! Base64 with the standard alphabet and padding (RFC 4648, 4), as senders of webhooks write it.

/// The bytes that some digits stand for; nothing but the one right way to write them is read.
pub(crate) fn decode(digits: &[u8]) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(4) {
        return None;
    }
    let padding = digits.iter().rev().take_while(|it| **it == b'=').count();
    let digits = digits.get(..digits.len().checked_sub(padding)?)?;
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for chunk in digits.chunks(4) {
        let group =
            chunk.iter().try_fold(0_u32, |group, digit| Some(group << 6 | value(*digit)?))?;
        let bits = match (chunk.len(), padding) {
            (4, _) => 24,
            (3, 1) => 18,
            (2, 2) => 12,
            _ => return None,
        };
        // Bits that no byte takes have to be nothing.
        if group & ((1 << (bits % 8)) - 1) != 0 {
            return None;
        }
        let shifts = (8..=bits).step_by(8).map(|taken| bits - taken);
        bytes.extend(shifts.map(|shift| u8::try_from(group >> shift & 255).unwrap_or_default()));
    }
    // Padding belongs to a chunk that is not full.
    let is_full = digits.len().is_multiple_of(4);
    (is_full == (padding == 0)).then_some(bytes)
}

fn value(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(value.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn digits_are_those_of_the_standard() {
        let check = |digits: &str, bytes: Option<&[u8]>| {
            assert_eq!(decode(digits.as_bytes()).as_deref(), bytes, "{digits}");
        };
        check("", Some(b""));
        check("Zg==", Some(b"f"));
        check("Zng=", Some(b"fx"));
        check("Zm9v", Some(b"foo"));
        check("Zm9vYg==", Some(b"foob"));
        check("+/+/", Some(b"\xfb\xff\xbf"));
        for odd in
            ["Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "Z===", "====", "-_-_", "Zm8=Zm8=", "Zm8 "]
        {
            check(odd, None);
        }
    }

    /// The one right way to write some bytes.
    fn encode(bytes: &[u8]) -> String {
        let letter = |value: u32| {
            (0..=255).find(|digit| super::value(*digit) == Some(value)).map(char::from).unwrap()
        };
        let mut digits = String::new();
        for chunk in bytes.chunks(3) {
            let group = chunk.iter().fold(0, |group, byte| group << 8 | u32::from(*byte));
            let group = group << (8 * (3 - chunk.len()));
            let all: String =
                [18, 12, 6, 0].map(|shift| letter(group >> shift & 63)).iter().collect();
            digits.push_str(&all[..=chunk.len()]);
            digits.push_str(&"=="[..3 - chunk.len()]);
        }
        digits
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn all_bytes_can_be_written(bytes in prop::collection::vec(any::<u8>(), 0..70)) {
            prop_assert_eq!(decode(encode(&bytes).as_bytes()), Some(bytes));
        }

        #[test]
        fn whatever_is_read_is_written_in_the_one_right_way(
            digits in "([A-Za-z0-9+/]{4}){0,3}[AQgw/+=]{0,4}",
        ) {
            if let Some(bytes) = decode(digits.as_bytes()) {
                prop_assert_eq!(encode(&bytes), digits);
            }
        }

        #[test]
        fn no_digits_panic(digits in prop::collection::vec(any::<u8>(), 0..70)) {
            decode(&digits);
        }
    }
}
