//! Contracts: what an endpoint reports about itself, what the policy demands, where they differ.
//!
//! Values are opaque tokens. They are compared byte for byte, never parsed or normalised: an index
//! hash means whatever the builder of the index wants it to mean.

use std::fmt;
use std::sync::Arc;

use crate::id::{KeyId, Name};
use crate::moment::Moment;

#[cfg(test)]
mod tests;

/// The four keys that every contract knows, in the order of their [`KeyId`].
pub const STANDARD_KEYS: [&str; 4] = ["schema_rev", "index_hash", "model_tag", "secrets_rev"];
/// The key of the payload schema's revision.
pub const SCHEMA_REV: KeyId = KeyId(0);
/// The key of the vector index's identity.
pub const INDEX_HASH: KeyId = KeyId(1);
/// The key of the serving model's identity.
pub const MODEL_TAG: KeyId = KeyId(2);
/// The key of the secret bundle that is live.
pub const SECRETS_REV: KeyId = KeyId(3);

/// Longest value that is kept of a report, in bytes; a longer one is [`Found::WrongType`].
pub const VALUE_BYTES_MAX: usize = 256;

/// A value that can be compared: a JSON string, integer or boolean.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// A JSON string, byte for byte.
    Text(Arc<str>),
    /// A JSON integer.
    Integer(i64),
    /// A JSON boolean.
    Flag(bool),
}

impl Value {
    /// Whether a header that reads `text` names this value.
    pub fn is_written(&self, text: &str) -> bool {
        match self {
            Self::Text(value) => &**value == text,
            // Other spellings of the number, `007` or `+7`, are other tokens.
            Self::Integer(value) => {
                let digits = text.strip_prefix('-').unwrap_or(text);
                text.parse() == Ok(*value) && (text == "0" || !digits.starts_with(['0', '+']))
            }
            Self::Flag(value) => text == if *value { "true" } else { "false" },
        }
    }

    /// What kind of value this is, in the words of JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "string",
            Self::Integer(_) => "integer",
            Self::Flag(_) => "boolean",
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(value) => f.write_str(value),
            Self::Integer(value) => value.fmt(f),
            Self::Flag(value) => value.fmt(f),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

/// What stood in an answer at the place of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Found {
    /// A value that can be compared.
    Value(Value),
    /// Something that cannot be a contract value; the kind it was, in the words of JSON.
    WrongType(&'static str),
    /// Nothing: the key, or the header, is not there.
    #[default]
    Missing,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => value.fmt(f),
            Self::WrongType(kind) => write!(f, "({kind})"),
            Self::Missing => f.write_str("(missing)"),
        }
    }
}

/// Where in an endpoint's answer a key is read from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A JSON pointer (RFC 6901) into the body.
    Pointer(Name),
    /// A header of the answer, by its lower-case name.
    Header(Name),
}

/// What a difference on a key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Weight {
    /// The endpoint gets no new requests.
    Veto,
    /// The endpoint is used after all others.
    Degrade,
    /// The difference is reported and nothing else.
    Observe,
}

/// What the policy accepts at one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Accepts {
    /// This value.
    Exactly(Value),
    /// Two values until a moment, then only the new one: a rotation.
    Either {
        /// The value that stays right.
        new: Value,
        /// The value that is right until the moment.
        old: Value,
        /// When the rotation is over.
        until: Moment,
    },
    /// Any value, as long as all green endpoints of a region report the same one.
    Agreed,
}

impl fmt::Display for Accepts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(value) => value.fmt(f),
            Self::Either { new, old, .. } => write!(f, "{new} or {old}"),
            Self::Agreed => f.write_str("any value"),
        }
    }
}

/// What the policy demands of one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Expectation {
    /// What is right.
    pub accepts: Accepts,
    /// What a difference means.
    pub weight: Weight,
}

impl Expectation {
    /// Whether an endpoint that reports `found` at `now` meets the demand.
    pub fn met_by(&self, found: &Found, now: Moment) -> bool {
        match (found, &self.accepts) {
            (Found::Value(value), Accepts::Exactly(expected)) => value == expected,
            (Found::Value(value), Accepts::Either { new, old, until }) => {
                value == new || (value == old && now < *until)
            }
            (Found::Value(_), Accepts::Agreed) => true,
            (Found::WrongType(_) | Found::Missing, _) => false,
        }
    }

    /// The kind of value that is accepted, in the words of JSON; `None` when any is.
    fn kind(&self) -> Option<&'static str> {
        match &self.accepts {
            Accepts::Exactly(value) | Accepts::Either { new: value, .. } => Some(value.kind()),
            Accepts::Agreed => None,
        }
    }
}

/// One key of a contract.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// How the key is called in policies, answers and metrics.
    pub name: Name,
    /// Where it is read from.
    pub source: Source,
    /// What it must be; `None` for a standard key that the policy says nothing about.
    pub expect: Option<Expectation>,
}

/// The active contract: every key that is read, and what each must be.
///
/// The four [`STANDARD_KEYS`] always come first, so that request headers can ask for them even
/// where the policy demands nothing of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Contract {
    /// The keys; a key's place is its [`KeyId`]. At most [`crate::id::KEYS_MAX`].
    pub keys: Vec<Key>,
}

impl Default for Contract {
    fn default() -> Self {
        let standard = |name: &&str| Key {
            name: (*name).into(),
            source: Source::Pointer(format!("/{name}").into()),
            expect: None,
        };
        Self { keys: STANDARD_KEYS.iter().map(standard).collect() }
    }
}

impl Contract {
    /// The keys with their places.
    pub fn iter(&self) -> impl Iterator<Item = (KeyId, &Key)> {
        (0..=u8::MAX).map(KeyId).zip(&self.keys)
    }

    /// The key at a place.
    pub fn key(&self, id: KeyId) -> Option<&Key> {
        self.keys.get(id.index())
    }

    /// Every key on which a report differs from the contract, in the order of the contract.
    pub fn differences(&self, report: &Report, now: Moment) -> Vec<Mismatch> {
        let differs = |(id, key): (KeyId, &Key)| {
            let expect = key.expect.as_ref()?;
            let found = report.found(id);
            (!expect.met_by(found, now)).then(|| Mismatch {
                key: id,
                name: Arc::clone(&key.name),
                expected: expect.clone(),
                found: found.clone(),
            })
        };
        self.iter().filter_map(differs).collect()
    }

    /// What was found at the keys of this contract, put to the places that another one has for them.
    ///
    /// A key that this contract does not read, or reads from elsewhere, is missing.
    pub(crate) fn moved(&self, found: &[Found], to: &Self) -> Vec<Found> {
        let place = |key: &Key| {
            self.keys.iter().position(|it| it.name == key.name && it.source == key.source)
        };
        let moved = to.keys.iter().map(|key| place(key).and_then(|it| found.get(it)));
        moved.map(|it| it.cloned().unwrap_or_default()).collect()
    }

    /// Whether some rotation ends after `before` and not after `now`.
    pub fn rotation_ends(&self, before: Moment, now: Moment) -> bool {
        self.keys.iter().filter_map(|key| key.expect.as_ref()).any(|expect| match expect.accepts {
            Accepts::Either { until, .. } => before < until && until <= now,
            Accepts::Exactly(_) | Accepts::Agreed => false,
        })
    }

    /// The keys that veto and on which the endpoints of a region must agree.
    pub fn agreed(&self) -> impl Iterator<Item = KeyId> {
        let agreed = |key: &Key| {
            let expect = key.expect.as_ref();
            expect.is_some_and(|it| it.accepts == Accepts::Agreed && it.weight == Weight::Veto)
        };
        self.iter().filter(move |(_, key)| agreed(key)).map(|(id, _)| id)
    }
}

/// One key on which a report and the contract disagree.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mismatch {
    /// Which key, as its place in the contract.
    pub key: KeyId,
    /// Which key, by name.
    pub name: Name,
    /// What the contract demands.
    pub expected: Expectation,
    /// What the endpoint reports.
    pub found: Found,
}

impl Mismatch {
    /// How the two differ, as a stable word: `missing`, `wrong_type` or `different`.
    pub fn kind(&self) -> &'static str {
        match &self.found {
            Found::Missing => "missing",
            Found::WrongType(_) => "wrong_type",
            Found::Value(value) if self.expected.kind() != Some(value.kind()) => "wrong_type",
            Found::Value(_) => "different",
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, expected, found, .. } = self;
        let accepts = &expected.accepts;
        match found {
            Found::Missing => write!(f, "{name} is missing, expected {accepts}"),
            Found::WrongType(kind) => write!(f, "{name} is of type {kind}, expected {accepts}"),
            Found::Value(value) if self.kind() == "wrong_type" => {
                write!(f, "{name} is the {} {value}, expected {accepts}", value.kind())
            }
            Found::Value(value) => write!(f, "{name} is {value}, expected {accepts}"),
        }
    }
}

/// The inventory of a region's blobs, reduced to what can be compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BlobManifest {
    /// How many blobs there are.
    pub count: u64,
    /// The digest of the canonical list.
    pub digest: Name,
}

/// The tail of a region's work queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Queue {
    /// Entries waiting.
    pub depth: u64,
    /// Age of the oldest one, in milliseconds.
    pub oldest_age_ms: u64,
    /// How far the queue has been worked off, in the words of the region.
    pub watermark: Option<Name>,
}

/// What an endpoint says about itself, read from one answer.
///
/// `release_id`, `revision`, `build_ts`, the blob manifest and the queue are carried along; they
/// are never compared with the active contract.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Report {
    /// What stood at each key of the contract, by [`KeyId`].
    pub found: Vec<Found>,
    /// The deploy release, which `X-Release` selects.
    pub release_id: Option<Name>,
    /// The deploy revision.
    pub revision: Option<Name>,
    /// When the index was built.
    pub build_ts: Option<Name>,
    /// The endpoint's own word on its readiness.
    pub ready: Option<bool>,
    /// The inventory of blobs.
    pub blob_manifest: Option<BlobManifest>,
    /// The tail of the work queue.
    pub queue: Option<Queue>,
}

impl Report {
    /// What stood at a key.
    pub fn found(&self, key: KeyId) -> &Found {
        const MISSING: &Found = &Found::Missing;
        self.found.get(key.index()).unwrap_or(MISSING)
    }

    /// Whether the report has exactly what `text` names at a key.
    pub fn says(&self, key: KeyId, text: &str) -> bool {
        match self.found(key) {
            Found::Value(value) => value.is_written(text),
            Found::WrongType(_) | Found::Missing => false,
        }
    }
}
