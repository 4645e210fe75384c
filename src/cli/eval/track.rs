//! What is measured in one pass: each model, and the ensemble of them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::Arguments;
use crate::cli::output::Messages;
use crate::cli::session;
use crate::error::Error;
use crate::eval::{Dataset, Header, Log, Member, Record};
use crate::hub::HubOptions;
use crate::model::Model;
use crate::zoo::{ModelSpec, Published};

/// The results of one model or of the ensemble.
pub(super) struct Track {
    pub header: Header,
    /// What this is to be compared with.
    pub published: Option<&'static Published>,
    log: Option<Log>,
    records: Vec<Record>,
    done: HashSet<usize>,
}

impl Track {
    /// With what an earlier run has left in the file.
    fn open(header: Header, file: Option<&Path>, resume: bool) -> anyhow::Result<Self> {
        let (log, records) = match file {
            Some(path) if resume => {
                let (log, records) = Log::resume(path, &header).map_err(Error::from)?;
                (Some(log), records)
            }
            Some(path) => {
                let log = Log::create(path, &header).map_err(Error::from)?;
                (Some(log), Vec::new())
            }
            None => (None, Vec::new()),
        };
        Ok(Self {
            done: records.iter().map(|record| record.index).collect(),
            header,
            published: None,
            log,
            records,
        })
    }

    pub(super) fn has(&self, index: usize) -> bool {
        self.done.contains(&index)
    }

    /// Keeps the records of pictures that have none yet.
    pub(super) fn keep(&mut self, mut records: Vec<Record>) -> anyhow::Result<()> {
        records.retain(|record| self.done.insert(record.index));
        if let Some(log) = &mut self.log {
            log.append(&records).map_err(Error::from)?;
        }
        self.records.extend(records);
        Ok(())
    }

    /// In the order of the data set.
    pub(super) fn sort(&mut self) {
        self.records.sort_by_key(|record| record.index);
    }

    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }
}

/// Whether results can be begun, found out before data is read, which may take long and be there only
/// once.
///
/// # Errors
/// If there are results already that are not to be gone on with.
pub(super) fn check_results(specs: &[ModelSpec], arguments: &Arguments) -> Result<(), Error> {
    let names: Vec<String> = specs.iter().map(|spec| spec.name.clone()).collect();
    let mut files = files(arguments, &names).into_iter();
    if arguments.resume {
        return Ok(());
    }
    files.try_for_each(|file| Ok(Log::check(&file)?))
}

/// Opens the models and a track for each, and one more for their ensemble if that is wanted.
pub(super) fn tracks(
    specs: Vec<ModelSpec>,
    dataset: &Dataset,
    valid: Option<Vec<usize>>,
    arguments: &Arguments,
    hub: &HubOptions,
    messages: Messages,
) -> anyhow::Result<(Vec<Track>, Vec<Model>)> {
    let keeps = arguments.results.is_some() || arguments.form.parquet.is_some();
    let names: Vec<String> = specs.iter().map(|spec| spec.name.clone()).collect();
    let labels = &specs[0].labels;
    let mut header = Header {
        senet_eval: Header::VERSION,
        members: Vec::new(),
        views: arguments.run.views.into(),
        exif: arguments.run.exif,
        scale_16bit: arguments.run.limit.scale_16bit,
        multi_label: arguments.multi_label,
        valid,
        pictures: dataset.items.len(),
        data: if keeps {
            dataset.fingerprint()
        } else {
            String::new()
        },
        classes: labels
            .entries
            .iter()
            .map(|label| label.name.clone())
            .collect(),
    };
    let device = session::open_device(&arguments.run.device, &names.join(", "), messages)?;
    let (mut models, mut members) = (Vec::new(), Vec::new());
    for spec in specs {
        let weights = session::open_weights(&spec, arguments.weights.as_deref(), hub, messages)?;
        members.push(Member {
            model: spec.name.clone(),
            weights: if keeps {
                weights.fingerprint().map_err(Error::from)?
            } else {
                String::new()
            },
            input: spec.input.clone(),
        });
        models.push(session::load(spec, &weights, &device, messages)?);
    }
    let files = files(arguments, &names);
    if let Some(folder) = arguments.results.as_ref().filter(|_| names.len() > 1) {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    let mut tracks = Vec::new();
    for (place, member) in members.iter().enumerate() {
        header.members = vec![member.clone()];
        let file = files.get(place).map(PathBuf::as_path);
        tracks.push(Track::open(header.clone(), file, arguments.resume)?);
    }
    if arguments.ensemble {
        header.members = members;
        let file = files.last().map(PathBuf::as_path);
        tracks.push(Track::open(header, file, arguments.resume)?);
    }
    Ok((tracks, models))
}

/// A results file for each model, and one more for the ensemble if there is one; none if none are
/// wanted.
fn files(arguments: &Arguments, names: &[String]) -> Vec<PathBuf> {
    let Some(path) = &arguments.results else {
        return Vec::new();
    };
    if names.len() == 1 {
        return vec![path.clone()];
    }
    let mut files: Vec<PathBuf> = Vec::new();
    let ensemble = arguments.ensemble.then_some("ensemble");
    for name in names.iter().map(String::as_str).chain(ensemble) {
        // The name of a local model may be a path, and a file that begins with a dot is hidden.
        let name = name.replace(['/', '\\', ':'], "_");
        let name = name.trim_start_matches(['.', '_']);
        let numbers = (2..).map(|number| format!("{name}-{number}.jsonl"));
        let mut free = std::iter::once(format!("{name}.jsonl")).chain(numbers);
        let file = free.find_map(|file| Some(path.join(file)).filter(|file| !files.contains(file)));
        files.extend(file);
    }
    files
}
