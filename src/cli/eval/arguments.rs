//! The arguments of `senet eval`, resolved to options of the library.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};

use super::files::{Files, Output};
use super::measure::Request;
use crate::cli::args::{CLIPPED, DeviceArgs, HubArgs, InputArgs, LimitArgs, probability};
use crate::cli::format::FormatArgs;
use crate::cli::output::Messages;
use crate::error::Error;
use crate::eval::{Classes, DatasetOptions, EvalOptions, FolderOrder, LabelIds, Shard};
use crate::labels::LabelSet;
use crate::preprocess::{DecodeOptions, Views};
use crate::zoo::ModelSpec;

/// Measure accuracy on labelled images
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  \
        senet eval imagenet/val --model se-resnet50 --expect\n  \
        senet eval images/ --labels labels.csv --json\n  \
        senet eval images/ --html report.html\n  \
        senet eval imagenet/val --results a.jsonl --shard 1/2     # on one machine\n  \
        senet eval imagenet/val --results b.jsonl --shard 2/2     # on another\n  \
        senet eval merge a.jsonl b.jsonl --html all.html\n  \
        senet eval archives/ -m senet154 -m se-resnet50 --ensemble  # each image is decoded once\n  \
        curl -sL https://example.org/000.tar.gz | senet eval - -m senet154\n  \
        senet eval imagenet-r/ --valid-labels imagenet-r\n\n\
        A class folder must be named by WordNet id, class name or index. An image that cannot be read\n\
        counts as failed and is excluded from every figure; its error goes to stderr and the exit code\n\
        is 1."
)]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    /// Directories with one subdirectory of images per class; tar archives (.tar, .tar.gz) of such
    /// directories or in WebDataset format; Parquet files (builds with the feature parquet);
    /// directories that contain any of these; or - for a tar archive on standard input
    #[arg(value_name = "DATA", required = true)]
    pub(super) data: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) selection: SelectionArgs,
    /// Evaluate only shard INDEX of COUNT (from 1/COUNT to COUNT/COUNT): every COUNT-th image
    #[arg(long, value_name = "INDEX/COUNT")]
    pub(super) shard: Option<Shard>,
    /// Write the result of each image to FILE as JSON Lines; with several models, FILE is a directory
    /// that gets one such file for each
    #[arg(long, value_name = "FILE")]
    pub(super) results: Option<PathBuf>,
    /// Resume an interrupted run: keep the results in the --results file and evaluate the remaining
    /// images; starts a new run if there is no file
    #[arg(long, requires = "results")]
    pub(super) resume: bool,
    /// Evaluate a multi-label model: each class has its own probability (sigmoid). Labels come from
    /// --labels FILE, which may list any number of classes for each image
    #[arg(long)]
    pub(super) multi_label: bool,
    /// Compare with the published accuracy for this input size and crop; the exit code is 1 if it lies
    /// outside the confidence interval
    #[arg(long)]
    pub(super) expect: bool,
    #[command(flatten)]
    pub(super) form: Form,
    /// Model, as for `senet classify`; repeat it to evaluate several models in one pass
    #[arg(short, long = "model", value_name = "MODEL", default_value = crate::zoo::DEFAULT_MODEL)]
    pub(super) models: Vec<String>,
    /// Also evaluate the average of the models' probabilities
    #[arg(long)]
    pub(super) ensemble: bool,
    /// Use this weights file (.safetensors, .bin or .pth) instead of the model's own; for one model
    #[arg(short, long, value_name = "FILE")]
    pub(super) weights: Option<PathBuf>,
    /// Use the classifier in this file, which `senet train --head-only` has learned for the model
    #[arg(long, value_name = "FILE", conflicts_with = "num_classes")]
    pub(super) head: Option<PathBuf>,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

/// The images and their labels.
#[derive(Args, Debug)]
#[group(requires = "data")]
pub(in crate::cli) struct SelectionArgs {
    /// File with the class of each image: lines of NAME CLASS (separated by a tab, comma or space),
    /// where NAME is the path inside DATA; a JSON object {NAME: CLASS}; or one class number per line
    /// (or a JSON list), where line N is for the image whose name ends in N
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) labels: Option<PathBuf>,
    /// How to read numeric labels and folder names [default: index; an error if a list of numbers may
    /// also be devkit]
    #[arg(long, value_name = "SCHEME")]
    pub(super) label_ids: Option<LabelIdsArg>,
    /// How numbered class folders map to the model's outputs: numeric, by the number itself; or string,
    /// by position among the names sorted as strings (0, 1, 10, 2), as in torchvision's ImageFolder
    #[arg(long, value_name = "ORDER", conflicts_with = "labels")]
    pub(super) folder_order: Option<FolderOrderArg>,
    /// Continue if a class folder has no readable image, and evaluate the other classes
    #[arg(long)]
    pub(super) allow_empty_classes: bool,
    /// Only let the model answer with these classes: imagenet-a, imagenet-r, or a file with one class
    /// on each line
    #[arg(long, value_name = "CLASSES")]
    pub(super) valid_labels: Option<String>,
    /// File that maps folder names or labels to classes, with lines of NAME CLASS or a JSON object as
    /// for --labels; images whose CLASS is - are excluded
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) class_map: Option<PathBuf>,
    /// Evaluate at most N images, evenly spread over the whole data set
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) limit: Option<u32>,
}

/// How the images are run through the networks.
#[derive(Args, Debug)]
pub(in crate::cli) struct RunArgs {
    /// Images per forward pass [default: 8, on a GPU 64]
    #[arg(short, long, value_name = "N", requires = "data",
        value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(super) batch_size: Option<u32>,
    #[command(flatten)]
    pub(super) device: DeviceArgs,
    #[command(flatten)]
    pub(super) hub: HubArgs,
    /// Average the probabilities of several views of each image [default: one view, the center crop]
    #[arg(
        long,
        value_name = "VIEWS",
        requires = "data",
        default_value = "one",
        hide_default_value = true
    )]
    pub(super) views: ViewsArg,
    /// Use the larger input size (and its crop) that the training recipe was tested at; an error if the
    /// model has none
    #[arg(long, requires = "data", conflicts_with_all = ["img_size", "crop_pct"])]
    pub(super) test_size: bool,
    #[command(flatten)]
    pub(in crate::cli) input: InputArgs,
    #[command(flatten)]
    pub(super) limit: LimitArgs,
    /// Rotate images by their EXIF orientation (always done for TIFF files); off by default, as in
    /// published accuracies
    #[arg(long, requires = "data")]
    pub(super) exif: bool,
}

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Combine the results of all shards into one report
    Merge {
        /// Files written by `senet eval --results`
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        form: Form,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum LabelIdsArg {
    /// From 0, in the order of the model's outputs (as in Caffe's lists)
    Index,
    /// From 1, in the order of the model's outputs
    FromOne,
    /// From 1, in the order of ImageNet's development kit
    Devkit,
}

impl From<LabelIdsArg> for LabelIds {
    fn from(ids: LabelIdsArg) -> Self {
        match ids {
            LabelIdsArg::Index => Self::Index,
            LabelIdsArg::FromOne => Self::FromOne,
            LabelIdsArg::Devkit => Self::Devkit,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum FolderOrderArg {
    Numeric,
    String,
}

impl From<FolderOrderArg> for FolderOrder {
    fn from(order: FolderOrderArg) -> Self {
        match order {
            FolderOrderArg::Numeric => Self::Numeric,
            FolderOrderArg::String => Self::String,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ViewsArg {
    #[value(hide = true)]
    One,
    /// The crop and its mirror image
    Flip,
    /// The four corner crops, the center crop, and their mirror images
    TenCrop,
}

impl Arguments {
    /// All files that are read, and the results file.
    pub(super) fn kept(&self) -> Vec<&Path> {
        let selection = &self.selection;
        let valid = selection.valid_labels.as_deref().map(Path::new);
        let single = [
            &self.results,
            &self.weights,
            &self.head,
            &selection.labels,
            &selection.class_map,
        ];
        let single = single.into_iter().filter_map(Option::as_deref);
        let data = self.data.iter().map(PathBuf::as_path);
        data.chain(single).chain(valid).collect()
    }

    pub(super) fn request(&self, messages: Messages) -> Request<'_> {
        Request {
            models: &self.models,
            weights: self.weights.as_deref(),
            head: self.head.as_deref(),
            data: &self.data,
            selection: &self.selection,
            run: &self.run,
            multi_label: self.multi_label,
            messages,
        }
    }

    pub(super) fn options(&self) -> EvalOptions {
        EvalOptions {
            shard: self.shard.unwrap_or_default(),
            ensemble: self.ensemble,
            results: self.results.clone(),
            resume: self.resume,
            ..self.run.options()
        }
    }
}

impl SelectionArgs {
    /// How names and numbers are resolved to classes.
    pub(in crate::cli) fn classes<'a>(&self, labels: &'a LabelSet) -> anyhow::Result<Classes<'a>> {
        let mut classes = Classes::new(labels);
        if let Some(map) = &self.class_map {
            classes.read_map(map).map_err(Error::from)?;
        }
        if let Some(ids) = self.label_ids {
            classes.set_label_ids(ids.into()).map_err(Error::from)?;
        }
        Ok(classes)
    }

    pub(in crate::cli) fn dataset_options(
        &self,
        classes: &Classes<'_>,
        multi_label: bool,
    ) -> Result<DatasetOptions, Error> {
        let valid = self.valid_labels.as_deref();
        Ok(DatasetOptions {
            labels: self.labels.clone(),
            multi_label,
            valid: valid.map(|name| classes.subset(name)).transpose()?,
            limit: self.limit.map(|limit| limit as usize),
            order: self.folder_order.map(FolderOrder::from),
            allow_empty: self.allow_empty_classes,
        })
    }
}

impl RunArgs {
    pub(in crate::cli) fn options(&self) -> EvalOptions {
        EvalOptions {
            views: self.views.into(),
            decode: DecodeOptions {
                max_pixels: self.limit.max_pixels,
                exif: self.exif,
                scale_16bit: self.limit.scale_16bit,
                clipped: Some(&CLIPPED),
            },
            ..EvalOptions::default()
        }
    }

    pub(super) fn adapt(&self, spec: &mut ModelSpec) -> anyhow::Result<()> {
        if self.test_size {
            let Some(size) = spec.input.test_size else {
                bail!("the card of {} has no test size", spec.name);
            };
            spec.input.size = size;
            spec.input.crop_pct = spec.input.test_crop_pct.unwrap_or(spec.input.crop_pct);
        }
        Ok(())
    }
}

impl From<ViewsArg> for Views {
    fn from(views: ViewsArg) -> Self {
        match views {
            ViewsArg::One => Self::One,
            ViewsArg::Flip => Self::Flip,
            ViewsArg::TenCrop => Self::TenCrop,
        }
    }
}

/// The form of the report.
#[derive(Args, Debug)]
pub(super) struct Form {
    /// Values of k for top-k accuracy, comma-separated
    #[arg(short = 'k', long, value_name = "K", default_value = "1,5", value_delimiter = ',',
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) top_k: Vec<u32>,
    /// With --multi-label, the probability above which a class counts as predicted [default: 0.5]
    #[arg(long, value_name = "P", value_parser = probability)]
    pub(super) threshold: Option<f64>,
    #[command(flatten)]
    pub(super) format: FormatArgs,
    /// Also write the report as an HTML page, with thumbnails of the most confident mistakes (names
    /// only in `senet eval merge`)
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
    /// Also write the result of each image to a Parquet file (builds with the feature parquet)
    #[arg(long, value_name = "FILE")]
    pub(super) parquet: Option<PathBuf>,
}

impl Form {
    /// The files to write in addition to the report; they must not replace one of `kept`.
    pub(super) fn files(&self, kept: &[&Path]) -> Result<Files, Error> {
        #[cfg(not(feature = "parquet"))]
        if let Some(path) = &self.parquet {
            return Err(Error::from(crate::eval::EvalError::NoParquet {
                path: path.display().to_string(),
            }));
        }
        let page = self.html.as_deref();
        Ok(Files {
            page: page.map(|path| Output::new(path, kept)).transpose()?,
            #[cfg(feature = "parquet")]
            table: {
                let kept: Vec<&Path> = kept.iter().copied().chain(page).collect();
                let table = self.parquet.as_deref();
                table.map(|path| Output::new(path, &kept)).transpose()?
            },
        })
    }

    /// Rejects options for the other kind of model.
    pub(super) fn check(&self, multi_label: bool) -> anyhow::Result<()> {
        if multi_label && (self.html.is_some() || self.parquet.is_some()) {
            bail!(
                "a page or a table shows one class for each image, and a multi-label model may \
                 answer with several: `--json` or `--results` has all figures"
            );
        }
        if !multi_label && self.threshold.is_some() {
            bail!("`--threshold` is for multi-label models: `--multi-label`");
        }
        Ok(())
    }

    pub(super) fn threshold(&self) -> f64 {
        self.threshold.unwrap_or(0.5)
    }

    pub(super) fn ks(&self) -> Vec<usize> {
        self.top_k.iter().map(|&k| k as usize).collect()
    }
}

/// The checks that clap cannot express.
pub(super) fn check(arguments: &Arguments) -> anyhow::Result<()> {
    let models = &arguments.models;
    arguments.form.check(arguments.multi_label)?;
    if arguments.multi_label {
        let selection = &arguments.selection;
        if selection.labels.is_none() {
            bail!(
                "`senet eval` measures single-label models by folders and archives; for \
                 `--multi-label` the classes of each image have to be listed: `--labels FILE` in \
                 JSON, {{\"a.jpg\": [\"cat\", \"dog\"], \"b.jpg\": []}}"
            );
        }
        if arguments.expect || selection.valid_labels.is_some() {
            bail!("published accuracies and valid classes are about single-label models");
        }
    }
    let form = &arguments.form;
    if models.len() > 1 && (form.html.is_some() || form.parquet.is_some()) {
        bail!(
            "a page or a table is about one model: `--results` keeps all, and \
             `senet eval merge FILE --html PAGE --parquet TABLE` makes both of each"
        );
    }
    if arguments.expect
        && (arguments.selection.valid_labels.is_some()
            || !matches!(arguments.run.views, ViewsArg::One))
    {
        bail!("published accuracies are those of one view and all classes");
    }
    if models.len() < 2 && arguments.ensemble {
        bail!("an ensemble has several members: `-m MODEL -m MODEL --ensemble`");
    }
    Ok(())
}
