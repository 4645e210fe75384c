//! Gates by class, as in section 7.2 of the SENet paper (arXiv:1709.01507).

use std::collections::BTreeMap;

use serde::Serialize;

use super::gates::Module;

/// Collects the gates of images of known classes.
#[derive(Clone, Debug)]
pub struct GatesByClass {
    modules: Vec<Module>,
    classes: BTreeMap<usize, Sums>,
    /// Of the squares of each gate, over all images.
    squares: Vec<f64>,
}

#[derive(Clone, Debug)]
struct Sums {
    images: usize,
    /// Of each gate: those of the first module, then those of the second, and so on.
    gates: Vec<f64>,
}

/// How the gates differ between classes.
#[derive(Clone, Debug, PartialEq)]
pub struct GateReport {
    /// Images that were averaged.
    pub images: usize,
    /// The classes of the images, by index.
    pub classes: Vec<GateClass>,
    /// One for each module, in the order in which they run.
    pub modules: Vec<ModuleReport>,
}

/// A class of the images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateClass {
    /// Output of the classifier, counted from 0.
    pub index: usize,
    /// Number of images.
    pub images: usize,
}

/// One module's gates.
#[derive(Clone, Debug, PartialEq)]
pub struct ModuleReport {
    /// The module.
    pub module: Module,
    /// Over images and channels.
    pub mean: f64,
    /// How far a gate varies from image to image: the root of the variance over images, averaged over the
    /// channels.
    pub std: f64,
    /// The share of that variance that lies between the means of the classes, from 0 to 1 (η²); `None` if
    /// nothing varies.
    pub between_share: Option<f64>,
    /// The same without what would be there by chance (ε², Kelley 1935), and 0 where chance alone would
    /// give more. `None` if no class has two images, or nothing varies.
    pub adjusted_share: Option<f64>,
    /// The figures in words.
    pub verdict: Verdict,
    /// The mean of each gate over all images.
    pub overall: Vec<f64>,
    /// The mean of each gate over the images of each of [`GateReport::classes`].
    pub means: Vec<Vec<f64>>,
}

/// What a module's gates depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Verdict {
    /// Nearly the same for every image: a standard deviation below [`ModuleReport::CONSTANT`].
    Constant,
    /// They distinguish classes: an adjusted share of at least [`ModuleReport::DISTINGUISHES`], and more
    /// than chance gives.
    Classes,
    /// They vary between images, but little between classes.
    Images,
    /// There are too few images or classes to tell: chance alone may give more than
    /// [`ModuleReport::DISTINGUISHES`].
    Unknown,
}

impl Verdict {
    /// In words, about the gates.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Constant => "nearly constant",
            Self::Classes => "distinguish classes",
            Self::Images => "vary, but not by class",
            Self::Unknown => "too few images to tell",
        }
    }
}

impl ModuleReport {
    /// Gates that vary less than this do not change an answer.
    pub const CONSTANT: f64 = 0.01;
    /// From this share of the variance on, gates distinguish classes.
    pub const DISTINGUISHES: f64 = 0.1;
}

impl GatesByClass {
    /// For the [modules](super::Explainer::modules) of a network.
    pub fn new(modules: &[Module]) -> Self {
        let gates = modules.iter().map(|module| module.channels).sum();
        Self {
            modules: modules.to_vec(),
            classes: BTreeMap::new(),
            squares: vec![0.0; gates],
        }
    }

    /// Adds an image of `class` with the gates of each module.
    ///
    /// # Panics
    /// If there are more or fewer gates than the modules have.
    pub fn add(&mut self, class: usize, gates: &[Vec<f32>]) {
        let length = gates.iter().map(Vec::len).sum::<usize>();
        assert_eq!(length, self.squares.len(), "the gates of all modules");
        let sums = self.classes.entry(class).or_insert_with(|| Sums {
            images: 0,
            gates: vec![0.0; length],
        });
        sums.images += 1;
        let all = gates.iter().flatten().copied().map(f64::from);
        let places = sums.gates.iter_mut().zip(&mut self.squares);
        for (gate, (sum, square)) in all.zip(places) {
            *sum += gate;
            *square += gate * gate;
        }
    }

    /// The means and variances of what was added.
    pub fn report(&self) -> GateReport {
        let images = self.classes.values().map(|sums| sums.images).sum();
        let classes = self.classes.iter().map(|(&index, sums)| GateClass {
            index,
            images: sums.images,
        });
        let mut start = 0;
        let modules = self.modules.iter().map(|module| {
            let places = start..start + module.channels;
            start = places.end;
            self.module(module, places, images)
        });
        GateReport {
            images,
            classes: classes.collect(),
            modules: modules.collect(),
        }
    }

    fn module(
        &self,
        module: &Module,
        places: std::ops::Range<usize>,
        images: usize,
    ) -> ModuleReport {
        let count = images.max(1) as f64;
        let means = |sums: &Sums| -> Vec<f64> {
            let gates = sums.gates[places.clone()].iter();
            gates.map(|sum| sum / sums.images as f64).collect()
        };
        let by_class: Vec<Vec<f64>> = self.classes.values().map(means).collect();
        let mut overall = vec![0.0; module.channels];
        for sums in self.classes.values() {
            for (mean, sum) in overall.iter_mut().zip(&sums.gates[places.clone()]) {
                *mean += sum / count;
            }
        }
        let squares = self.squares[places].iter().zip(&overall);
        // Rounding may leave a variance of 0 slightly negative.
        let total = squares.map(|(square, mean)| (square / count - mean * mean).max(0.0));
        let total = total.sum::<f64>();
        let between = self.classes.values().zip(&by_class).map(|(sums, means)| {
            let squares = means.iter().zip(&overall).map(|(a, b)| (a - b).powi(2));
            sums.images as f64 / count * squares.sum::<f64>()
        });
        let between = between.sum::<f64>();
        // Below, the variance is that of rounding.
        let varies = total > 1e-12 * module.channels as f64;
        let between_share = varies.then(|| (between / total).min(1.0));
        let groups = self.classes.len();
        let adjusted_share = between_share
            .filter(|_| groups > 1 && images > groups)
            .map(|share| 1.0 - (1.0 - share) * (count - 1.0) / (images - groups) as f64)
            .map(|share| share.max(0.0));
        let by_chance = chance(images, groups);
        let std = (total / module.channels as f64).sqrt();
        ModuleReport {
            module: module.clone(),
            mean: overall.iter().sum::<f64>() / module.channels as f64,
            std,
            between_share,
            adjusted_share,
            verdict: match adjusted_share {
                _ if images < 2 => Verdict::Unknown,
                _ if std < ModuleReport::CONSTANT => Verdict::Constant,
                None => Verdict::Unknown,
                Some(share) if share >= ModuleReport::DISTINGUISHES.max(by_chance) => {
                    Verdict::Classes
                }
                Some(_) if by_chance > ModuleReport::DISTINGUISHES => Verdict::Unknown,
                Some(_) => Verdict::Images,
            },
            overall,
            means: by_class,
        }
    }
}

/// The adjusted share that classes without any influence on a gate rarely exceed: two standard deviations.
/// η² then has a beta distribution, Beta((k - 1) / 2, (n - k) / 2) for n images of k classes, and ε² is
/// (n - 1) / (n - k) times as wide. A module has many gates, whose mean varies less.
fn chance(images: usize, classes: usize) -> f64 {
    let within = images.saturating_sub(classes) as f64;
    let between = classes.saturating_sub(1) as f64;
    2.0 * (2.0 * between / (within * (images + 1) as f64)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::ModuleKind;

    fn module(channels: usize) -> Module {
        Module {
            name: "layer1.0.se".into(),
            block: "layer1.0".into(),
            stage: 1,
            kind: ModuleKind::Se,
            channels,
        }
    }

    #[test]
    fn variance_is_divided_between_classes_and_images() {
        let modules = [module(2), module(1), module(1)];
        let mut gates = GatesByClass::new(&modules);
        // The first module knows the class, the second the image, the third nothing.
        for (class, first, second) in [(3, 0.2, 0.1), (3, 0.2, 0.9), (7, 0.6, 0.1), (7, 0.6, 0.9)] {
            gates.add(class, &[vec![first, 0.5], vec![second], vec![0.5]]);
        }
        let report = gates.report();
        assert_eq!(report.images, 4);
        let classes: Vec<_> = report.classes.iter().map(|c| (c.index, c.images)).collect();
        assert_eq!(classes, [(3, 2), (7, 2)]);
        let [first, second, third] = &report.modules[..] else {
            panic!("{report:?}");
        };
        assert!((first.std - 0.02_f64.sqrt()).abs() < 1e-6, "{}", first.std);
        assert!((first.between_share.unwrap() - 1.0).abs() < 1e-6);
        assert!((first.adjusted_share.unwrap() - 1.0).abs() < 1e-6);
        assert_eq!(first.verdict, Verdict::Classes);
        assert!((first.means[1][0] - 0.6).abs() < 1e-6);
        assert!((first.overall[0] - 0.4).abs() < 1e-6);
        assert!(second.between_share.unwrap() < 1e-9);
        assert_eq!(second.adjusted_share, Some(0.0));
        assert_eq!(second.verdict, Verdict::Unknown);
        assert_eq!(third.between_share, None);
        assert_eq!(third.verdict, Verdict::Constant);
    }

    #[test]
    fn too_few_images_are_no_verdict() {
        let mut gates = GatesByClass::new(&[module(1)]);
        assert_eq!(gates.report().modules[0].verdict, Verdict::Unknown);
        gates.add(0, &[vec![0.1]]);
        gates.add(1, &[vec![0.9]]);
        let report = gates.report();
        assert_eq!(report.modules[0].between_share, Some(1.0));
        assert_eq!(report.modules[0].verdict, Verdict::Unknown);
    }
    #[test]
    fn gates_that_ignore_the_class_are_not_said_to_distinguish_classes() {
        // By splitmix64, whatever the class.
        let mut state = 0_u64;
        let mut random = move || {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z ^ (z >> 31)) >> 40) as f32 / (1_u32 << 24) as f32
        };
        for (images, classes, verdict) in [
            (6, 2, Verdict::Unknown),
            (30, 10, Verdict::Unknown),
            (60, 2, Verdict::Images),
            (200, 10, Verdict::Images),
        ] {
            let (mut wrong, mut shares) = (0, 0.0);
            for _ in 0..200 {
                let mut gates = GatesByClass::new(&[module(1)]);
                for image in 0..images {
                    gates.add(image % classes, &[vec![random()]]);
                }
                let report = gates.report();
                let share = report.modules[0].adjusted_share.unwrap();
                assert!((0.0..=1.0).contains(&share));
                shares += share / 200.0;
                wrong += usize::from(report.modules[0].verdict != verdict);
            }
            // One gate alone; two standard deviations are exceeded by some per cent.
            assert!(
                wrong <= 16,
                "{wrong} of 200 for {images} images of {classes} classes"
            );
            assert!(shares < chance(images, classes), "{shares}");
        }
    }
}
