//! How many files this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Makes room for so many open files, or panics and says what the system allows.
#[track_caller]
pub(crate) fn need_files(count: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|it| count <= it) {
        return;
    }
    assert!(
        maximum.is_none_or(|it| count <= it),
        "this test needs {count} open files, and the system allows {maximum:?}: see `ulimit -Hn`"
    );
    let more = Rlimit { current: maximum, maximum };
    setrlimit(Resource::Nofile, more).expect("a process may use what it is allowed");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_is_used() {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        need_files(current.unwrap_or(100));
        need_files(maximum.unwrap_or(100));
    }

    #[test]
    #[should_panic(expected = "open files, and the system allows")]
    fn what_is_not_allowed_is_said() {
        need_files(u64::MAX);
    }
}
