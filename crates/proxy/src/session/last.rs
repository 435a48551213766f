//! The last good token of a connection, which need not be proven twice.

use std::fmt;
use std::sync::{Arc, Mutex, Weak};

use tidegate_control::sessions::Sessions;
use tidegate_core::Moment;
use tidegate_core::sticky::Token;

use super::Visit;

/// The token that came last over a connection and was good.
///
/// Whoever keeps a connection brings the same token with each request, and what was proven once
/// need not be proven again. Nobody waits here: whoever finds it taken proves its token anew.
#[derive(Default)]
pub struct LastToken(Mutex<Option<Proven>>);

struct Proven {
    token: Box<[u8]>,
    /// Whose keys have proven it; others may know better.
    by: Weak<Sessions>,
    visit: Arc<Visit>,
}

impl LastToken {
    /// Where the client was, if this is the token that was proven last, and still is good.
    pub(super) fn recall(
        &self,
        sessions: &Arc<Sessions>,
        token: &[u8],
        now: Moment,
    ) -> Option<Arc<Visit>> {
        let last = self.0.try_lock().ok()?;
        let proven = last.as_ref()?;
        let holds = proven.by.as_ptr() == Arc::as_ptr(sessions)
            && !Token::is_over(proven.visit.expires_s, now)
            && is_same(&proven.token, token);
        holds.then(|| Arc::clone(&proven.visit))
    }

    /// Keeps a token that was proven just now.
    pub(super) fn remember(&self, sessions: &Arc<Sessions>, token: &[u8], visit: &Arc<Visit>) {
        if let Ok(mut last) = self.0.try_lock() {
            let (by, visit) = (Arc::downgrade(sessions), Arc::clone(visit));
            *last = Some(Proven { token: token.into(), by, visit });
        }
    }
}

impl fmt::Debug for LastToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastToken").finish_non_exhaustive()
    }
}

/// Whether two tokens are the same, in a time that does not tell where they differ: clients of a
/// proxy in front of us share its connections.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let differ = |(one, other): (&u8, &u8)| one ^ other;
    one.len() == other.len() && one.iter().zip(other).map(differ).fold(0, |all, it| all | it) == 0
}
