//! Endpoints that are listed in files, read again and again.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::board::Event;
use tidegate_core::id::Name;
use tidegate_core::policy::{EndpointAddress, EndpointSource, Policy};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{error, info, warn};

use crate::handle::{Handle, Message};
use crate::tasks::Tasks;

/// Largest file that is read, in bytes.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// How a file is understood; the `policy` crate knows.
pub type ParseEndpoints = fn(&str) -> Result<Vec<EndpointAddress>, NotEndpoints>;

/// Why a text does not list endpoints.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotEndpoints(pub String);

/// Why a file changes nothing.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("read the file: {0}")]
    Unread(#[from] io::Error),
    #[error("the file is larger than {FILE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("{0}")]
    Unparsed(#[from] NotEndpoints),
    #[error("the file lists no endpoint")]
    Empty,
}

/// A file and how often it is read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Source {
    region: Name,
    path: PathBuf,
    every: Duration,
}

/// The readers of all files; one task for each region that has one.
#[derive(Debug)]
pub(crate) struct Lists {
    handle: Handle,
    parse: ParseEndpoints,
    tasks: Tasks<Source>,
}

impl Lists {
    pub(crate) fn new(handle: Handle, parse: ParseEndpoints) -> Self {
        Self { handle, parse, tasks: Tasks::default() }
    }

    /// Reads the files of this policy, and no others.
    pub(crate) fn read(&mut self, policy: &Policy) {
        let sources: Vec<Source> = policy
            .regions
            .iter()
            .filter_map(|region| match &region.endpoints {
                EndpointSource::Listed(_) => None,
                EndpointSource::File { path, every } => Some(Source {
                    region: Arc::clone(&region.name),
                    path: path.clone(),
                    every: *every,
                }),
            })
            .collect();
        self.tasks.keep(|it| sources.contains(it));
        for source in sources {
            if !self.tasks.is_running(&source) {
                self.start(source, Duration::ZERO);
            }
        }
    }

    /// Waits until a reader has panicked, and starts it again.
    pub(crate) async fn restarted(&mut self) {
        let source = self.tasks.panicked().await;
        error!(region = %source.region, "reading an endpoint file panicked");
        let after = source.every;
        self.start(source, after);
    }

    fn start(&mut self, source: Source, after: Duration) {
        let reader = Reader { handle: self.handle.clone(), parse: self.parse, told: None };
        self.tasks.start(source.clone(), reader.run(source, after));
    }
}

/// Reads one file.
struct Reader {
    handle: Handle,
    parse: ParseEndpoints,
    told: Option<String>,
}

impl Reader {
    async fn run(mut self, source: Source, after: Duration) {
        sleep(after).await;
        loop {
            match self.endpoints(&source).await {
                Ok(endpoints) => {
                    if self.told.take().is_some() {
                        info!(region = %source.region, "endpoint file is usable again");
                    }
                    let region = Arc::clone(&source.region);
                    let event = Event::Listed { region, endpoints };
                    if self.handle.deliver(Message::of(event)).await.is_err() {
                        return;
                    }
                }
                Err(error) => self.failed(&source, &error),
            }
            sleep(source.every).await;
        }
    }

    /// Reads off the loop's thread: a file on a network that hangs must not stop the board.
    async fn endpoints(&self, source: &Source) -> Result<Vec<EndpointAddress>, Unusable> {
        let (path, parse) = (source.path.clone(), self.parse);
        let read = spawn_blocking(move || endpoints(&path, parse)).await;
        read.unwrap_or_else(|panicked| Err(Unusable::Unread(io::Error::other(panicked))))
    }

    /// Counts each failure, and tells each reason once until it changes.
    fn failed(&mut self, source: &Source, error: &Unusable) {
        let Source { region, path, .. } = source;
        self.handle.metrics().endpoint_file_failed(region);
        let reason = error.to_string();
        if self.told.as_ref() != Some(&reason) {
            let path = path.display();
            warn!(%region, %path, reason, "endpoint file is not usable, the last list stays");
            self.told = Some(reason);
        }
    }
}

fn endpoints(path: &Path, parse: ParseEndpoints) -> Result<Vec<EndpointAddress>, Unusable> {
    let mut text = String::new();
    // One byte more than allowed tells a file that is too large from one that just fits.
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() > usize::try_from(FILE_BYTES_MAX).unwrap_or(usize::MAX) {
        return Err(Unusable::TooLarge);
    }
    let endpoints = parse(&text)?;
    if endpoints.is_empty() { Err(Unusable::Empty) } else { Ok(endpoints) }
}
