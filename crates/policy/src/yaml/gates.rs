//! The `gates` section of the file: what must be proven before traffic may be moved.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AddressText, DurationText, Entries, FigureText, PercentText, RedisTls, SizeText};
use crate::secrets::Credential;

/// What must be proven before traffic may be moved from one region to another.
///
/// That every region is what the contract demands, and has the same index, is always asked for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gates {
    /// The master switch: with `true` nothing may be moved, whatever is proven.
    #[serde(default)]
    pub(crate) locked: bool,
    /// How many regions stay on, whatever is moved.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 128))]
    pub(crate) regions_min: u64,
    /// How old the last word of a region on its contract may be; the probe's `stale_after` without
    /// this key.
    pub(crate) contract_age: Option<DurationText>,
    /// What regions store has to be the same: `contract` reads count and digest from the contract,
    /// a mapping asks for the whole list.
    pub(crate) blobs: Option<Blobs>,
    /// When the tail of a region's queue is clean; its gauges come with the contract.
    pub(crate) queue: Option<Queue>,
    /// What regions must answer to a set of questions.
    pub(crate) probes: Option<Probes>,
    /// The memory of writes has to be warm; only with `fence`.
    pub(crate) fence: Option<Warmth>,
    /// What is demanded when a region was lost.
    #[serde(default)]
    pub(crate) emergency: Emergency,
}

fn one() -> u64 {
    1
}

/// How it is known what regions store.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(untagged)]
pub(crate) enum Blobs {
    /// From `blob_manifest` in the contract.
    #[serde(rename = "$scalar")]
    Contract(FromContract),
    /// From a list that is asked for.
    #[serde(rename = "$mapping")]
    List(BlobList),
}

/// The word for something that comes with the contract.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FromContract {
    /// It comes with the contract.
    Contract,
}

/// A list of what a region stores: `sha256  size  key` on each line, in the order of the keys.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BlobList {
    /// The path that is asked for.
    #[schemars(regex(pattern = "^/"))]
    pub(crate) path: String,
    /// Time from one question to the next.
    #[serde(default = "one_minute")]
    pub(crate) every: DurationText,
    /// Time that one whole answer may take.
    #[serde(default = "ten_seconds")]
    pub(crate) timeout: DurationText,
    /// Largest answer that is read, at most 64MiB.
    #[serde(default = "four_megabytes")]
    pub(crate) max_size: SizeText,
    /// How old the list may be.
    #[serde(default = "five_minutes")]
    pub(crate) age: DurationText,
}

fn one_minute() -> DurationText {
    "1m".into()
}

fn ten_seconds() -> DurationText {
    "10s".into()
}

fn four_megabytes() -> SizeText {
    "4MiB".into()
}

fn five_minutes() -> DurationText {
    "5m".into()
}

/// When the tail of a queue is clean.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Queue {
    /// Most entries that wait; any number without this key.
    pub(crate) depth_max: Option<u64>,
    /// How old the oldest entry is at the most.
    #[serde(default = "five_seconds")]
    pub(crate) oldest_max: DurationText,
    /// By how many entries the queue may grow each minute.
    #[serde(default)]
    #[schemars(range(max = 1_000_000))]
    pub(crate) growth_max: u64,
    /// How old the last reading may be.
    #[serde(default = "ten_seconds")]
    pub(crate) age: DurationText,
    /// Regions whose queue is a stream of a Redis or Valkey; it is read instead of their contract.
    #[serde(default)]
    pub(crate) streams: Entries<Stream>,
}

fn five_seconds() -> DurationText {
    "5s".into()
}

/// A queue that is a stream with a consumer group.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stream {
    /// A server that has it, as `host:port`; it is only asked.
    #[schemars(length(min = 1))]
    pub(crate) node: String,
    /// Who we are, in its access list.
    #[schemars(length(min = 1))]
    pub(crate) user: Option<String>,
    /// How we prove it: better `file:` or `${NAME}` than literally.
    pub(crate) password: Option<Credential>,
    /// Whether connections are encrypted, and whom to believe.
    pub(crate) tls: Option<RedisTls>,
    /// The key of the stream.
    #[schemars(length(min = 1, max = 1024))]
    pub(crate) key: String,
    /// The consumer group that does the work.
    #[schemars(length(min = 1, max = 1024))]
    pub(crate) group: String,
    /// Time from one reading to the next.
    #[serde(default = "two_seconds")]
    pub(crate) every: DurationText,
    /// Time that one whole reading may take.
    #[serde(default = "one_second")]
    pub(crate) timeout: DurationText,
}

fn two_seconds() -> DurationText {
    "2s".into()
}

fn one_second() -> DurationText {
    "1s".into()
}

/// What regions must answer to a set of questions.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Probes {
    /// The questions: a list, or `file:` with a file that has such a list.
    pub(crate) questions: Questions,
    /// The path that they are posted to, at an endpoint of each region.
    #[schemars(regex(pattern = "^/"))]
    pub(crate) path: String,
    /// Time from one round to the next.
    #[serde(default = "five_minutes")]
    pub(crate) every: DurationText,
    /// Time that one whole answer may take.
    #[serde(default = "ten_seconds")]
    pub(crate) timeout: DurationText,
    /// Largest answer that is read, at most 8MiB.
    #[serde(default = "quarter_megabyte")]
    pub(crate) max_size: SizeText,
    /// How many questions a region is asked at one time.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 16))]
    pub(crate) parallel: u64,
    /// The seeds with which each question is asked.
    #[serde(default = "two_seeds")]
    #[schemars(length(min = 1, max = 4))]
    pub(crate) seeds: Vec<u64>,
    /// How many documents are to be retrieved for each question.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 100))]
    pub(crate) top_k: u64,
    /// Where ΔS comes from.
    #[serde(default)]
    pub(crate) delta_s: DeltaS,
    /// The region with which the others are compared. Without this key each question has a
    /// `baseline`.
    pub(crate) reference: Option<String>,
    /// How old the answers may be.
    #[serde(default = "fifteen_minutes")]
    pub(crate) age: DurationText,
    /// What the answers must be like.
    #[serde(default)]
    pub(crate) limits: Limits,
}

fn quarter_megabyte() -> SizeText {
    "256KiB".into()
}

fn two() -> u64 {
    2
}

fn ten() -> u64 {
    10
}

fn two_seeds() -> Vec<u64> {
    vec![1, 2]
}

fn fifteen_minutes() -> DurationText {
    "15m".into()
}

/// The questions, here or in a file.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(untagged)]
pub(crate) enum Questions {
    /// Here.
    #[serde(rename = "$list")]
    Listed(#[schemars(length(min = 1, max = 500))] Vec<Question>),
    /// In a file: `file:./questions.yaml`.
    #[serde(rename = "$scalar")]
    File(String),
}

/// One question.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    /// Its name.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"))]
    pub(crate) id: String,
    /// The question itself.
    #[schemars(length(min = 1, max = 4096))]
    #[serde(rename = "question")]
    pub(crate) text: String,
    /// The same in other words.
    #[serde(default)]
    #[schemars(length(max = 7))]
    pub(crate) paraphrases: Vec<String>,
    /// Documents of which one at least must be found.
    #[serde(default)]
    pub(crate) gold: Vec<String>,
    /// The ΔS that it ought to have, from 0 to 1.
    pub(crate) baseline: Option<FigureText>,
}

/// Where ΔS comes from.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DeltaS {
    /// The region tells it as `delta_s`. Vectors that come as well are checked against it.
    #[default]
    Told,
    /// It is computed from `q_vec` and `ctx_vec` of the answer.
    Vectors,
    /// It is computed from vectors that somebody else makes of the question and of `context`.
    Embeddings(Embeddings),
}

/// Who makes vectors of texts: `POST` with `{ model, input: [text, text] }`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Embeddings {
    /// Where it listens.
    pub(crate) address: AddressText,
    /// The path.
    #[serde(default = "embeddings_path")]
    #[schemars(regex(pattern = "^/"))]
    pub(crate) path: String,
    /// The model that it is asked for.
    #[schemars(length(min = 1, max = 256))]
    pub(crate) model: String,
}

fn embeddings_path() -> String {
    "/v1/embeddings".to_owned()
}

/// What the answers to a set of questions must be like.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    /// Questions that the set has at the least.
    #[schemars(range(min = 1, max = 500))]
    pub(crate) questions_min: u64,
    /// How far ΔS may be from that of the reference.
    pub(crate) drift_max: FigureText,
    /// Which of the differences counts.
    pub(crate) drift_by: DriftBy,
    /// What the median ΔS may be.
    pub(crate) median_max: FigureText,
    /// The ΔS that no question may reach.
    pub(crate) risk: FigureText,
    /// Share of the answers that must find a document of `gold`.
    pub(crate) gold_min: PercentText,
    /// Share of the documents that must be those of the reference.
    pub(crate) overlap_min: PercentText,
    /// Share of the pairs of documents that must stand in the order of the reference.
    pub(crate) order_min: PercentText,
    /// Whether a region that ignores seeds passes, judged by a single seed.
    pub(crate) ignored_seeds: IgnoredSeeds,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            questions_min: 10,
            drift_max: "0.03".into(),
            drift_by: DriftBy::default(),
            median_max: "0.45".into(),
            risk: "0.6".into(),
            gold_min: "90%".into(),
            overlap_min: "60%".into(),
            order_min: "60%".into(),
            ignored_seeds: IgnoredSeeds::default(),
        }
    }
}

/// Which of the differences counts.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DriftBy {
    /// The largest.
    #[default]
    Max,
    /// The median; and 95 % of all are at most 0.1.
    MedianP95,
    /// The mean.
    Mean,
}

/// Whether a region that ignores seeds passes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum IgnoredSeeds {
    /// It does not.
    #[default]
    Refuse,
    /// It does.
    Accept,
}

/// How the memory of writes has to be.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Warmth {
    /// How old its last word on itself may be.
    pub(crate) age: DurationText,
}

impl Default for Warmth {
    fn default() -> Self {
        Self { age: "30s".into() }
    }
}

/// What is demanded when a region was lost.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Emergency {
    /// How old the survivor's last word on its contract may be.
    pub(crate) age: DurationText,
    /// How old its last answers to the questions may be.
    pub(crate) probes_age: DurationText,
    /// Whether writes go on although work of the lost region may be lost.
    pub(crate) loss: Loss,
}

impl Default for Emergency {
    fn default() -> Self {
        Self { age: "60s".into(), probes_age: "15m".into(), loss: Loss::default() }
    }
}

/// What becomes of writes when work of a lost region may be lost.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Loss {
    /// They wait.
    #[default]
    Block,
    /// They go on.
    Allow,
}
