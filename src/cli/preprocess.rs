//! `senet preprocess`: the tensor that a network would see.

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
use crate::cards::DEFAULT_MODEL;
use crate::error::Error;
use crate::image;

/// Write the tensor that a network would see to a safetensors file
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  senet preprocess photo.jpg --model se-resnet50 --out input.safetensors\n\n\
    The file holds `input`, f32 of shape [1, channels, height, width]: decoded, resized, cropped and \
    normalised."
)]
pub(super) struct Arguments {
    /// Picture, or - for standard input
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// Model whose preprocessing is used
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
    let picture = if inputs::is_stdin(&arguments.image) {
        image::decode(&inputs::read_stdin()?, &options)
    } else {
        image::open(&arguments.image, &options)
    };
    let picture = picture.map_err(Error::from)?;
    let [height, width] = transform.size();
    let channels = transform.channels();
    let mut values = vec![0.0_f32; channels * height * width];
    transform.write(&picture, &mut values);

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
        write_whole(&arguments.out, &file)
            .with_context(|| format!("cannot write {}", arguments.out.display()))?;
    }
    note_clipped(messages);
    messages.note(format!(
        "wrote input [1, {channels}, {height}, {width}] for {}",
        spec.name
    ));
    Ok(SUCCESS)
}

/// Through a file beside it, so that nobody ever sees half of one; a device such as /dev/stdout is
/// written directly.
fn write_whole(path: &std::path::Path, bytes: &[u8]) -> std::io::Result<()> {
    let special = std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
    if special {
        return std::fs::File::options()
            .write(true)
            .open(path)?
            .write_all(bytes);
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let written = std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    written
}
