//! PyTorch's two containers: the zip archive of 1.6 and later, and the stream before it.
//!
//! Both hold a pickle that describes the tensors and blocks of raw data ("storages") that the
//! pickle refers to by key. They differ in where the data of a key is.

use std::collections::HashMap;

use super::checkpoint::{StateDicts, state_dicts};
use super::pickle::{MAX_MEMORY, Pickle, Storage, Value, run};
use super::zip::{Members, Place};
use super::{LooksLike, WeightsError};

/// The integer 0x1950a86a20f9469cfc6c, `MAGIC_NUMBER` of `torch.serialization`, as a whole pickle
/// after its own beginning. It is compared as bytes: it takes more than 64 bits.
const LEGACY_MAGIC: &[u8] = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";
/// The same in pickle protocols 0 and 1.
const LEGACY_MAGIC_TEXT: &[u8] = b"L119547037146038801333356L\n.";
/// `PROTOCOL_VERSION` of `torch.serialization`.
const LEGACY_VERSION: i64 = 1001;

/// How many bytes the protocol and, from protocol 4 on, the frame take before the magic number.
const LEGACY_MAGIC_AT: [usize; 2] = [2, 11];

const NOT_LITTLE_ENDIAN: &str = "its numbers are not little-endian";

/// Where the magic number of the legacy container ends, or `None` for other content.
pub(super) fn legacy_start(bytes: &[u8]) -> Option<usize> {
    if bytes.starts_with(LEGACY_MAGIC_TEXT) {
        return Some(LEGACY_MAGIC_TEXT.len());
    }
    LEGACY_MAGIC_AT
        .into_iter()
        .find(|&at| {
            bytes.first() == Some(&0x80)
                && bytes.get(at..).is_some_and(|b| b.starts_with(LEGACY_MAGIC))
        })
        .map(|at| at + LEGACY_MAGIC.len())
}

/// The state dicts of a zip archive.
pub(super) fn index_zip(file: &str, bytes: &[u8]) -> Result<StateDicts, WeightsError> {
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

    let pickle = content("data.pkl")?.unwrap_or_default();
    let mut pickle = run(file, pickle, MAX_MEMORY)?;
    let place = |storage: &Storage| place(&format!("data/{}", storage.key));
    state_dicts(&mut pickle, &place)
}

/// The state dicts of a legacy stream, whose magic number ends at `pos`: the version, facts about the
/// system, the checkpoint's pickle, the list of its storages' keys, and for each key the number of
/// elements and the elements.
pub(super) fn index_legacy(
    file: &str,
    bytes: &[u8],
    mut pos: usize,
) -> Result<StateDicts, WeightsError> {
    let mut next = |memory: usize| -> Result<Pickle<'_>, WeightsError> {
        let pickle = run(file, &bytes[pos..], memory)?;
        pos += pickle.end;
        Ok(pickle)
    };
    let unsupported = |problem: &str| WeightsError::Unsupported {
        file: file.to_owned(),
        problem: problem.to_owned(),
    };
    if next(MAX_MEMORY)?.root != Value::Int(LEGACY_VERSION) {
        return Err(unsupported(
            "a version of PyTorch's stream format other than 1001",
        ));
    }
    let system = next(MAX_MEMORY)?;
    if let Value::Dict(root) = system.root
        && system.heap.get(root, "little_endian") == Some(Value::Bool(false))
    {
        return Err(unsupported(NOT_LITTLE_ENDIAN));
    }
    drop(system);
    let mut checkpoint = next(MAX_MEMORY)?;
    let keys = next(checkpoint.heap.budget().left)?;
    let places = legacy_places(file, bytes, pos, &checkpoint, &keys)?;
    let place = |storage: &Storage| Ok(places.get(&storage.key).copied());
    state_dicts(&mut checkpoint, &place)
}

/// Where the data of each storage is, from `pos` on in the order of `keys`.
fn legacy_places(
    file: &str,
    bytes: &[u8],
    pos: usize,
    checkpoint: &Pickle<'_>,
    keys: &Pickle<'_>,
) -> Result<HashMap<String, Place>, WeightsError> {
    let damaged = |problem: String| WeightsError::Damaged {
        file: file.to_owned(),
        problem,
    };
    let Value::List(list) = keys.root else {
        return Err(damaged("the list of storages is missing".to_owned()));
    };
    let mut storages: HashMap<&str, &Storage> = HashMap::new();
    for storage in checkpoint.heap.storages() {
        storages.entry(&storage.key).or_insert(storage);
    }
    let mut rest = pos as u64;
    let mut places = HashMap::new();
    for &key in keys.heap.list(list) {
        let Value::Text(key) = key else {
            return Err(damaged("a storage's key is not a string".to_owned()));
        };
        let key = keys.heap.text(key);
        let known = std::str::from_utf8(key)
            .ok()
            .and_then(|key| storages.get(key));
        let Some(storage) = known else {
            let key = String::from_utf8_lossy(&key[..key.len().min(80)]);
            return Err(damaged(format!(
                "storage `{key}` is not used by any tensor"
            )));
        };
        let key = &storage.key;
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
                "storage `{key}`: expected {} elements, found {}",
                storage.elements,
                declared.unwrap_or(0)
            )));
        }
        if places.insert(key.clone(), (start, length)).is_some() {
            return Err(damaged(format!("storage `{key}` occurs twice")));
        }
        rest = end;
    }
    Ok(places)
}
