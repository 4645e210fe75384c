//! Maps the names in a file to the network's: picks the dict that holds the weights, removes the prefix
//! of a wrapping module, finds a classifier inside a `Sequential`, and ignores what is not part of the
//! network.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::Plan;
use super::{NetError, TensorMismatch};
use crate::quote::excerpt;
use crate::weights::{Weights, WeightsError};

/// PyTorch's training counter: most files have it, inference does not use it.
const COUNTER: &str = "num_batches_tracked";
/// Longer names are not searched for a prefix: a hostile one made of dots would take too long.
const MAX_NAME: usize = 256;
/// Other entries that wrappers and modules save: how many models were averaged
/// (`torch.optim.swa_utils.AveragedModel`), and a module's extra state.
const NOT_OF_A_NETWORK: [&str; 2] = ["n_averaged", "_extra_state"];

impl Plan {
    /// Compares the tensors of a file with those of this plan, by name and shape. Returns notes for the
    /// user: how the tensors were found, and what in the file is not part of the network.
    ///
    /// # Errors
    /// [`NetError::Tensors`] naming every tensor that is missing, unexpected or of another shape;
    /// [`NetError::Weights`] for one of a kind that is not read.
    pub fn check_weights(&self, weights: &Weights) -> Result<Vec<String>, NetError> {
        fit(self, weights).map(|(_, notes)| notes)
    }

    /// The plan's tensors in a file, under the plan's names.
    ///
    /// # Errors
    /// As [`Plan::check_weights`].
    pub(crate) fn find(&self, weights: &Weights) -> Result<Weights, NetError> {
        fit(self, weights).map(|(weights, _)| weights)
    }
}

/// Finds the plan's tensors in a file, exactly; they get the plan's names. The notes say how the
/// names were changed and what was left out.
///
/// # Errors
/// [`NetError::Tensors`] naming every tensor that is missing, unexpected or of another shape,
/// [`NetError::Weights`] if several dicts of the file fit, or if a tensor is of a kind that is not read.
pub(super) fn fit(plan: &Plan, weights: &Weights) -> Result<(Weights, Vec<String>), NetError> {
    let mut fitting = Vec::new();
    let mut error: Option<NetError> = None;
    for dict in weights.dicts() {
        let key = dict.unusual_key().map(str::to_owned);
        match (fit_dict(plan, dict), key) {
            (Ok(found), Some(key)) => fitting.push((key, found)),
            // A dict that timm would also load is not worth a note.
            (Ok(found), None) => return Ok(found),
            (Err(other), _) => {
                if differences(&other) < error.as_ref().map_or(usize::MAX, differences) {
                    error = Some(other);
                }
            }
        }
    }
    if fitting.len() > 1 {
        return Err(NetError::Weights(WeightsError::SeveralStateDicts {
            file: weights.source().to_owned(),
            keys: fitting.into_iter().map(|(key, _)| key).collect(),
        }));
    }
    match (fitting.pop(), error) {
        (Some((key, (found, mut notes))), _) => {
            notes.insert(
                0,
                format!("{}: the weights under `{key}` are used", found.source()),
            );
            Ok((found, notes))
        }
        (None, Some(NetError::Tensors(mut mismatch))) => {
            mismatch.keys = weights.keys().map(str::to_owned);
            Err(NetError::Tensors(mismatch))
        }
        (None, Some(error)) => Err(error),
        (None, None) => Err(NetError::Tensors(Box::default())),
    }
}

/// How far a dict is from matching the plan.
fn differences(error: &NetError) -> usize {
    match error {
        NetError::Tensors(found) => {
            found.missing.len() + found.misshaped.len() + found.unexpected.len()
        }
        _ => 0,
    }
}

fn fit_dict(plan: &Plan, dict: Weights) -> Result<(Weights, Vec<String>), NetError> {
    let expected = plan.tensors();
    let known: BTreeSet<&str> = expected.iter().map(|tensor| tensor.name.as_str()).collect();
    let source = dict.source().to_owned();
    let mut notes = Vec::new();
    let mut unused = Vec::new();
    let mut mismatch = TensorMismatch {
        source: source.clone(),
        classifier: plan.classifier.name.clone(),
        stem: (plan.stem.first()).map_or_else(String::new, |conv| conv.name.clone()),
        ..TensorMismatch::default()
    };

    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let left_out = |name: &str| NOT_OF_A_NETWORK.contains(&last(name).as_str());
    let others = dict.others().map(|(name, ..)| name);
    let left = dict.names().chain(others).filter(|name| left_out(name));
    unused.extend(left.map(|name| format!("`{}`", excerpt(name))));
    let mut dict =
        dict.renamed(|name| (!left_out(name) && last(name) != COUNTER).then(|| name.to_owned()));

    let prefix = most_frequent_prefix(&known, &dict);
    if let Some((prefix, count)) = prefix {
        if dict.names().all(|name| name.starts_with(&prefix)) {
            dict = dict.renamed(|name| Some(name.strip_prefix(&prefix).unwrap_or(name).to_owned()));
            notes.push(format!(
                "{source}: the prefix `{prefix}` is removed from the tensors' names; layers around the \
                 network that hold no weights (a normalisation, a softmax) are not applied"
            ));
            mismatch.removed_prefix = Some(prefix);
        } else {
            mismatch.partial_prefix = Some((prefix, count, known.len()));
        }
    }
    let classifier = &plan.classifier.name;
    if let Some(inner) = inner_classifier(plan, &dict) {
        dict = dict.renamed(|name| {
            let part = name
                .strip_prefix(&inner)
                .filter(|part| part.starts_with('.'));
            Some(part.map_or_else(|| name.to_owned(), |part| format!("{classifier}{part}")))
        });
        notes.push(format!(
            "{source}: `{}` is taken for the classifier `{classifier}`; layers next to it that hold no \
             weights (dropout, an activation, a softmax) are not applied",
            excerpt(&inner)
        ));
    }

    if let Some(error) = known.iter().find_map(|name| dict.unread(name)) {
        return Err(NetError::Weights(error));
    }
    for tensor in &expected {
        match dict.shape(&tensor.name) {
            None => (mismatch.missing).push((tensor.name.clone(), tensor.shape.clone())),
            Some(found) if !same_values(found, &tensor.shape) => {
                let shapes = (tensor.name.clone(), tensor.shape.clone(), found.to_vec());
                mismatch.misshaped.push(shapes);
            }
            Some(_) => {}
        }
    }
    for name in dict.names().filter(|name| !known.contains(name)) {
        let shape = dict.shape(name).unwrap_or_default();
        (mismatch.unexpected).push((name.to_owned(), format!("{shape:?}")));
    }
    for (name, kind, is_tensor) in dict.others() {
        if is_tensor {
            (mismatch.unexpected).push((name.to_owned(), kind.to_string()));
        } else {
            unused.push(format!("`{}` ({kind})", excerpt(name)));
        }
    }
    if !mismatch.is_empty() {
        return Err(NetError::Tensors(Box::new(mismatch)));
    }
    if !unused.is_empty() {
        const SHOWN: usize = 8;
        let (count, more) = (unused.len(), if unused.len() > SHOWN { ", …" } else { "" });
        unused.truncate(SHOWN);
        let unused = unused.join(", ");
        notes.push(format!(
            "{source}: not part of the network and not used: {count} values: {unused}{more}"
        ));
    }
    Ok((dict, notes))
}

/// Whether the shapes are the same, or a linear layer's and that of the 1x1 convolution that it is: torchvision's
/// MobileNetV3 has the one where timm's has the other.
fn same_values(found: &[usize], expected: &[usize]) -> bool {
    found == expected || (found.len() == 2 && expected == [found, &[1, 1]].concat())
}

/// The prefix, up to a dot, that most of the known names have in the file, and how many have it; `None`
/// if all known names are there without a prefix.
fn most_frequent_prefix(known: &BTreeSet<&str>, dict: &Weights) -> Option<(String, usize)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in dict.names().filter(|name| name.len() <= MAX_NAME) {
        let behind_dots = name.match_indices('.').map(|(dot, _)| dot + 1);
        for start in std::iter::once(0).chain(behind_dots) {
            if known.contains(&name[start..]) {
                *counts.entry(&name[..start]).or_default() += 1;
            }
        }
    }
    if counts.remove("") == Some(known.len()) {
        return None;
    }
    // On a tie the first, which is the shortest.
    let (prefix, count) = counts.into_iter().rev().max_by_key(|(_, count)| *count)?;
    // In any other architecture a few names end like some of the network's.
    let fits = 4 * count >= known.len();
    fits.then(|| (prefix.to_owned(), count))
}

/// The name of the classifier inside a `Sequential`: the only linear layer there that takes the
/// network's features.
fn inner_classifier(plan: &Plan, dict: &Weights) -> Option<String> {
    let classifier = &plan.classifier;
    let inside = format!("{}.", classifier.name);
    if ["weight", "bias"]
        .iter()
        .any(|part| dict.shape(&format!("{inside}{part}")).is_some())
    {
        return None;
    }
    let mut layers = dict.names().filter_map(|name| {
        let layer = name
            .strip_suffix(".weight")
            .filter(|layer| layer.starts_with(&inside))?;
        let [outputs, inputs] = *dict.shape(name)? else {
            return None;
        };
        let bias = dict.shape(&format!("{layer}.bias"))?;
        (inputs == classifier.inputs && bias == [outputs]).then(|| layer.to_owned())
    });
    let layer = layers.next()?;
    layers.next().is_none().then_some(layer)
}
