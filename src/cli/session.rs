//! What the commands that run a network have in common: threads, device, model.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use candle_core::Device;
use indicatif::ProgressBar;

use super::INTERRUPTED;
use super::args::{DeviceArgs, ModelArgs};
use super::output::Messages;
use crate::cards::{DEFAULT_MODEL, DEMO_MODEL, ModelSpec};
use crate::error::Error;
use crate::hub::{HubOptions, Progress};
use crate::model::{self, Model};

/// The settings of the environment, and `--offline`.
pub(super) fn hub_options(offline: bool) -> anyhow::Result<HubOptions> {
    let mut options = HubOptions::from_env().map_err(Error::from)?;
    options.offline |= offline;
    Ok(options)
}

/// Finds the model and says which checkpoint an alias means.
pub(super) fn find(name: &str, hub: &HubOptions, messages: Messages) -> anyhow::Result<ModelSpec> {
    let download = Download::new(messages);
    let found = model::find(name, hub, &download)?;
    if let Some(note) = found.note {
        messages.note(note);
    }
    Ok(found.spec)
}

/// Opens the device and the model with the weights that the arguments name.
pub(super) fn open(
    arguments: &ModelArgs,
    adapt: impl FnOnce(&mut ModelSpec),
    messages: Messages,
) -> anyhow::Result<Model> {
    let hub = hub_options(arguments.offline)?;
    let mut spec = find(&arguments.model, &hub, messages)?;
    adapt(&mut spec);
    let device = open_device(&arguments.device, &spec.name, messages)?;
    let weights = open_weights(&spec, arguments.weights.as_deref(), &hub, messages)?;
    Ok(Model::new(spec, &weights, &device)?)
}

pub(super) fn open_weights(
    spec: &ModelSpec,
    file: Option<&Path>,
    hub: &HubOptions,
    messages: Messages,
) -> anyhow::Result<crate::weights::Weights> {
    let download = Download::new(messages);
    let weights = model::open_weights(spec, file, hub, &download);
    weights.map_err(|error| match error {
        // Somebody who just tries the program needs to know that it can do without the hub.
        Error::Hub(_) if spec.name == DEFAULT_MODEL => anyhow::Error::new(error).context(format!(
            "the weights of {DEFAULT_MODEL} are not on this machine and could not be downloaded \
             (`senet download {DEFAULT_MODEL}` gets them where there is a network; \
             `--model demo` uses {DEMO_MODEL}, which is part of the program)"
        )),
        error => error.into(),
    })
}

/// Sizes the thread pool, opens the device and says what was taken.
pub(super) fn open_device(
    arguments: &DeviceArgs,
    model: &str,
    messages: Messages,
) -> anyhow::Result<Device> {
    let threads = set_threads(arguments.threads)?;
    let open = arguments.device.open().map_err(Error::from)?;
    for reason in &open.passed_over {
        messages.note(reason);
    }
    messages.note(match open.device {
        Device::Cpu => format!(
            "{model} on cpu, {threads} thread{}",
            if threads == 1 { "" } else { "s" }
        ),
        _ => format!("{model} on {}", open.choice),
    });
    Ok(open.device)
}

/// One pool does all the work: decoding, preprocessing and the network.
fn set_threads(threads: Option<u16>) -> anyhow::Result<usize> {
    let threads = threads.map_or_else(
        || std::thread::available_parallelism().map_or(1, usize::from),
        usize::from,
    );
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .context("cannot start the threads")?;
    Ok(threads)
}

/// The first Ctrl-C lets the batch end, so that every printed row is whole; the second kills.
pub(super) fn stop_on_interrupt() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    if interrupts_are_ignored() {
        return Ok(stop);
    }
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            #[expect(clippy::exit, reason = "the user has asked twice")]
            std::process::exit(i32::from(INTERRUPTED));
        }
    })
    .context("cannot watch for Ctrl-C")?;
    Ok(stop)
}

/// A shell starts a script's background jobs with Ctrl-C ignored, and so it must stay. Linux alone
/// tells without a system call that Rust's library lacks.
fn interrupts_are_ignored() -> bool {
    const SIGINT: u32 = 2;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    mask >> (SIGINT - 1) & 1 == 1
}

/// A progress bar for each file that has to be fetched.
pub(super) struct Download {
    messages: Messages,
    bar: RefCell<Option<(String, ProgressBar)>>,
}

impl Download {
    pub(super) fn new(messages: Messages) -> Self {
        Self {
            messages,
            bar: RefCell::new(None),
        }
    }
}

impl Progress for Download {
    fn advance(&self, file: &str, done: u64, total: Option<u64>) {
        let mut bar = self.bar.borrow_mut();
        if bar.as_ref().is_none_or(|(shown, _)| shown != file) {
            self.messages.note(format!("downloading {file}"));
            let template = "{bar:30.cyan/dim} {bytes:>10} of {total_bytes}  {bytes_per_sec}  {eta}";
            *bar = Some((
                file.to_owned(),
                self.messages.bar(total.unwrap_or(0), template),
            ));
        }
        if let Some((_, bar)) = bar.as_ref() {
            if let Some(total) = total {
                bar.set_length(total);
            }
            bar.set_position(done);
            if Some(done) == total {
                bar.finish_and_clear();
            }
        }
    }
}
