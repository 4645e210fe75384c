//! `senet cache verify`: compares cached files with their hashes, and repairs them.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::bail;
use serde::Serialize;

use super::of_models;
use crate::cli::format::{FormatArgs, Row, Rows, cell};
use crate::cli::output::{Messages, Results};
use crate::cli::rows::RowError;
use crate::cli::transfers::Transfers;
use crate::cli::{SOME_FAILED, SUCCESS};
use crate::error::Error;
use crate::hub::{self, HubError, HubOptions, Release};
use crate::store::{self, Integrity};

pub(super) fn run(
    models: &[String],
    repair: bool,
    format: &FormatArgs,
    hub: &HubOptions,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    if repair && hub.offline {
        bail!(
            "`--repair` downloads, which HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE forbids: \
             unset it, or omit `--repair` to check only"
        );
    }
    let transfers = Transfers::new(messages);
    let (repos, releases) = of_models(models, hub, messages)?;
    let mut rows = format.rows::<CacheFileRow>(results)?;
    let mut tally = Tally::default();
    for repo in &repos {
        for revision in &repo.revisions {
            for file in &revision.files {
                let row = CacheFileRow::new(Some(&repo.repo), Some(&revision.commit), &file.name);
                let fetch = || {
                    let progress = transfers.progress(&repo.repo);
                    hub::replace(&repo.repo, &revision.commit, &file.name, hub, &progress)
                };
                let repair: Option<&Repair<'_>> = if repair { Some(&fetch) } else { None };
                tally.add(row, repo.check(file), repair, &mut rows)?;
            }
        }
    }
    for release in &releases {
        let name = &release.file.name;
        let fetch = |source: Release<'_>| {
            let progress = transfers.progress(name);
            hub::replace_release(source, hub, &progress)
        };
        let fetch = release.release().map(|source| move || fetch(source));
        let repair = fetch.as_ref().filter(|_| repair);
        let repair = repair.map(|fetch| fetch as &Repair<'_>);
        let row = CacheFileRow::new(None, None, name);
        tally.add(row, store::check_release(release), repair, &mut rows)?;
    }
    let Tally { good, bad } = tally;
    let files = if good == 1 { "file" } else { "files" };
    rows.text(|results| Ok(results.line(format!("{good} {files} ok, {bad} damaged"))?))?;
    Ok(if bad == 0 { SUCCESS } else { SOME_FAILED })
}

/// A file of the cache after the check.
#[derive(Serialize)]
struct CacheFileRow<'a> {
    /// Absent for a release file.
    repo: Option<&'a str>,
    revision: Option<&'a str>,
    file: &'a str,
    state: FileState,
    /// The hash that the cache names, and that of the contents, where they differ.
    expected: Option<String>,
    found: Option<String>,
    /// Why the file could not be checked or repaired.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum FileState {
    Ok,
    Damaged,
    Missing,
    /// Without a hash to compare with.
    Unknown,
    Repaired,
    /// It could not be read.
    Unreadable,
}

impl<'a> CacheFileRow<'a> {
    fn new(repo: Option<&'a str>, revision: Option<&'a str>, file: &'a str) -> Self {
        Self {
            repo,
            revision,
            file,
            state: FileState::Ok,
            expected: None,
            found: None,
            error: None,
        }
    }

    fn name(&self) -> String {
        match (self.repo, self.revision) {
            (Some(repo), Some(revision)) => format!("{repo}@{revision} {}", self.file),
            _ => self.file.to_owned(),
        }
    }
}

impl Row for CacheFileRow<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "repo", "revision", "file", "state", "expected", "found", "error",
    ];

    fn records(&self) -> Vec<Vec<OsString>> {
        vec![vec![
            cell(self.repo),
            cell(self.revision),
            cell(self.file),
            cell(self.state),
            cell(&self.expected),
            cell(&self.found),
            cell(&self.error),
        ]]
    }
}

/// Downloads a file again.
type Repair<'a> = dyn Fn() -> Result<PathBuf, HubError> + 'a;

#[derive(Default)]
struct Tally {
    good: usize,
    bad: usize,
}

impl Tally {
    /// Repairs a damaged file if it can be, and prints what became of it.
    fn add(
        &mut self,
        mut row: CacheFileRow<'_>,
        integrity: Result<Integrity, HubError>,
        repair: Option<&Repair<'_>>,
        rows: &mut Rows<'_>,
    ) -> anyhow::Result<()> {
        let mut lines = Vec::new();
        let mut failure = None;
        match integrity {
            Ok(integrity) => {
                let problem = describe(&integrity);
                lines.extend(problem.map(|problem| format!("{}: {problem}", row.name())));
                row.state = match integrity {
                    Integrity::Good => FileState::Ok,
                    Integrity::Missing => FileState::Missing,
                    Integrity::Unknown => FileState::Unknown,
                    Integrity::Bad { expected, found } => {
                        (row.expected, row.found) = (Some(expected), Some(found));
                        FileState::Damaged
                    }
                };
            }
            Err(error) => {
                row.state = FileState::Unreadable;
                failure = Some(Error::from(error));
            }
        }
        let is_damaged = matches!(row.state, FileState::Damaged | FileState::Missing);
        match repair.filter(|_| is_damaged).map(|repair| repair()) {
            Some(Ok(_)) => {
                row.state = FileState::Repaired;
                lines.push(format!("{}: downloaded again", row.name()));
            }
            Some(Err(error)) => {
                failure = Some(Error::from(error));
                lines.push(format!("{}: not repaired, left as it was", row.name()));
            }
            None => {}
        }
        match row.state {
            FileState::Ok | FileState::Repaired => self.good += 1,
            FileState::Unknown => {}
            FileState::Damaged | FileState::Missing | FileState::Unreadable => self.bad += 1,
        }
        row.error = failure.as_ref().map(|error| RowError::from(error).text);
        rows.write(&row, |results| {
            Ok(lines.iter().try_for_each(|line| results.line(line))?)
        })?;
        if let Some(error) = failure {
            crate::cli::report(&error.into());
        }
        Ok(())
    }
}

fn describe(integrity: &Integrity) -> Option<String> {
    match integrity {
        Integrity::Good => None,
        Integrity::Bad { expected, found } => {
            Some(format!("expected the hash {expected}, found {found}"))
        }
        Integrity::Missing => Some("the contents are missing".to_owned()),
        Integrity::Unknown => Some("no hash to compare with".to_owned()),
    }
}
