//! The millstream command line.
//!
//! [`Command`] lists what it can do; each command has a file of its own. `serve` runs a server in this process;
//! `backup`, `restore` and `doctor` are about a data directory; all others are clients of a server: `queue`, `redrive`,
//! `route` and `tail` over HTTP, the rest over the Kafka protocol. What they can do, any other client can.
//!
//! What a command found goes to the standard output, as text or with `--json` as JSON; everything else goes to the
//! standard error. [`EXIT_CODES`] tells what the exit code says.

#![forbid(unsafe_code)]

mod backup;
mod bench;
mod completions;
mod connect;
mod consume;
mod doctor;
mod group;
mod http;
mod man;
mod output;
mod point;
mod produce;
mod queue;
mod redrive;
mod restore;
mod route;
mod serve;
mod tail;
mod topic;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Returns memory to where it was used last, which keeps receive buffers warm: see docs/adr.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXIT_CODES: &str = "\
Exit codes:
  0  it worked
  1  it did not; the reason is on the standard error
  2  the command line is wrong";

/// One messaging server for work queues, replayable streams and realtime push.
#[derive(Debug, Parser)]
#[command(name = "millstream", version, after_help = EXIT_CODES, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a server in the foreground.
    Serve(serve::Serve),
    /// Create, list, describe, alter and delete topics.
    Topic(topic::Topic),
    /// Write records, a line or a JSON object each, from the standard input or a file.
    Produce(produce::Produce),
    /// Read records, and print them.
    Consume(consume::Consume),
    /// Look at consumer groups, and move where they read.
    Group(group::Group),
    /// Create queues on topics, look at them, receive from them.
    Queue(queue::Queue),
    /// Move a queue's dead letters back to where they came from.
    Redrive(redrive::Redrive),
    /// Lead what is published to topics on to other topics.
    Route(route::Route),
    /// Watch topics live.
    Tail(tail::Tail),
    /// Measure how fast a server takes and gives records, and how soon.
    Bench(bench::Bench),
    /// Copy a server's data to another directory, while it runs.
    Backup(backup::Backup),
    /// Make a data directory from a backup.
    Restore(restore::Restore),
    /// Look into a data directory that no server has open, and say what is whole and what is damaged.
    Doctor(doctor::Doctor),
    /// Print a completion script for a shell.
    Completions(completions::Completions),
    /// Print the manual page, or write all of them.
    Man(man::Man),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Command::Serve(serve) => serve.run(),
        Command::Topic(topic) => topic.run(),
        Command::Produce(produce) => produce.run(),
        Command::Consume(consume) => consume.run(),
        Command::Group(group) => group.run(),
        Command::Queue(queue) => queue.run(),
        Command::Redrive(redrive) => redrive.run(),
        Command::Route(route) => route.run(),
        Command::Tail(tail) => tail.run(),
        Command::Bench(bench) => bench.run(),
        Command::Backup(backup) => backup.run(),
        Command::Restore(restore) => restore.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the output, such as `head`, has had enough.
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let what = output::with_causes(&error);
            anstream::eprintln!("{}error:{:#} {what}", output::ERROR, output::ERROR);
            ExitCode::FAILURE
        }
    }
}
