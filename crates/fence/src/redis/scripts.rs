//! The scripts: one for each change of a record, so that nobody sees half of it.
//!
//! A script is called by the SHA-1 of its text, and by the text itself where the server does not
//! know it. What a client sends is an argument, and never part of a text.

use std::sync::LazyLock;

/// One script.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) text: String,
    /// 40 hexadecimal digits.
    pub(super) digest: String,
}

impl Script {
    fn new(parts: &[&str]) -> Self {
        let text = parts.concat();
        let digest = redis::Script::new(&text).get_hash().to_owned();
        Self { text, digest }
    }
}

const COMMON: &str = include_str!("lua/common.lua");
const RECORD: &str = include_str!("lua/record.lua");

macro_rules! scripts {
    ($($name:ident = $($part:expr),*;)*) => {
        $(pub(super) static $name: LazyLock<Script> = LazyLock::new(|| Script::new(&[$($part),*]));)*
    };
}

scripts! {
    CLAIM = COMMON, RECORD, include_str!("lua/claim.lua");
    RENEW = COMMON, RECORD, include_str!("lua/renew.lua");
    SETTLE = COMMON, RECORD, include_str!("lua/settle.lua");
    RELEASE = COMMON, RECORD, include_str!("lua/release.lua");
    RESOLVE = COMMON, RECORD, include_str!("lua/resolve.lua");
    REASSERT = COMMON, RECORD, include_str!("lua/reassert.lua");
    LOOK = COMMON, RECORD, include_str!("lua/look.lua");
    AGE = COMMON, RECORD, include_str!("lua/age.lua");
    STATS = COMMON, include_str!("lua/stats.lua");
    DUE = COMMON, include_str!("lua/due.lua");
    OPEN = COMMON, include_str!("lua/open.lua");
    FAMILY = COMMON, include_str!("lua/family.lua");
    HOLD = COMMON, include_str!("lua/hold.lua");
    SWAP = COMMON, include_str!("lua/swap.lua");
    FOUND = include_str!("lua/found.lua");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_has_the_name_that_a_server_gives_it() {
        // As `SCRIPT LOAD "return 1"` answers. With another one, every call would go by its text.
        let digest = Script::new(&["return", " 1"]).digest;
        assert_eq!(digest, "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    }
}
