//! Base64 of a digest with the alphabet for URLs and cookies, without padding (RFC 4648, 5).

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// Bytes of a digest, and digits that stand for them.
const BYTES: usize = 32;
const DIGITS: usize = 43;

/// Appends the digits of some bytes.
pub(super) fn encode(bytes: &[u8], out: &mut String) {
    for chunk in bytes.chunks(3) {
        let placed = [16, 8, 0].into_iter().zip(chunk);
        let group = placed.fold(0_u32, |group, (shift, byte)| group | u32::from(*byte) << shift);
        for shift in [18, 12, 6, 0].into_iter().take(chunk.len() + 1) {
            let place = usize::try_from(group >> shift & 63).unwrap_or_default();
            out.push(ALPHABET.get(place).copied().unwrap_or(b'A').into());
        }
    }
}

/// The digest that some digits stand for; each digest is written in one way only.
pub(super) fn decode(digits: &str) -> Option<[u8; BYTES]> {
    if digits.len() != DIGITS {
        return None;
    }
    let mut bytes = [0; BYTES];
    for (chunk, places) in digits.as_bytes().chunks(4).zip(bytes.chunks_mut(3)) {
        let mut group = 0;
        for (shift, digit) in [18, 12, 6, 0].into_iter().zip(chunk) {
            group |= value(*digit)? << shift;
        }
        // The last digit has two bits more than there are bytes.
        if places.len() == 2 && group & 255 != 0 {
            return None;
        }
        for (shift, byte) in [16, 8, 0].into_iter().zip(places) {
            *byte = u8::try_from(group >> shift & 255).ok()?;
        }
    }
    Some(bytes)
}

fn value(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    };
    Some(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_nothing_else_is() {
        let mut digest = [0; BYTES];
        for round in 0..=255_u8 {
            digest.rotate_left(1);
            digest[0] = round.wrapping_mul(37);
            let mut digits = String::new();
            encode(&digest, &mut digits);
            assert_eq!((digits.len(), decode(&digits)), (DIGITS, Some(digest)));
            let last = digits.pop().unwrap();
            for other in ALPHABET.iter().map(|it| char::from(*it)).filter(|it| *it != last) {
                assert_ne!(decode(&format!("{digits}{other}")), Some(digest));
            }
        }
        for odd in ["", "A", &"A".repeat(42), &"A".repeat(44), &"=".repeat(43), &"é".repeat(21)] {
            assert_eq!(decode(odd), None, "{odd}");
        }
    }

    #[test]
    fn digits_are_those_of_the_standard() {
        let mut digits = String::new();
        encode(b"\xfb\xff\xbf", &mut digits);
        encode(b"foob", &mut digits);
        assert_eq!(digits, "-_-_Zm9vYg");
    }
}
