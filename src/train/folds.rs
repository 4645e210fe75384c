//! Which images are tested by classifiers that learned from the others.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{Samples, TrainError};

/// Stratified folds: each has about the same share of every class.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Folds {
    /// Number of folds.
    pub count: usize,
    /// The fold of each image.
    pub of: Vec<usize>,
    /// Why there are fewer folds than asked for: a class has no more images, or groups of them.
    pub few: Option<FewImages>,
}

/// A class with few images, or few groups of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FewImages {
    /// Number of the class, from 0.
    pub class: usize,
    /// How many it has.
    pub count: usize,
}

impl Folds {
    /// Divides the images, those of a group together. The same seed gives the same folds.
    ///
    /// There are no more folds than a class has images, so that each fold has one of it. With groups
    /// there are no more folds than a class has groups; then shares are as equal as the greedy choice
    /// of scikit-learn's `StratifiedGroupKFold` makes them, and a fold may lack a small class.
    ///
    /// # Errors
    /// [`TrainError::Folds`]; [`TrainError::TooFewImages`] or [`TrainError::OneGroup`] if that leaves
    /// fewer than two folds.
    pub fn new(samples: &Samples<'_>, count: usize, seed: u64) -> Result<Self, TrainError> {
        if count < 2 {
            return Err(TrainError::Folds { folds: count });
        }
        let class_counts = samples.class_counts();
        let smallest = |counts: &[usize]| {
            let counts = counts.iter().copied().enumerate();
            counts.min_by_key(|&(_, count)| count).unwrap_or((0, 0))
        };
        let (class, images) = smallest(&class_counts);
        if images < 2 {
            return Err(TrainError::TooFewImages { class, images });
        }
        let mut fewest = (class, images);
        let groups = samples.groups().map(|ids| Group::all(samples, ids));
        if let Some(groups) = &groups {
            let mut counts = vec![0; samples.classes()];
            for group in groups {
                group.counts.keys().for_each(|&class| counts[class] += 1);
            }
            fewest = smallest(&counts);
            if fewest.1 < 2 {
                return Err(TrainError::OneGroup { class: fewest.0 });
            }
        }
        let (class, most) = fewest;
        let few = (most < count).then_some(FewImages { class, count: most });
        let count = count.min(most);
        let of = match groups {
            Some(groups) => grouped(samples, groups, count, seed),
            None => single(samples, count, seed),
        };
        Ok(Self { count, of, few })
    }

    /// The images for which `wanted` is true of their fold.
    pub(super) fn images(&self, wanted: impl Fn(usize) -> bool) -> Vec<usize> {
        let images = self.of.iter().enumerate();
        images
            .filter(|(_, fold)| wanted(**fold))
            .map(|(image, _)| image)
            .collect()
    }
}

/// Deals out the images of each class in random order, each class from where the last one ended.
fn single(samples: &Samples<'_>, count: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..samples.len()).collect();
    order.sort_by_key(|&image| (samples.labels()[image], random(seed, image), image));
    let mut of = vec![0; samples.len()];
    for (place, image) in order.into_iter().enumerate() {
        of[image] = place % count;
    }
    of
}

struct Group {
    images: Vec<usize>,
    /// Images of each class that occurs.
    counts: BTreeMap<usize, usize>,
}

impl Group {
    fn all(samples: &Samples<'_>, ids: &[u32]) -> Vec<Self> {
        let mut groups: BTreeMap<u32, Self> = BTreeMap::new();
        for (image, (&id, &label)) in ids.iter().zip(samples.labels()).enumerate() {
            let group = groups.entry(id).or_insert_with(|| Self {
                images: Vec::new(),
                counts: BTreeMap::new(),
            });
            group.images.push(image);
            *group.counts.entry(label as usize).or_default() += 1;
        }
        groups.into_values().collect()
    }
}

/// Gives each group, the largest first, to the fold where the shares of its classes grow least
/// unequal; of equal folds, to the one with the fewest images.
fn grouped(samples: &Samples<'_>, mut groups: Vec<Group>, count: usize, seed: u64) -> Vec<usize> {
    let all = samples.class_counts();
    groups.sort_by_key(|group| {
        let first = group.images[0];
        (Reverse(group.images.len()), random(seed, first), first)
    });
    let mut counts = vec![vec![0_usize; samples.classes()]; count];
    let mut sizes = vec![0_usize; count];
    let mut of = vec![0; samples.len()];
    for group in groups {
        // The growth of the sum of the squared shares.
        let growth = |fold: usize| -> f64 {
            let classes = group.counts.iter().map(|(&class, &more)| {
                let (has, all) = (counts[fold][class] as f64, all[class] as f64);
                more as f64 * (2.0 * has + more as f64) / (all * all)
            });
            classes.sum()
        };
        let better = |&a: &usize, &b: &usize| {
            growth(a)
                .total_cmp(&growth(b))
                .then(sizes[a].cmp(&sizes[b]))
        };
        let fold = (0..count).min_by(better).unwrap_or(0);
        sizes[fold] += group.images.len();
        for (&class, &more) in &group.counts {
            counts[fold][class] += more;
        }
        group.images.iter().for_each(|&image| of[image] = fold);
    }
    of
}

/// A random number for each image: SplitMix64 (Steele, Lea and Flood 2014), of which any number of
/// the sequence can be had at once.
pub(super) fn random(seed: u64, image: usize) -> u64 {
    const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
    let start = mix(seed.wrapping_add(GAMMA));
    mix(start.wrapping_add((image as u64 + 1).wrapping_mul(GAMMA)))
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
