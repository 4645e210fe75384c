//! The results of one model on a data set, or of the ensemble.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::log::Log;
use super::{
    Classes, Dataset, EvalError, EvalOptions, Header, MultiReport, Record, Report, Warning,
};

/// The results of one model, or of the ensemble.
#[derive(Debug)]
pub struct ModelRun {
    header: Header,
    log: Option<Log>,
    records: Vec<Record>,
    done: HashSet<usize>,
}

impl ModelRun {
    /// Takes the records that an earlier run left in the file.
    fn open(header: Header, file: Option<&Path>, resume: bool) -> Result<Self, EvalError> {
        let (log, records) = match file {
            Some(path) if resume => {
                let (log, records) = Log::resume(path, &header)?;
                (Some(log), records)
            }
            Some(path) => (Some(Log::create(path, &header)?), Vec::new()),
            None => (None, Vec::new()),
        };
        Ok(Self {
            done: records.iter().map(|record| record.index).collect(),
            header,
            log,
            records,
        })
    }

    /// The header of the results.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// In the order of the data set.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The figures of all records, with the top-k accuracy for each k in `ks`.
    pub fn report(&self, ks: &[usize]) -> Report {
        Report::new(&self.header, &self.records, ks)
    }

    /// As [`Self::report`], for a multi-label model; classes above `threshold` are predicted.
    pub fn multi_label_report(&self, threshold: f64) -> MultiReport {
        MultiReport::new(&self.header, &self.records, threshold)
    }

    /// As [`Report::warnings`].
    pub fn warnings(&self, report: &Report, data: &Dataset, classes: &Classes<'_>) -> Vec<Warning> {
        report.warnings(&self.header, &self.records, Some((data, classes)))
    }

    pub(super) fn has(&self, index: usize) -> bool {
        self.done.contains(&index)
    }

    /// Keeps the records of images that do not have one yet.
    pub(super) fn keep(&mut self, records: &[Record]) -> Result<(), EvalError> {
        let new = records
            .iter()
            .filter(|record| self.done.insert(record.index));
        let new: Vec<Record> = new.cloned().collect();
        if let Some(log) = &mut self.log {
            log.append(&new)?;
        }
        self.records.extend(new);
        Ok(())
    }

    pub(super) fn sort(&mut self) {
        self.records.sort_by_key(|record| record.index);
    }
}

/// A run for each member of `all`, and one for their ensemble if wanted.
pub(super) fn open(all: &Header, options: &EvalOptions) -> Result<Vec<ModelRun>, EvalError> {
    let names: Vec<&str> = all.members.iter().map(|member| &*member.model).collect();
    let files = files(options, &names);
    if let Some(folder) = options.results.as_ref().filter(|_| names.len() > 1) {
        std::fs::create_dir_all(folder).map_err(|error| EvalError::Folder {
            path: folder.display().to_string(),
            error,
        })?;
    }
    let of_each = all.members.iter().map(|member| vec![member.clone()]);
    let of_all = options.ensemble.then(|| all.members.clone());
    let runs = of_each.chain(of_all).enumerate().map(|(place, members)| {
        let header = Header {
            members,
            ..all.clone()
        };
        let file = files.get(place).map(PathBuf::as_path);
        ModelRun::open(header, file, options.resume)
    });
    runs.collect()
}

/// A results file for each model and for the ensemble, if there is one; empty if results are not
/// kept.
pub(super) fn files(options: &EvalOptions, names: &[&str]) -> Vec<PathBuf> {
    let Some(path) = &options.results else {
        return Vec::new();
    };
    if names.len() == 1 {
        return vec![path.clone()];
    }
    let mut files: Vec<PathBuf> = Vec::new();
    let ensemble = options.ensemble.then_some("ensemble");
    for name in names.iter().copied().chain(ensemble) {
        // A local model's name may be a path, and a file whose name begins with a dot is hidden.
        let name = name.replace(['/', '\\', ':'], "_");
        let name = name.trim_start_matches(['.', '_']);
        let numbers = (2..).map(|number| format!("{name}-{number}.jsonl"));
        let mut free = std::iter::once(format!("{name}.jsonl")).chain(numbers);
        let file = free.find_map(|file| Some(path.join(file)).filter(|file| !files.contains(file)));
        files.extend(file);
    }
    files
}
