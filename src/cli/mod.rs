//! The command line: arguments in, results on stdout, exit code out.

mod args;
mod bench;
mod cache;
mod classify;
mod compare;
mod download;
mod eval;
mod info;
mod inputs;
mod list;
mod lock;
mod output;
mod preprocess;
mod rows;
mod session;
mod transfers;
mod verify;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use output::{Messages, Results, Style, printable};

use crate::kernels::Isa;

/// Every input was answered, every comparison held.
const SUCCESS: u8 = 0;
/// Some or all inputs failed, each with its own error; or a comparison did not hold.
const SOME_FAILED: u8 = 1;
/// Nothing could be done: arguments, model, device or network.
const NOTHING_DONE: u8 = 2;
/// Ended by Ctrl-C: 128 and the signal's number, as shells have it.
const INTERRUPTED: u8 = 130;

/// Squeeze-and-Excitation networks: classify pictures with SENet, SE-ResNet, SE-ResNeXt and SKNet
#[derive(Parser, Debug)]
#[command(
    version,
    max_term_width = 100,
    after_help = "Examples:\n  \
        senet classify photo.jpg\n  \
        senet classify -m demo tests/data/pictures/ankle-boot.png\n  \
        senet list resnext\n  \
        senet download se-resnet50\n\n\
        Exit codes: 0 all done, 1 inputs failed (each says why) or a comparison did not hold,\n\
        2 nothing could be done, 130 interrupted. Results go to stdout, messages to stderr."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// No notes and no progress bars on stderr; errors are still told
    #[arg(short, long, global = true)]
    quiet: bool,
}

#[derive(Subcommand, Debug)]
enum Command {
    Classify(classify::Arguments),
    Eval(Box<eval::Arguments>),
    Compare(Box<compare::Arguments>),
    Bench(bench::Arguments),
    List(list::Arguments),
    Info(info::Arguments),
    Download(download::Arguments),
    Cache(cache::Arguments),
    Lock(lock::Arguments),
    Verify(verify::Arguments),
    Preprocess(preprocess::Arguments),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  senet completions bash > ~/.local/share/bash-completion/completions/senet"
    )]
    Completions {
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
}

/// Runs the program on the process's arguments.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` come this way too; a closed pipe is no reason to fail.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() {
                NOTHING_DONE
            } else {
                SUCCESS
            });
        }
    };
    let messages = Messages { quiet: cli.quiet };
    let mut results = Results::new();
    let code = run(cli.command, messages, &mut results).unwrap_or_else(|error| {
        let error = match results.failure() {
            // The reader of our results has enough, as `head` has after ten lines.
            Some(io::ErrorKind::BrokenPipe) => return SUCCESS,
            Some(_) => error.context("cannot write to standard output"),
            None => error,
        };
        report(&error);
        NOTHING_DONE
    });
    ExitCode::from(code)
}

fn run(command: Command, messages: Messages, results: &mut Results) -> anyhow::Result<u8> {
    check_isa()?;
    let code = match command {
        Command::Classify(arguments) => classify::run(&arguments, messages, results)?,
        Command::Eval(arguments) => eval::run(&arguments, messages, results)?,
        Command::Compare(arguments) => compare::run(*arguments, messages, results)?,
        Command::Bench(arguments) => bench::run(&arguments, messages, results)?,
        Command::List(arguments) => list::run(&arguments, results)?,
        Command::Info(arguments) => info::run(&arguments, messages, results)?,
        Command::Download(arguments) => download::run(&arguments, messages, results)?,
        Command::Cache(arguments) => cache::run(&arguments, messages, results)?,
        Command::Lock(arguments) => lock::run(&arguments, messages, results)?,
        Command::Verify(arguments) => verify::run(&arguments, messages, results)?,
        Command::Preprocess(arguments) => preprocess::run(&arguments, messages, results)?,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "senet", &mut script);
            results.write_all(&script)?;
            SUCCESS
        }
    };
    results.flush()?;
    Ok(code)
}

/// A name that no instruction set of this machine has would leave the choice to the program unsaid.
fn check_isa() -> anyhow::Result<()> {
    let name = std::env::var_os(Isa::VARIABLE).unwrap_or_default();
    let available = Isa::ALL.into_iter().filter(|isa| isa.is_available());
    let names: Vec<&str> = available.map(Isa::name).collect();
    if !name.is_empty() && !names.iter().any(|known| name == *known) {
        anyhow::bail!(
            "{} is `{}`; this machine has: {}",
            Isa::VARIABLE,
            name.display(),
            names.join(", ")
        );
    }
    Ok(())
}

/// `error: what failed`, its causes, and what to do about it.
fn report(error: &anyhow::Error) {
    let style = Style::detect(io::stderr().is_terminal());
    let mut text = format!("{} {}", style.red("error:"), printable(&error.to_string()));
    let mut last = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // Transparent errors repeat their cause.
        if !last.contains(&cause) {
            text += &format!("\n  caused by: {}", printable(&cause));
        }
        last = cause;
    }
    if let Some(hint) = hint(error) {
        text += &format!("\n{} {}", style.cyan("hint:"), printable(&hint));
    }
    let _ = writeln!(io::stderr(), "{text}");
}

fn hint(error: &anyhow::Error) -> Option<String> {
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<crate::Error>()?.hint())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        super::Cli::command().debug_assert();
    }
}
