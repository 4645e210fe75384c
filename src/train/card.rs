//! The model card of a learned model: Markdown with the metadata that the hub reads.

use std::fmt::{self, Display, Formatter};

use serde_json::Value;

use super::{CrossValidation, LearningCurve, TrainOptions, Verdict};
use crate::bounded;
use crate::eval::{Interval, Report};
use crate::model::HeadInfo;
use crate::text::thousands;
use crate::zoo::{CONFIG_FILE, ModelSpec, WeightsSource, Zoo};

/// The hub's names of licenses that a card of the zoo may have; others are described by name.
const LICENSES: [&str; 4] = ["apache-2.0", "mit", "bsd-3-clause", "cc-by-nc-4.0"];

/// What a card says.
#[derive(Clone, Copy, Debug)]
pub struct ModelCard<'a> {
    /// The model that gives the features.
    pub base: &'a ModelSpec,
    /// The name of the file whose weights it has, if these are not its own.
    pub weights_file: Option<&'a str>,
    /// License of the weights, as far as it is known.
    pub license: Option<&'a str>,
    /// The classifier.
    pub head: &'a HeadInfo,
    /// Whether only the classifier is written.
    pub head_only: bool,
    /// The names of the data sets that it was learned from.
    pub data: &'a [String],
    /// How it was learned and tested.
    pub options: &'a TrainOptions,
    /// Whether mirrored images were learned from, too.
    pub flipped: bool,
    /// The strength and the folds.
    pub chosen: &'a CrossValidation,
    /// Figures of cross-validation with the chosen strength.
    pub cross_validation: &'a Report,
    /// Figures with strengths that were chosen without the images they are tested on.
    pub nested: Option<&'a Report>,
    /// Figures on other images.
    pub validation: Option<&'a Report>,
    /// Whether more images would help.
    pub curve: &'a LearningCurve,
}

/// The license of a model's own weights: that of the zoo's card, or of the `config.json` in its directory.
pub fn license(spec: &ModelSpec) -> Option<String> {
    if let WeightsSource::Directory(folder) = &spec.weights {
        let text = bounded::read_found(&folder.join(CONFIG_FILE), bounded::SMALL).ok()?;
        let config: Value = serde_json::from_str(&text).ok()?;
        let license = config.pointer("/pretrained_cfg/license")?.as_str()?;
        return Some(license.to_owned());
    }
    let card = Zoo::builtin().get(&spec.name)?;
    Some(card.license.clone())
}

impl ModelCard<'_> {
    fn is_for_timm(&self) -> bool {
        let zoo = Zoo::builtin();
        let known = zoo.architecture_of(self.base);
        known.is_some_and(|name| zoo.is_in_timm(name)) && !self.head_only
    }

    fn front_matter(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "---")?;
        let lower = self.license.map(str::to_lowercase);
        match lower.filter(|license| LICENSES.contains(&&**license)) {
            Some(license) => writeln!(f, "license: {license}")?,
            None => {
                writeln!(
                    f,
                    "license: {}",
                    if self.license.is_some() {
                        "other"
                    } else {
                        "unknown"
                    }
                )?;
                if let Some(license) = self.license {
                    writeln!(f, "license_name: {}", Quoted(license))?;
                }
            }
        }
        if self.is_for_timm() {
            writeln!(f, "library_name: timm")?;
        }
        writeln!(f, "pipeline_tag: image-classification")?;
        writeln!(f, "tags:\n- image-classification\n- senet")?;
        if self.is_for_timm() {
            writeln!(f, "- timm")?;
        }
        if self.weights_file.is_none()
            && let WeightsSource::Reference(reference) = &self.base.weights
            && let Some(repo) = &reference.repo
        {
            writeln!(f, "base_model: {}", Quoted(repo))?;
        }
        writeln!(f, "metrics:\n- accuracy\n---\n")
    }

    fn usage(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "## Use\n")?;
        if self.head_only {
            writeln!(
                f,
                "`head.safetensors` is the classifier alone, for the features of the model above with the \
                 weights of the SHA-256 `{}`:\n\n\
                 ```sh\nsenet classify -m MODEL --head DIR/head.safetensors photo.jpg\n```\n",
                self.head.weights
            )?;
            return Ok(());
        }
        writeln!(
            f,
            "`DIR` is this directory.\n\n```sh\nsenet classify -m DIR photo.jpg\n```\n"
        )?;
        if self.is_for_timm() {
            writeln!(
                f,
                "```python\nimport timm\n\n\
                 model = timm.create_model(\"local-dir:DIR\", pretrained=True).eval()\n\
                 transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))\n\
                 logits = model(transform(image).unsqueeze(0))\n\
                 names = model.pretrained_cfg[\"label_names\"]\n```\n"
            )
        } else {
            writeln!(
                f,
                "timm does not have this network, so `senet` alone opens the directory.\n"
            )
        }
    }

    fn figures(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let report = self.cross_validation;
        writeln!(f, "## Figures\n")?;
        writeln!(
            f,
            "| tested on | images | top-1 | 95 % interval | top-5 | calibration error |"
        )?;
        writeln!(f, "|---|--:|--:|---|--:|--:|")?;
        let folds = format!("cross-validation, {} folds", self.chosen.folds.count);
        row(f, &folds, report)?;
        if let Some(nested) = self.nested {
            row(
                f,
                "nested cross-validation: the strength, too, is chosen without the images tested",
                nested,
            )?;
        }
        if let Some(validation) = self.validation {
            row(f, "separate images", validation)?;
        }
        writeln!(f)?;
        match self.head.temperature {
            Some(temperature) => writeln!(
                f,
                "Probabilities are best calibrated if the logits are divided by the temperature \
                 {temperature:.4} (stored as {}). Neither `senet` nor timm divides by it.\n",
                if self.head_only {
                    "`temperature` in the metadata of head.safetensors"
                } else {
                    "`senet.temperature` in config.json"
                }
            )?,
            None => writeln!(
                f,
                "No temperature from 0.25 to 4 calibrates the probabilities better.\n"
            )?,
        }
        writeln!(f, "{}\n", verdict(self.curve))
    }

    fn classes(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "## Classes\n\n| class | images | top-1 | 95 % interval |\n|---|--:|--:|---|"
        )?;
        for class in &self.cross_validation.classes {
            writeln!(
                f,
                "| {} | {} | {} | {} |",
                Escaped(&class.name),
                thousands(class.answered),
                percent(class.accuracy),
                interval(class.interval)
            )?;
        }
        Ok(())
    }
}

impl Display for ModelCard<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.front_matter(f)?;
        let classes = self.head.labels.len();
        writeln!(f, "# Image classifier of {} classes\n", thousands(classes))?;
        writeln!(
            f,
            "A classifier on the features of {}{}, whose other layers are unchanged: multinomial logistic \
             regression, learned by `senet train` {}.\n",
            Escaped(&self.base.name),
            match self.weights_file {
                Some(file) => format!(" with the weights of {}", Escaped(file)),
                None => String::new(),
            },
            env!("CARGO_PKG_VERSION")
        )?;
        self.usage(f)?;
        self.figures(f)?;
        writeln!(f, "## Training\n")?;
        let report = self.cross_validation;
        for data in self.data {
            writeln!(f, "- Data: {}", Escaped(data))?;
        }
        writeln!(
            f,
            "- Images: {} of {}",
            thousands(report.answered),
            thousands(report.images)
        )?;
        writeln!(
            f,
            "- Strength (scikit-learn's `C`): {}",
            self.chosen.strength
        )?;
        let weight = if self.options.balanced {
            "balanced"
        } else {
            "none"
        };
        writeln!(f, "- Class weight: {weight}")?;
        let augment = if self.flipped {
            "mirrored images"
        } else {
            "none"
        };
        writeln!(f, "- Augmentation: {augment}")?;
        writeln!(f, "- Seed: {}", self.options.seed)?;
        let [height, width] = self.head.input.size;
        writeln!(
            f,
            "- Input: {height} x {width} px, {}, crop_pct {}, EXIF orientation {}",
            self.head.input.interpolation.name(),
            self.head.input.crop_pct,
            if self.head.exif { "applied" } else { "ignored" }
        )?;
        match self.license {
            Some(license) => writeln!(f, "- License of the base model: {}\n", Escaped(license))?,
            None => writeln!(f, "- License of the base model: unknown\n")?,
        }
        self.classes(f)
    }
}

fn row(f: &mut Formatter<'_>, name: &str, report: &Report) -> fmt::Result {
    let top = |k: usize| report.top.iter().find(|top| top.k == k);
    let accuracy = |k| {
        top(k)
            .and_then(|top| top.accuracy)
            .map_or_else(String::new, percent)
    };
    writeln!(
        f,
        "| {name} | {} | {} | {} | {} | {} |",
        thousands(report.answered),
        accuracy(1),
        top(1).map_or_else(String::new, |top| interval(top.interval)),
        accuracy(5),
        report
            .calibration_error
            .map_or_else(String::new, |error| format!("{error:.4}"))
    )
}

/// What the learning curve says, in a sentence.
pub fn verdict(curve: &LearningCurve) -> String {
    let double = percent(curve.error_at_double);
    match curve.verdict {
        Verdict::MoreHelps => format!(
            "More images would help: with twice as many, expect an error of about {double}."
        ),
        Verdict::Saturated => "More images of this kind would hardly help.".to_owned(),
        Verdict::Unclear => {
            "It is unclear whether more images would help: the effect of the last doubling is within chance.".to_owned()
        }
    }
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

fn interval(interval: Interval) -> String {
    let [low, high] = [interval.low, interval.high].map(|share| share * 100.0);
    format!("{low:.2} to {high:.2} %")
}

/// Text that can be no markup. Names of classes and files are anyone's.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                c if c.is_control() => write!(f, "{}", char::REPLACEMENT_CHARACTER)?,
                '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' | '&' | '~' => {
                    write!(f, "\\{c}")?;
                }
                c => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}

/// A text in YAML, whose quoted texts may be written as those of JSON.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Value::from(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_markup() {
        let name = "<b>|`a`_[x](y)\n";
        assert_eq!(
            Escaped(name).to_string(),
            "\\<b\\>\\|\\`a\\`\\_\\[x\\](y)\u{fffd}"
        );
        assert_eq!(Quoted("a: \"b\"\n").to_string(), "\"a: \\\"b\\\"\\n\"");
    }
}
