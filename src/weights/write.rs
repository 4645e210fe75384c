//! Writes tensors as a safetensors file, one after another, so that no more than one is in memory.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::path::Path;

use safetensors::tensor::{TensorView, View};
use safetensors::{Dtype, SafeTensorError, serialize, serialize_to_file};

use super::dtype::Element;
use super::{DType, Entry, Part, Weights, WeightsError};

/// A tensor of an opened file. What timm takes as it is stored is copied byte for byte; other types and
/// strided tensors become plain f32.
struct Stored<'a> {
    weights: &'a Weights,
    name: &'a str,
    part: &'a Part,
    entry: &'a Entry,
}

impl Stored<'_> {
    fn kept(&self) -> Option<Dtype> {
        let plain = self.entry.strides.is_none();
        plain.then_some(match self.entry.dtype {
            DType::F32 => Dtype::F32,
            DType::F16 => Dtype::F16,
            DType::BF16 => Dtype::BF16,
            _ => return None,
        })
    }
}

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        self.kept().unwrap_or(Dtype::F32)
    }

    fn shape(&self) -> &[usize] {
        &self.entry.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        if self.kept().is_some() {
            let stored = self.part.bytes.get(self.entry.start..).unwrap_or(&[]);
            return Cow::Borrowed(&stored[..self.data_len().min(stored.len())]);
        }
        // Whether it can be read as f32 was checked before.
        let values = self.weights.f32(self.name).unwrap_or_default();
        Cow::Owned(
            values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
        )
    }

    fn data_len(&self) -> usize {
        let size = self.dtype().bitsize() / 8;
        self.entry.shape.iter().product::<usize>() * size
    }
}

impl Weights {
    /// Writes the named tensors to a new file, with `format` "pt" as PyTorch's libraries expect.
    ///
    /// # Errors
    /// [`WeightsError::MissingTensor`], [`WeightsError::WrongDtype`], [`WeightsError::Unwritable`].
    pub(crate) fn write<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
        path: &Path,
    ) -> Result<(), WeightsError> {
        let stored = names.map(|name| {
            let (part, entry) = self.get(name).ok_or_else(|| self.missing(name))?;
            if f32::decoder(entry.dtype).is_none() {
                return Err(WeightsError::WrongDtype {
                    file: part.source.clone(),
                    name: name.to_owned(),
                    expected: f32::KIND,
                    found: entry.dtype,
                });
            }
            let stored = Stored {
                weights: self,
                name,
                part,
                entry,
            };
            Ok((name, stored))
        });
        let stored = stored.collect::<Result<Vec<_>, _>>()?;
        let written = serialize_to_file(stored, about("format", "pt"), path);
        written.map_err(|error| WeightsError::Unwritable {
            file: path.display().to_string(),
            error: io_error(error),
        })
    }
}

/// A small safetensors file of f32 tensors in memory, with a text beside them.
pub(crate) fn small_file(
    tensors: &[(&str, &[usize], &[f32])],
    (key, text): (&str, &str),
) -> io::Result<Vec<u8>> {
    let bytes = tensors.iter().map(|(_, _, values)| {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        bytes.collect::<Vec<u8>>()
    });
    let bytes: Vec<Vec<u8>> = bytes.collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes).map_err(io_error)?;
        Ok((*name, view))
    });
    let views = views.collect::<io::Result<Vec<_>>>()?;
    serialize(views, about(key, text)).map_err(io_error)
}

/// One text only: the order of several is random.
fn about(key: &str, text: &str) -> Option<HashMap<String, String>> {
    Some(HashMap::from([(key.to_owned(), text.to_owned())]))
}

fn io_error(error: SafeTensorError) -> io::Error {
    match error {
        SafeTensorError::IoError(error) => error,
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_tensors_are_written_and_others_copied() {
        let base = [
            ("a.weight", &[2, 2][..], &[1.0, 2.0, 3.0, 4.0][..]),
            ("fc.weight", &[1, 2], &[5.0, 6.0]),
        ];
        let base = small_file(&base, ("format", "pt")).unwrap();
        let base = Weights::from_bytes("base", base).unwrap();
        let head = [("fc.weight", &[2, 2][..], &[7.0, 8.0, 9.0, 10.0][..])];
        let head = small_file(&head, ("about", "cats")).unwrap();
        let head = Weights::from_bytes("head", head).unwrap();
        assert_eq!(head.metadata("about").as_deref(), Some("cats"));
        assert_eq!(head.metadata("other"), None);
        let both = base.replaced_by(&head);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        both.write(["a.weight", "fc.weight"].into_iter(), &path)
            .unwrap();
        let written = Weights::open(&path).unwrap();
        assert_eq!(written.metadata("format").as_deref(), Some("pt"));
        assert_eq!(written.f32("a.weight").unwrap(), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(written.shape("fc.weight"), Some(&[2, 2][..]));
        assert_eq!(written.f32("fc.weight").unwrap(), [7.0, 8.0, 9.0, 10.0]);
        assert!(matches!(
            both.write(["fc.bias"].into_iter(), &path),
            Err(WeightsError::MissingTensor { .. })
        ));
    }

    /// A transposed tensor in double precision, as PyTorch may store it.
    #[test]
    fn strided_doubles_become_plain_f32() {
        let values = [1.0_f64, 2.0, 3.0, 4.0, 5.0, 6.0];
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let view = TensorView::new(Dtype::F64, vec![2, 3], &bytes).unwrap();
        let file = serialize([("a", view)], None).unwrap();
        let mut weights = Weights::from_bytes("doubles", file).unwrap();
        let entry = weights.dict.entries.get_mut("a").unwrap();
        (entry.shape, entry.strides) = (vec![3, 2], Some(vec![1, 3]));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        weights.write(["a"].into_iter(), &path).unwrap();
        let written = Weights::open(&path).unwrap();
        assert_eq!(written.dtype("a"), Some(DType::F32));
        assert_eq!(written.shape("a"), Some(&[3, 2][..]));
        assert_eq!(written.f32("a").unwrap(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
}
