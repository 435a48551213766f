//! The window from moment to moment.

use std::sync::Arc;
use std::time::Duration;

use crate::Moment;
use crate::policy::fencing::{Enforce, StoreDown};

use super::*;

const LENGTH: Duration = Duration::from_mins(1);

/// A window with what it is told, second by second.
#[derive(Default)]
struct Trial {
    state: WindowState,
    seconds: u64,
    scene: Option<Scene>,
}

impl Trial {
    /// A window that has seen two regions take their traffic.
    fn quiet() -> Self {
        let mut trial = Self::default();
        assert_eq!(trial.see("us full, eu full"), "");
        trial
    }

    /// What becomes of the window when this is the case: regions with their standings, `- eu` for
    /// a drain.
    fn see(&mut self, text: &str) -> String {
        self.see_for(Some(LENGTH), text)
    }

    fn see_for(&mut self, length: Option<Duration>, text: &str) -> String {
        let (mut standings, mut drains) = (Vec::new(), Vec::new());
        for part in text.split(", ").filter(|it| !it.is_empty()) {
            let (first, second) = part.split_once(' ').expect("two words");
            if first == "-" {
                drains.push(Cause::Drain { region: second.into(), endpoint: None });
            } else {
                let standing = Standing::ALL.into_iter().find(|it| it.word() == second);
                standings.push((first.into(), standing.expect("a standing")));
            }
        }
        let scene = Scene { standings, drains, length };
        let turn = self.state.settle(Moment(self.seconds * 1000), &scene);
        self.scene = Some(scene);
        match turn {
            None => String::new(),
            Some(Turn::Opened(cause)) => format!("opened: {cause}"),
            Some(Turn::Closed { last, since }) => format!("closed: {last}, since {since}"),
        }
    }

    fn after(&mut self, seconds: u64, text: &str) -> String {
        self.seconds += seconds;
        self.see(text)
    }

    fn ask(&mut self, reason: Option<&str>) {
        self.state.ask(reason.map(Arc::from));
    }

    /// When it closes: a second, `never` or `shut`.
    fn until(&self) -> String {
        match self.state.picture(self.scene.as_ref().expect("something was seen")) {
            Window::Shut => "shut".to_owned(),
            Window::Open(Opening { until: None, .. }) => "never".to_owned(),
            Window::Open(Opening { until: Some(until), .. }) => (until.0 / 1000).to_string(),
        }
    }
}

#[test]
fn a_loss_opens_it_for_its_length() {
    let mut trial = Trial::quiet();
    assert_eq!(trial.after(10, "us out, eu full"), "opened: us lost traffic");
    assert_eq!(trial.until(), "70");
    assert_eq!(trial.after(59, "us out, eu full"), "");
    assert_eq!(trial.after(1, "us out, eu full"), "closed: us lost traffic, since 10.000s");
    assert_eq!(trial.until(), "shut");
    assert_eq!(trial.after(1000, "us out, eu full"), "", "a region that stays lost is no news");
}

#[test]
fn every_step_down_is_a_loss_and_every_step_up_a_return() {
    let all = Standing::ALL;
    for (from, to) in all.into_iter().flat_map(|it| all.map(|to| (it, to))) {
        let mut trial = Trial::quiet();
        trial.state.standings.insert("us".into(), from);
        let turned = trial.after(1, &format!("us {}, eu full", to.word()));
        let expected = match from.cmp(&to) {
            Ordering::Less => "opened: us took traffic back",
            Ordering::Equal => "",
            Ordering::Greater => "opened: us lost traffic",
        };
        assert_eq!(turned, expected, "{from:?} to {to:?}");
    }
}

#[test]
fn a_region_that_never_took_traffic_opens_nothing() {
    let mut trial = Trial::default();
    assert_eq!(trial.see("us out, eu full"), "");
    assert_eq!(trial.after(1, "us last_resort, eu full"), "");
    assert_eq!(trial.after(1, "us out, eu full"), "opened: us lost traffic");
}

#[test]
fn a_return_in_the_window_prolongs_it() {
    let mut trial = Trial::quiet();
    assert_eq!(trial.after(10, "us out, eu full"), "opened: us lost traffic");
    assert_eq!(trial.after(50, "us full, eu full"), "");
    assert_eq!(trial.until(), "120");
    assert_eq!(trial.after(59, "us full, eu full"), "");
    assert_eq!(trial.after(1, "us full, eu full"), "closed: us took traffic back, since 10.000s");
}

#[test]
fn a_region_that_leaves_the_policy_is_lost_unless_it_was_before() {
    let mut trial = Trial::quiet();
    assert_eq!(trial.after(10, "eu full"), "opened: us lost traffic");
    assert_eq!(trial.after(60, "eu full"), "closed: us lost traffic, since 10.000s");
    assert_eq!(trial.after(1, "us full, eu full"), "", "another one of the same name is new");
    assert_eq!(trial.after(1, "us out, eu full"), "opened: us lost traffic");
    assert_eq!(trial.after(60, "us out, eu full"), "closed: us lost traffic, since 72.000s");
    assert_eq!(trial.after(1, "eu full"), "");
}

#[test]
fn a_drain_keeps_it_open_to_its_end_and_for_its_length_beyond() {
    let mut trial = Trial::quiet();
    assert_eq!(trial.after(10, "us out, eu full, - us"), "opened: us is being drained");
    assert_eq!(trial.until(), "never");
    assert_eq!(trial.after(1000, "us out, eu full, - us"), "");
    assert_eq!(trial.after(500, "us out, eu full"), "", "it ended, and counts as ended now");
    assert_eq!(trial.until(), "1570");
    assert_eq!(trial.after(59, "us out, eu full"), "");
    assert_eq!(trial.after(1, "us out, eu full"), "closed: us is being drained, since 10.000s");
    assert_eq!(trial.after(99, "us full, eu full"), "opened: us took traffic back");
}

#[test]
fn the_operator_opens_it_and_it_closes_its_length_after_the_operator_says_so() {
    let mut trial = Trial::quiet();
    trial.ask(Some("a move"));
    assert_eq!(trial.after(10, "us full, eu full"), "opened: the operator: a move");
    assert_eq!(trial.after(500, "us full, eu full"), "");
    assert_eq!(trial.until(), "never");
    trial.ask(None);
    assert_eq!(trial.after(1, "us full, eu full"), "");
    assert_eq!(trial.until(), "571");
    assert_eq!(trial.after(60, "us full, eu full"), "closed: the operator: a move, since 10.000s");
    trial.ask(None);
    assert_eq!(trial.after(1, "us full, eu full"), "");
}

#[test]
fn the_operator_closes_nothing_that_something_else_keeps_open() {
    let mut trial = Trial::quiet();
    trial.ask(Some("a move"));
    drop(trial.after(10, "us out, eu full, - us"));
    trial.ask(None);
    assert_eq!(trial.after(1, "us out, eu full, - us"), "");
    assert_eq!(trial.until(), "never");
}

#[test]
fn without_a_fence_there_is_none_and_with_one_a_drain_that_goes_on_opens_it() {
    let mut trial = Trial::quiet();
    trial.ask(Some("a move"));
    assert_eq!(trial.see_for(None, "us out, eu full, - us"), "");
    assert_eq!(trial.until(), "shut");
    assert_eq!(trial.after(1, "us out, eu full, - us"), "opened: us is being drained");
    assert_eq!(
        trial.see_for(None, "us out, eu full, - us"),
        "closed: us is being drained, since 1.000s"
    );
    assert_eq!(trial.after(1, "us out, eu full"), "", "nobody asks any more");
}

#[test]
fn another_length_holds_at_once() {
    let mut trial = Trial::quiet();
    assert_eq!(trial.after(10, "us out, eu full"), "opened: us lost traffic");
    assert_eq!(trial.see_for(Some(LENGTH * 2), "us out, eu full"), "");
    assert_eq!(trial.until(), "130");
    trial.seconds = 41;
    let closed = trial.see_for(Some(LENGTH / 2), "us out, eu full");
    assert_eq!(closed, "closed: us lost traffic, since 10.000s");
}

#[test]
fn a_flip_after_a_long_sleep_keeps_it_open() {
    let mut trial = Trial::quiet();
    assert_eq!(trial.after(10, "us out, eu full"), "opened: us lost traffic");
    assert_eq!(trial.after(5000, "us out, eu out"), "", "nobody saw it shut in between");
    assert_eq!(trial.until(), "5070");
}

#[test]
fn only_an_open_window_enforces_everywhere_and_lets_nothing_stand_in() {
    let opening = || {
        let mut trial = Trial::quiet();
        drop(trial.see("us out, eu full"));
        trial.state.picture(trial.scene.as_ref().expect("something was seen"))
    };
    for (window, is_open) in [(Window::Shut, false), (opening(), true)] {
        assert_eq!(window.is_open(), is_open);
        assert!(window.enforces(Enforce::Always));
        assert_eq!(window.enforces(Enforce::Window), is_open);
        for rule in [StoreDown::Refuse, StoreDown::NodeLocal, StoreDown::Pass] {
            let then = if is_open { StoreDown::Refuse } else { rule };
            assert_eq!(window.store_down(rule), then);
        }
    }
}
