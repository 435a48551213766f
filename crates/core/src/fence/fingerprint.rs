//! Fingerprints: whether two requests under one key are the same write.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::key::hexadecimal;

/// Bytes of a fingerprint.
pub const FINGERPRINT_BYTES: usize = 16;

/// The first half of a digest over method, target, chosen headers and the whole body.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; FINGERPRINT_BYTES]);

impl Fingerprint {
    /// Whether two requests are known to differ.
    ///
    /// A fingerprint that is not computed yet, because the body is still flowing, differs from
    /// nothing: whoever holds the body compares once it is whole.
    pub fn differ(one: Option<Self>, other: Option<Self>) -> bool {
        one.zip(other).is_some_and(|(one, other)| one != other)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hexadecimal(&self.0, f)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// Computes a fingerprint while the body flows.
#[derive(Clone)]
pub struct Fingerprinter(Sha256);

impl Fingerprinter {
    /// Begins with what stands in the head. Headers in the order in which the policy names them;
    /// one that the request does not have is given as nothing.
    pub fn new<'v>(
        method: &str,
        target: &str,
        headers: impl IntoIterator<Item = (&'v str, Option<&'v [u8]>)>,
    ) -> Self {
        let mut digest = Sha256::new();
        field(&mut digest, method.as_bytes());
        field(&mut digest, target.as_bytes());
        for (name, value) in headers {
            field(&mut digest, name.as_bytes());
            match value {
                Some(value) => field(&mut digest, value),
                // No length is written like this, so a missing header is not an empty one.
                None => digest.update([u8::MAX; 8]),
            }
        }
        Self(digest)
    }

    /// Adds a piece of the body. How it is cut into pieces makes no difference.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The fingerprint of everything so far.
    pub fn finish(self) -> Fingerprint {
        let whole: [u8; 32] = self.0.finalize().into();
        let mut half = [0; FINGERPRINT_BYTES];
        half.iter_mut().zip(whole).for_each(|(place, byte)| *place = byte);
        Fingerprint(half)
    }
}

impl fmt::Debug for Fingerprinter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fingerprinter").finish_non_exhaustive()
    }
}

/// A length before each field keeps fields from running into one another.
fn field(digest: &mut Sha256, bytes: &[u8]) {
    digest.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
    digest.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(method: &str, target: &str, header: Option<&[u8]>, body: &[&[u8]]) -> Fingerprint {
        let mut fingerprinter = Fingerprinter::new(method, target, [("content-type", header)]);
        for piece in body {
            fingerprinter.update(piece);
        }
        fingerprinter.finish()
    }

    #[test]
    fn the_same_write_has_one_fingerprint_however_its_body_is_cut() {
        let whole = print("POST", "/a", Some(b"x"), &[b"hello"]);
        assert_eq!(print("POST", "/a", Some(b"x"), &[b"he", b"", b"llo"]), whole);
        for other in [
            print("PUT", "/a", Some(b"x"), &[b"hello"]),
            print("POST", "/b", Some(b"x"), &[b"hello"]),
            print("POST", "/a", Some(b"y"), &[b"hello"]),
            print("POST", "/a", Some(b""), &[b"hello"]),
            print("POST", "/a", None, &[b"hello"]),
            print("POST", "/a", Some(b"x"), &[b"hell"]),
            print("POST", "/", Some(b"ax"), &[b"hello"]),
        ] {
            assert_ne!(other, whole);
        }
    }

    #[test]
    fn an_unknown_fingerprint_differs_from_nothing() {
        let [one, other] = [Some(Fingerprint([1; 16])), Some(Fingerprint([2; 16]))];
        assert!(Fingerprint::differ(one, other));
        assert!(!Fingerprint::differ(one, one) && !Fingerprint::differ(one, None));
    }
}
