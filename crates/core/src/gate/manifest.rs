//! Manifests: what a region stores, reduced to a count and a digest, and where two lists differ.

use std::cmp::Ordering;
use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::contract::BlobManifest;
use crate::id::Name;

#[cfg(test)]
mod tests;

/// Most differences that are told by key; all are counted.
pub const DIFFERENCES_MAX: usize = 20;
/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;
/// Most keys of one list.
pub const KEYS_MAX: usize = 1_000_000;
/// Digits of a SHA-256.
const DIGEST_DIGITS: usize = 64;

/// One blob.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blob {
    /// Its key.
    pub key: Name,
    /// The SHA-256 of its bytes, in hexadecimal.
    pub sha256: Name,
    /// How many bytes it has.
    pub size: u64,
}

/// Everything that a region stores, in the order of its keys, each of them once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory {
    blobs: Vec<Blob>,
    digest: Name,
}

/// Why a list is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadManifest {
    /// A line is not `digest  size  key`.
    #[error("line {0} is not `sha256  size  key`")]
    Line(usize),
    /// Keys do not follow each other in the order of their bytes, or one is there twice.
    #[error("line {0} does not stand in the order of the keys")]
    Order(usize),
    /// There are more than [`KEYS_MAX`].
    #[error("there are more than {KEYS_MAX} keys")]
    TooMany,
    /// The last line has no end, so the list may have been cut off.
    #[error("the list breaks off")]
    CutOff,
}

/// How two regions differ on one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Differs {
    /// Only the region that is compared has it.
    Extra,
    /// Only the other one has it.
    Missing,
    /// Both have it, and it is not the same.
    Changed,
}

impl Differs {
    /// The difference as a stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Extra => "extra",
            Self::Missing => "missing",
            Self::Changed => "changed",
        }
    }
}

/// Where two lists differ: all is counted, the first are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// How many keys.
    pub count: usize,
    /// The first of them, at most [`DIFFERENCES_MAX`], in the order of the keys.
    pub first: Vec<(Name, Differs)>,
}

impl Inventory {
    /// Reads the canonical list: `sha256␠␠size␠␠key` on each line, sorted bytewise by key.
    ///
    /// # Errors
    /// It is not such a list, or it is too long.
    pub fn parse(text: &str) -> Result<Self, BadManifest> {
        if !text.is_empty() && !text.ends_with('\n') {
            return Err(BadManifest::CutOff);
        }
        let mut blobs: Vec<Blob> = Vec::new();
        for (at, line) in text.split_terminator('\n').enumerate() {
            let blob = blob(line).ok_or(BadManifest::Line(at + 1))?;
            if blobs.last().is_some_and(|last| *blob.key <= *last.key) {
                return Err(BadManifest::Order(at + 1));
            }
            if blobs.len() == KEYS_MAX {
                return Err(BadManifest::TooMany);
            }
            blobs.push(blob);
        }
        let digest = Sha256::digest(text);
        Ok(Self { blobs, digest: hexadecimal(&digest).into() })
    }

    /// Its count and digest.
    pub fn summary(&self) -> BlobManifest {
        let count = u64::try_from(self.blobs.len()).unwrap_or(u64::MAX);
        BlobManifest { count, digest: Name::clone(&self.digest) }
    }

    /// Where this region differs from another one.
    pub fn differences(&self, other: &Self) -> Differences {
        let mut differences = Differences::default();
        let (mut own, mut others) = (self.blobs.iter().peekable(), other.blobs.iter().peekable());
        loop {
            let order = match (own.peek(), others.peek()) {
                (None, None) => return differences,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => a.key.cmp(&b.key),
            };
            let found = match order {
                Ordering::Less => own.next().map(|it| (it, Differs::Extra)),
                Ordering::Greater => others.next().map(|it| (it, Differs::Missing)),
                Ordering::Equal => {
                    let pair = own.next().zip(others.next());
                    pair.filter(|(a, b)| a != b).map(|(a, _)| (a, Differs::Changed))
                }
            };
            if let Some((blob, differs)) = found {
                differences.count += 1;
                if differences.first.len() < DIFFERENCES_MAX {
                    differences.first.push((Name::clone(&blob.key), differs));
                }
            }
        }
    }
}

/// Whether a digest that a region tells names the same list, whatever it writes before it.
pub fn is_same_digest(a: &str, b: &str) -> bool {
    let bare = |text: &str| text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
    bare(a) == bare(b)
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys differ:", self.count)?;
        for (place, (key, differs)) in self.first.iter().enumerate() {
            let separator = if place == 0 { "" } else { "," };
            write!(f, "{separator} {key} is {}", differs.word())?;
        }
        if self.first.len() < self.count {
            write!(f, ", and {} more", self.count - self.first.len())?;
        }
        Ok(())
    }
}

fn blob(line: &str) -> Option<Blob> {
    let (sha256, rest) = line.split_once("  ")?;
    let (size, key) = rest.split_once("  ")?;
    let is_digest = sha256.len() == DIGEST_DIGITS
        && sha256.bytes().all(|it| it.is_ascii_digit() || (b'a'..=b'f').contains(&it));
    let is_size = size.bytes().all(|it| it.is_ascii_digit());
    let is_key = !key.is_empty() && key.len() <= KEY_BYTES_MAX && !key.contains('\r');
    let size = size.parse().ok().filter(|_| is_size)?;
    (is_digest && is_key).then(|| Blob { key: key.into(), sha256: sha256.into(), size })
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|it| [it >> 4, it & 15]);
    digits.filter_map(|it| char::from_digit(it.into(), 16)).collect()
}
