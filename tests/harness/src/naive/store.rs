//! The few commands of Redis that a naive middleware knows, each on a fresh connection.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

const TIMEOUT: Duration = Duration::from_millis(500);

/// A Redis server without a password.
pub(super) struct Store {
    pub(super) address: SocketAddr,
}

impl Store {
    /// Whether the key was absent and is now set.
    pub(super) async fn set_if_absent(
        &self,
        key: &str,
        value: &str,
        expiry: Duration,
    ) -> io::Result<bool> {
        let expiry = expiry.as_millis().to_string();
        Ok(self.command(&["SET", key, value, "NX", "PX", &expiry]).await?.is_some())
    }

    pub(super) async fn set(&self, key: &str, value: &str, expiry: Duration) -> io::Result<()> {
        let expiry = expiry.as_millis().to_string();
        self.command(&["SET", key, value, "PX", &expiry]).await.map(|_ok| ())
    }

    pub(super) async fn get(&self, key: &str) -> io::Result<Option<String>> {
        self.command(&["GET", key]).await
    }

    pub(super) async fn delete(&self, key: &str) -> io::Result<()> {
        self.command(&["DEL", key]).await.map(|_count| ())
    }

    async fn command(&self, words: &[&str]) -> io::Result<Option<String>> {
        let answer = tokio::time::timeout(TIMEOUT, self.exchange(words)).await;
        answer.map_err(io::Error::other)?
    }

    async fn exchange(&self, words: &[&str]) -> io::Result<Option<String>> {
        let mut stream = BufReader::new(TcpStream::connect(self.address).await?);
        let words = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
        let bytes = format!("*{}\r\n{}", words.len(), words.collect::<String>());
        stream.write_all(bytes.as_bytes()).await?;
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let line = line.trim_end();
        match line.split_at_checked(1) {
            Some(("$", "-1")) => Ok(None),
            Some(("$", length)) => {
                let length: usize = length.parse().map_err(io::Error::other)?;
                let mut value = vec![0; length];
                stream.read_exact(&mut value).await?;
                String::from_utf8(value).map(Some).map_err(io::Error::other)
            }
            Some(("+" | ":", rest)) => Ok(Some(rest.to_owned())),
            Some(_) => Err(io::Error::other(line.to_owned())),
            None => Err(io::Error::new(ErrorKind::UnexpectedEof, "the server hung up")),
        }
    }
}
