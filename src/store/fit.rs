//! Whether weights fit the network that they are meant for.

use crate::error::{Error, Result};
use crate::nets::NetError;
use crate::weights::Weights;
use crate::zoo::{ModelSpec, WeightsSource};

/// Compares the tensors of `weights` with those of the network of `spec`, by name and shape; notes as
/// those of [`Model::notes`](crate::Model::notes).
///
/// # Errors
/// As [`Model::new`](crate::Model::new), without the values.
pub fn check_weights(spec: &ModelSpec, weights: &Weights) -> Result<Vec<String>> {
    let plan = spec.network.plan(spec.naming, spec.classes())?;
    plan.check_weights(weights)
        .map_err(|error| explain_mismatch(error, spec))
}

/// Explains tensors that do not fit: the weights are a backbone (with a classifier in the authors'
/// release, if there is one), or the same network with other numbers of classes or channels.
pub(crate) fn explain_mismatch(error: NetError, spec: &ModelSpec) -> Error {
    let NetError::Tensors(mismatch) = error else {
        return Error::Net(error);
    };
    if let Some(ends) = mismatch.other_ends() {
        return Error::OtherEnds {
            file: mismatch.source,
            model: spec.name.clone(),
            config: spec.config.clone(),
            ends,
        };
    }
    if !mismatch.only_classifier_missing() {
        return Error::Net(NetError::Tensors(mismatch));
    }
    let release = match &spec.weights {
        WeightsSource::Reference(reference) => reference.release.clone(),
        WeightsSource::File(_) | WeightsSource::Directory(_) => None,
    };
    Error::NoClassifier {
        file: mismatch.source,
        model: spec.name.clone(),
        release,
    }
}
