//! CRC-32C (Castagnoli), which tells a record from bytes that are none.

/// Reflected polynomial.
const POLYNOMIAL: u32 = 0x82f6_3b78;

static TABLE: [u32; 256] = table();

/// The checksum of some bytes.
pub(super) fn of(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        let place = usize::from(low ^ byte);
        crc >> 8 ^ TABLE.get(place).copied().unwrap_or_default()
    })
}

const fn table() -> [u32; 256] {
    let mut table = [0_u32; 256];
    let mut byte = 0;
    let mut rest: &mut [u32] = &mut table;
    // Iterators are not for constants yet.
    while let Some((entry, others)) = rest.split_first_mut() {
        let mut crc: u32 = byte;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        *entry = crc;
        rest = others;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From RFC 3720, B.4, and the check value that every catalogue of checksums has.
    #[test]
    fn checksums_are_those_of_the_standard() {
        assert_eq!(of(b"123456789"), 0xe306_9283);
        assert_eq!(of(&[0; 32]), 0x8a91_36aa);
        assert_eq!(of(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(of(b""), 0);
    }
}
