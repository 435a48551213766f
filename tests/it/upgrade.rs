//! Upgrades: another process takes over, and nobody who has a connection notices.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a broken test should panic")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tidegate_harness::{Load, LoadPlan, Reuse, TempDir, signal, wait_until};

use crate::setting::{PolicyText, SOON, Said, Setting, TIDEGATE, tidegate};

mod broken;
mod fewer;
mod manager;
mod memory;
mod open;

/// A program at a path of its own, which can be replaced as packages replace programs.
struct Program {
    directory: TempDir,
}

impl Program {
    fn new() -> Self {
        let program = Self { directory: TempDir::new() };
        symlink(TIDEGATE, program.path()).unwrap();
        program
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("tidegate")
    }

    fn exe(&self) -> String {
        self.path().display().to_string()
    }

    /// Puts a script in the place of the program.
    fn becomes(&self, script: &str) {
        let next = self.directory.write("next", &format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(&next, PermissionsExt::from_mode(0o755)).unwrap();
        fs::rename(next, self.path()).unwrap();
    }

    /// Puts the program back in its place.
    fn is_itself_again(&self) {
        let next = self.directory.path().join("next");
        symlink(TIDEGATE, &next).unwrap();
        fs::rename(next, self.path()).unwrap();
    }
}

impl Setting {
    /// Asks for an upgrade on the command line.
    pub(crate) fn upgrade(&self, arguments: &[&str]) -> Said {
        let socket = self.socket();
        tidegate(&[&["upgrade", "--admin", &socket], arguments].concat())
    }

    /// Upgrades, and answers the process that serves then.
    #[track_caller]
    pub(crate) fn upgraded(&self) -> u32 {
        let before = self.balancer.serving_pid();
        let said = self.upgrade(&[]);
        assert_eq!(said.code, Some(0), "{said:?}\n{}", self.balancer.logs());
        let pid = self.balancer.serving_pid();
        assert_ne!(pid, before, "{said:?}");
        assert!(said.out.contains(&format!("process {pid} serves")), "{said:?}");
        pid
    }

    /// Waits until a process is gone.
    pub(crate) fn until_gone(&self, pid: u32) {
        let what = format!("process {pid} ends; they said:\n{}", self.balancer.logs());
        wait_until(SOON, &what, || !self.balancer.processes().contains(&pid) || is_zombie(pid));
    }

    fn draining(&self) -> Vec<u64> {
        let version = self.balancer.ask_admin("/version").unwrap().json();
        version["draining"].as_array().unwrap().iter().filter_map(Value::as_u64).collect()
    }
}

/// Whether a process has ended and its parent, which lives, has not asked for it yet.
fn is_zombie(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|it| it.starts_with('Z'))
}

fn fresh(setting: &Setting) -> LoadPlan {
    LoadPlan {
        reuse: Reuse::Fresh,
        pause: Duration::from_millis(1),
        ..LoadPlan::get(&setting.url("/"))
    }
}

#[test]
fn connects_and_kept_connections_see_nothing_of_an_upgrade() {
    let setting = Setting::of(&["near", "far"], &PolicyText::default());
    let (new, kept) = (Load::start(fresh(&setting)), Load::start(LoadPlan::get(&setting.url("/"))));
    let first = setting.balancer.pid();
    let second = setting.upgraded();
    setting.until_gone(first);
    let third = setting.upgraded();
    setting.until_gone(second);
    assert_eq!(setting.balancer.exit_status().unwrap().code(), Some(0));
    for report in [new.stop(), kept.stop()] {
        assert!(report.failures.is_empty(), "{:?}", report.failures);
        assert_eq!(report.by_status().keys().collect::<Vec<_>>(), [&200]);
        assert_eq!(report.by_region().keys().collect::<Vec<_>>(), ["near"]);
    }
    assert!(signal(third, "TERM"));
    setting.until_gone(third);
}
