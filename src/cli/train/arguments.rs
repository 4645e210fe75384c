//! The arguments of `senet train`.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::{Args, ValueEnum};

use crate::cli::args::{DeviceArgs, HubArgs, PreprocessArgs};
use crate::cli::format::FormatArgs;
use crate::eval::GroupBy;
use crate::train::TrainOptions;

/// Learn a classifier of your own classes
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    senet train photos/ -m se-resnet50 -o birds\n  \
    senet classify -m birds new.jpg\n  \
    senet train photos/ -m se-resnet50 -o birds --features birds.features --html report.html --force\n  \
    senet train images/ --labels labels.csv --group-by patient -o moles\n  \
    senet train photos/ -m se-resnet50 -o birds --head-only\n  \
    senet classify -m se-resnet50 --head birds/head.safetensors new.jpg\n\n\
    The network stays as it is, but for its last layer: multinomial logistic regression on the\n\
    features before it. DIR opens in `senet` and, for networks that timm has, in timm:\n\
    timm.create_model(\"local-dir:DIR\", pretrained=True). If an image cannot be read, the model is\n\
    learned from the others, and the exit code is 1.")]
pub(in crate::cli) struct Arguments {
    /// Directories with one subdirectory of images per class; tar archives (.tar, .tar.gz) of such
    /// directories or in WebDataset format; Parquet files (builds with the feature parquet); or
    /// directories that contain any of these
    #[arg(value_name = "DATA", required = true)]
    pub(super) data: Vec<PathBuf>,
    /// Directory to write the model to
    #[arg(short, long, value_name = "DIR")]
    pub(super) output: PathBuf,
    /// Replace DIR if it is a model directory; it is replaced as a whole, or not at all
    #[arg(long)]
    pub(super) force: bool,
    /// Write only the classifier, DIR/head.safetensors, for `--model MODEL --head FILE`
    #[arg(long)]
    pub(super) head_only: bool,
    /// Also measure the model on these images, which it does not learn from (labelled by `--labels`, they
    /// are measured by `senet eval -m DIR`)
    #[arg(long, value_name = "DATA2")]
    pub(super) val: Vec<PathBuf>,
    /// File with the class of each image: lines of NAME CLASS (separated by a tab, comma or space), where
    /// NAME is the path inside DATA; a table with more columns, named in its first line, the first two
    /// of which are the image and its class; a JSON object {NAME: CLASS}; or one class number per line,
    /// where line N is for the image whose name ends in N
    #[arg(long, value_name = "FILE", conflicts_with = "val")]
    pub(super) labels: Option<PathBuf>,
    /// Never learn from some images of a group and test on others: `folder`, the directory that an image is
    /// in, below that of its class; or a column of the table of labels or of the Parquet file
    #[arg(long, value_name = "folder|COLUMN")]
    pub(super) group_by: Option<GroupBy>,
    /// Inverse strengths of regularization to choose from, scikit-learn's C
    #[arg(
        long,
        value_name = "C",
        value_delimiter = ',',
        default_value = "0.0001,0.001,0.01,0.1,1,10,100"
    )]
    pub(super) strength: Vec<f64>,
    /// Folds of the cross-validation that chooses the strength and gives all figures
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub(super) folds: u32,
    /// Let all classes count the same, however many images they have
    #[arg(long, value_name = "WEIGHT")]
    pub(super) class_weight: Option<ClassWeight>,
    /// Also learn from the mirror image of each image
    #[arg(long, value_name = "AUGMENTATION")]
    pub(super) augment: Option<Augmentation>,
    /// Seed of the random division into folds
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) seed: u64,
    /// Keep the features of the images in FILE, and take from it those that are there: of an interrupted
    /// run, or of earlier images
    #[arg(long, value_name = "FILE")]
    pub(super) features: Option<PathBuf>,
    /// Also write the report as an HTML page, with thumbnails of the images whose label is doubtful
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
    #[command(flatten)]
    pub(super) format: FormatArgs,
    /// Images per forward pass [default: 8, on a GPU 64]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(super) batch_size: Option<u32>,
    /// Model that gives the features, as for `senet classify`
    #[arg(short, long, value_name = "MODEL", default_value = crate::zoo::DEFAULT_MODEL)]
    pub(super) model: String,
    /// Use this weights file (.safetensors, .bin or .pth) instead of the model's own
    #[arg(short, long, value_name = "FILE")]
    pub(super) weights: Option<PathBuf>,
    #[command(flatten)]
    pub(super) device: DeviceArgs,
    #[command(flatten)]
    pub(super) hub: HubArgs,
    #[command(flatten)]
    pub(super) preprocess: PreprocessArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ClassWeight {
    Balanced,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Augmentation {
    Flip,
}

impl Arguments {
    pub(super) fn options(&self) -> TrainOptions {
        let mut options = TrainOptions::default();
        options.strengths.clone_from(&self.strength);
        options.folds = self.folds as usize;
        options.balanced = self.class_weight.is_some();
        options.seed = self.seed;
        options
    }

    /// The checks that clap cannot express.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let all = self.data.iter().chain(&self.val);
        if all.filter(|path| path.as_os_str() == "-").count() > 1 {
            bail!("standard input can be read only once");
        }
        Ok(())
    }

    /// All files that are read or kept.
    pub(super) fn kept(&self) -> Vec<&Path> {
        let single = [&self.weights, &self.labels, &self.features];
        let single = single.into_iter().filter_map(Option::as_deref);
        let data = self.data.iter().chain(&self.val).map(PathBuf::as_path);
        data.chain(single).collect()
    }
}
