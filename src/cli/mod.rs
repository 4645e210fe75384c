//! The command line: parses arguments, prints results on stdout, returns the exit code.

mod args;
mod bench;
mod cache;
mod classify;
mod compare;
mod devices;
mod download;
mod embed;
mod eval;
mod explain;
mod format;
mod hints;
mod info;
mod inputs;
mod list;
mod lock;
mod output;
mod preprocess;
mod rows;
mod session;
mod similar;
mod train;
mod transfers;
mod verify;
mod version;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use output::{Messages, Results, Tone, escaped, say};

use crate::kernels::Isa;
use crate::preprocess::is_image_name;

/// Every input was processed, and every comparison held.
const SUCCESS: u8 = 0;
/// Some or all inputs failed, each with its own error; or a comparison did not hold.
const SOME_FAILED: u8 = 1;
/// Nothing could be done: bad arguments, or no model, device or network.
const NOTHING_DONE: u8 = 2;
/// Interrupted by Ctrl-C: 128 plus the signal number, as in shells.
const INTERRUPTED: u8 = 130;

/// Classify images with Squeeze-and-Excitation networks: SENet, SE-ResNet, SE-ResNeXt and SKNet
#[derive(Parser, Debug)]
#[command(
    version,
    max_term_width = 100,
    after_help = "Examples:\n  \
        senet classify photo.jpg\n  \
        senet classify -m demo tests/data/pictures/ankle-boot.png\n  \
        senet list resnext\n  \
        senet download se-resnet50\n\n\
        Exit codes: 0 success; 1 some inputs failed or are missing, or a check failed; 2 an error stopped\n\
        the command, or all downloads failed; 130 interrupted. Results go to stdout, messages to stderr."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Suppress notes and progress bars; errors are still printed
    #[arg(short, long, global = true, display_order = 100)]
    quiet: bool,
}

#[derive(Subcommand, Debug)]
enum Command {
    Classify(classify::Arguments),
    Eval(Box<eval::Arguments>),
    Compare(Box<compare::Arguments>),
    Embed(Box<embed::Arguments>),
    Train(Box<train::Arguments>),
    Similar(Box<similar::Arguments>),
    Explain(Box<explain::Arguments>),
    Bench(bench::Arguments),
    List(list::Arguments),
    Info(info::Arguments),
    Download(download::Arguments),
    Cache(cache::Arguments),
    Lock(lock::Arguments),
    Verify(verify::Arguments),
    Preprocess(preprocess::Arguments),
    Devices(devices::Arguments),
    Version(version::Arguments),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  senet completions bash > ~/.local/share/bash-completion/completions/senet"
    )]
    Completions {
        /// Shell that will load the script
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
}

/// Runs the program on the process's arguments.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error, &arguments),
    };
    let messages = Messages { quiet: cli.quiet };
    let mut results = Results::new();
    let code = run(cli.command, messages, &mut results).unwrap_or_else(|error| {
        let error = match results.failure() {
            // The reader of our results has closed the pipe, as `head` does after ten lines.
            Some(io::ErrorKind::BrokenPipe) => return SUCCESS,
            Some(_) => error.context("cannot write to standard output"),
            None => error,
        };
        report(&error);
        NOTHING_DONE
    });
    ExitCode::from(code)
}

/// Reports bad arguments; also prints `--help` and `--version`.
fn refuse(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    // The message quotes arguments, and a glob in the shell expands to untrusted file names.
    let shown = arguments.iter().map(|a| escaped(&a.to_string_lossy()));
    let shown = Cli::try_parse_from(shown).err();
    // A closed pipe is no reason to fail.
    let _ = shown.as_ref().unwrap_or(error).print();
    if !error.use_stderr() {
        return ExitCode::from(SUCCESS);
    }
    let options = arguments.iter().take_while(|argument| *argument != "--");
    for argument in options.skip(1) {
        let (path, name) = (Path::new(argument), argument.to_string_lossy());
        if name.len() > 1 && name.starts_with('-') && (path.exists() || is_image_name(path)) {
            let tip = format!("for a file whose name begins with a dash, use `./{name}`");
            say(&[
                (Tone::Cyan, "  tip:"),
                (Tone::Plain, " "),
                (Tone::Plain, &tip),
            ]);
        }
    }
    ExitCode::from(NOTHING_DONE)
}

fn run(command: Command, messages: Messages, results: &mut Results) -> anyhow::Result<u8> {
    check_isa()?;
    let code = match command {
        Command::Classify(arguments) => classify::run(&arguments, messages, results)?,
        Command::Eval(arguments) => eval::run(&arguments, messages, results)?,
        Command::Compare(arguments) => compare::run(&arguments, messages, results)?,
        Command::Embed(arguments) => embed::run(&arguments, messages)?,
        Command::Train(arguments) => train::run(&arguments, messages, results)?,
        Command::Similar(arguments) => similar::run(&arguments, messages, results)?,
        Command::Explain(arguments) => explain::run(&arguments, messages, results)?,
        Command::Bench(arguments) => bench::run(&arguments, messages, results)?,
        Command::List(arguments) => list::run(&arguments, messages, results)?,
        Command::Info(arguments) => info::run(&arguments, messages, results)?,
        Command::Download(arguments) => download::run(&arguments, messages, results)?,
        Command::Cache(arguments) => cache::run(&arguments, messages, results)?,
        Command::Lock(arguments) => lock::run(&arguments, messages, results)?,
        Command::Verify(arguments) => verify::run(&arguments, messages, results)?,
        Command::Preprocess(arguments) => preprocess::run(&arguments, messages, results)?,
        Command::Devices(arguments) => devices::run(&arguments, results)?,
        Command::Version(arguments) => version::run(&arguments, results)?,
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

/// Rejects an unknown `SENET_ISA`, which would otherwise be ignored silently.
fn check_isa() -> anyhow::Result<()> {
    let name = std::env::var_os(Isa::VARIABLE).unwrap_or_default();
    let names: Vec<&str> = Isa::available().map(Isa::name).collect();
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

/// Prints the error, its causes, and what to do about it.
fn report(error: &anyhow::Error) {
    let mut last = error.to_string();
    say(&[
        (Tone::Red, "error:"),
        (Tone::Plain, " "),
        (Tone::Plain, &last),
    ]);
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // Transparent errors repeat their cause.
        if !last.contains(&cause) {
            say(&[(Tone::Plain, "  caused by: "), (Tone::Plain, &cause)]);
        }
        last = cause;
    }
    if let Some(hint) = hint(error) {
        say(&[
            (Tone::Cyan, "hint:"),
            (Tone::Plain, " "),
            (Tone::Plain, &hint),
        ]);
    }
}

fn hint(error: &anyhow::Error) -> Option<String> {
    error
        .chain()
        .find_map(|cause| hints::hint(cause.downcast_ref::<crate::error::Error>()?))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        super::Cli::command().debug_assert();
    }
}
