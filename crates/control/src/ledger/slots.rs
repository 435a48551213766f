//! Slots for the open exchanges of one endpoint: taken, filled and given back without a lock.
//!
//! A slot that is given back is the next one to be taken, so that a quiet endpoint touches the
//! same few lines of memory again and again. Room is made in steps that double and is never given
//! back: an endpoint that once had ten thousand streams open will have them again.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use tidegate_core::Moment;

use super::{Facts, Kind, Symbol};

/// Slots of the first step.
const FIRST: u32 = 64;
/// Steps in which room is made.
const STEPS: usize = 11;
/// Most exchanges of one endpoint that are listed one by one; more are only counted.
pub const LISTED_MAX: u32 = FIRST * ((1 << STEPS) - 1);

/// Bits of a slot's facts that a symbol takes.
const SYMBOL_BITS: u32 = 28;
/// Symbols that fit.
const SYMBOL_MASK: u64 = (1 << SYMBOL_BITS) - 1;

/// All slots of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    steps: [OnceLock<Box<[Slot]>>; STEPS],
    /// The slot that was given back last, as its number plus one, or 0; above it, in the upper
    /// half, how often this has changed, so that a slot which was taken and given back in between
    /// is not mistaken for one that lay here all the time.
    free: AtomicU64,
    /// Slots that were ever taken.
    fresh: AtomicU32,
}

/// One exchange. A line of memory of its own, so that streams on two cores do not meet in one.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Slot {
    /// Odd while an exchange holds the slot; it grows with each that takes it or gives it back.
    turn: AtomicU64,
    /// Kind, route and release.
    facts: AtomicU64,
    began_ms: AtomicU64,
    active_ms: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    /// The slot that was given back before this one, as in [`Slots::free`].
    next: AtomicU32,
}

/// What a slot says of its exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) facts: Facts,
    pub(crate) active: Moment,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

impl Slots {
    /// Takes a slot for an exchange; `None` when [`LISTED_MAX`] are taken.
    pub(crate) fn take(&self, facts: Facts) -> Option<u32> {
        let number = self.reuse().or_else(|| self.make())?;
        self.slot(number)?.fill(facts);
        Some(number)
    }

    /// Gives a slot back.
    pub(crate) fn give_back(&self, number: u32) {
        let Some(slot) = self.slot(number) else { return };
        slot.turn.fetch_add(1, Ordering::Release);
        let mut free = self.free.load(Ordering::Relaxed);
        loop {
            slot.next.store(low(free), Ordering::Relaxed);
            let next = changed(free, number + 1);
            match self.free.compare_exchange_weak(free, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(meanwhile) => free = meanwhile,
            }
        }
    }

    /// Adds bytes that passed, and remembers when. Only who holds the slot calls this.
    pub(crate) fn passed(&self, number: u32, (from_client, to_client): (u64, u64), now: Moment) {
        let Some(slot) = self.slot(number) else { return };
        let add = |to: &AtomicU64, bytes: u64| {
            // Nobody else writes here, so this needs no locked instruction.
            to.store(to.load(Ordering::Relaxed).wrapping_add(bytes), Ordering::Relaxed);
        };
        if from_client > 0 {
            add(&slot.bytes_in, from_client);
        }
        if to_client > 0 {
            add(&slot.bytes_out, to_client);
        }
        slot.active_ms.store(now.0, Ordering::Relaxed);
    }

    /// Says that an exchange turned out to be of this kind. Only who holds the slot calls this.
    pub(crate) fn becomes(&self, number: u32, kind: Kind) {
        let Some(slot) = self.slot(number) else { return };
        let facts = unpacked(slot.facts.load(Ordering::Relaxed), Moment(0));
        slot.facts.store(packed(Facts { kind, ..facts }), Ordering::Relaxed);
    }

    /// Bytes that came from the client so far.
    pub(crate) fn bytes_in(&self, number: u32) -> u64 {
        self.slot(number).map_or(0, |it| it.bytes_in.load(Ordering::Relaxed))
    }

    /// Everything that is held at this moment; what is taken or given back meanwhile may be
    /// missing, and nothing is a mixture of two exchanges.
    pub(crate) fn seen(&self) -> impl Iterator<Item = Seen> {
        let taken = self.fresh.load(Ordering::Acquire).min(LISTED_MAX);
        let made = self.steps.iter().map_while(OnceLock::get).flat_map(|it| it.iter());
        made.take(usize::try_from(taken).unwrap_or(usize::MAX)).filter_map(Slot::look)
    }

    fn reuse(&self) -> Option<u32> {
        let mut free = self.free.load(Ordering::Acquire);
        loop {
            let number = low(free).checked_sub(1)?;
            let below = self.slot(number)?.next.load(Ordering::Relaxed);
            let next = changed(free, below);
            match self.free.compare_exchange_weak(free, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(number),
                Err(meanwhile) => free = meanwhile,
            }
        }
    }

    fn make(&self) -> Option<u32> {
        if LISTED_MAX <= self.fresh.load(Ordering::Relaxed) {
            return None;
        }
        let number = self.fresh.fetch_add(1, Ordering::AcqRel);
        (number < LISTED_MAX).then_some(number)
    }

    fn slot(&self, number: u32) -> Option<&Slot> {
        let step = (number / FIRST + 1).ilog2();
        let before = FIRST * ((1 << step) - 1);
        let slots = self.steps.get(usize::try_from(step).ok()?)?.get_or_init(|| {
            std::iter::repeat_with(Slot::default)
                .take(usize::try_from(FIRST << step).unwrap_or_default())
                .collect()
        });
        slots.get(usize::try_from(number - before).ok()?)
    }
}

impl Slot {
    fn fill(&self, facts: Facts) {
        // Whoever reads any of what follows must also see that the slot was given back before.
        fence(Ordering::Release);
        self.facts.store(packed(facts), Ordering::Relaxed);
        self.began_ms.store(facts.began.0, Ordering::Relaxed);
        self.active_ms.store(facts.began.0, Ordering::Relaxed);
        self.bytes_in.store(0, Ordering::Relaxed);
        self.bytes_out.store(0, Ordering::Relaxed);
        let turn = self.turn.load(Ordering::Relaxed);
        self.turn.store(turn.wrapping_add(1), Ordering::Release);
    }

    fn look(&self) -> Option<Seen> {
        let turn = self.turn.load(Ordering::Acquire);
        if turn.is_multiple_of(2) {
            return None;
        }
        let began = Moment(self.began_ms.load(Ordering::Relaxed));
        let seen = Seen {
            facts: unpacked(self.facts.load(Ordering::Relaxed), began),
            active: Moment(self.active_ms.load(Ordering::Relaxed)),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
        };
        fence(Ordering::Acquire);
        (self.turn.load(Ordering::Relaxed) == turn).then_some(seen)
    }
}

/// The number of a slot, plus one, out of [`Slots::free`].
fn low(free: u64) -> u32 {
    u32::try_from(free & u64::from(u32::MAX)).unwrap_or_default()
}

/// The next value of [`Slots::free`].
fn changed(free: u64, to: u32) -> u64 {
    let changes = (free >> 32).wrapping_add(1);
    (changes << 32) | u64::from(to)
}

fn packed(facts: Facts) -> u64 {
    let kind = u64::from(facts.kind.place());
    let symbol = |it: Symbol| u64::from(it.0) & SYMBOL_MASK;
    (kind << (2 * SYMBOL_BITS)) | (symbol(facts.route) << SYMBOL_BITS) | symbol(facts.release)
}

fn unpacked(packed: u64, began: Moment) -> Facts {
    let symbol = |it: u64| Symbol(u32::try_from(it & SYMBOL_MASK).unwrap_or_default());
    let kind = u8::try_from(packed >> (2 * SYMBOL_BITS)).unwrap_or_default();
    let (route, release) = (symbol(packed >> SYMBOL_BITS), symbol(packed));
    Facts { kind: Kind::at(kind), route, release, began }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    fn facts(number: u32) -> Facts {
        Facts {
            kind: Kind::Grpc,
            route: Symbol(number),
            release: Symbol(number),
            began: Moment(number.into()),
        }
    }

    #[test]
    fn facts_survive_being_packed() {
        for kind in Kind::ALL {
            let facts =
                Facts { kind, route: Symbol(1), release: Symbol((1 << 28) - 1), ..facts(3) };
            assert_eq!(unpacked(packed(facts), facts.began), facts);
        }
    }

    #[test]
    fn a_slot_that_is_given_back_is_the_next_to_be_taken() {
        let slots = Slots::default();
        let taken: Vec<_> = (0..200).filter_map(|it| slots.take(facts(it))).collect();
        assert_eq!(taken, (0..200).collect::<Vec<_>>());
        slots.give_back(130);
        slots.give_back(7);
        assert_eq!(slots.seen().count(), 198);
        assert_eq!([7, 130, 200], [(); 3].map(|()| slots.take(facts(9)).unwrap()));
    }

    #[test]
    fn beyond_the_limit_there_is_no_slot_until_one_is_given_back() {
        let slots = Slots::default();
        let taken = (0..LISTED_MAX).filter_map(|it| slots.take(facts(it))).count();
        assert_eq!(u32::try_from(taken).unwrap(), LISTED_MAX);
        assert_eq!(slots.take(facts(1)), None);
        assert_eq!(slots.seen().count(), taken);
        slots.give_back(LISTED_MAX - 1);
        assert_eq!(slots.take(facts(1)), Some(LISTED_MAX - 1));
    }

    /// Threads take and give back as fast as they can while others look: nobody ever gets a slot
    /// that somebody else holds, and nobody ever sees a mixture of two exchanges.
    #[test]
    fn threads_share_slots_and_no_look_is_torn() {
        let (slots, done) = (Slots::default(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let looking = scope.spawn(|| {
                let mut seen = 0_u64;
                while !done.load(Ordering::Relaxed) {
                    for it in slots.seen() {
                        let number = u64::from(it.facts.route.0);
                        assert_eq!(it.facts.release.0, it.facts.route.0, "{it:?}");
                        assert_eq!(it.facts.began.0, number, "{it:?}");
                        assert!(it.bytes_in == 0 || it.bytes_in == number, "{it:?}");
                        seen += 1;
                    }
                }
                seen
            });
            let working = (0..4_u32).map(|thread| {
                let slots = &slots;
                scope.spawn(move || {
                    for round in 0..20_000_u32 {
                        let mark = thread * 1_000_000 + round + 1;
                        let held: Vec<u32> =
                            (0..3).filter_map(|_| slots.take(facts(mark))).collect();
                        assert_eq!(held.len(), 3);
                        for number in held {
                            slots.passed(number, (mark.into(), 0), Moment(0));
                            assert_eq!(slots.bytes_in(number), u64::from(mark), "it is ours");
                            slots.give_back(number);
                        }
                    }
                })
            });
            working.collect::<Vec<_>>().into_iter().for_each(|it| it.join().unwrap());
            done.store(true, Ordering::Relaxed);
            looking.join().unwrap();
        });
        assert_eq!(slots.seen().count(), 0);
        assert!(slots.fresh.load(Ordering::Relaxed) <= 12, "no slot is lost");
    }
}
