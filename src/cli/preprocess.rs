//! `senet preprocess`: writes the input tensor of a network.

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use safetensors::tensor::{Dtype, TensorView};

use super::args::{HubArgs, PreprocessArgs, note_clipped};
use super::inputs;
use super::output::{Messages, Results};
use super::{SUCCESS, session};
use crate::error::Error;
use crate::files;
use crate::preprocess;
use crate::zoo::DEFAULT_MODEL;

/// Write an image's preprocessed input tensor to a safetensors file
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  senet preprocess photo.jpg --model se-resnet50 --out input.safetensors\n\n\
    The file holds one tensor, `input`: the decoded, resized, cropped and normalised image as f32 of \
    shape [1, channels, height, width]."
)]
pub(super) struct Arguments {
    /// Image file, or - for standard input
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// Model whose preprocessing to apply
    #[arg(short, long, value_name = "MODEL", default_value = DEFAULT_MODEL)]
    model: String,
    /// File to write, or - for standard output
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    hub: HubArgs,
    #[command(flatten)]
    preprocess: PreprocessArgs,
}

pub(super) fn run(
    arguments: &Arguments,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    let overrides = arguments.preprocess.input.overrides();
    let (spec, _) = session::find_from(&arguments.model, &overrides, &arguments.hub, messages)?;
    let transform = spec.transform().map_err(Error::from)?;
    let options = arguments.preprocess.decode_options();
    let image = if inputs::is_stdin(&arguments.image) {
        preprocess::decode(&inputs::read_stdin()?, &options)
    } else {
        preprocess::open(&arguments.image, &options)
    };
    let image = image.map_err(Error::from)?;
    let [height, width] = transform.size();
    let channels = transform.channels();
    let mut values = vec![0.0_f32; channels * height * width];
    transform.write(&image, &mut values);

    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let view = TensorView::new(Dtype::F32, vec![1, channels, height, width], &bytes)?;
    let metadata = HashMap::from([("model".to_owned(), spec.name.clone())]);
    let file = safetensors::serialize([("input", view)], Some(metadata))?;
    if arguments.out.as_os_str() == "-" {
        results.write_all(&file)?;
    } else {
        files::write(&arguments.out, &file)
            .with_context(|| format!("cannot write {}", arguments.out.display()))?;
    }
    note_clipped(messages);
    messages.note(format!(
        "wrote input [1, {channels}, {height}, {width}] for {}",
        spec.name
    ));
    Ok(SUCCESS)
}
