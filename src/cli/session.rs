//! What commands that run a network share: threads, device, model.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use candle_core::Device;

use super::INTERRUPTED;
use super::args::{DeviceArgs, HubArgs, ModelArgs, ModelsArgs, SourceArgs};
use super::output::Messages;
use super::transfers::Transfers;
use crate::device::{DeviceChoice, DeviceError, OpenDevice};
use crate::error::Error;
use crate::hub::{HubOptions, Lockfile};
use crate::machine;
use crate::model::{self, Attached, HeadFile, Model, ModelOptions};
use crate::nets::NetError;
use crate::nn::{CandleEngine, Precision, PrecisionChoice};
use crate::preprocess::Transform;
use crate::store;
use crate::weights::Weights;
use crate::zoo::{Card, DEFAULT_MODEL, DEMO_MODEL, ModelSpec, Overrides, Zoo};

/// The settings of the environment, and `--offline`.
pub(super) fn hub_options(offline: bool) -> anyhow::Result<HubOptions> {
    let mut options = HubOptions::from_env().map_err(Error::from)?;
    options.offline |= offline;
    Ok(options)
}

/// The settings of the environment, replaced where the arguments say so.
pub(super) fn hub_from(arguments: &HubArgs) -> anyhow::Result<HubOptions> {
    source(hub_options(arguments.offline)?, &arguments.source)
}

pub(super) fn source(
    mut options: HubOptions,
    arguments: &SourceArgs,
) -> anyhow::Result<HubOptions> {
    if let Some(endpoint) = &arguments.endpoint {
        endpoint
            .trim_end_matches('/')
            .clone_into(&mut options.endpoint);
    }
    if let Some(path) = &arguments.locked {
        options.locked = Some(Arc::new(Lockfile::read(path).map_err(Error::from)?));
    }
    Ok(options)
}

/// Finds the model with the arguments' settings, and returns both.
pub(super) fn find_from(
    name: &str,
    overrides: &Overrides,
    arguments: &HubArgs,
    messages: Messages,
) -> anyhow::Result<(ModelSpec, HubOptions)> {
    let hub = hub_from(arguments)?;
    let spec = find_at(name, &arguments.source, overrides, &hub, messages)?;
    Ok((spec, hub))
}

/// Finds the model, at a revision if one is given, and notes which checkpoint an alias means.
pub(super) fn find_at(
    name: &str,
    from: &SourceArgs,
    overrides: &Overrides,
    hub: &HubOptions,
    messages: Messages,
) -> anyhow::Result<ModelSpec> {
    let overrides = &from.complete(*overrides);
    let Some(revision) = from.revision.as_deref() else {
        return find(name, overrides, hub, messages);
    };
    if let Some((repo, own)) = store::named_repository(name) {
        if own.is_some() {
            bail!("`{name}` has a revision of its own: `--revision {revision}` contradicts it");
        }
        let name = format!("hf-hub:{repo}@{revision}");
        return find(&name, overrides, hub, messages);
    }
    let mut spec = find(name, overrides, hub, messages)?;
    store::at_revision(&mut spec, revision)?;
    Ok(spec)
}

/// Finds the model and notes which checkpoint an alias means.
pub(super) fn find(
    name: &str,
    overrides: &Overrides,
    hub: &HubOptions,
    messages: Messages,
) -> anyhow::Result<ModelSpec> {
    let transfers = Transfers::new(messages);
    let found = store::resolve(name, overrides, hub, &transfers.progress(name))?;
    for note in found.note.iter().chain(&found.spec.notes) {
        messages.note(note);
    }
    note_license(&found.spec, messages);
    Ok(found.spec)
}

/// Notes a licence with conditions, once for each model.
fn note_license(spec: &ModelSpec, messages: Messages) {
    static NOTED: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let card = Zoo::builtin().get(&spec.name);
    let Some(note) = card.and_then(Card::license_note) else {
        return;
    };
    let mut noted = NOTED.lock().unwrap_or_else(PoisonError::into_inner);
    if !noted.contains(&note) {
        messages.note(&note);
        noted.push(note);
    }
}

/// A model whose weights are open but not loaded yet.
pub(super) struct Opened {
    pub(super) transform: Transform,
    pub(super) hub: HubOptions,
    pub(super) options: ModelOptions,
    spec: ModelSpec,
    weights: Weights,
    messages: Messages,
}

impl Opened {
    fn new(
        found: FoundModel,
        weights: Option<&Path>,
        options: ModelOptions,
        hub: &HubOptions,
        messages: Messages,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            transform: model::transform(&found.spec, &options.device).map_err(Error::from)?,
            weights: found.open_weights(weights, hub, messages)?,
            hub: hub.clone(),
            spec: found.spec,
            options,
            messages,
        })
    }

    /// SHA-256 of the weights.
    pub(super) fn fingerprint(&self) -> anyhow::Result<String> {
        Ok(self.weights.fingerprint().map_err(Error::from)?)
    }

    pub(super) fn load(self) -> anyhow::Result<Model> {
        let transform = Some(self.transform);
        let model = Model::with_transform(self.spec, transform, &self.weights, &self.options)?;
        Ok(noted(model, self.messages))
    }
}

/// Builds the network, and notes how its tensors were found in the file.
pub(super) fn load(
    spec: ModelSpec,
    weights: &Weights,
    options: &ModelOptions,
    messages: Messages,
) -> anyhow::Result<Model> {
    let model = Model::with_options(spec, weights, options)?;
    Ok(noted(model, messages))
}

fn noted(model: Model, messages: Messages) -> Model {
    for note in model.notes() {
        messages.note(note);
    }
    model
}

/// Finds the models, and opens the device and the weights that the arguments name.
pub(super) fn open_all(
    arguments: &ModelsArgs,
    overrides: &Overrides,
    messages: Messages,
) -> anyhow::Result<Vec<Opened>> {
    let from = &arguments.hub.source;
    let files = [
        ("--weights", arguments.weights.as_deref()),
        ("--head", arguments.head.as_deref()),
    ];
    check_models(&arguments.models, files, from)?;
    let hub = hub_from(&arguments.hub)?;
    let find = |name: &String| {
        let spec = find_at(name, from, overrides, &hub, messages)?;
        FoundModel::new(spec, arguments.head.as_deref(), overrides)
    };
    let found = arguments.models.iter().map(find);
    let found = found.collect::<anyhow::Result<Vec<_>>>()?;
    let specs: Vec<&ModelSpec> = found.iter().map(|found| &found.spec).collect();
    // Before weights are downloaded.
    model::match_classes(specs.iter().copied()).map_err(Error::from)?;
    let names: Vec<&str> = specs.iter().map(|spec| &*spec.name).collect();
    let options = open_device(&arguments.device, &names.join(", "), messages)?;
    let weights = arguments.weights.as_deref();
    let found = found.into_iter();
    found
        .map(|found| Opened::new(found, weights, options.clone(), &hub, messages))
        .collect()
}

/// As [`open_all`], for a command that takes one model.
pub(super) fn open(
    arguments: &ModelArgs,
    from: &SourceArgs,
    overrides: &Overrides,
    messages: Messages,
) -> anyhow::Result<Opened> {
    let hub = source(hub_options(arguments.offline)?, from)?;
    let spec = find_at(&arguments.model, from, overrides, &hub, messages)?;
    let found = FoundModel::new(spec, arguments.head.as_deref(), overrides)?;
    let options = open_device(&arguments.device, &found.spec.name, messages)?;
    Opened::new(found, arguments.weights.as_deref(), options, &hub, messages)
}

/// Refuses options that are about one model if several are given, and a model that is given twice.
pub(super) fn check_models(
    models: &[String],
    files: [(&str, Option<&Path>); 2],
    from: &SourceArgs,
) -> anyhow::Result<()> {
    for (option, _) in files.iter().filter(|(_, file)| file.is_some()) {
        if models.len() > 1 {
            bail!(
                "`{option}` is for one model, and {} are given: `-m DIR` names a directory with a \
                 config.json and weights",
                models.len()
            );
        }
    }
    if models.len() > 1 && from.revision.is_some() {
        bail!("`--revision` is for one model: `-m hf-hub:ORG/REPO@REVISION` names one of several");
    }
    let mut places = 1..models.len();
    if let Some(twice) = places.find(|&place| models[..place].contains(&models[place])) {
        bail!("{} is given twice", models[twice]);
    }
    Ok(())
}

/// A model that was found, before its weights are open.
pub(super) struct FoundModel {
    pub(super) spec: ModelSpec,
    /// The model with its own classifier, and the one in its place.
    head: Option<(ModelSpec, Attached)>,
}

impl FoundModel {
    /// With the classifier of a `--head`; what the arguments override stays so.
    pub(super) fn new(
        mut spec: ModelSpec,
        head: Option<&Path>,
        overrides: &Overrides,
    ) -> anyhow::Result<Self> {
        let Some(path) = head else {
            return Ok(Self { spec, head: None });
        };
        let base = spec.clone();
        let attached = HeadFile::open(path)?.attach(&mut spec);
        spec.set(overrides);
        let head = Some((base, attached));
        Ok(Self { spec, head })
    }

    /// The weights, with the classifier of the `--head`.
    pub(super) fn open_weights(
        &self,
        file: Option<&Path>,
        hub: &HubOptions,
        messages: Messages,
    ) -> anyhow::Result<Weights> {
        Ok(match &self.head {
            None => open_weights(&self.spec, file, hub, messages)?,
            Some((base, head)) => head.weights(&open_weights(base, file, hub, messages)?)?,
        })
    }
}

pub(super) fn open_weights(
    spec: &ModelSpec,
    file: Option<&Path>,
    hub: &HubOptions,
    messages: Messages,
) -> anyhow::Result<Weights> {
    let transfers = Transfers::new(messages);
    let weights = store::open(spec, file, hub, &transfers.progress(&spec.name));
    weights.map_err(|error| match error {
        // Someone trying the program should learn that it also works without the hub.
        Error::Hub(_) if spec.name == DEFAULT_MODEL => anyhow::Error::new(error).context(format!(
            "the weights of {DEFAULT_MODEL} are not cached and could not be downloaded \
             (`senet download {DEFAULT_MODEL}` fetches them where there is a network; \
             `--model demo` uses {DEMO_MODEL}, which is built in)"
        )),
        error => error.into(),
    })
}

/// Sizes the thread pool, opens the device and notes which one, and in which precision.
pub(super) fn open_device(
    arguments: &DeviceArgs,
    model: &str,
    messages: Messages,
) -> anyhow::Result<ModelOptions> {
    let threads = set_threads(arguments.threads)?;
    let open = arguments.device.open().map_err(Error::from)?;
    for reason in &open.passed_over {
        messages.note(reason);
    }
    let open = with_kernels(open, arguments.device, messages)?;
    let precision = arguments.precision.resolve(&open.device);
    let precision = precision.map_err(|error| Error::from(NetError::from(error)))?;
    let place = match open.device {
        Device::Cpu => format!(
            "cpu, {threads} thread{}",
            if threads == 1 { "" } else { "s" }
        ),
        _ => open.choice.to_string(),
    };
    // On the CPU, f32 goes without saying.
    let is_plain = open.device.is_cpu() && arguments.precision == PrecisionChoice::default();
    messages.note(match is_plain {
        true => format!("{model} on {place}"),
        false => format!("{model} on {place}, {precision}"),
    });
    if !precision.is_native(&open.device) {
        messages.note(format!(
            "this CPU has no instructions for {precision}: it computes in f32 and rounds, which takes longer \
             than `--precision f32`"
        ));
    }
    Ok(ModelOptions {
        device: open.device,
        precision,
        ..ModelOptions::default()
    })
}

/// The device, if our kernels run on it; instead of one that was chosen by `auto`, the CPU.
fn with_kernels(
    open: OpenDevice,
    asked: DeviceChoice,
    messages: Messages,
) -> anyhow::Result<OpenDevice> {
    if open.device.is_cpu() {
        return Ok(open);
    }
    let Err(error) = CandleEngine::new(&open.device, Precision::F32) else {
        return Ok(open);
    };
    let error = DeviceError::Unavailable {
        choice: open.choice,
        reason: error.to_string(),
    };
    if asked != DeviceChoice::Auto {
        return Err(Error::from(error).into());
    }
    messages.note(error.to_string());
    Ok(DeviceChoice::Cpu.open().map_err(Error::from)?)
}

/// Images per forward pass, if the user does not say.
const CPU_BATCH: usize = 8;

/// The same on a GPU: the last stages have 49 pixels an image, and a product of some thousand columns is
/// what fills it.
const GPU_BATCH: usize = 64;

/// Images per forward pass, of `images` in all. Notes how many, if it is the default of a GPU.
pub(super) fn batch_size(
    given: Option<u32>,
    images: usize,
    device: &Device,
    messages: Messages,
) -> usize {
    match (given, device) {
        (Some(given), _) => given as usize,
        (None, Device::Cpu) => CPU_BATCH,
        (None, _) if images <= GPU_BATCH => images,
        (None, _) => {
            messages.note(format!(
                "{GPU_BATCH} images per forward pass; `--batch-size` changes that"
            ));
            GPU_BATCH
        }
    }
}

/// Notes that a device had too little memory for whole batches.
pub(super) fn note_reduced_batch(model: &Model, messages: Messages) {
    if let Some(images) = model.network().reduced_batch() {
        messages.note(format!(
            "the device has too little memory for the batch: {} ran {images} image{} at a time; \
             `--batch-size {images}` does so from the start",
            model.spec().name,
            if images == 1 { "" } else { "s" }
        ));
    }
}

/// Notes that the CPU is faster in another precision, if the network has computed for so long that it
/// matters.
pub(super) fn note_long_run(model: &Model, computed: Duration, messages: Messages) {
    const LONG: Duration = Duration::from_secs(60);
    let network = model.network();
    if computed >= LONG {
        note_faster_precision(network.device(), network.precision(), messages);
    }
}

/// Notes that the CPU is faster in another precision than f32.
pub(super) fn note_faster_precision(device: &Device, precision: Precision, messages: Messages) {
    let fastest = Precision::fastest(device);
    if device.is_cpu() && precision == Precision::F32 && fastest != precision {
        messages.note(format!(
            "this CPU is faster with `--precision {fastest}`, whose probabilities differ slightly"
        ));
    }
}

/// One pool does all the work: decoding, preprocessing and the forward pass.
pub(super) fn set_threads(threads: Option<u16>) -> anyhow::Result<usize> {
    let threads = threads.map_or_else(machine::threads, usize::from);
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .context("cannot start the threads")?;
    Ok(threads)
}

/// The first Ctrl-C lets the batch finish, so that every printed row is whole; the second exits at once.
pub(super) fn stop_on_interrupt() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    if interrupts_are_ignored() {
        return Ok(stop);
    }
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        // Relaxed: as in `is_stopped`, and of two swaps one is the second in any order.
        if flag.swap(true, Ordering::Relaxed) {
            #[expect(clippy::exit, reason = "the user has pressed Ctrl-C twice")]
            std::process::exit(i32::from(INTERRUPTED));
        }
    })
    .context("cannot watch for Ctrl-C")?;
    Ok(stop)
}

/// Whether Ctrl-C was pressed.
pub(super) fn is_stopped(stop: &AtomicBool) -> bool {
    // Relaxed: the flag is all that the handler says, and a batch more or less does not matter.
    stop.load(Ordering::Relaxed)
}

/// The first Ctrl-C exits at once: partial downloads are kept anyway.
pub(super) fn exit_on_interrupt() -> anyhow::Result<()> {
    if interrupts_are_ignored() {
        return Ok(());
    }
    ctrlc::set_handler(|| {
        #[expect(clippy::exit, reason = "a download may block in a system call")]
        std::process::exit(i32::from(INTERRUPTED));
    })
    .context("cannot watch for Ctrl-C")
}

/// A shell starts a script's background jobs with Ctrl-C ignored, and that must be respected. Only
/// Linux reports it in a file; elsewhere it takes a system call that Rust's library lacks.
fn interrupts_are_ignored() -> bool {
    const SIGINT: u32 = 2;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    mask >> (SIGINT - 1) & 1 == 1
}
