//! The neighbours of images.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, bail};

use super::rows::QueryRow;
use super::{Arguments, foreign, search_error, sheet};
use crate::cli::args::{DeviceArgs, note_clipped};
use crate::cli::eval::Output;
use crate::cli::inputs::{self, Input};
use crate::cli::output::{Messages, Results};
use crate::cli::rows::RowError;
use crate::cli::session::FoundModel;
use crate::cli::{INTERRUPTED, SOME_FAILED, SUCCESS, args, session};
use crate::embed::{ExtractOptions, FeatureFile, FeatureHeader, features};
use crate::error::Error;
use crate::eval::page::Thumbnail;
use crate::hub::HubOptions;
use crate::model::{Model, Prepared, prefetch_while};
use crate::nn::PrecisionChoice;
use crate::preprocess::DecodeOptions;
use crate::similar::{Matrix, SimilarError, nearest};
use crate::zoo::Overrides;

/// Images per forward pass.
const BATCH: usize = 8;

/// Queries that are compared in one pass over the file.
const QUERIES: usize = 256;

/// Neighbours that are kept during a pass: fewer queries are compared at once if each has many.
const NEIGHBORS: usize = 1 << 20;

pub(super) fn run(
    arguments: &Arguments,
    file: &FeatureFile,
    page: Option<Output>,
    messages: Messages,
    results: &mut Results,
) -> anyhow::Result<u8> {
    let (inputs, passed) = inputs::collect(&arguments.queries, None, false)?;
    let options = extract_options(arguments, file.header());
    let (model, hub) = open(arguments, file, &options, messages)?;
    let transform = model.transform().map_err(Error::from)?;
    let inputs: Vec<(usize, Input)> = inputs.into_iter().enumerate().collect();
    let is_remote = |(_, input): &(usize, Input)| matches!(input, Input::Url(_));
    let thumbnails = Mutex::new(BTreeMap::new());
    let prepare = |(index, input): &(usize, Input), slot: &mut [f32]| {
        let image = input.open(&options.decode, &hub)?;
        if page.is_some()
            && *index < sheet::SECTIONS
            && let Some(thumbnail) = Thumbnail::new(&image)
        {
            let mut all = thumbnails.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(*index, thumbnail);
        }
        transform.write_views(&image, options.views, slot);
        Ok(())
    };
    let slot_len = options.views.count() * model.image_len();
    let search = Search {
        arguments,
        file,
        model: &model,
        options: &options,
        inputs: &inputs,
        messages,
    };
    let (rows, code) = prefetch_while(
        &inputs,
        BATCH,
        slot_len,
        is_remote,
        prepare,
        |batches: Receiver<Prepared<RowError>>| search.answer(batches, page.is_some(), results),
    )?;
    if let Some(note) = passed.note() {
        messages.note(note);
    }
    note_clipped(messages);
    if let Some(page) = page {
        let thumbnails = thumbnails.into_inner();
        let thumbnails = thumbnails.unwrap_or_else(PoisonError::into_inner);
        let finder = sheet::ImageFinder::new(&arguments.data, messages)?;
        let sheet = sheet::of_queries(&rows, inputs.len(), thumbnails, file, &finder);
        page.replace(sheet.to_string().as_bytes())?;
    }
    Ok(code)
}

/// How the features of the file were computed.
fn extract_options(arguments: &Arguments, header: &FeatureHeader) -> ExtractOptions {
    ExtractOptions {
        layer: header.layer,
        views: header.views,
        l2: header.l2,
        decode: DecodeOptions {
            max_pixels: arguments.max_pixels,
            exif: header.exif,
            scale_16bit: header.scale_16bit,
            clipped: Some(&args::CLIPPED),
        },
        ..ExtractOptions::default()
    }
}

/// Loads the model that the features are of, and checks that it is the same one.
fn open(
    arguments: &Arguments,
    file: &FeatureFile,
    options: &ExtractOptions,
    messages: Messages,
) -> anyhow::Result<(Model, HubOptions)> {
    let header = file.header();
    let of_file = || {
        let name = file.source().display();
        format!(
            "the features in {name} are of {} in {}",
            header.model, header.precision
        )
    };
    let hub = session::source(session::hub_options(arguments.offline)?, &arguments.source)?;
    let head = arguments.head.as_deref();
    let name = match (&arguments.model, header.model.split_once(" with ")) {
        (Some(name), _) => name,
        (None, Some((base, _))) if head.is_some() => base,
        (None, Some((base, head))) if !Path::new(&header.model).exists() => bail!(
            "the features in {} are of {base} with the classifier in {head}: give that file as `--head`",
            file.source().display()
        ),
        _ => &header.model,
    };
    let (from, overrides) = (&arguments.source, Overrides::default());
    let spec = session::find_at(name, from, &overrides, &hub, messages).with_context(of_file)?;
    // Of a directory, a repository or a classifier, which may have moved, the weights decide.
    if head.is_none() && spec.name != header.model && spec.config.is_none() {
        return Err(Error::from(SimilarError::Foreign {
            file: file.source().display().to_string(),
            field: "model",
            expected: spec.name,
            found: header.model.clone(),
        })
        .into());
    }
    let mut found = FoundModel::new(spec, head, &overrides)?;
    found.spec.input = header.input.clone();
    let device = DeviceArgs {
        device: arguments.device,
        precision: PrecisionChoice::Exactly(header.precision),
        threads: arguments.threads,
    };
    let place = session::open_device(&device, &found.spec.name, messages).with_context(of_file)?;
    let weights = found.open_weights(arguments.weights.as_deref(), &hub, messages)?;
    let fingerprint = weights.fingerprint().map_err(Error::from)?;
    let model = session::load(found.spec, &weights, &place, messages)?;
    let own = FeatureHeader::new(&model, fingerprint, options, header.dtype);
    let mut own = own.map_err(Error::from)?;
    own.model.clone_from(&header.model);
    own.check_same(header, file.source()).map_err(foreign)?;
    Ok((model, hub))
}

struct Search<'a> {
    arguments: &'a Arguments,
    file: &'a FeatureFile,
    model: &'a Model,
    options: &'a ExtractOptions,
    inputs: &'a [(usize, Input)],
    messages: Messages,
}

impl Search<'_> {
    /// Prints the neighbours of each query as they are found. Returns the exit code, and the rows that a page
    /// shows.
    fn answer(
        &self,
        batches: Receiver<Prepared<RowError>>,
        keep: bool,
        results: &mut Results,
    ) -> anyhow::Result<(Vec<QueryRow>, u8)> {
        let Self {
            inputs, messages, ..
        } = *self;
        let stop = session::stop_on_interrupt()?;
        let mut printed = self.arguments.format.rows::<QueryRow>(results)?;
        let bar = messages.bar(
            inputs.len() as u64,
            "{bar:30.cyan/dim} {pos} of {len} images  {rate}  {eta}",
        );
        let neighbors = self.file.len().min(self.arguments.top_k as usize).max(1);
        let queries = (NEIGHBORS / neighbors).clamp(1, QUERIES);
        let (mut kept, mut waiting) = (Vec::new(), Vec::new());
        let (mut done, mut failed) = (0, 0);
        for batch in batches {
            if session::is_stopped(&stop) {
                break;
            }
            let end = batch.first + batch.outcomes.len();
            waiting.extend(features(self.model, self.options, BATCH, batch));
            bar.set_position(end as u64);
            if waiting.len() < queries && end < inputs.len() {
                continue;
            }
            let rows = self.rows(done, std::mem::take(&mut waiting))?;
            done += rows.len();
            failed += rows.iter().filter(|row| row.is_error()).count();
            bar.suspend(|| {
                let mut rows = rows.iter();
                rows.try_for_each(|row| printed.write(row, |results| row.print(results)))
            })?;
            if keep {
                let room = sheet::SECTIONS - kept.len();
                kept.extend(rows.into_iter().take(room));
            }
        }
        bar.finish_and_clear();
        if failed > 0 {
            messages.note(format!("{failed} of {done} images could not be compared"));
        }
        if done < inputs.len() {
            messages.note(format!(
                "interrupted after {done} of {} images",
                inputs.len()
            ));
            return Ok((kept, INTERRUPTED));
        }
        Ok((kept, if failed == 0 { SUCCESS } else { SOME_FAILED }))
    }

    /// Compares queries from the one with the index `first` on, if they have features.
    fn rows(
        &self,
        first: usize,
        queries: Vec<Result<Vec<f32>, RowError>>,
    ) -> anyhow::Result<Vec<QueryRow>> {
        let mut queries = queries;
        for query in &mut queries {
            if query
                .as_ref()
                .is_ok_and(|values| !values.iter().all(|x| x.is_finite()))
            {
                *query = Err(RowError::new("the network's features are not finite"));
            }
        }
        let values: Vec<f32> = queries.iter().flatten().flatten().copied().collect();
        let queried = Matrix::new(&values, self.file.width());
        let k = self.arguments.top_k as usize;
        let found = nearest(self.file, &queried, k)
            .map_err(|error| search_error(error, |row| self.file.path(row).into_owned()))?;
        let mut found = found.into_iter();
        let inputs = self.inputs[first..].iter().map(|(_, input)| input);
        let rows = inputs.zip(queries).map(|(input, query)| {
            let answer = query.map(|_| found.next().unwrap_or_default());
            QueryRow::new(input, self.file, answer)
        });
        Ok(rows.collect())
    }
}
