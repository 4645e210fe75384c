//! An isolated environment for each test, and the comparison with snapshots.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::common::snapshots;

/// An empty home and an empty working directory; no hub can be reached.
pub(crate) struct Env {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Env {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Nothing listens on the discard port.
        let endpoint = ("HF_ENDPOINT".to_owned(), "http://127.0.0.1:9".to_owned());
        Self {
            folder,
            variables: vec![endpoint],
        }
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Copies one of the test images into the working directory.
    pub(crate) fn image(&self, name: &str, to: &str) {
        self.write(to, fs::read(data(&format!("pictures/{name}"))).unwrap());
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_senet"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear();
        command
            .env("HOME", self.folder.path())
            .env("COLUMNS", "100");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// A shell script that gets the program and its arguments as `"$@"`.
    #[cfg(unix)]
    pub(crate) fn under_shell(&self, script: &str, arguments: &[&str]) -> Command {
        let program = self.command(arguments);
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", script, "sh"])
            .arg(program.get_program())
            .args(program.get_args())
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        let set = program.get_envs();
        shell.envs(set.filter_map(|(name, value)| Some((name, value?))));
        shell
    }

    /// A command that Ctrl-C reaches: tests that run in the background ignore it, and child
    /// processes inherit that.
    #[cfg(unix)]
    pub(crate) fn interruptible(&self, arguments: &[&str]) -> Command {
        // On other systems, `env` cannot restore the default.
        let script = if cfg!(target_os = "linux") {
            "exec env --default-signal=INT \"$@\""
        } else {
            "exec \"$@\""
        };
        self.under_shell(script, arguments)
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.run_with_stdin(arguments, b"")
    }

    pub(crate) fn run_with_stdin(&self, arguments: &[&str], stdin: &[u8]) -> Output {
        let mut command = self.command(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A program that does not read its input closes the pipe.
        let _ = child.stdin.take().unwrap().write_all(stdin);
        child.wait_with_output().unwrap()
    }

    /// Runs the program and compares its output with the snapshot `name`.
    pub(crate) fn check(&self, name: &str, arguments: &[&str]) {
        self.check_with_stdin(name, arguments, b"");
    }

    pub(crate) fn check_with_stdin(&self, name: &str, arguments: &[&str], stdin: &[u8]) {
        let output = self.run_with_stdin(arguments, stdin);
        let part = |bytes: &[u8]| self.filter(&String::from_utf8_lossy(bytes));
        let text = format!(
            "$ senet {}\nexit {}\n--- stdout\n{}--- stderr\n{}",
            self.filter(&arguments.join(" ")),
            output
                .status
                .code()
                .map_or_else(|| "by signal".to_owned(), |code| code.to_string()),
            part(&output.stdout),
            part(&output.stderr),
        );
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cli/snapshots/{name}.txt"));
        if snapshots::update() {
            fs::write(&path, &text).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, expected, "{} differs", path.display());
    }

    /// Replaces what differs between machines and runs.
    fn filter(&self, text: &str) -> String {
        let folder = self.folder.path().display().to_string();
        let text = text
            .replace(&folder, "[DIR]")
            .replace(&data("").display().to_string(), "[DATA]/")
            .replace(env!("CARGO_PKG_VERSION"), "[VERSION]");
        round_decimals(&text)
    }
}

/// The objects of JSON Lines.
pub(crate) fn json_rows(stdout: &[u8]) -> Vec<serde_json::Value> {
    let lines = std::str::from_utf8(stdout).unwrap().lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

/// Cuts numbers with more than four decimals to three: the last digits depend on the CPU's vector
/// instructions.
fn round_decimals(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some(dot) = rest.find('.') {
        let (before, after) = rest.split_at(dot + 1);
        result += before;
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let whole = before[..dot]
            .bytes()
            .rev()
            .take_while(u8::is_ascii_digit)
            .count();
        // Four digits, a dot and five digits are an arXiv identifier.
        let is_number = whole > 0 && (whole, digits) != (4, 5);
        result += if is_number && digits > 4 {
            &after[..3]
        } else {
            &after[..digits]
        };
        rest = &after[digits..];
        if is_number && digits > 4 && rest.starts_with("e-") {
            // A number this small is a rounding difference.
            result.push_str("e-…");
            rest = rest[2..].trim_start_matches(|c: char| c.is_ascii_digit());
        }
    }
    result + rest
}
