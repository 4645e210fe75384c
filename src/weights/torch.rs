//! PyTorch's two containers: the zip archive of 1.6 and later, and the stream before it.
//!
//! Both hold a pickle that describes the tensors and blocks of raw data ("storages") that the
//! pickle refers to by key. They differ in where the data of a key is.

use std::collections::{BTreeMap, HashMap};

use candle_core::pickle::Object;

use super::error::LooksLike;
use super::pickle::{Checkpoint, Described, checkpoint, run};
use super::zip::{Members, Place};
use super::{Entry, WeightsError};

/// The pickled integer 0x1950a86a20f9469cfc6c, `MAGIC_NUMBER` of `torch.serialization`, after the
/// pickle's own beginning. It is compared as bytes: Candle's integers end at 64 bits.
const LEGACY_MAGIC: &[u8] = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";
/// `PROTOCOL_VERSION` of `torch.serialization`.
const LEGACY_VERSION: i32 = 1001;

/// How many bytes the protocol and, from protocol 4 on, the frame take before the magic number.
const LEGACY_MAGIC_AT: [usize; 2] = [2, 11];

const NOT_LITTLE_ENDIAN: &str = "its numbers are not little-endian";

/// Where the magic number of the legacy container ends, or `None` for other content.
pub(super) fn legacy_start(bytes: &[u8]) -> Option<usize> {
    LEGACY_MAGIC_AT
        .into_iter()
        .find(|&at| {
            bytes.first() == Some(&0x80)
                && bytes.get(at..).is_some_and(|b| b.starts_with(LEGACY_MAGIC))
        })
        .map(|at| at + LEGACY_MAGIC.len())
}

/// The tensors of a zip archive.
pub(super) fn index_zip(file: &str, bytes: &[u8]) -> Result<BTreeMap<String, Entry>, WeightsError> {
    let not_weights = |looks_like| WeightsError::NotWeights {
        file: file.to_owned(),
        looks_like,
    };
    let unsupported = |problem: String| WeightsError::Unsupported {
        file: file.to_owned(),
        problem,
    };
    let members = Members::read(file, bytes)?;
    if !members.contains("data.pkl") {
        return Err(not_weights(LooksLike::Zip));
    }
    if members.contains("constants.pkl") {
        return Err(not_weights(LooksLike::TorchScript));
    }
    let place = |name: &str| {
        let refused = |member| unsupported(format!("member `{member}` is compressed or encrypted"));
        members.place(name).map_err(refused)
    };
    let content = |name: &str| -> Result<Option<&[u8]>, WeightsError> {
        Ok(place(name)?.map(|(start, length)| &bytes[start as usize..][..length as usize]))
    };
    if content("byteorder")?.is_some_and(|order| order != b"little") {
        return Err(unsupported(NOT_LITTLE_ENDIAN.to_owned()));
    }

    let (object, _) = run(file, content("data.pkl")?.unwrap_or_default())?;
    let checkpoint = checkpoint(file, object)?;
    let mut places = HashMap::new();
    for tensor in &checkpoint.tensors {
        let key = &tensor.storage.key;
        if let Some(place) = place(&format!("data/{key}"))? {
            places.insert(key.clone(), place);
        }
    }
    place_tensors(file, checkpoint, &places)
}

/// The tensors of a legacy stream, whose magic number ends at `pos`: the version, facts about the
/// system, the checkpoint's pickle, the list of its storages' keys, and for each key the number of
/// elements and the elements.
pub(super) fn index_legacy(
    file: &str,
    bytes: &[u8],
    mut pos: usize,
) -> Result<BTreeMap<String, Entry>, WeightsError> {
    let mut next = || -> Result<Object, WeightsError> {
        let (object, length) = run(file, &bytes[pos..])?;
        pos += length;
        Ok(object)
    };
    let unsupported = |problem: &str| WeightsError::Unsupported {
        file: file.to_owned(),
        problem: problem.to_owned(),
    };
    let damaged = |problem: String| WeightsError::Damaged {
        file: file.to_owned(),
        problem,
    };
    if next()? != Object::Int(LEGACY_VERSION) {
        return Err(unsupported(
            "a version of PyTorch's stream format other than 1001",
        ));
    }
    if let Object::Dict(system) = next()?
        && system.contains(&(
            Object::Unicode("little_endian".to_owned()),
            Object::Bool(false),
        ))
    {
        return Err(unsupported(NOT_LITTLE_ENDIAN));
    }
    let checkpoint = checkpoint(file, next()?)?;
    let Object::List(keys) = next()? else {
        return Err(damaged("the list of storages is missing".to_owned()));
    };

    let mut rest = pos as u64;
    let mut places = HashMap::new();
    for key in keys {
        let Object::Unicode(key) = key else {
            return Err(damaged("a storage's key is not a string".to_owned()));
        };
        let Some(storage) = checkpoint.storages.get(&key) else {
            return Err(damaged(format!("storage `{key}` belongs to nothing")));
        };
        let start = rest.saturating_add(8);
        let length = storage.elements.saturating_mul(storage.element_size);
        let end = start.saturating_add(length);
        let declared = usize::try_from(rest)
            .ok()
            .and_then(|at| bytes.get(at..)?.first_chunk())
            .map(|raw| u64::from_le_bytes(*raw));
        if end > bytes.len() as u64 || declared.is_none() {
            return Err(WeightsError::Truncated {
                file: file.to_owned(),
                what: format!("storage `{key}`"),
                expected: end,
                found: bytes.len() as u64,
            });
        }
        if declared != Some(storage.elements) {
            return Err(damaged(format!(
                "storage `{key}` should have {} elements and says {}",
                storage.elements,
                declared.unwrap_or(0)
            )));
        }
        if places.insert(key.clone(), (start, length)).is_some() {
            return Err(damaged(format!("storage `{key}` occurs twice")));
        }
        rest = end;
    }
    place_tensors(file, checkpoint, &places)
}

fn place_tensors(
    file: &str,
    checkpoint: Checkpoint,
    places: &HashMap<String, Place>,
) -> Result<BTreeMap<String, Entry>, WeightsError> {
    let damaged = |name: &str, problem: &str| WeightsError::Damaged {
        file: file.to_owned(),
        problem: format!("tensor `{name}`: {problem}"),
    };
    let mut entries = BTreeMap::new();
    for tensor in checkpoint.tensors {
        let name = tensor.name.clone();
        let Some(&place) = places.get(&tensor.storage.key) else {
            let problem = format!("its data `{}` is missing", tensor.storage.key);
            return Err(damaged(&name, &problem));
        };
        let entry = place_tensor(tensor, place).map_err(|problem| match problem {
            Misplaced::Damaged(problem) => damaged(&name, problem),
            Misplaced::Repeats => WeightsError::UnsupportedTensor {
                file: file.to_owned(),
                name: name.clone(),
                problem: "it repeats values that are stored once, as after `expand`",
            },
        })?;
        if entries.insert(name.clone(), entry).is_some() {
            return Err(damaged(&name, "it occurs twice"));
        }
    }
    Ok(entries)
}

/// Why a tensor has no place in its storage.
enum Misplaced {
    Damaged(&'static str),
    /// Some elements are the same ones, by a stride of zero for example. PyTorch reads that; here it
    /// would let a few bytes stand for terabytes.
    Repeats,
}

impl From<&'static str> for Misplaced {
    fn from(problem: &'static str) -> Self {
        Self::Damaged(problem)
    }
}

/// Checks that every element of a tensor is inside its storage, and its storage inside the file.
fn place_tensor(tensor: Described, (start, length): Place) -> Result<Entry, Misplaced> {
    const OVERFLOW: &str = "its size overflows";
    let Described {
        storage,
        offset,
        shape,
        strides,
        ..
    } = tensor;
    let size = storage.element_size;
    if storage
        .elements
        .checked_mul(size)
        .is_none_or(|bytes| bytes > length)
    {
        return Err("its storage is larger than the data in the file".into());
    }
    let (first, available) = storage.view.unwrap_or((0, storage.elements));
    if first
        .checked_add(available)
        .is_none_or(|end| end > storage.elements)
    {
        return Err("its view is outside its storage".into());
    }

    let elements = shape.iter().try_fold(1u64, |n, &dim| n.checked_mul(dim));
    let elements = elements.ok_or(OVERFLOW)?;
    if elements > 0 {
        let last = shape
            .iter()
            .zip(&strides)
            .try_fold(offset, |at, (&dim, &stride)| {
                at.checked_add((dim - 1).checked_mul(stride)?)
            });
        if last.ok_or(OVERFLOW)? >= available {
            return Err("it reaches outside its storage".into());
        }
    }
    if elements > available {
        return Err(Misplaced::Repeats);
    }

    let start = if elements == 0 {
        start
    } else {
        start + (first + offset) * size
    };
    let contiguous = {
        let mut expected = 1;
        shape.iter().zip(&strides).rev().all(|(&dim, &stride)| {
            let fits = dim == 1 || stride == expected;
            expected = dim.saturating_mul(expected);
            fits
        })
    };
    let to_usize = |values: Vec<u64>| -> Result<Vec<usize>, &'static str> {
        values
            .into_iter()
            .map(|value| usize::try_from(value).map_err(|_| OVERFLOW))
            .collect()
    };
    Ok(Entry {
        dtype: storage.dtype,
        strides: (elements > 0 && !contiguous)
            .then(|| to_usize(strides))
            .transpose()?,
        shape: to_usize(shape)?,
        start: usize::try_from(start).map_err(|_| OVERFLOW)?,
    })
}
