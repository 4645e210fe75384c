//! Explains one image.

use image::RgbImage;

use super::arguments::{Arguments, Wanted};
use super::overlays::Overlays;
use super::row::{ExplainRow, Explained, Explanation, Place};
use crate::cli::inputs::Input;
use crate::cli::rows::RowError;
use crate::error::Error;
use crate::explain::page::{Answer, EmbeddedImage, PageImage, PageMap};
use crate::explain::{Cam, Check, Explainer, HeatMap, Observation, Scale, check};
use crate::hub::HubOptions;
use crate::model::Model;
use crate::nets::Grid;
use crate::preprocess::Placement;

/// Most probable classes on the page.
const ANSWERS: usize = 5;

/// How images are explained.
pub(super) struct Images<'a> {
    pub(super) model: &'a Model,
    pub(super) explainer: &'a Explainer<'a>,
    pub(super) wanted: &'a Wanted,
    pub(super) arguments: &'a Arguments,
    pub(super) hub: &'a HubOptions,
    pub(super) overlays: Option<Overlays>,
}

/// A map to explain a class with.
struct Target {
    class: usize,
    cam: Cam,
    check: Option<Check>,
}

/// What was found out about an image.
struct Found {
    image: RgbImage,
    grid: Grid,
    placement: Placement,
    observed: Observation,
    targets: Vec<Target>,
}

impl<'a> Images<'a> {
    /// The row of an image and, if there is room for it, its part of the page.
    pub(super) fn row(
        &mut self,
        input: &Input,
        has_room: bool,
    ) -> (ExplainRow<'a>, Option<PageImage>) {
        let found = self.explain(input);
        let on_page = match &found {
            _ if !has_room => None,
            Ok(found) => Some(self.on_page(input, found)),
            Err(error) => Some(PageImage::failed(input.to_string(), error.text.clone())),
        };
        let explained = found.and_then(|found| self.explained(input, &found));
        let name = (&*self.model.spec().name, self.model.network().precision());
        let row = ExplainRow::new(input, name, self.model.activation(), explained);
        (row, on_page)
    }

    fn explain(&self, input: &Input) -> Result<Found, RowError> {
        let decode = self.arguments.preprocess.decode_options();
        let image = input.open(&decode, self.hub)?;
        self.look(image).map_err(|error| RowError::from(&error))
    }

    fn look(&self, image: RgbImage) -> Result<Found, Error> {
        let transform = self.model.transform()?;
        let mut values = vec![0.0; self.model.image_len()];
        transform.write(&image, &mut values);
        let observed = self
            .explainer
            .observe(&self.model.stored(values.clone())?)?;
        let missing = || Error::from(candle_core::Error::Msg("no output for this image".into()));
        let observed = observed.into_iter().next().ok_or_else(missing)?;
        let [height, width] = transform.size();
        let grid = self.explainer.grid(height, width)?;
        let mut targets = Vec::new();
        let versus = self.wanted.versus;
        let versus = versus.map(|class| self.explainer.cam(&observed, class));
        for class in self.wanted.of(&observed.logits) {
            let cam = self.explainer.cam(&observed, class);
            targets.push(Target {
                class,
                cam: match &versus {
                    Some(versus) => cam.minus(versus),
                    None => cam,
                },
                check: None,
            });
        }
        if self.arguments.check || self.arguments.html.is_some() {
            let maps: Vec<_> = targets.iter().map(|t| (t.class, &t.cam)).collect();
            let checks = check(self.model, &grid, &values, &observed.logits, &maps)?;
            for (target, check) in targets.iter_mut().zip(checks) {
                target.check = Some(check);
            }
        }
        Ok(Found {
            placement: transform.placement([image.height() as usize, image.width() as usize]),
            image,
            grid,
            observed,
            targets,
        })
    }

    fn scale(&self) -> Scale {
        match self.wanted.versus {
            Some(_) => Scale::Diverging,
            None => Scale::Sequential,
        }
    }

    fn heat<'f>(&self, found: &'f Found, target: &'f Target) -> HeatMap<'f> {
        HeatMap {
            cam: &target.cam,
            grid: &found.grid,
            placement: &found.placement,
            scale: self.scale(),
        }
    }

    fn explained(&mut self, input: &Input, found: &Found) -> Result<Explained, RowError> {
        let observed = &found.observed;
        let probabilities = self.model.probabilities(&observed.logits);
        let mut explanations = Vec::new();
        for target in &found.targets {
            let heat = self.heat(found, target);
            let what = match self.wanted.versus {
                Some(versus) => format!("{}-versus-{versus}", target.class),
                None => target.class.to_string(),
            };
            let overlay = match &mut self.overlays {
                Some(overlays) => Some(overlays.write(input, &what, &heat.draw(&found.image))?),
                None => None,
            };
            let named = |class: usize| row_class(self.model, class, &probabilities, observed);
            explanations.push(Explanation {
                class: named(target.class),
                versus: self.wanted.versus.map(named),
                cam: target.cam.clone(),
                peak: {
                    let [row, column] = target.cam.peak();
                    heat.centre(row, column)
                },
                check: target.check,
                overlay,
            });
        }
        let modules = self.explainer.modules();
        Ok(Explained {
            place: Place::new(&found.grid, &found.placement),
            gates: super::row::gates(modules, &observed.gates, self.arguments.full),
            explanations,
        })
    }

    fn on_page(&self, input: &Input, found: &Found) -> PageImage {
        let photo = EmbeddedImage::scaled(&found.image);
        let label = |class: usize| self.model.spec().labels.entries[class].name.clone();
        let best = self.model.best(&found.observed.logits, ANSWERS);
        let probabilities = self.model.probabilities(&found.observed.logits);
        let maps = found.targets.iter().map(|target| PageMap {
            label: label(target.class),
            versus: self.wanted.versus.map(label),
            probability: probabilities[target.class],
            mean: target.cam.mean(),
            bias: target.cam.bias,
            form: target.cam.form,
            range: target.cam.range(),
            scale: self.scale(),
            embedded: EmbeddedImage::of(&self.heat(found, target).draw(&photo)),
            check: target.check,
        });
        PageImage {
            name: input.to_string(),
            embedded: Some(EmbeddedImage::of(&photo)),
            maps: maps.collect(),
            answers: best
                .iter()
                .map(|best| Answer {
                    label: best.label.name.clone(),
                    probability: best.probability,
                })
                .collect(),
            error: None,
        }
    }
}

fn row_class(
    model: &Model,
    index: usize,
    probabilities: &[f64],
    observed: &Observation,
) -> super::row::Class {
    let label = &model.spec().labels.entries[index];
    super::row::Class {
        index,
        wnid: label.id.clone(),
        label: label.name.clone(),
        probability: probabilities[index],
        logit: observed.logits[index],
    }
}
