//! Keys: the digest that names one write, within the scope of whoever may write it.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// Bytes of a digest.
pub const DIGEST_BYTES: usize = 32;
/// How many buckets there are: a store keeps its marks per bucket.
pub const BUCKETS: u16 = 1024;

const VERSION: &[u8] = b"tidegate-fence/1";

/// The SHA-256 of some bytes.
pub fn digest_of(bytes: &[u8]) -> [u8; DIGEST_BYTES] {
    Sha256::digest(bytes).into()
}

/// What the sender calls a write, as a digest without any scope.
///
/// It is what other tools compute from the same fields, and never a key by itself: two senders may
/// call their writes the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Unscoped(pub [u8; DIGEST_BYTES]);

/// Why fields cannot be told apart by what they are put together to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("plain concatenation cannot tell an empty field from a missing one")]
pub struct EmptyField;

/// How the fields of an event become a digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// SHA-256 over netstrings, `len:bytes,` per field: no two lists of fields are the same.
    #[default]
    Netstring,
    /// SHA-256 over the bare bytes one after the other, for tools that compute it that way. It
    /// takes `ab`, `c` and `a`, `bc` for the same event, and so can lose a write.
    Concat,
}

impl Unscoped {
    /// The digest of some fields in this order, byte for byte as they were received.
    pub fn of(fields: &[&[u8]]) -> Self {
        let mut digest = Sha256::new();
        for field in fields {
            netstring(&mut digest, field);
        }
        Self(digest.finalize().into())
    }

    /// The digest of the four fields of an event in one of the two encodings.
    ///
    /// # Errors
    /// With [`Encoding::Concat`], a field is empty.
    pub fn of_event(encoding: Encoding, fields: [&[u8]; 4]) -> Result<Self, EmptyField> {
        match encoding {
            Encoding::Netstring => Ok(Self::of(&fields)),
            Encoding::Concat if fields.iter().any(|it| it.is_empty()) => Err(EmptyField),
            Encoding::Concat => {
                let digest = fields.iter().fold(Sha256::new(), Sha256::chain_update);
                Ok(Self(digest.finalize().into()))
            }
        }
    }
}

impl fmt::Display for Unscoped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hexadecimal(&self.0, f)
    }
}

impl fmt::Debug for Unscoped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unscoped({self})")
    }
}

/// Within what a name is unique. Each part that is given is part of the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scope<'s> {
    /// The customer.
    pub tenant: Option<&'s [u8]>,
    /// Who proved to be the sender: an API key's id, issuer and subject, the key of a certificate.
    /// Without one the scope is anonymous, and stored bodies are not shown to anybody.
    pub principal: Option<&'s [u8]>,
    /// The route.
    pub route: Option<&'s [u8]>,
    /// The method.
    pub method: Option<&'s [u8]>,
    /// The path as it was asked for.
    pub path: Option<&'s [u8]>,
}

impl Scope<'_> {
    /// Whether nobody has proven to be the sender.
    pub fn is_anonymous(&self) -> bool {
        self.principal.is_none()
    }

    fn parts(&self) -> [(&'static [u8], Option<&[u8]>); 5] {
        [
            (b"tenant", self.tenant),
            (b"principal", self.principal),
            (b"route", self.route),
            (b"method", self.method),
            (b"path", self.path),
        ]
    }
}

/// The name of one write, within its scope. This is what stores keep records by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FenceKey(pub [u8; DIGEST_BYTES]);

impl FenceKey {
    /// The key of a write that its sender calls `name`.
    pub fn new(scope: &Scope<'_>, name: &Unscoped) -> Self {
        let mut digest = Sha256::new();
        netstring(&mut digest, VERSION);
        for (label, part) in scope.parts() {
            // A part that is not there leaves no trace, and an empty one does.
            if let Some(part) = part {
                netstring(&mut digest, label);
                netstring(&mut digest, part);
            }
        }
        netstring(&mut digest, &name.0);
        Self(digest.finalize().into())
    }

    /// The key that some hexadecimal digits stand for, as operators type it.
    pub fn parse(digits: &str) -> Option<Self> {
        let mut key = [0; DIGEST_BYTES];
        decode_hexadecimal(digits.as_bytes(), &mut key)?;
        Some(Self(key))
    }

    /// The bucket: the first ten bits.
    pub fn bucket(&self) -> u16 {
        let [first, second, ..] = self.0;
        u16::from_be_bytes([first, second]) >> 6
    }
}

impl fmt::Display for FenceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hexadecimal(&self.0, f)
    }
}

impl fmt::Debug for FenceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FenceKey({self})")
    }
}

/// Reads exactly as many bytes as there is room for.
pub(super) fn decode_hexadecimal(digits: &[u8], bytes: &mut [u8]) -> Option<()> {
    if digits.len() != bytes.len() * 2 {
        return None;
    }
    for (pair, byte) in digits.chunks_exact(2).zip(bytes) {
        let value = pair.iter().try_fold(0, |value, digit| {
            char::from(*digit).to_digit(16).map(|nibble| value << 4 | nibble)
        });
        *byte = u8::try_from(value?).ok()?;
    }
    Some(())
}

pub(super) fn hexadecimal(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn netstring(digest: &mut Sha256, field: &[u8]) {
    digest.update(field.len().to_string());
    digest.update(b":");
    digest.update(field);
    digest.update(b",");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(encoding: Encoding, fields: [&str; 4]) -> String {
        let digest = Unscoped::of_event(encoding, fields.map(str::as_bytes));
        digest.map_or_else(|empty| empty.to_string(), |it| it.to_string())
    }

    /// Computed by another program; part of what is promised to other tools.
    #[test]
    fn digests_of_events_are_the_published_ones() {
        let check = |fields, netstring, concat: &str| {
            assert_eq!(event(Encoding::Netstring, fields), netstring, "{fields:?}");
            assert_eq!(event(Encoding::Concat, fields), concat, "{fields:?}");
        };
        check(
            ["evt-1001", "3", "a1b2c3", "tenant-42/p07"],
            "ec48663b528b9a227d8a75fb08a23fabfebad2ed6fe18f9aeef949452632a6a4",
            "b7c2d05e97e8526d1fdd0c081ba838b9a24b69986e6b54e9b27a907fe950a06c",
        );
        check(
            ["evt-1", "001", "a1b2c3", "p1"],
            "9262541db357293a023259af302102505d99d8186e8bc610e2958dde7ccc7a87",
            "2419d9ba9f1365c6230d364f98f7602fa9985e1a23d477cda079ff84d30a1d69",
        );
        check(
            ["evt-10", "01", "a1b2c3", "p1"],
            "957255a481b63b5d9285c9757e9b50c2c7a90d93e04d6d52e31ab182af7955ee",
            "2419d9ba9f1365c6230d364f98f7602fa9985e1a23d477cda079ff84d30a1d69",
        );
        check(
            ["s", "2a1", "b2c3", "p"],
            "cb0787fc586c4360715acffff5b578924b62d11afa37139a335134b126644270",
            "6ab5a2601cdaf6e129b58c19f45a050b254b56cebd2e692f0475f7d10daad04e",
        );
        check(
            ["s", "2", "a1b2c3", "p"],
            "6e2a8a299c5527439497e0e54c2bab971deb6b09712b96d0b7ab1a95196ddf21",
            "6ab5a2601cdaf6e129b58c19f45a050b254b56cebd2e692f0475f7d10daad04e",
        );
        check(
            ["order-é", "7", "", "eu"],
            "63f0d99ac6a242881b7c4f495d4a72ca4642c6fe9befc6de0fa1506c0dbff5da",
            "plain concatenation cannot tell an empty field from a missing one",
        );
    }

    #[test]
    fn no_two_scopes_share_a_key() {
        let name = Unscoped::of(&[b"1"]);
        let at = |part: &'static [u8]| Some(part);
        let scopes = [
            Scope::default(),
            Scope { tenant: at(b"a"), ..Scope::default() },
            Scope { tenant: at(b""), ..Scope::default() },
            Scope { principal: at(b"a"), ..Scope::default() },
            Scope { route: at(b"a"), ..Scope::default() },
            Scope { method: at(b"a"), ..Scope::default() },
            Scope { path: at(b"a"), ..Scope::default() },
            Scope { tenant: at(b"a"), principal: at(b"b"), ..Scope::default() },
            Scope { tenant: at(b"ab"), principal: at(b""), ..Scope::default() },
        ];
        let keys: std::collections::HashSet<FenceKey> =
            scopes.iter().map(|scope| FenceKey::new(scope, &name)).collect();
        assert_eq!(keys.len(), scopes.len());
        assert!(scopes[1].is_anonymous() && !scopes[3].is_anonymous());
        assert_ne!(
            FenceKey::new(&scopes[0], &Unscoped::of(&[b"ab"])),
            FenceKey::new(&scopes[0], &Unscoped::of(&[b"a", b"b"]))
        );
    }

    #[test]
    fn a_key_is_read_as_it_is_written() {
        let key = FenceKey::new(&Scope::default(), &Unscoped::of(&[b"1"]));
        assert_eq!(FenceKey::parse(&key.to_string()), Some(key));
        for odd in ["", "12", &"g".repeat(64), &"a".repeat(63), &"é".repeat(32)] {
            assert_eq!(FenceKey::parse(odd), None, "{odd}");
        }
        assert_eq!(FenceKey([0xff; 32]).bucket(), BUCKETS - 1);
        assert_eq!(FenceKey([0; 32]).bucket(), 0);
    }
}
