//! `millstream completions`: completion scripts for shells.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Arguments of `millstream completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millstream completions bash > ~/.local/share/bash-completion/completions/millstream
  millstream completions zsh > \"${fpath[1]}/_millstream\"
  millstream completions fish > ~/.config/fish/completions/millstream.fish")]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    /// Prints the script.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(
            self.shell,
            &mut crate::Arguments::command(),
            "millstream",
            &mut script,
        );
        std::io::Write::write_all(&mut std::io::stdout(), &script)?;
        Ok(())
    }
}
