//! `senet download`: weights into the cache.

use std::io::Write;

use clap::Args;

use super::output::{Messages, Results};
use super::session::{self, Download};
use super::{NOTHING_DONE, SOME_FAILED, SUCCESS};
use crate::cards::WeightsSource;
use crate::hub::HubOptions;
use crate::model;

/// Fetch weights into the Hugging Face cache and print where they are
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  senet download se-resnet50\n  senet download senet154 seresnext50_32x4d.racm_in1k\n  \
    senet download hf-hub:timm/seresnet50.a1_in1k@main\n\n\
    The cache is Python's: HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME or ~/.cache/huggingface/hub. What is \
    there\nis not fetched again. HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are obeyed."
)]
pub(super) struct Arguments {
    /// Checkpoints, architectures or hf-hub:ORG/REPO[@REVISION]
    #[arg(value_name = "MODEL", required = true)]
    models: Vec<String>,
    /// Use the cache alone and make no request
    #[arg(long)]
    offline: bool,
}

pub(super) fn run(
    arguments: &Arguments,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    let hub = session::hub_options(arguments.offline)?;
    let mut failed = 0;
    for model in &arguments.models {
        match fetch(model, &hub, messages) {
            Ok(line) => {
                results.line(line)?;
                results.flush()?;
            }
            Err(error) => {
                failed += 1;
                super::report(&error);
            }
        }
    }
    Ok(match failed {
        0 => SUCCESS,
        _ if failed == arguments.models.len() => NOTHING_DONE,
        _ => SOME_FAILED,
    })
}

fn fetch(name: &str, hub: &HubOptions, messages: Messages) -> anyhow::Result<String> {
    let spec = session::find(name, hub, messages)?;
    let reference = match &spec.weights {
        WeightsSource::File(path) => return Ok(path.display().to_string()),
        WeightsSource::Reference(reference) => reference,
    };
    if reference.embedded.is_some() {
        messages.note(format!(
            "{} is part of the program: there is nothing to download",
            spec.name
        ));
        return Ok(format!("embedded:{}", spec.name));
    }
    let path = model::fetch(reference, hub, &Download::new(messages))?;
    Ok(path.display().to_string())
}
