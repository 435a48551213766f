//! Who is open where: one entry for every exchange with an endpoint, closed by drop.
//!
//! Each endpoint has its book, which outlives policies while somebody holds it. An entry costs a
//! few atomic operations and neither a lock nor an allocation; names stand in it as symbols that
//! are resolved when a world is built.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tidegate_core::Moment;
use tidegate_core::drain::{Flip, Reading};
use tidegate_core::id::{EndpointId, Name};

use crate::traffic::{Open, Traffic};

pub(crate) mod slots;

#[cfg(test)]
mod tests;

pub use slots::LISTED_MAX;

/// Most names of routes and releases that are told apart; further ones are listed as `other`.
pub const NAMES_MAX: usize = 65_536;

/// What kind of exchange it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A request and its answer.
    #[default]
    Plain,
    /// A plain request whose body comes in more than one piece.
    Upload,
    /// An answer without a known end: server-sent events, or a route for streams.
    Stream,
    /// A connection that became something else.
    Websocket,
    /// A gRPC call.
    Grpc,
}

impl Kind {
    /// Every kind there is.
    pub const ALL: [Self; 5] =
        [Self::Plain, Self::Upload, Self::Stream, Self::Websocket, Self::Grpc];

    /// The kind as a stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Upload => "upload",
            Self::Stream => "stream",
            Self::Websocket => "websocket",
            Self::Grpc => "grpc",
        }
    }

    /// The kind that a word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.word() == word)
    }

    /// Its place among all kinds.
    fn place(self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::Upload => 1,
            Self::Stream => 2,
            Self::Websocket => 3,
            Self::Grpc => 4,
        }
    }

    fn at(place: u8) -> Self {
        Self::ALL.into_iter().find(|it| it.place() == place).unwrap_or_default()
    }
}

/// A name that an entry can hold without owning it; the default one is no name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Symbol(u32);

/// What is known of an exchange when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What kind it is, as far as the request tells.
    pub kind: Kind,
    /// Its route.
    pub route: Symbol,
    /// The release that its endpoint reports.
    pub release: Symbol,
    /// When it began.
    pub began: Moment,
}

/// An exchange that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The region that serves it.
    pub region: Name,
    /// The endpoint that serves it.
    pub endpoint: SocketAddr,
    /// The release that the endpoint reported when it began.
    pub release: Option<Name>,
    /// Its route.
    pub route: Option<Name>,
    /// What kind it is.
    pub kind: Kind,
    /// When it began.
    pub began: Moment,
    /// When something passed last, as exactly as [`crate::clock::coarse`] tells.
    pub active: Moment,
    /// Bytes that came from the client.
    pub bytes_in: u64,
    /// Bytes that went to the client.
    pub bytes_out: u64,
}

/// How much is open, by region and kind; what is beyond [`LISTED_MAX`] has no kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary(pub BTreeMap<(Name, Option<Kind>), u64>);

impl Summary {
    /// How much is open in all.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing is open");
        }
        for (place, ((region, kind), count)) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{count} {} at {region}", kind.map_or("unlisted", Kind::word))?;
        }
        Ok(())
    }
}

/// The books of all endpoints that there are, and of those that are gone while somebody is still
/// open there.
#[derive(Debug, Default)]
pub struct Ledger {
    books: Mutex<Vec<Weak<Traffic>>>,
    names: Mutex<Names>,
    drains: Mutex<Arc<[Flip]>>,
}

#[derive(Debug, Default)]
struct Names {
    all: Vec<Name>,
    numbers: HashMap<Name, u32>,
}

impl Ledger {
    /// Everything that is open, or of it what lets itself be told from `is_wanted`.
    pub fn exchanges(&self, is_wanted: impl Fn(&Name, Kind) -> bool) -> Vec<Exchange> {
        let books = self.books();
        let names = locked(&self.names);
        let mut found = Vec::new();
        for book in &books {
            let of = book.whose();
            for seen in book.slots().seen().filter(|it| is_wanted(&of.region, it.facts.kind)) {
                found.push(Exchange {
                    region: Arc::clone(&of.region),
                    endpoint: of.address,
                    release: names.name(seen.facts.release),
                    route: names.name(seen.facts.route),
                    kind: seen.facts.kind,
                    began: seen.facts.began,
                    active: seen.active,
                    bytes_in: seen.bytes_in,
                    bytes_out: seen.bytes_out,
                });
            }
        }
        found
    }

    /// How much is open, by region and kind.
    pub fn summary(&self) -> Summary {
        let mut counts = BTreeMap::new();
        for book in &self.books() {
            let region = &book.whose().region;
            let mut count = |kind, by: u64| {
                *counts.entry((Arc::clone(region), kind)).or_default() += by;
            };
            for seen in book.slots().seen() {
                count(Some(seen.facts.kind), 1);
            }
            let unlisted = book.unlisted();
            if 0 < unlisted {
                count(None, unlisted);
            }
        }
        Summary(counts)
    }

    /// How much is open in all, endpoints that are gone from the policy included.
    pub fn open(&self) -> u64 {
        self.books().iter().map(|it| it.reading().open).sum()
    }

    /// What one endpoint has open and has had; nothing when it is gone and all is over.
    pub fn reading(&self, endpoint: EndpointId) -> Option<Reading> {
        self.books().iter().find(|it| it.whose().endpoint == endpoint).map(|it| it.reading())
    }

    /// Every drain there is, as the controller counted it last.
    pub fn drains(&self) -> Arc<[Flip]> {
        Arc::clone(&locked(&self.drains))
    }

    /// These are the drains from now on.
    pub(crate) fn show(&self, drains: Vec<Flip>) {
        *locked(&self.drains) = drains.into();
    }

    /// A book for an endpoint that is new.
    pub(crate) fn book(&self, whose: Whose) -> Arc<Traffic> {
        let book = Arc::new(Traffic::of(whose));
        let mut books = locked(&self.books);
        books.retain(|it| it.strong_count() > 0);
        books.push(Arc::downgrade(&book));
        book
    }

    /// A book for an endpoint at this address that is in no policy, to try things with.
    pub fn trial(&self, address: SocketAddr) -> Arc<Traffic> {
        let (region, endpoint) = (Name::from("trial"), EndpointId(0));
        self.book(Whose { region, endpoint, address, open: Arc::default() })
    }

    /// The symbol of a name, for a world that is being built.
    pub(crate) fn symbol(&self, name: &Name) -> Symbol {
        locked(&self.names).symbol(name)
    }

    fn books(&self) -> Vec<Arc<Traffic>> {
        locked(&self.books).iter().filter_map(Weak::upgrade).collect()
    }
}

impl Names {
    fn symbol(&mut self, name: &Name) -> Symbol {
        if let Some(number) = self.numbers.get(name) {
            return Symbol(*number);
        }
        let other = Name::from("other");
        let name = if self.all.len() < NAMES_MAX { name } else { &other };
        if let Some(number) = self.numbers.get(name) {
            return Symbol(*number);
        }
        self.all.push(Arc::clone(name));
        let number = u32::try_from(self.all.len()).unwrap_or_default();
        self.numbers.insert(Arc::clone(name), number);
        Symbol(number)
    }

    fn name(&self, symbol: Symbol) -> Option<Name> {
        let place = usize::try_from(symbol.0).ok()?.checked_sub(1)?;
        self.all.get(place).cloned()
    }
}

/// Whose book it is.
#[derive(Clone, Debug)]
pub(crate) struct Whose {
    pub(crate) region: Name,
    pub(crate) endpoint: EndpointId,
    pub(crate) address: SocketAddr,
    /// What the whole region has open.
    pub(crate) open: Arc<Open>,
}

/// Nothing here is left half done by a panic, so a poisoned lock is as good as any.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
