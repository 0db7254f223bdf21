//! The `millstream` binary as a child process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use millstream_client::Client;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::PATIENCE;
use super::log::Log;

/// A place to run servers in, one after another: their data, their address, how they are started.
pub(crate) struct Site {
    data_dir: PathBuf,
    /// Where to listen; once a server has picked a port, with that port.
    address: String,
    flags: BTreeMap<String, String>,
    environment: Vec<(String, String)>,
    user: Option<u32>,
    /// Goes with everything in it. On the disk that cargo builds on, for `/tmp` may be in memory.
    scratch: TempDir,
}

/// A server that is up. It is killed when this is dropped.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    log: Log,
    started_in: Duration,
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Exit {
    /// How.
    pub(crate) status: ExitStatus,
    /// What it had written to stderr.
    pub(crate) log: String,
}

impl Site {
    /// A place with a data directory that does not exist yet.
    pub(crate) fn new() -> Site {
        let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let data_dir = scratch.path().join("data");
        Site {
            data_dir,
            address: "127.0.0.1:0".to_owned(),
            // Servers of tests that run side by side must not meet at one port.
            flags: BTreeMap::from([("--http-addr".to_owned(), "127.0.0.1:0".to_owned())]),
            environment: Vec::new(),
            user: None,
            scratch,
        }
    }

    /// The same with its data in `dir`.
    pub(crate) fn at(mut self, dir: &Path) -> Site {
        self.data_dir = dir.to_owned();
        self
    }

    /// The same with servers that listen on `address`.
    pub(crate) fn listening_on(mut self, address: &str) -> Site {
        self.address = address.to_owned();
        self
    }

    /// The same with `--key value`, instead of what that flag said before.
    pub(crate) fn flag(mut self, key: &str, value: &str) -> Site {
        self.flags.insert(format!("--{key}"), value.to_owned());
        self
    }

    /// The same with a variable in the environment.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Site {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same, run by this user. Takes root.
    pub(crate) fn user(mut self, id: u32) -> Site {
        self.user = Some(id);
        self
    }

    /// The same, settling all the time: everything that happens to a store in days happens in a second.
    pub(crate) fn restless(self) -> Site {
        self.flag("journal-file-size", "4MiB")
            .flag("journal-max", "16MiB")
            .flag("settle-after", "1MiB")
            .flag("settle-after-ms", "100")
    }

    /// Where the data is.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// A directory of the test's own, beside the data.
    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Starts a server and waits until it listens. The first picks a port, those after it take the same.
    pub(crate) fn start(&mut self) -> Server {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_start() {
                Ok(server) => {
                    self.address = server.address.to_string();
                    return server;
                }
                // A client that tries to connect to a port nobody listens on may for a moment hold it itself.
                Err(exit)
                    if exit.log.contains("is in use: stop what listens")
                        && Instant::now() < deadline =>
                {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(exit) => panic!("the server did not start: {exit:?}"),
            }
        }
    }

    /// Starts a server that may refuse to.
    pub(crate) fn try_start(&self) -> Result<Server, Exit> {
        let started = Instant::now();
        let mut child = self.spawn();
        let log = Log::follow(child.stderr.take().expect("stderr is piped"));
        let listening = |line: &str| line.strip_prefix("kafka listening on ")?.parse().ok();
        match log.wait_for(PATIENCE, listening) {
            Some(address) => Ok(Server {
                child,
                address,
                log,
                started_in: started.elapsed(),
            }),
            None => Err(end(&mut child, &log)),
        }
    }

    /// Starts a server at the address of the one before, and waits until it is bound to it, which is before it opens its
    /// data.
    pub(crate) fn begin_start(&self) -> Server {
        let started = Instant::now();
        let mut child = self.spawn();
        let log = Log::follow(child.stderr.take().expect("stderr is piped"));
        let address: SocketAddr = self.address.parse().expect("the port is known");
        while std::net::TcpStream::connect(address).is_err() {
            assert!(
                started.elapsed() < PATIENCE,
                "it is not bound: {}",
                log.text()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Server {
            child,
            address,
            log,
            started_in: started.elapsed(),
        }
    }

    fn spawn(&self) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        command
            .arg("serve")
            .arg("--data-dir")
            .arg(&self.data_dir)
            .args(["--kafka-addr", &self.address]);
        command.args(self.flags.iter().flat_map(|(key, value)| [key, value]));
        // Neither the tests' environment nor a configuration file where they are run is meant for the server.
        for (name, _) in std::env::vars_os()
            .filter(|(name, _)| name.to_string_lossy().starts_with("MILLSTREAM_"))
        {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(user) = self.user {
            std::os::unix::process::CommandExt::uid(&mut command, user);
        }
        command.current_dir(self.scratch.path());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    }
}

impl Server {
    /// Where Kafka clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where HTTP clients connect.
    pub(crate) fn http_address(&self) -> String {
        let named = |line: &str| line.strip_prefix("http listening on ").map(str::to_owned);
        self.log.wait_for(PATIENCE, named).expect("it serves HTTP")
    }

    /// From the start of the process until it listened.
    pub(crate) fn started_in(&self) -> Duration {
        self.started_in
    }

    /// The process's id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A client that gives up soon.
    pub(crate) async fn client(&self) -> Client {
        super::connect(self.address).await.unwrap()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.process(), signal).unwrap();
    }

    fn process(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed()).expect("a process has an id")
    }

    /// Kills it at once, as a crash would. Until then it must have been well.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let log = self.log.whole();
        for trouble in ["panicked", "the store has failed"] {
            assert!(!log.contains(trouble), "{trouble} before the kill:\n{log}");
        }
    }

    /// Asks it to stop in order, and waits until it has.
    pub(crate) fn stop(self) -> Exit {
        self.signal(Signal::TERM);
        self.exit()
    }

    /// Waits until it has ended by itself; the test fails if it does not.
    pub(crate) fn exit(mut self) -> Exit {
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(
                Instant::now() < deadline,
                "the server runs on; its log:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        end(&mut self.child, &self.log)
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What it has written to stderr so far.
    pub(crate) fn log(&self) -> String {
        self.log.text()
    }

    /// Waits until a line of the log contains `text`.
    pub(crate) fn wait_for_log(&self, text: &str) {
        let found = self
            .log
            .wait_for(PATIENCE, |line| line.contains(text).then_some(()));
        assert!(found.is_some(), "no {text:?} in the log:\n{}", self.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        }
    }
}

/// Waits for the end of a process that is at it.
fn end(child: &mut Child, log: &Log) -> Exit {
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Exit {
        status: child.wait().unwrap(),
        log: log.whole(),
    }
}

impl Exit {
    /// Checks that the process gave up by itself, rather than being killed or crashing, and said all of `what`.
    #[track_caller]
    pub(crate) fn assert_refused(&self, what: &[&str]) {
        assert!(self.status.code().is_some_and(|code| code != 0), "{self:?}");
        assert_eq!(self.status.signal(), None);
        assert!(!self.log.contains("panicked"), "{self:?}");
        for what in what {
            assert!(
                self.log.contains(what),
                "the log lacks {what:?}:\n{}",
                self.log
            );
        }
    }

    /// Checks that the process ended in order.
    #[track_caller]
    pub(crate) fn assert_success(&self) {
        assert!(self.status.success(), "{self:?}");
    }
}
