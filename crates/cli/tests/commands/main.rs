//! The commands, as a user or a script runs them, against a server of their own.

#[path = "../common/mod.rs"]
mod common;
mod groups;
mod queues;
mod records;
mod routes;
mod tail;
mod topics;
mod usage;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use common::{Server, Site};
use rustix::process::Signal;
use serde_json::Value;

/// A server, and the commands that talk to it.
struct Shell {
    server: Server,
    site: Site,
}

/// What a command said.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Shell {
    fn new() -> Self {
        let mut site = Site::new();
        Self {
            server: site.start(),
            site,
        }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        command
            .args(words(line))
            .env("MILLSTREAM_SERVER", self.server.address().to_string())
            .env("MILLSTREAM_HTTP", self.server.http_address())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Kills the server, and starts another at the same addresses.
    fn kill_and_restart(&mut self) {
        let http = self.server.http_address();
        let site = std::mem::replace(&mut self.site, Site::new());
        self.site = site.flag("http-addr", &http);
        self.server.signal(Signal::KILL);
        while self.server.is_running() {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.server = self.site.start();
    }

    /// Runs `millstream` with the words of `line` and this input.
    fn feed(&self, line: &str, input: &str) -> Said {
        let mut child = self.command(line).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that reads no input may be gone already.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        Said {
            code: output.status.code().expect("it ended by itself"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// What a command that works prints.
    fn run(&self, line: &str) -> String {
        self.run_with(line, "")
    }

    fn run_with(&self, line: &str, input: &str) -> String {
        let said = self.feed(line, input);
        assert_eq!(said.code, 0, "{line}: {}", said.err);
        said.out
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.run(line)).unwrap()
    }

    /// What a command that does not work says.
    fn fails(&self, line: &str) -> String {
        let said = self.feed(line, "");
        assert_eq!(said.code, 1, "{line}: {}", said.err);
        assert_eq!(said.out, "", "{line}");
        said.err
    }
}

/// A command that goes on. It is killed when this is dropped.
struct Running {
    child: Child,
    /// None once nobody reads it any more.
    out: Option<BufReader<ChildStdout>>,
    err: BufReader<ChildStderr>,
}

impl Running {
    fn start(shell: &Shell, line: &str) -> Self {
        let mut child = shell.command(line).spawn().unwrap();
        Self {
            out: child.stdout.take().map(BufReader::new),
            err: BufReader::new(child.stderr.take().unwrap()),
            child,
        }
    }

    /// The next line it prints.
    fn line(&mut self) -> String {
        let mut line = String::new();
        let out = self.out.as_mut().expect("it is still read");
        out.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Reads no more of what it prints, and waits for its end.
    fn close_output(&mut self) -> ExitStatus {
        self.out = None;
        self.child.wait().unwrap()
    }

    /// The next line of its standard error.
    fn said(&mut self) -> String {
        let mut line = String::new();
        self.err.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The words of a command line, single quotes respected.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in line.split('\'').enumerate() {
        if at % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}
