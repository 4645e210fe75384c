//! Groups of near-duplicates.

use std::ops::ControlFlow;

use super::rows::{GroupRow, Image};
use super::{Arguments, foreign, search_error, sheet};
use crate::cli::eval::Output;
use crate::cli::output::{Messages, Results};
use crate::cli::{INTERRUPTED, SUCCESS, session};
use crate::embed::FeatureFile;
use crate::similar::{DuplicateOptions, Progress, SimilarError, duplicates, duplicates_between};
use crate::text::thousands;

pub(super) fn run(
    arguments: &Arguments,
    file: &FeatureFile,
    page: Option<Output>,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    session::set_threads(arguments.threads)?;
    let new = arguments.new.as_deref().map(|path| {
        let new = super::open(path)?;
        // How values are stored does not matter to their cosine, nor does the length of the vectors.
        let mut header = new.header().clone();
        (header.dtype, header.l2) = (file.header().dtype, file.header().l2);
        file.header().check_same(&header, path).map_err(foreign)?;
        anyhow::Ok(new)
    });
    let new = new.transpose()?;
    let stop = session::stop_on_interrupt()?;
    let bar = messages.bar(0, "{bar:30.cyan/dim} {percent} % of all pairs  {eta}");
    let mut watch = |progress: Progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        match session::is_stopped(&stop) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    };
    let options = DuplicateOptions {
        threshold: arguments.threshold,
        ..DuplicateOptions::default()
    };
    let groups = match &new {
        None => duplicates(file, &options, &mut watch),
        Some(new) => duplicates_between(new, file, &options, &mut watch),
    };
    bar.finish_and_clear();
    // The images of the new file are numbered after the others.
    let old = file.len();
    let of = |index: usize| match &new {
        Some(new) if index >= old => (new, index - old),
        _ => (file, index),
    };
    let groups = match groups {
        Err(SimilarError::Stopped) => {
            messages.note("interrupted before all pairs were compared; no group is printed");
            return Ok(INTERRUPTED);
        }
        groups => groups.map_err(|error| {
            search_error(error, |index| {
                let (file, row) = of(index);
                file.path(row).into_owned()
            })
        })?,
    };
    let image = |index: usize| {
        let (file, row) = of(index);
        Image::of(file, row, index >= old)
    };
    let mut printed = arguments.format.rows::<GroupRow>(results)?;
    let rows = (1..).zip(&groups);
    let mut members = 0;
    for (number, group) in rows.clone() {
        let row = GroupRow::new(number, group, image);
        members += row.images.len();
        printed.write(&row, |results| row.print(results))?;
    }
    let images = file.len() + new.as_ref().map_or(0, FeatureFile::len);
    messages.note(format!(
        "{} group{} with {} of {} images",
        thousands(groups.len()),
        if groups.len() == 1 { "" } else { "s" },
        thousands(members),
        thousands(images)
    ));
    if let Some(page) = page {
        let finder = sheet::ImageFinder::new(&arguments.data, messages)?;
        let shown = rows.take(sheet::SECTIONS);
        let shown: Vec<GroupRow> = shown
            .map(|(number, group)| GroupRow::new(number, group, image))
            .collect();
        let sheet = sheet::of_groups(&shown, groups.len(), arguments.threshold, file, &finder);
        page.replace(sheet.to_string().as_bytes())?;
    }
    Ok(SUCCESS)
}
