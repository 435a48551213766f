//! Starts servers on pinned cores, waits until they answer, and stops them whatever happens.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::accounting;

/// Between two looks at something we wait for.
const PAUSE: Duration = Duration::from_millis(50);
/// How many looks before we give up: ten seconds in all.
const LOOKS: usize = 200;

/// A directory that disappears with this value.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes an empty directory named after this process.
    pub(crate) fn make() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("tidegate-load-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    /// The path of a file in the directory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file and returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.file(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Counts the lines of a server's log and empties it: in a long run it would fill the disk.
    ///
    /// `HAProxy` takes the append flag off its output, so its file gets a hole, which holds no block.
    pub(crate) fn take_lines(&self, server: &str) -> io::Result<u32> {
        let path = self.file(&format!("{server}.log"));
        let mut reader = BufReader::with_capacity(1 << 16, File::open(&path)?);
        let mut lines = 0;
        while reader.skip_until(b'\n')? > 0 {
            lines += 1;
        }
        OpenOptions::new().write(true).open(path)?.set_len(0)?;
        Ok(lines)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Left-over files in the temporary directory harm nobody, and a panic here would.
        fs::remove_dir_all(&self.0).ok();
    }
}

/// An address that was free a moment ago.
pub(crate) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// A command that runs on one core only.
pub(crate) fn pinned(core: u32, program: &Path) -> Command {
    // Without the death signal a bench that is killed would leave its servers behind.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "taskset", "-c", &core.to_string()]).arg(program);
    command
}

/// A running server. Dropping it stops the whole process tree.
#[derive(Debug)]
pub(crate) struct Server {
    name: &'static str,
    child: Child,
    address: SocketAddr,
    errors: PathBuf,
}

impl Server {
    /// Starts `command` and waits until it answers requests on `address`.
    ///
    /// Its standard output goes to `NAME.log` in append mode, because some proxies log there.
    pub(crate) fn start(
        name: &'static str,
        mut command: Command,
        address: SocketAddr,
        scratch: &Scratch,
    ) -> io::Result<Self> {
        let errors = scratch.file(&format!("{name}.err"));
        let log = scratch.file(&format!("{name}.log"));
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(File::create(&errors)?)
            .spawn()
            .map_err(|error| io::Error::other(format!("start {name}: {error}")))?;
        let mut server = Self { name, child, address, errors };
        server.wait_until_it_answers()?;
        Ok(server)
    }

    /// What the tables call it.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The root of its process tree.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_it_answers(&mut self) -> io::Result<()> {
        for _ in 0..LOOKS {
            if let Some(status) = self.child.try_wait()? {
                return Err(self.trouble(&format!("ended with {status}")));
            }
            if answers(self.address).unwrap_or(false) {
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
        Err(self.trouble("does not answer requests"))
    }

    /// An error that carries what the server itself said.
    fn trouble(&self, what: &str) -> io::Error {
        let said = fs::read_to_string(&self.errors).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(12)..).unwrap_or_default().join("\n");
        io::Error::other(format!("{} {what}\n{tail}", self.name))
    }

    fn ended(&mut self) -> bool {
        for _ in 0..LOOKS {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return true;
            }
            thread::sleep(PAUSE);
        }
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The gentle way first: the master of nginx cannot take its worker along when it is killed.
        let tree = accounting::tree(self.process()).unwrap_or_default();
        signal("-TERM", &[self.process()]);
        if !self.ended() {
            signal("-KILL", &tree);
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// Sends a signal, as far as anybody is there to receive it.
fn signal(name: &str, processes: &[u32]) {
    let ids = processes.iter().map(u32::to_string);
    let sent = Command::new("kill").arg(name).args(ids).stderr(Stdio::null()).status();
    debug_assert!(sent.is_ok(), "there is no kill command");
}

/// Whether one request gets a 200.
fn answers(address: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, PAUSE)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: load.test\r\nConnection: close\r\n\r\n")?;
    let mut head = [0_u8; 12];
    stream.read_exact(&mut head)?;
    Ok(head.starts_with(b"HTTP/1.1 200"))
}
