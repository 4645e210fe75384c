//! From a pickle to the tensors it describes.
//!
//! Candle's pickle machine runs the vetted program; what it returns is taken apart here, because
//! Candle's own conversion panics on tensors with too few arguments and knows neither the older
//! ways to write a tensor nor Python 2's dicts.

use std::collections::HashMap;

use candle_core::pickle::{Object, Stack};

use super::globals::{ORDERED_ITEMS, TORCH_UTILS};
use super::vet::vet;
use super::{DType, WeightsError};

/// Where timm's `load_state_dict` looks for the state dict of a training checkpoint, in its order.
/// The averaged weights come first; they count only where they are not `None`.
const STATE_DICT_KEYS: [(&str, bool); 4] = [
    ("state_dict_ema", false),
    ("model_ema", false),
    ("state_dict", true),
    ("model", true),
];

/// A tensor as the pickle describes it. Nothing is checked against the file yet.
pub(super) struct Described {
    pub(super) name: String,
    pub(super) storage: Storage,
    /// First element, counted in the storage.
    pub(super) offset: u64,
    pub(super) shape: Vec<u64>,
    /// Elements between neighbours, for each dimension.
    pub(super) strides: Vec<u64>,
}

/// A reference to a block of data elsewhere in the file.
#[derive(Clone, PartialEq)]
pub(super) struct Storage {
    pub(super) key: String,
    pub(super) dtype: DType,
    /// Bytes of one element.
    pub(super) element_size: u64,
    pub(super) elements: u64,
    /// The part of it that is used, where that is not all: first element and number. Only PyTorch
    /// before 0.4 wrote this.
    pub(super) view: Option<(u64, u64)>,
}

/// All that a checkpoint's pickle says.
pub(super) struct Checkpoint {
    /// The tensors of the state dict.
    pub(super) tensors: Vec<Described>,
    /// The storages of the whole pickle by their keys, those of an optimizer's tensors included.
    pub(super) storages: HashMap<String, Storage>,
}

/// Runs the pickle at the beginning of `bytes`; the object, and where the pickle ends.
pub(super) fn run(file: &str, bytes: &[u8]) -> Result<(Object, usize), WeightsError> {
    let vetted = vet(file, bytes)?;
    let mut stack = Stack::empty();
    stack
        .read_loop(&mut vetted.program.as_slice())
        .and_then(|()| stack.finalize())
        .map(|object| (object, vetted.end))
        .map_err(|error| damaged(file, format!("pickle: {error}")))
}

/// Finds the state dict in a checkpoint and describes its tensors.
pub(super) fn checkpoint(file: &str, object: Object) -> Result<Checkpoint, WeightsError> {
    let mut storages = HashMap::new();
    collect_storages(file, &object, &mut storages)?;

    let pairs = state_dict(file, object)?;
    let mut tensors = Vec::new();
    for (key, value) in pairs {
        if let (Object::Unicode(name), Some(value)) = (key, rebuilt(file, value)?) {
            tensors.push(describe(file, name, value)?);
        }
    }
    if tensors.is_empty() {
        return Err(WeightsError::NoStateDict {
            file: file.to_owned(),
            problem: "its dict holds no tensors".to_owned(),
        });
    }
    Ok(Checkpoint { tensors, storages })
}

fn damaged(file: &str, problem: String) -> WeightsError {
    WeightsError::Damaged {
        file: file.to_owned(),
        problem,
    }
}

/// The entries of a dict, in whichever way it was written.
fn dict(object: Object) -> Option<Vec<(Object, Object)>> {
    match object {
        Object::Dict(pairs) => Some(pairs),
        // Python 2: `OrderedDict([[key, value], …])`, perhaps with attributes.
        Object::Build { callable, .. } => dict(*callable),
        Object::Reduce { callable, args } => match (*callable, *args) {
            (Object::Class { class_name, .. }, Object::Tuple(args))
                if class_name == ORDERED_ITEMS =>
            {
                let [Object::List(items)] = <[Object; 1]>::try_from(args).ok()? else {
                    return None;
                };
                items.into_iter().map(pair).collect()
            }
            _ => None,
        },
        _ => None,
    }
}

fn pair(item: Object) -> Option<(Object, Object)> {
    let (Object::List(item) | Object::Tuple(item)) = item else {
        return None;
    };
    <[Object; 2]>::try_from(item)
        .ok()
        .map(|[key, value]| (key, value))
}

fn state_dict(file: &str, object: Object) -> Result<Vec<(Object, Object)>, WeightsError> {
    let none = |problem: &str| WeightsError::NoStateDict {
        file: file.to_owned(),
        problem: problem.to_owned(),
    };
    let mut pairs = dict(object).ok_or_else(|| none("it holds something else than a dict"))?;
    for (key, none_counts) in STATE_DICT_KEYS {
        let place = pairs.iter().position(|(name, value)| {
            matches!(name, Object::Unicode(name) if name == key)
                && (none_counts || !matches!(value, Object::None))
        });
        if let Some(place) = place {
            let (_, value) = pairs.swap_remove(place);
            return dict(value).ok_or_else(|| none(&format!("`{key}` is not a dict")));
        }
    }
    Ok(pairs)
}

/// The arguments of `_rebuild_tensor` or `_rebuild_tensor_v2`, or `None` where the value is not a
/// tensor: a number, the `_metadata` of a module.
fn rebuilt(file: &str, object: Object) -> Result<Option<Vec<Object>>, WeightsError> {
    let Object::Reduce { callable, args } = object else {
        return Ok(None);
    };
    let (
        Object::Class {
            module_name,
            class_name,
        },
        Object::Tuple(args),
    ) = (*callable, *args)
    else {
        return Ok(None);
    };
    if module_name != TORCH_UTILS {
        return Ok(None);
    }
    match class_name.as_str() {
        // A parameter's first argument is its tensor.
        "_rebuild_parameter" | "_rebuild_parameter_with_state" => match args.into_iter().next() {
            Some(tensor @ Object::Reduce { .. }) => rebuilt(file, tensor),
            _ => Err(damaged(file, "a parameter without a tensor".to_owned())),
        },
        _ => Ok(Some(args)),
    }
}

fn describe(file: &str, name: String, args: Vec<Object>) -> Result<Described, WeightsError> {
    // (storage, offset, shape, strides, requires gradient, hooks, metadata).
    let mut args = args.into_iter();
    let mut next = || args.next().unwrap_or(Object::None);
    let (storage, offset, shape, strides) = (next(), next(), next(), next());
    let (_, _, metadata) = (next(), next(), next());
    if let Some(problem) = lazy_view(metadata) {
        return Err(WeightsError::UnsupportedTensor {
            file: file.to_owned(),
            name,
            problem,
        });
    }
    let impossible = || {
        let problem = "an impossible storage, offset, shape or stride";
        damaged(file, format!("tensor `{name}` has {problem}"))
    };
    let Object::PersistentLoad(id) = storage else {
        return Err(impossible());
    };
    let shape = counts(shape).ok_or_else(impossible)?;
    let strides = counts(strides).ok_or_else(impossible)?;
    if shape.len() != strides.len() {
        return Err(impossible());
    }
    Ok(Described {
        storage: storage_of(file, &id)?,
        offset: count(&offset).ok_or_else(impossible)?,
        shape,
        strides,
        name,
    })
}

/// Why the stored numbers are not the tensor's values: PyTorch may leave a change of sign to whoever
/// reads them, and says so in the metadata.
fn lazy_view(metadata: Object) -> Option<&'static str> {
    const UNKNOWN: &str = "its metadata is not known";
    if metadata == Object::None {
        return None;
    }
    let Some(bits) = dict(metadata) else {
        return Some(UNKNOWN);
    };
    let set = bits.iter().find(|(_, set)| *set != Object::Bool(false));
    set.map(|(bit, _)| match bit {
        Object::Unicode(bit) if bit == "neg" => "its values are stored negated",
        Object::Unicode(bit) if bit == "conj" => "its values are stored conjugated",
        _ => UNKNOWN,
    })
}

fn count(object: &Object) -> Option<u64> {
    match object {
        Object::Int(value) => u64::try_from(*value).ok(),
        Object::Long(value) => u64::try_from(*value).ok(),
        _ => None,
    }
}

fn counts(object: Object) -> Option<Vec<u64>> {
    let Object::Tuple(values) = object else {
        return None;
    };
    values.iter().map(count).collect()
}

/// `('storage', class, key, location, elements)`, in the legacy container with a view or `None`.
fn storage_of(file: &str, id: &Object) -> Result<Storage, WeightsError> {
    let unknown = || {
        damaged(
            file,
            "it refers to something else than a storage".to_owned(),
        )
    };
    let Object::Tuple(id) = id else {
        return Err(unknown());
    };
    let (kind, class, key, elements, view) = match id.as_slice() {
        [kind, class, key, _, elements] => (kind, class, key, elements, &Object::None),
        [kind, class, key, _, elements, view] => (kind, class, key, elements, view),
        _ => return Err(unknown()),
    };
    let (Object::Unicode(kind), Object::Class { class_name, .. }, Object::Unicode(key)) =
        (kind, class, key)
    else {
        return Err(unknown());
    };
    if kind != "storage" {
        return Err(WeightsError::Unsupported {
            file: file.to_owned(),
            problem: "it holds a whole Python module".to_owned(),
        });
    }
    let (dtype, element_size) = storage_dtype(class_name).ok_or_else(unknown)?;
    let view = match view {
        Object::None => None,
        Object::Tuple(view) => match view.as_slice() {
            [_, offset, elements] => Some((
                count(offset).ok_or_else(unknown)?,
                count(elements).ok_or_else(unknown)?,
            )),
            _ => return Err(unknown()),
        },
        _ => return Err(unknown()),
    };
    Ok(Storage {
        key: key.clone(),
        dtype,
        element_size,
        elements: count(elements).ok_or_else(unknown)?,
        view,
    })
}

fn storage_dtype(class: &str) -> Option<(DType, u64)> {
    Some(match class {
        "DoubleStorage" => (DType::F64, 8),
        "FloatStorage" => (DType::F32, 4),
        "HalfStorage" => (DType::F16, 2),
        "BFloat16Storage" => (DType::BF16, 2),
        "LongStorage" => (DType::I64, 8),
        "IntStorage" => (DType::I32, 4),
        "ShortStorage" => (DType::I16, 2),
        "CharStorage" => (DType::I8, 1),
        "ByteStorage" => (DType::U8, 1),
        "BoolStorage" => (DType::Bool, 1),
        "ComplexFloatStorage" => (DType::Other("C64"), 8),
        "ComplexDoubleStorage" => (DType::Other("C128"), 16),
        _ => return None,
    })
}

/// Gathers every storage that the object refers to. The vetting bounds the depth.
fn collect_storages(
    file: &str,
    object: &Object,
    storages: &mut HashMap<String, Storage>,
) -> Result<(), WeightsError> {
    match object {
        Object::PersistentLoad(id) => {
            let storage = Storage {
                view: None,
                ..storage_of(file, id)?
            };
            match storages.get(&storage.key) {
                Some(known) if *known != storage => Err(damaged(
                    file,
                    format!("storage `{}` has two types or sizes", storage.key),
                )),
                Some(_) => Ok(()),
                None => {
                    storages.insert(storage.key.clone(), storage);
                    Ok(())
                }
            }
        }
        Object::Tuple(items) | Object::List(items) => items
            .iter()
            .try_for_each(|item| collect_storages(file, item, storages)),
        Object::Dict(pairs) => pairs.iter().try_for_each(|(key, value)| {
            collect_storages(file, key, storages)?;
            collect_storages(file, value, storages)
        }),
        Object::Reduce { callable, args } | Object::Build { callable, args } => {
            collect_storages(file, callable, storages)?;
            collect_storages(file, args, storages)
        }
        _ => Ok(()),
    }
}
