//! Arguments that several commands share.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::{Args, ValueEnum};

use super::output::Messages;
use crate::device::DeviceChoice;
use crate::nn::{PrecisionChoice, PrecisionError};
use crate::preprocess::{CropMode, DecodeOptions, Interpolation, MAX_INPUT_SIZE};
use crate::zoo::Overrides;

/// Which models, and where they run.
#[derive(Args, Debug)]
pub(super) struct ModelsArgs {
    /// Checkpoint, architecture, family, local directory with config.json, or hf-hub:ORG/REPO[@REVISION];
    /// repeat it to average the probabilities of several models with the same classes
    #[arg(short, long = "model", value_name = "MODEL", default_value = crate::zoo::DEFAULT_MODEL)]
    pub models: Vec<String>,
    /// Use this weights file (.safetensors, .bin or .pth) instead of the model's own; for one model
    #[arg(short, long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// Use the classifier in this file, which `senet train --head-only` has learned for the model; for one
    /// model
    #[arg(long, value_name = "FILE", conflicts_with = "num_classes")]
    pub head: Option<PathBuf>,
    #[command(flatten)]
    pub device: DeviceArgs,
    #[command(flatten)]
    pub hub: HubArgs,
}

/// Which model, and where it runs.
#[derive(Args, Debug)]
pub(super) struct ModelArgs {
    /// Checkpoint, architecture, family, local directory with config.json, or hf-hub:ORG/REPO[@REVISION]
    #[arg(short, long, value_name = "MODEL", default_value = crate::zoo::DEFAULT_MODEL)]
    pub model: String,
    /// Use this weights file (.safetensors, .bin or .pth) instead of the model's own
    #[arg(short, long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// Use the classifier in this file, which `senet train --head-only` has learned for the model
    #[arg(long, value_name = "FILE", conflicts_with = "num_classes")]
    pub head: Option<PathBuf>,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Use only cached files; never access the network
    #[arg(long)]
    pub offline: bool,
}

/// Where weights come from.
#[derive(Args, Debug, Default)]
pub(super) struct HubArgs {
    /// Use only cached files; never access the network
    #[arg(long)]
    pub offline: bool,
    #[command(flatten)]
    pub source: SourceArgs,
}

#[derive(Args, Debug, Default)]
pub(super) struct SourceArgs {
    /// URL of the hub or a mirror [default: HF_ENDPOINT or https://huggingface.co]
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Branch, tag or commit of the model's repository [default: the model's own]
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<String>,
    /// Accept only the files listed in this lockfile (see `senet lock`)
    #[arg(long, value_name = "FILE", conflicts_with = "revision")]
    pub locked: Option<PathBuf>,
    /// Number of classes in the weights, if it differs from the model's configuration; class names are
    /// then dropped unless there are as many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub num_classes: Option<u32>,
}

impl SourceArgs {
    /// The same overrides with the number of classes given here.
    pub(super) fn complete(&self, overrides: Overrides) -> Overrides {
        Overrides {
            num_classes: self.num_classes.map(|classes| classes as usize),
            ..overrides
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct DeviceArgs {
    /// Device to run on: auto (CUDA, then Metal, then CPU), cpu, cuda, cuda:N or metal
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
    /// Precision of the network: f32, bf16, tf32 (only on CUDA) or auto (the fastest of the device; on Metal, f32)
    #[arg(
        long,
        value_name = "PRECISION",
        default_value = "f32",
        env = "SENET_PRECISION",
        value_parser = precision
    )]
    pub precision: PrecisionChoice,
    /// Number of CPU threads [default: one per physical core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

/// Changes to the model's preprocessing.
#[derive(Args, Debug)]
pub(super) struct PreprocessArgs {
    #[command(flatten)]
    pub input: InputArgs,
    #[command(flatten)]
    pub limit: LimitArgs,
    /// Ignore the EXIF orientation (that of TIFF files is always applied)
    #[arg(long)]
    pub no_exif: bool,
}

#[derive(Args, Debug)]
pub(super) struct LimitArgs {
    /// Refuse images with more pixels than this (width times height)
    #[arg(long, value_name = "PIXELS", default_value_t = DecodeOptions::default().max_pixels)]
    pub max_pixels: u64,
    /// Divide 16-bit greyscale values by 257 instead of clipping them at 255
    #[arg(long)]
    pub scale_16bit: bool,
}

/// Input settings that replace those of the card or the config.json.
#[derive(Args, Debug)]
pub(super) struct InputArgs {
    /// Input size in pixels, N or HEIGHTxWIDTH [default: the model's]
    #[arg(long, value_name = "SIZE")]
    pub img_size: Option<ImageSize>,
    /// Crop size as a fraction of the resized image [default: the model's]
    #[arg(long, value_name = "FRACTION", allow_negative_numbers = true)]
    pub crop_pct: Option<f64>,
    /// Crop mode: center, squash (ignore the aspect ratio) or border (pad) [default: the model's]
    #[arg(long, value_name = "MODE")]
    pub crop_mode: Option<Crop>,
    /// Resampling filter [default: the model's]
    #[arg(long, value_name = "FILTER")]
    pub interpolation: Option<Filter>,
    /// Mean to subtract from each channel, on a scale from 0 to 1; one number or three [default: the
    /// model's]
    #[arg(long, value_name = "RED,GREEN,BLUE", allow_hyphen_values = true)]
    pub mean: Option<Channels>,
    /// Standard deviation to divide each channel by, on the same scale as --mean; one number or three
    /// [default: the model's]
    #[arg(long, value_name = "RED,GREEN,BLUE", allow_hyphen_values = true)]
    pub std: Option<Channels>,
}

impl InputArgs {
    pub(super) fn overrides(&self) -> Overrides {
        Overrides {
            size: self.img_size.map(|size| size.0),
            crop_pct: self.crop_pct,
            crop_mode: self.crop_mode.map(CropMode::from),
            interpolation: self.interpolation.map(Interpolation::from),
            mean: self.mean.map(|mean| mean.0),
            std: self.std.map(|std| std.0),
            num_classes: None,
        }
    }
}

/// Number of images whose 16-bit greyscale was clipped at 255.
pub(super) static CLIPPED: AtomicU64 = AtomicU64::new(0);

/// Reports that number.
pub(super) fn note_clipped(messages: Messages) {
    // Relaxed: the threads that decoded have been waited for.
    let count = CLIPPED.load(Ordering::Relaxed);
    if count > 0 {
        messages.note(format!(
            "16-bit greyscale was clipped at 255, as in Pillow, in {count} image{}; \
             `--scale-16bit` scales it instead",
            if count == 1 { "" } else { "s" }
        ));
    }
}

impl PreprocessArgs {
    pub(super) fn decode_options(&self) -> DecodeOptions {
        DecodeOptions {
            max_pixels: self.limit.max_pixels,
            exif: !self.no_exif,
            scale_16bit: self.limit.scale_16bit,
            clipped: Some(&CLIPPED),
        }
    }
}

/// A precision on the command line or in the environment, where an empty variable counts as none.
fn precision(text: &str) -> Result<PrecisionChoice, PrecisionError> {
    match text {
        "" => Ok(PrecisionChoice::default()),
        text => text.parse(),
    }
}

/// A probability on the command line.
pub(super) fn probability(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.0..=1.0).contains(&number) => Ok(number),
        _ => Err("expected a number from 0 to 1".into()),
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Crop {
    Center,
    Squash,
    Border,
}

impl From<Crop> for CropMode {
    fn from(crop: Crop) -> Self {
        match crop {
            Crop::Center => Self::Center,
            Crop::Squash => Self::Squash,
            Crop::Border => Self::Border,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Filter {
    Nearest,
    Box,
    Bilinear,
    Hamming,
    Bicubic,
    Lanczos,
}

impl From<Filter> for Interpolation {
    fn from(filter: Filter) -> Self {
        match filter {
            Filter::Nearest => Self::Nearest,
            Filter::Box => Self::Box,
            Filter::Bilinear => Self::Bilinear,
            Filter::Hamming => Self::Hamming,
            Filter::Bicubic => Self::Bicubic,
            Filter::Lanczos => Self::Lanczos,
        }
    }
}

/// Height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ImageSize(pub [usize; 2]);

impl FromStr for ImageSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let side = |text: &str| match text.parse::<usize>() {
            Ok(pixels @ 1..=MAX_INPUT_SIZE) => Ok(pixels),
            _ => Err(format!(
                "expected N or HEIGHTxWIDTH, each from 1 to {MAX_INPUT_SIZE} pixels"
            )),
        };
        match text.split_once('x') {
            Some((height, width)) => Ok(Self([side(height)?, side(width)?])),
            None => side(text).map(|side| Self([side, side])),
        }
    }
}

/// Red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Channels(pub [f32; 3]);

impl FromStr for Channels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let values: Result<Vec<f32>, _> = text.split(',').map(|part| part.trim().parse()).collect();
        match values.as_deref() {
            Ok(&[value]) => Ok(Self([value; 3])),
            Ok(&[red, green, blue]) => Ok(Self([red, green, blue])),
            _ => Err("expected one number, or three separated by commas".into()),
        }
    }
}
