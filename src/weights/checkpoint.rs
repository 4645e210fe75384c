//! From a pickle's values to state dicts: where they are looked for, and where their tensors lie.

use std::collections::BTreeMap;

use super::pickle::{Heap, Pickle, Problem, Storage, Tensor, Value};
use super::zip::Place;
use super::{DType, Entry, StateDict, WeightsError};

/// Where timm's `load_state_dict` looks for the state dict of a training checkpoint, in its order.
/// The averaged weights come first; they count only where they are not `None`.
const TIMM_KEYS: [(&str, bool); 4] = [
    ("state_dict_ema", false),
    ("model_ema", false),
    ("state_dict", true),
    ("model", true),
];

/// Where other programs put theirs.
pub(super) const OTHER_KEYS: [&str; 12] = [
    "model_state_dict",
    "net",
    "network",
    "weights",
    "params",
    "params_ema",
    "ema",
    "model_state",
    "module",
    "teacher",
    "student",
    "generator",
];

/// Most values of a tensor that repeats stored ones, as after `expand`: a few bytes could stand for
/// terabytes otherwise.
const MAX_REPEATED: u64 = 1 << 20;

/// What a checkpoint may be read as.
pub(super) struct StateDicts {
    /// At least one.
    pub(super) found: Vec<StateDict>,
    /// The keys of the file and those that were looked for, if it is not the whole file or the dict that
    /// timm would take.
    pub(super) keys: Option<String>,
}

/// Finds the state dicts of a checkpoint: the one that timm would take, or else every one that may be
/// meant, the dict itself first. `place` is where a storage's data is.
pub(super) fn state_dicts(
    pickle: &mut Pickle<'_>,
    place: &dyn Fn(&Storage) -> Result<Option<Place>, WeightsError>,
) -> Result<StateDicts, WeightsError> {
    let (root, heap) = (pickle.root, &mut pickle.heap);
    let Value::Dict(root) = root else {
        return Err(none(
            heap,
            format!("it holds {}, not a dict", heap.kind(root)),
        ));
    };
    let mut problem = None;
    for (key, none_counts) in TIMM_KEYS {
        match heap.get(root, key) {
            Some(Value::Dict(dict)) => {
                let dict = state_dict(heap, Some(key), dict, place)?;
                if !dict.entries.is_empty() {
                    return Ok(StateDicts {
                        found: vec![dict],
                        keys: None,
                    });
                }
                problem = Some(format!("the dict `{key}` holds no tensors"));
                break;
            }
            Some(Value::None) if !none_counts => {}
            Some(other) => {
                problem = Some(format!("`{key}` is {}, not a dict", heap.kind(other)));
                break;
            }
            None => {}
        }
    }
    let mut places: Vec<(Option<&str>, u32)> = Vec::new();
    if problem.is_none()
        && heap
            .dict(root)
            .iter()
            .any(|(_, value)| heap.is_tensor(*value))
    {
        places.push((None, root));
    }
    for key in OTHER_KEYS {
        if let Some(Value::Dict(dict)) = heap.get(root, key) {
            places.push((Some(key), dict));
        }
    }
    let mut found = Vec::new();
    let mut damaged = None;
    for (key, dict) in places {
        match state_dict(heap, key, dict, place) {
            Ok(dict) if dict.entries.is_empty() => {}
            Ok(dict) => found.push(dict),
            Err(error) => drop(damaged.get_or_insert(error)),
        }
    }
    match damaged {
        Some(error) if found.is_empty() => Err(error),
        _ if found.is_empty() => {
            let problem = problem.unwrap_or_else(|| "its dict holds no tensors".to_owned());
            Err(none(heap, format!("{problem}; {}", keys(heap, root))))
        }
        _ => {
            let whole = matches!(&found[..], [dict] if dict.key.is_none());
            let keys = (!whole).then(|| keys(heap, root));
            Ok(StateDicts { found, keys })
        }
    }
}

fn none(heap: &Heap<'_>, problem: String) -> WeightsError {
    WeightsError::NoStateDict {
        file: heap.file().to_owned(),
        problem,
    }
}

/// The keys that a dict has, and those that were looked for.
fn keys(heap: &Heap<'_>, root: u32) -> String {
    const SHOWN: usize = 12;
    let entries = heap.dict(root);
    let name = |value: Value| match value {
        Value::Text(span) => {
            let text = heap.text(span);
            let text = String::from_utf8_lossy(&text[..text.len().min(80)]);
            format!("`{}`", text.escape_debug())
        }
        other => heap.kind(other),
    };
    let shown: Vec<String> = entries
        .iter()
        .take(SHOWN)
        .map(|(key, _)| name(*key))
        .collect();
    let more = if entries.len() > SHOWN { ", …" } else { "" };
    let timm = TIMM_KEYS.iter().map(|(key, _)| *key);
    let known: Vec<&str> = timm.chain(OTHER_KEYS).collect();
    let has = match entries.len() {
        0 => "it is empty".to_owned(),
        count => format!("its {count} keys are {}{more}", shown.join(", ")),
    };
    format!(
        "{has}; a state dict was looked for in it and under `{}`",
        known.join("`, `")
    )
}

/// The entries of one dict.
fn state_dict(
    heap: &mut Heap<'_>,
    key: Option<&str>,
    dict: u32,
    place: &dyn Fn(&Storage) -> Result<Option<Place>, WeightsError>,
) -> Result<StateDict, WeightsError> {
    // Memory of one entry in all: its name and its node in a tree.
    const ENTRY: usize = 256;
    let mut cost = 0usize;
    for (name, value) in heap.dict(dict) {
        if let Value::Text(name) = name {
            cost = cost.saturating_add(ENTRY + heap.text(*name).len());
        }
        if let Value::Tensor(id) = value
            && let Some(tensor) = heap.tensor(*id)
        {
            cost = cost.saturating_add(2 * size_of::<usize>() * heap.tuple(tensor.shape).len());
        }
    }
    heap.budget().spend(cost)?;

    // If a name repeats, the last value counts, whatever it is.
    let mut values: BTreeMap<&[u8], Value> = BTreeMap::new();
    let mut unnamed = None;
    for &(name, value) in heap.dict(dict) {
        match name {
            Value::Text(name) => drop(values.insert(heap.text(name), value)),
            _ if heap.is_tensor(value) => unnamed = Some(name),
            _ => {}
        }
    }
    if let Some(name) = unnamed {
        let problem = format!("a tensor's name is {}, not a str", heap.kind(name));
        return Err(none(heap, problem));
    }
    let mut found = StateDict {
        key: key.map(str::to_owned),
        ..StateDict::default()
    };
    for (name, value) in values {
        let name = String::from_utf8_lossy(name).into_owned();
        let readable = match value {
            Value::Tensor(id) => heap.tensor(id).ok_or_else(|| heap.kind(value)),
            _ => Err(heap.kind(value)),
        };
        match readable.and_then(|tensor| match tensor.problem {
            Some(Problem::Unsupported(kind)) => Err(kind.to_owned()),
            _ => Ok(tensor),
        }) {
            Ok(tensor) => {
                let damaged = |problem: &str| WeightsError::Damaged {
                    file: heap.file().to_owned(),
                    problem: format!("tensor `{}`: {problem}", found.path(&name)),
                };
                if let Some(Problem::Damaged(problem)) = tensor.problem {
                    return Err(damaged(problem));
                }
                let Some(storage) = heap.storage(tensor.storage) else {
                    return Err(damaged("it has no storage"));
                };
                let Some(data) = place(storage)? else {
                    let problem = format!("its data `{}` is missing", storage.key);
                    return Err(damaged(&problem));
                };
                match place_tensor(heap, tensor, storage, data) {
                    Ok(entry) => drop(found.entries.insert(name, entry)),
                    Err(Misplaced::Damaged(problem)) => return Err(damaged(problem)),
                    Err(Misplaced::Repeats) => {
                        let problem =
                            "a tensor that repeats values that are stored once, as after `expand`";
                        found.insert_other(name, problem.to_owned(), true);
                    }
                }
            }
            Err(kind) => {
                let is_tensor = heap.is_tensor(value);
                found.insert_other(name, kind, is_tensor);
            }
        }
    }
    if found.entries.is_empty()
        && let Some(other) = found.others.values().find(|other| other.is_tensor)
    {
        return Err(WeightsError::UnsupportedTensor {
            file: heap.file().to_owned(),
            name: other.path.clone(),
            found: other.kind.clone(),
        });
    }
    Ok(found)
}

/// Why a tensor has no place in its storage.
enum Misplaced {
    Damaged(&'static str),
    /// Too many elements are the same stored ones, by a stride of zero for example.
    Repeats,
}

impl From<&'static str> for Misplaced {
    fn from(problem: &'static str) -> Self {
        Self::Damaged(problem)
    }
}

/// Checks that every element of a tensor is inside its storage, and its storage inside the file.
fn place_tensor(
    heap: &Heap<'_>,
    tensor: &Tensor,
    storage: &Storage,
    (start, length): Place,
) -> Result<Entry, Misplaced> {
    const OVERFLOW: &str = "its size overflows";
    const IMPOSSIBLE: &str = "an invalid storage, offset, shape or stride";
    let shape = heap.counts(tensor.shape).ok_or(IMPOSSIBLE)?;
    let strides = heap.counts(tensor.strides).ok_or(IMPOSSIBLE)?;
    let stored = storage.elements.checked_mul(storage.element_size);
    let Some(stored) = stored.filter(|stored| *stored <= length) else {
        return Err("its storage is larger than the data in the file".into());
    };
    let (first, available) = storage.view.unwrap_or((0, storage.elements));
    if first
        .checked_add(available)
        .is_none_or(|end| end > storage.elements)
    {
        return Err("its view is outside its storage".into());
    }
    let first = first * storage.element_size;
    let (dtype, size): (DType, u64) = tensor
        .dtype
        .unwrap_or((storage.dtype, storage.element_size));
    // A tensor may view its storage as another type.
    let available = match storage.view {
        None => stored / size,
        Some(_) => available * storage.element_size / size,
    };

    let elements = shape.iter().try_fold(1u64, |n, &dim| n.checked_mul(dim));
    let elements = elements.ok_or(OVERFLOW)?;
    if elements > 0 {
        let last = shape
            .iter()
            .zip(&strides)
            .try_fold(tensor.offset, |at, (&dim, &stride)| {
                at.checked_add((dim - 1).checked_mul(stride)?)
            });
        if last.ok_or(OVERFLOW)? >= available {
            return Err("it reaches outside its storage".into());
        }
    }
    if elements > available.max(MAX_REPEATED) {
        return Err(Misplaced::Repeats);
    }

    let start = if elements == 0 {
        start
    } else {
        start + first + tensor.offset * size
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
        part: 0,
        dtype,
        strides: (elements > 0 && !contiguous)
            .then(|| to_usize(strides))
            .transpose()?,
        shape: to_usize(shape)?,
        start: usize::try_from(start).map_err(|_| OVERFLOW)?,
    })
}
