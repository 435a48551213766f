//! How the table of ownership is written down: the same bytes in every store.
//!
//! ```text
//! 1  epoch:8  version:4  digest:8  count:2  { partition home region epoch:8 since:8 by reason }  sum:4
//! ```
//!
//! A text is two bytes of length and then itself.

use tidegate_core::Moment;
use tidegate_core::id::{Epoch, Name};
use tidegate_core::ownership::{Holding, Table};

use crate::record;

const VERSION: u8 = 1;

/// The bytes of a table.
pub fn encode(table: &Table) -> Vec<u8> {
    let Table { epoch, version, digest, holdings } = table;
    let mut bytes = vec![VERSION];
    bytes.extend(epoch.0.to_be_bytes());
    bytes.extend(version.to_be_bytes());
    bytes.extend(digest.to_be_bytes());
    bytes.extend(u16::try_from(holdings.len()).unwrap_or(u16::MAX).to_be_bytes());
    for holding in holdings.iter().take(usize::from(u16::MAX)) {
        let Holding { partition, home, region, epoch, since, by, reason } = holding;
        for text in [partition, home, region] {
            write(&mut bytes, text);
        }
        bytes.extend(epoch.0.to_be_bytes());
        bytes.extend(since.0.to_be_bytes());
        for text in [by, reason] {
            write(&mut bytes, text);
        }
    }
    let sum = record::sum(&bytes);
    bytes.extend(sum);
    bytes
}

/// The table that some bytes are; `None` if they are none that this version understands.
pub fn decode(bytes: &[u8]) -> Option<Table> {
    let mut reader = Reader { rest: record::summed(bytes)? };
    if reader.bytes::<1>()? != [VERSION] {
        return None;
    }
    let epoch = Epoch(u64::from_be_bytes(reader.bytes()?));
    let version = u32::from_be_bytes(reader.bytes()?);
    let digest = u64::from_be_bytes(reader.bytes()?);
    let count = u16::from_be_bytes(reader.bytes()?);
    let holdings = (0..count).map(|_| reader.holding()).collect::<Option<_>>()?;
    reader.rest.is_empty().then_some(Table { epoch, version, digest, holdings })
}

/// Writes a text; one that is too long ends where it may.
fn write(bytes: &mut Vec<u8>, text: &str) {
    let text = text.get(..text.floor_char_boundary(usize::from(u16::MAX))).unwrap_or_default();
    bytes.extend(u16::try_from(text.len()).unwrap_or_default().to_be_bytes());
    bytes.extend(text.bytes());
}

struct Reader<'b> {
    rest: &'b [u8],
}

impl Reader<'_> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*first)
    }

    fn text(&mut self) -> Option<Name> {
        let length = u16::from_be_bytes(self.bytes()?);
        let (text, rest) = self.rest.split_at_checked(length.into())?;
        self.rest = rest;
        std::str::from_utf8(text).ok().map(Into::into)
    }

    fn holding(&mut self) -> Option<Holding> {
        Some(Holding {
            partition: self.text()?,
            home: self.text()?,
            region: self.text()?,
            epoch: Epoch(u64::from_be_bytes(self.bytes()?)),
            since: Moment(u64::from_be_bytes(self.bytes()?)),
            by: self.text()?,
            reason: self.text()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(reason: &str) -> Table {
        let holding = |partition: &str| Holding {
            partition: partition.into(),
            home: "eu-west-1".into(),
            region: "us-east-1".into(),
            epoch: Epoch(7 << 20),
            since: Moment(u64::MAX),
            by: "ann".into(),
            reason: reason.into(),
        };
        let holdings = vec![holding("tenant-a"), holding("rest@eu-west-1")];
        Table { epoch: Epoch(8 << 20), version: 3, digest: u64::MAX, holdings }
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        for table in [table("the index is rebuilt: ø"), table("")] {
            assert_eq!(decode(&encode(&table)), Some(table));
        }
        let long = table(&"ø".repeat(40_000));
        let read = decode(&encode(&long)).expect("it is a table");
        assert_eq!(read.holdings[0].reason.len(), 65_534);
    }

    #[test]
    fn what_is_no_table_is_not_read() {
        let whole = encode(&table("why"));
        for length in 0..whole.len() {
            assert_eq!(decode(&whole[..length]), None, "{length}");
        }
        for byte in 0..whole.len() {
            let mut broken = whole.clone();
            broken[byte] ^= 4;
            assert_eq!(decode(&broken), None, "{byte}");
        }
        let mut newer = whole[..whole.len() - 4].to_vec();
        newer[0] = 2;
        let sum = record::sum(&newer);
        newer.extend(sum);
        assert_eq!(decode(&newer), None, "a version that is not known");
    }
}
