//! What the name of a family alone means.

use super::suggest::squash;
use super::{Card, Zoo};

/// The limit up to which a family's checkpoint is taken without being asked for.
const SMALL: usize = 30_000_000;

/// The label sets of ImageNet-1k: the same classes in two orders.
const IMAGENET: [&str; 2] = ["imagenet-1k", "imagenet-1k-devkit"];

impl Card {
    /// Whether its accuracy is that on ImageNet-1k, as of most checkpoints: accuracies on different classes
    /// cannot be compared.
    pub fn is_imagenet(&self) -> bool {
        IMAGENET.contains(&&*self.labels)
    }

    /// The highest published top-1 accuracy, in per cent.
    pub(crate) fn best_top1(&self) -> Option<f64> {
        let published = self.published.iter().map(|published| published.top1);
        published.max_by(f64::total_cmp)
    }
}

impl Zoo {
    /// The card that a family's name selects, unless it is also an architecture's, and why: of the
    /// architectures' recommended checkpoints for ImageNet-1k under a permissive licence, the most accurate
    /// below 30 million parameters; if none is that small, the smallest.
    pub(super) fn find_family(&self, name: &str) -> Option<(&Card, &'static str)> {
        let is_it = |known: &&str| squash(known) == squash(name);
        let family = self.families().into_iter().find(is_it)?;
        if self.architectures().iter().any(is_it) {
            return None;
        }
        let mut cards = self.cards_of(|of, _| of == family);
        cards.retain(|card| card.is_imagenet() && card.is_permissive() && self.is_default(card));
        let small = cards.iter().filter(|card| card.params < SMALL);
        let top1 = |card: &Card| card.best_top1().unwrap_or(0.0);
        let best = small.max_by(|a, b| top1(a).total_cmp(&top1(b)));
        let smallest = || cards.iter().min_by_key(|card| card.params);
        match best {
            Some(card) => Some((card, "the most accurate below 30 million parameters")),
            None => Some((smallest()?, "the smallest")),
        }
    }

    /// Whether the name of its architecture alone selects this card.
    pub fn is_default(&self, card: &Card) -> bool {
        let default = self.default_of(card.name.architecture());
        default.is_some_and(|default| default.name == card.name)
    }
}
