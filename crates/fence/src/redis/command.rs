//! Commands, packed by the crate `redis`.

use std::fmt;
use std::sync::Arc;

use redis::{Arg, Cmd};

use super::scripts::Script;

/// A command, ready to be sent. Clones share its bytes.
#[derive(Clone)]
pub(super) struct Command {
    script: Option<&'static Script>,
    cmd: Arc<Cmd>,
}

/// Puts a command together.
pub(super) struct Builder {
    script: Option<&'static Script>,
    cmd: Cmd,
}

impl Builder {
    /// A command with this name.
    pub(super) fn new(name: &str) -> Self {
        Self { script: None, cmd: redis::cmd(name) }
    }

    /// A call of a script that touches these keys.
    pub(super) fn script(script: &'static Script, keys: &[Vec<u8>]) -> Self {
        // About what a claim has, which is what is made most often.
        let mut cmd = Cmd::with_capacity(24, 512);
        cmd.arg("EVALSHA").arg(&script.digest).arg(keys.len());
        keys.iter().fold(Self { script: Some(script), cmd }, |builder, key| builder.bytes(key))
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.cmd.arg(bytes);
        self
    }

    pub(super) fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    pub(super) fn number(mut self, number: u64) -> Self {
        self.cmd.arg(number);
        self
    }

    pub(super) fn flag(self, is_set: bool) -> Self {
        self.text(if is_set { "1" } else { "0" })
    }

    pub(super) fn end(self) -> Command {
        let Self { script, cmd } = self;
        Command { script, cmd: Arc::new(cmd) }
    }
}

impl Command {
    /// Writes it as it goes over the wire, behind what is there; a script by its text if the server
    /// does not know it.
    pub(super) fn write(&self, out: &mut Vec<u8>, by_text: bool) {
        match self.script {
            Some(script) if by_text => self.by_text(script).write_packed_command(out),
            Some(_) | None => self.cmd.write_packed_command(out),
        }
    }

    /// The same call with the text of the script instead of its digest.
    fn by_text(&self, script: &Script) -> Cmd {
        let mut cmd = redis::cmd("EVAL");
        cmd.arg(&script.text);
        for argument in self.cmd.args_iter().skip(2) {
            // Nothing that we send is one of the crate's cursors.
            if let Arg::Simple(bytes) = argument {
                cmd.arg(bytes);
            }
        }
        cmd
    }
}

/// Arguments are keys, records and passwords; the crate would print them.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arguments = self.cmd.args_iter().len();
        f.debug_struct("Command").field("arguments", &arguments).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::scripts;
    use super::*;

    fn written(command: &Command, by_text: bool) -> String {
        let mut out = b"before ".to_vec();
        command.write(&mut out, by_text);
        String::from_utf8(out).expect("only text was sent")
    }

    #[test]
    fn a_command_is_counted_and_binary() {
        let command = Builder::new("SET").bytes(b"\r\n").bytes(b"").number(7).flag(true).end();
        let expected = "*5\r\n$3\r\nSET\r\n$2\r\n\r\n\r\n$0\r\n\r\n$1\r\n7\r\n$1\r\n1\r\n";
        assert_eq!(written(&command, false), format!("before {expected}"));
        assert_eq!(written(&command, true), format!("before {expected}"));
    }

    #[test]
    fn a_script_goes_by_its_digest_or_by_its_text() {
        let call = Builder::script(&scripts::FOUND, &[b"k".to_vec()]).text("").end();
        let (text, digest) = (&scripts::FOUND.text, &scripts::FOUND.digest);
        let rest = "$1\r\n1\r\n$1\r\nk\r\n$0\r\n\r\n";
        let expected = format!("before *5\r\n$7\r\nEVALSHA\r\n$40\r\n{digest}\r\n{rest}");
        assert_eq!(written(&call, false), expected);
        let expected = format!("before *5\r\n$4\r\nEVAL\r\n${}\r\n{text}\r\n{rest}", text.len());
        assert_eq!(written(&call, true), expected);
    }

    #[test]
    fn no_argument_is_printed() {
        let command = Builder::new("AUTH").text("hunter2").end();
        assert_eq!(format!("{command:?}"), "Command { arguments: 2, .. }");
    }
}
