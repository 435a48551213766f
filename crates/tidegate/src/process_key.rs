//! The key that signs sessions where the policy has none: made at the start, known to nobody else.

use std::fs::File;
use std::io::{self, Read as _};

use tidegate_core::policy::StickyKey;
use tidegate_core::sticky::SECRET_BYTES_MIN;

/// Makes a key from what the system calls random.
///
/// Its name is random too, so that a token of a process that is gone is signed with a key that is
/// not known, and is not taken for a forgery.
///
/// # Errors
/// When the system gives nothing random.
pub(crate) fn make() -> io::Result<StickyKey> {
    let (mut id, mut secret) = ([0; 4], [0; SECRET_BYTES_MIN]);
    let mut random = File::open("/dev/urandom")?;
    random.read_exact(&mut id)?;
    random.read_exact(&mut secret)?;
    let id = u32::from_be_bytes(id);
    Ok(StickyKey { id: format!("process-{id:08x}").into(), secret: secret.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_keys_are_the_same() {
        let (a, b) = (make().unwrap(), make().unwrap());
        assert!(a.id != b.id && a.secret != b.secret && a.secret.len() == SECRET_BYTES_MIN);
    }
}
