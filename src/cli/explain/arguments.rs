//! The arguments of `senet explain`.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;

use crate::cli::args::{ModelArgs, PreprocessArgs, SourceArgs};
use crate::cli::eval::SelectionArgs;
use crate::cli::format::FormatArgs;
use crate::cli::inputs::is_stdin;
use crate::error::Error;
use crate::eval::Classes;

/// Explain answers: class activation maps of images, and the gates of SE and SK modules
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    senet explain photo.jpg -o maps\n  \
    senet explain photo.jpg --class tench --class goldfish --json\n  \
    senet explain photo.jpg --versus goldfish --check\n  \
    senet explain photos/ -m senet154 --html why.html\n  \
    senet explain --gates imagenet/val --limit 5000 --html gates.html\n\n\
    A map is exact: the mean of its cells plus the bias is the logit. If an image cannot be read, its\n\
    row has the error instead of explanations, and the exit code is 1.")]
pub(in crate::cli) struct Arguments {
    /// Image files, directories (searched recursively), https:// URLs, or - for one image on standard
    /// input
    #[arg(value_name = "IMAGE", required_unless_present = "data")]
    pub(super) inputs: Vec<PathBuf>,
    /// Explain the K most probable classes of each image [default: 1]
    #[arg(short = 'k', long, value_name = "K", conflicts_with = "class",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) top_k: Option<u32>,
    /// Explain this class: a name, WordNet id or index; may be repeated. With --gates, draw it on the
    /// page
    #[arg(long, value_name = "CLASS")]
    pub(super) class: Vec<String>,
    /// Map the difference between the logits of the explained class and of this one
    #[arg(long, value_name = "CLASS")]
    pub(super) versus: Option<String>,
    /// Check each map by occlusion: print how much the probability changes when the top tenth of the
    /// cells is covered, and when a random tenth is
    #[arg(long)]
    pub(super) check: bool,
    /// Write each map as a PNG to this directory, drawn over its image
    #[arg(short, long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Write an HTML page with the images, their maps, the most probable classes and the occlusion check
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
    /// In JSON, also print the value of every gate
    #[arg(long)]
    pub(super) full: bool,
    /// Average the gates by class over labelled images, as for `senet eval`; may be repeated
    #[arg(id = "data", long = "gates", value_name = "DATA")]
    pub(super) data: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) selection: SelectionArgs,
    #[command(flatten)]
    pub(super) format: FormatArgs,
    #[command(flatten)]
    pub(super) model: ModelArgs,
    #[command(flatten)]
    pub(super) source: SourceArgs,
    #[command(flatten)]
    pub(super) preprocess: PreprocessArgs,
}

/// The classes to explain.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Those that the user names; if there are none, the most probable ones.
    pub(super) classes: Vec<usize>,
    /// How many of the most probable ones.
    pub(super) top_k: usize,
    /// The class that they are compared with.
    pub(super) versus: Option<usize>,
}

impl Arguments {
    /// The checks that clap cannot express.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let streams = self.inputs.iter().chain(&self.data);
        if streams.filter(|path| is_stdin(path)).count() > 1 {
            bail!("standard input can be read only once");
        }
        if self.format.is_csv() && !self.inputs.is_empty() && !self.data.is_empty() {
            bail!("CSV is one table: give images or `--gates`, not both");
        }
        if self.inputs.is_empty() && (self.check || self.out.is_some() || self.versus.is_some()) {
            bail!("`--check`, `--out` and `--versus` are about images, and none is given");
        }
        Ok(())
    }

    pub(super) fn wanted(&self, known: &Classes<'_>) -> anyhow::Result<Wanted> {
        let class = |text: &String| known.class(text).map_err(Error::from);
        let mut classes = Vec::new();
        for text in &self.class {
            let class = class(text)?;
            if !classes.contains(&class) {
                classes.push(class);
            }
        }
        let versus = self.versus.as_ref().map(class).transpose()?;
        if let Some(versus) = versus
            && classes.contains(&versus)
        {
            bail!("`--class` and `--versus` are the same class, {versus}");
        }
        Ok(Wanted {
            classes,
            top_k: self.top_k.unwrap_or(1) as usize,
            versus,
        })
    }

    /// All files that are read.
    pub(super) fn kept(&self) -> Vec<&Path> {
        let lists = [&self.selection.labels, &self.selection.class_map];
        let lists = lists
            .into_iter()
            .chain([&self.model.weights, &self.model.head]);
        let single = lists.filter_map(Option::as_deref);
        let places = self.inputs.iter().chain(&self.data);
        places.map(PathBuf::as_path).chain(single).collect()
    }
}

impl Wanted {
    /// The classes to explain of an image with these logits.
    pub(super) fn of(&self, logits: &[f32]) -> Vec<usize> {
        if !self.classes.is_empty() {
            return self.classes.clone();
        }
        let best = crate::model::top_k(logits, self.top_k + 1);
        let others = best.into_iter().filter(|&class| Some(class) != self.versus);
        others.take(self.top_k).collect()
    }
}
