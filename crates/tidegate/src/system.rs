//! What the process asks of the system at its start: many open files, and small pages.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::disable_transparent_huge_pages;

/// A proxied connection takes two files. Below this limit operators should know.
const FEW: u64 = 4096;

/// Asks for all of it.
pub(crate) fn prepare() {
    raise_files();
    // Pingora keeps two buffers of 64 KiB for each WebSocket, of which a silent one uses a page
    // each. With huge pages all of it is resident: 170 KiB for each stream instead of 54. The
    // processor time of a request is the same.
    if let Err(error) = disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages cannot be turned off");
    }
}

/// Raises the soft limit of open files to the hard one, and says what it is.
///
/// Systems start programs with a soft limit that is low, for the sake of programs that cannot
/// handle high numbers of files, and with a hard limit up to which each may raise it.
fn raise_files() {
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
