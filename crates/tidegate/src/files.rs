//! How many files, and so how many connections, the process may have open.
//!
//! Systems start programs with a soft limit that is low, for the sake of programs that cannot
//! handle high numbers of files, and with a hard limit up to which each may raise it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A proxied connection takes two files. Below this limit operators should know.
const FEW: u64 = 4096;

/// Raises the soft limit to the hard one, and says what it is.
pub(crate) fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let open_files_max = match &raised {
        Ok(()) => maximum,
        Err(_) => current,
    };
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    match open_files_max {
        None => tracing::info!("open files are not limited"),
        Some(limit) if limit < FEW => {
            tracing::warn!(limit, "few files may be open, each proxied connection takes two");
        }
        Some(limit) => tracing::info!(limit, "limit of open files"),
    }
}
