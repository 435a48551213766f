//! What is kept of an answer's body while it flows past: all of it up to a cap, and beyond only how
//! long it was and what it was.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::record::Body;

/// Keeps a body while it flows past.
pub struct Copying {
    bytes_max: usize,
    kept: Vec<u8>,
    /// Length and digest so far, once there is more than may be kept.
    longer: Option<(u64, Sha256)>,
}

impl Copying {
    /// Nothing has come yet; bodies of up to `bytes_max` bytes will be kept.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, kept: Vec::new(), longer: None }
    }

    /// Another piece has come.
    pub fn piece(&mut self, piece: &[u8]) {
        if let Some((length, digest)) = &mut self.longer {
            *length = length.saturating_add(length_of(piece));
            digest.update(piece);
        } else if self.bytes_max.saturating_sub(self.kept.len()) < piece.len() {
            let kept = std::mem::take(&mut self.kept);
            let digest = Sha256::new().chain_update(&kept).chain_update(piece);
            self.longer = Some((length_of(&kept).saturating_add(length_of(piece)), digest));
        } else {
            self.kept.extend_from_slice(piece);
        }
    }

    /// The body came to its end.
    pub fn finish(self) -> Body {
        match self.longer {
            Some((length, digest)) => Body::Digest { length, sha256: digest.finalize().into() },
            None => Body::Whole(self.kept.into()),
        }
    }
}

fn length_of(piece: &[u8]) -> u64 {
    u64::try_from(piece.len()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Copying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Copying").field("bytes_max", &self.bytes_max).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::digest_of;
    use super::*;

    fn of(bytes_max: usize, pieces: &[&[u8]]) -> Body {
        let mut copying = Copying::new(bytes_max);
        for piece in pieces {
            copying.piece(piece);
        }
        copying.finish()
    }

    #[test]
    fn a_body_up_to_the_cap_is_kept_whole() {
        assert_eq!(of(4, &[b"ab", b"", b"cd"]), Body::Whole((*b"abcd").into()));
        assert_eq!(of(0, &[]), Body::Whole((*b"").into()));
    }

    #[test]
    fn of_a_longer_body_only_length_and_digest_are_kept() {
        let digest = Body::Digest { length: 5, sha256: digest_of(b"abcde") };
        for pieces in [vec!["abcde"], vec!["abcd", "e"], vec!["ab", "cde", ""]] {
            let pieces: Vec<_> = pieces.into_iter().map(str::as_bytes).collect();
            assert_eq!(of(4, &pieces), digest);
        }
    }
}
