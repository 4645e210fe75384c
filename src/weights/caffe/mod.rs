//! The weights of a Caffe network: a `NetParameter` in Protocol Buffers, of the form that has `layer` or of the
//! older one that has `layers` (`src/caffe/proto/caffe.proto` of BVLC/caffe).
//!
//! | layer | tensors |
//! |---|---|
//! | convolution, inner product | `NAME.weight` and, if it has two blobs, `NAME.bias` |
//! | `BatchNorm` | `NAME.running_mean` and `NAME.running_var`: the first two blobs divided by the third, a sum of weights |
//! | `Scale` | `weight` and `bias` of the `BatchNorm` right before it; without one, of its own |
//! | others | `NAME.blob0`, `NAME.blob1`, … |
//!
//! Values stay where they are in the file, except those of a `BatchNorm` and of blobs in several pieces, as
//! Protocol Buffers allow; these are copied.

mod blob;
mod fields;

use std::collections::HashMap;
use std::ops::Range;

use super::state_dict::{Entry, StateDict};
use super::{DType, WeightsError};
use blob::{Blob, Data};
use fields::{Fault, Fields, Value};

/// Longest name of a layer, a kind or a blob.
const MAX_NAME: usize = 1024;
/// Fields before the first layer that are looked at to recognise a file.
const FEW: usize = 64;

/// `layer` and the older `layers` of a `NetParameter`.
const LAYER: u64 = 100;
const LAYERS: u64 = 2;
/// Its other fields: name, input, input_dim, force_backward, state, debug_info, input_shape.
const OTHERS: [u64; 7] = [1, 3, 4, 5, 6, 7, 8];

/// What a file holds: where its tensors are, and the bytes of those that are not in the file as they are.
pub(super) struct Indexed {
    pub(super) dict: StateDict,
    pub(super) computed: Vec<u8>,
}

/// Whether the content begins like a Caffe network: the fields before the first layer, and that layer's first.
pub(super) fn looks_like(bytes: &[u8]) -> bool {
    let mut fields = Fields::new(bytes, 0..bytes.len());
    for _ in 0..FEW {
        let before = fields.position();
        match fields.next() {
            Ok(Some((LAYER | LAYERS, Value::Bytes(layer)))) => return is_layer(bytes, layer),
            Ok(Some((1, Value::Bytes(name)))) if text(bytes, name.clone()).is_some() => {}
            Ok(Some((1, _))) => return false,
            Ok(Some((number, _))) if OTHERS.contains(&number) => {}
            // A layer that is cut off.
            Err(Fault {
                beyond: Some(_), ..
            }) if before > 0 => {
                return matches!(bytes.get(before..), Some([0xa2, 0x06, ..] | [0x12, ..]));
            }
            _ => return false,
        }
    }
    false
}

/// Whether it begins with a name, a kind, or what comes in or goes out.
fn is_layer(bytes: &[u8], layer: Range<usize>) -> bool {
    let first = Fields::new(bytes, layer).next();
    match first {
        Ok(Some((1..=4, Value::Bytes(of_text)))) => text(bytes, of_text).is_some(),
        _ => false,
    }
}

/// A text of a file's: names have no control characters.
fn text(bytes: &[u8], place: Range<usize>) -> Option<&str> {
    let text = std::str::from_utf8(bytes.get(place)?).ok()?;
    (text.len() <= MAX_NAME && !text.contains(char::is_control)).then_some(text)
}

/// What matters about a layer's kind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Convolution,
    InnerProduct,
    BatchNorm,
    Scale,
    Other,
}

struct Layer<'a> {
    name: &'a str,
    kind: Kind,
    bottoms: Vec<&'a str>,
    tops: Vec<&'a str>,
    blobs: Vec<Range<usize>>,
}

/// The tensors of a file.
pub(super) fn index(file: &str, bytes: &[u8]) -> Result<Indexed, WeightsError> {
    let mut index = Index {
        file,
        bytes,
        dict: StateDict::default(),
        computed: Vec::new(),
        norms: HashMap::new(),
    };
    let mut fields = Fields::new(bytes, 0..bytes.len());
    while let Some((number, value)) = fields.next().map_err(|fault| index.fault(fault))? {
        match (number, value) {
            (LAYER | LAYERS, Value::Bytes(place)) => {
                let layer = index.layer(place, number == LAYERS)?;
                index.add(&layer)?;
            }
            (LAYER | LAYERS, _) => return Err(index.damaged("a layer is no message".into())),
            _ => {}
        }
    }
    if index.dict.entries.is_empty() {
        return Err(WeightsError::Unsupported {
            file: file.to_owned(),
            problem: "it is a Caffe network without weights".into(),
        });
    }
    let Index { dict, computed, .. } = index;
    Ok(Indexed { dict, computed })
}

struct Index<'a> {
    file: &'a str,
    bytes: &'a [u8],
    dict: StateDict,
    computed: Vec<u8>,
    /// Blobs that come from a `BatchNorm`, and its name.
    norms: HashMap<&'a str, &'a str>,
}

impl<'a> Index<'a> {
    fn damaged(&self, problem: String) -> WeightsError {
        WeightsError::Damaged {
            file: self.file.to_owned(),
            problem,
        }
    }

    fn fault(&self, fault: Fault) -> WeightsError {
        match fault.beyond {
            Some(expected) => WeightsError::Truncated {
                file: self.file.to_owned(),
                what: format!("the field at byte {}", fault.at),
                expected,
                found: self.bytes.len() as u64,
            },
            None => self.damaged(format!("{} at byte {}", fault.problem, fault.at)),
        }
    }

    fn text(&self, place: Range<usize>) -> Result<&'a str, WeightsError> {
        let at = place.start;
        text(self.bytes, place)
            .ok_or_else(|| self.damaged(format!("the name at byte {at} is not a short text")))
    }

    /// Reads a layer; `is_old` of the older form.
    fn layer(&self, place: Range<usize>, is_old: bool) -> Result<Layer<'a>, WeightsError> {
        let mut layer = Layer {
            name: "",
            kind: Kind::Other,
            bottoms: Vec::new(),
            tops: Vec::new(),
            blobs: Vec::new(),
        };
        let mut fields = Fields::new(self.bytes, place);
        while let Some((number, value)) = fields.next().map_err(|fault| self.fault(fault))? {
            match (is_old, number, value) {
                (false, 1, Value::Bytes(name)) | (true, 4, Value::Bytes(name)) => {
                    layer.name = self.text(name)?;
                }
                (false, 2, Value::Bytes(kind)) => {
                    layer.kind = match self.text(kind)? {
                        "Convolution" | "Deconvolution" => Kind::Convolution,
                        "InnerProduct" => Kind::InnerProduct,
                        "BatchNorm" => Kind::BatchNorm,
                        "Scale" => Kind::Scale,
                        _ => Kind::Other,
                    };
                }
                // V1LayerParameter.LayerType.
                (true, 5, Value::Number(kind)) => {
                    layer.kind = match kind {
                        4 | 39 => Kind::Convolution,
                        14 => Kind::InnerProduct,
                        _ => Kind::Other,
                    };
                }
                (false, 3, Value::Bytes(name)) | (true, 2, Value::Bytes(name)) => {
                    layer.bottoms.push(self.text(name)?);
                }
                (false, 4, Value::Bytes(name)) | (true, 3, Value::Bytes(name)) => {
                    layer.tops.push(self.text(name)?);
                }
                (false, 7, Value::Bytes(blob)) | (true, 6, Value::Bytes(blob)) => {
                    layer.blobs.push(blob);
                }
                (true, 1, Value::Bytes(_)) => {
                    return Err(WeightsError::Unsupported {
                        file: self.file.to_owned(),
                        problem:
                            "its layers have the form of Caffe's first year (V0LayerParameter)"
                                .into(),
                    });
                }
                _ => {}
            }
        }
        Ok(layer)
    }

    /// Adds the tensors of a layer.
    fn add(&mut self, layer: &Layer<'a>) -> Result<(), WeightsError> {
        let mut blobs = Vec::with_capacity(layer.blobs.len());
        for (number, place) in layer.blobs.iter().enumerate() {
            let blob = blob::read(self.bytes, place.clone());
            blobs.push(blob.map_err(|problem| match problem {
                blob::Problem::Fault(fault) => self.fault(fault),
                blob::Problem::Damaged(problem) => self.damaged(format!(
                    "blob {number} of layer `{}`: {problem}",
                    layer.name
                )),
                blob::Problem::Pieces(limit) => WeightsError::TooLarge {
                    file: self.file.to_owned(),
                    what: format!("the number of pieces of a blob of layer `{}`", layer.name),
                    limit,
                },
            })?);
        }
        let mut name = layer.name;
        let norm = match layer.bottoms[..] {
            [bottom] => self.norms.get(bottom).copied(),
            _ => None,
        };
        for top in &layer.tops {
            self.norms.remove(top);
        }
        match layer.kind {
            Kind::BatchNorm if !blobs.is_empty() => {
                self.norms.extend(layer.tops.iter().map(|top| (*top, name)));
                return self.batch_norm(name, blobs);
            }
            Kind::Scale => name = norm.unwrap_or(name),
            _ => {}
        }
        for (number, mut blob) in blobs.into_iter().enumerate() {
            let (part, axes) = match (layer.kind, number) {
                (Kind::Convolution, 0) => ("weight".to_owned(), 4),
                (Kind::InnerProduct, 0) => ("weight".to_owned(), 2),
                (Kind::Scale, 0) => ("weight".to_owned(), 1),
                (Kind::Convolution | Kind::InnerProduct | Kind::Scale, 1) => ("bias".to_owned(), 1),
                _ => (format!("blob{number}"), usize::MAX),
            };
            blob.squeeze(axes);
            self.insert(format!("{name}.{part}"), blob)?;
        }
        Ok(())
    }

    /// Caffe stores sums over batches, and in a third blob what to divide them by.
    fn batch_norm(&mut self, name: &str, blobs: Vec<Blob>) -> Result<(), WeightsError> {
        let wrong = |problem: &str| self.damaged(format!("layer `{name}`: {problem}"));
        let Ok([mean, variance, factor]) = <[Blob; 3]>::try_from(blobs) else {
            return Err(wrong("a BatchNorm has three blobs"));
        };
        let factor = factor.data.values(self.bytes);
        let [factor] = factor[..] else {
            return Err(wrong("the third blob of a BatchNorm has one value"));
        };
        // As in Caffe, nothing was seen.
        let scale = |value: f64| if factor == 0.0 { 0.0 } else { value / factor };
        for (part, mut blob) in [("running_mean", mean), ("running_var", variance)] {
            blob.squeeze(1);
            let values = blob.data.values(self.bytes).into_iter().map(scale);
            let data = self.store(values);
            self.insert(format!("{name}.{part}"), Blob { data, ..blob })?;
        }
        Ok(())
    }

    /// Keeps values that the file does not have as they are.
    fn store(&mut self, values: impl Iterator<Item = f64>) -> Data {
        let start = self.computed.len();
        for value in values {
            self.computed.extend(value.to_le_bytes());
        }
        Data::Computed { start }
    }

    fn insert(&mut self, name: String, blob: Blob) -> Result<(), WeightsError> {
        let data = match blob.data {
            Data::Pieces { .. } => {
                let values = blob.data.values(self.bytes);
                self.store(values.into_iter())
            }
            placed => placed,
        };
        let (part, dtype, start) = match data {
            Data::Computed { start } => (1, DType::F64, start),
            Data::Whole { start, dtype, .. } => (0, dtype, start),
            Data::Pieces { .. } => return Err(self.damaged("a blob in pieces".into())),
        };
        let entry = Entry {
            part,
            dtype,
            shape: blob.shape,
            start,
            strides: None,
        };
        if self.dict.entries.contains_key(&name) {
            return Err(self.damaged(format!("`{name}` occurs twice")));
        }
        self.dict.entries.insert(name, entry);
        Ok(())
    }
}
