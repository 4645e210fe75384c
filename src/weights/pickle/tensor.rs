//! The functions and classes that make a state dict: tensors, the storages they view, dicts.

use super::value::{Heap, Span, Value};
use super::{Machine, Step, TEXT_ID};
use crate::weights::{DType, WeightsError};

/// A reference to a block of data elsewhere in the file.
#[derive(Clone)]
pub(in crate::weights) struct Storage {
    pub(in crate::weights) key: String,
    pub(in crate::weights) dtype: DType,
    /// Bytes of one element.
    pub(in crate::weights) element_size: u64,
    pub(in crate::weights) elements: u64,
    /// The part of it that is used, where that is not all: first element and number. Only PyTorch
    /// before 0.4 wrote this.
    pub(in crate::weights) view: Option<(u64, u64)>,
}

/// A tensor as the pickle describes it. Nothing is checked against the file yet.
#[derive(Clone, Copy)]
pub(in crate::weights) struct Tensor {
    /// Number of the storage.
    pub(in crate::weights) storage: u32,
    /// Element type and size, where they are not the storage's.
    pub(in crate::weights) dtype: Option<(DType, u64)>,
    /// First element, counted in the storage.
    pub(in crate::weights) offset: u64,
    pub(in crate::weights) shape: Span,
    /// Elements between neighbours, for each dimension.
    pub(in crate::weights) strides: Span,
    /// Why it cannot be read. Nothing else counts then.
    pub(in crate::weights) problem: Option<Problem>,
}

/// Why a tensor cannot be read. It matters only if the tensor is needed.
#[derive(Clone, Copy)]
pub(in crate::weights) enum Problem {
    /// What is wrong; PyTorch could not read it either.
    Damaged(&'static str),
    /// What it is.
    Unsupported(&'static str),
}

/// Longest key of a storage. PyTorch counts them.
const MAX_KEY: usize = 64;
/// Most dimensions of a tensor that is read.
const MAX_DIMENSIONS: usize = 16;
/// Most tensor subclasses around one tensor.
const MAX_SUBCLASSES: usize = 8;

/// The functions and classes that are known.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Known {
    /// `_rebuild_tensor(storage, offset, shape, strides)`, and `_v2` with whether it takes part in
    /// training, hooks, metadata.
    Tensor,
    /// `_rebuild_tensor_v3`: as `_v2`, with an element type before the metadata.
    TypedTensor,
    /// `(tensor, …)`
    Parameter,
    /// `(tensor, …, …, state)`
    ParameterWithState,
    /// `(function, class, arguments, state)`
    Subclass,
    /// `(dict)` or `(pairs)`
    Dict,
    /// `(factory, …)`
    DefaultDict,
    /// `(tuple)`
    Size,
    /// `(class, …)`
    Reconstructor,
}

impl Known {
    fn named(module: &[u8], name: &[u8]) -> Option<Self> {
        Some(match (module, name) {
            (b"torch._utils", b"_rebuild_tensor" | b"_rebuild_tensor_v2") => Self::Tensor,
            (b"torch._utils", b"_rebuild_tensor_v3") => Self::TypedTensor,
            (b"torch._utils", b"_rebuild_parameter") => Self::Parameter,
            (b"torch.nn.parameter", b"Parameter") => Self::Parameter,
            (b"torch._utils", b"_rebuild_parameter_with_state") => Self::ParameterWithState,
            (b"torch._tensor" | b"torch.tensor", b"_rebuild_from_type_v2") => Self::Subclass,
            (b"collections", b"OrderedDict" | b"Counter") => Self::Dict,
            (b"builtins" | b"__builtin__", b"dict") => Self::Dict,
            (b"collections", b"defaultdict") => Self::DefaultDict,
            (b"torch", b"Size") => Self::Size,
            (b"copyreg" | b"copy_reg", b"_reconstructor" | b"__newobj__") => Self::Reconstructor,
            _ => return None,
        })
    }
}

impl Heap<'_> {
    pub(super) fn known(&self, class: u32) -> Option<Known> {
        let (module, name) = self.class(class);
        Known::named(module, name)
    }

    pub(in crate::weights) fn tensor(&self, id: u32) -> Option<&Tensor> {
        self.tensors.get(id as usize)
    }

    pub(in crate::weights) fn storage(&self, id: u32) -> Option<&Storage> {
        self.storages.get(id as usize)
    }

    /// The tuple's numbers, if they are that and not below 0.
    pub(in crate::weights) fn counts(&self, span: Span) -> Option<Vec<u64>> {
        self.tuple(span).iter().map(|&value| count(value)).collect()
    }
}

fn count(value: Value) -> Option<u64> {
    match value {
        Value::Int(value) => u64::try_from(value).ok(),
        _ => None,
    }
}

impl Machine<'_> {
    /// What `callee(*arguments)` makes.
    pub(super) fn call(&mut self, mut callee: Value, mut arguments: Span) -> Step<()> {
        for _ in 0..MAX_SUBCLASSES {
            let class = match callee {
                Value::Class(class) => class,
                Value::Object(_) => return self.push(callee),
                _ => {
                    return Err(self
                        .input
                        .damaged("it calls something that is not a function"));
                }
            };
            let argument = |at: usize| self.heap.tuple(arguments).get(at).copied();
            let (first, second) = (argument(0), argument(1));
            let other = Value::Object(class);
            let value = match (self.heap.known(class), first) {
                (Some(Known::Tensor), _) => self.tensor(arguments, None)?,
                (Some(Known::TypedTensor), _) => {
                    let dtype = argument(6).unwrap_or(Value::None);
                    self.tensor(arguments, Some(dtype))?
                }
                (Some(Known::Parameter), Some(Value::Tensor(_) | Value::Object(_))) => {
                    first.unwrap_or(other)
                }
                (Some(Known::ParameterWithState), Some(Value::Tensor(_) | Value::Object(_))) => {
                    match self.is_harmless(argument(3))? {
                        true => first.unwrap_or(other),
                        false => other,
                    }
                }
                (Some(Known::Subclass), Some(function)) => {
                    let (inner, state) = (argument(2), argument(3));
                    if let Some(Value::Tuple(inner)) = inner
                        && self.is_harmless(state)?
                    {
                        (callee, arguments) = (function, inner);
                        continue;
                    }
                    other
                }
                (Some(Known::Dict), first) => self.dict_of(first)?.unwrap_or(other),
                (Some(Known::DefaultDict), _) => self.dict_of(second)?.unwrap_or(other),
                (Some(Known::Size), Some(Value::Tuple(_))) => first.unwrap_or(other),
                (Some(Known::Reconstructor), Some(Value::Class(class))) => Value::Object(class),
                _ => other,
            };
            return self.push(value);
        }
        Err(self
            .input
            .unsupported("a tensor wrapped in too many subclasses".to_owned()))
    }

    /// Whether attributes leave a tensor's values as they are.
    fn is_harmless(&mut self, state: Option<Value>) -> Step<bool> {
        let parts = match state {
            Some(Value::Tuple(span)) if span.len == 2 => {
                let parts = self.heap.tuple(span);
                [parts.first().copied(), parts.get(1).copied()]
            }
            other => [other, None],
        };
        for part in parts {
            match part {
                None | Some(Value::None) => {}
                Some(Value::Dict(id)) => {
                    // The same dict may be given many times.
                    self.heap.budget.spend(self.heap.dict(id).len())?;
                    let changes = ["data", "real", "imag", "names", "__class__"];
                    let mut keys = self.heap.dict(id).iter().map(|(key, _)| *key);
                    let harmful = |key| changes.iter().any(|name| self.heap.is_text(key, name));
                    if keys.any(harmful) {
                        return Ok(false);
                    }
                }
                Some(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// A new dict with the entries of another or of pairs; `None` for what has none.
    fn dict_of(&mut self, entries: Option<Value>) -> Step<Option<Value>> {
        let heap = &mut self.heap;
        let mut dict: Vec<(Value, Value)> = Vec::new();
        match entries {
            None => {}
            Some(Value::Dict(id)) => {
                heap.budget.reserve(&mut dict, heap.dict(id).len())?;
                dict.extend(heap.dict(id));
            }
            Some(Value::List(id)) => {
                heap.budget.reserve(&mut dict, heap.list(id).len())?;
                for &item in heap.list(id) {
                    let pair = match item {
                        Value::List(id) => heap.list(id),
                        Value::Tuple(span) => heap.tuple(span),
                        _ => return Ok(None),
                    };
                    let [key, value] = *pair else {
                        return Ok(None);
                    };
                    dict.push((key, value));
                }
            }
            Some(_) => return Ok(None),
        }
        let id = self.new_dict()?;
        self.heap.dicts[id as usize] = dict;
        Ok(Some(Value::Dict(id)))
    }

    fn tensor(&mut self, arguments: Span, dtype: Option<Value>) -> Step<Value> {
        let layout = self.layout(arguments, dtype)?;
        let id = self.heap.tensors.len() as u32;
        let tensor = layout.unwrap_or_else(|problem| Tensor {
            storage: 0,
            dtype: None,
            offset: 0,
            shape: arguments,
            strides: arguments,
            problem: Some(problem),
        });
        self.heap.budget.push(&mut self.heap.tensors, tensor)?;
        Ok(Value::Tensor(id))
    }

    fn layout(&mut self, arguments: Span, dtype: Option<Value>) -> Step<Result<Tensor, Problem>> {
        const IMPOSSIBLE: Problem = Problem::Damaged("an invalid storage, offset, shape or stride");
        let metadata = if dtype.is_some() { 7 } else { 6 };
        let metadata = self.heap.tuple(arguments).get(metadata).copied();
        if let Some(problem) = self.lazy_view(metadata)? {
            return Ok(Err(Problem::Unsupported(problem)));
        }
        let heap = &self.heap;
        let (storage, offset, shape, strides) = match heap.tuple(arguments) {
            [TEXT_ID, ..] => {
                return Ok(Err(Problem::Unsupported(
                    "a tensor whose storage is named as in pickle protocol 0, which PyTorch cannot read either",
                )));
            }
            [
                Value::Storage(storage),
                offset,
                Value::Tuple(shape),
                Value::Tuple(strides),
                ..,
            ] => (*storage, *offset, *shape, *strides),
            _ => return Ok(Err(IMPOSSIBLE)),
        };
        let dtype = match dtype {
            None => None,
            Some(Value::Class(class)) => match named_dtype(heap.class(class)) {
                None => {
                    return Ok(Err(Problem::Unsupported(
                        "a tensor of an unknown element type",
                    )));
                }
                known => known,
            },
            Some(_) => return Ok(Err(IMPOSSIBLE)),
        };
        if shape.len as usize > MAX_DIMENSIONS {
            return Ok(Err(Problem::Unsupported(
                "a tensor of more than 16 dimensions",
            )));
        }
        let numbers = |span| heap.tuple(span).iter().all(|&value| count(value).is_some());
        let (true, true, true, Some(offset)) = (
            shape.len == strides.len,
            numbers(shape),
            numbers(strides),
            count(offset),
        ) else {
            return Ok(Err(IMPOSSIBLE));
        };
        Ok(Ok(Tensor {
            storage,
            dtype,
            offset,
            shape,
            strides,
            problem: None,
        }))
    }

    /// Why the stored numbers are not the tensor's values: PyTorch may leave a change of sign to
    /// whoever reads them, and says so by the presence of a key in the metadata, whatever its value.
    fn lazy_view(&mut self, metadata: Option<Value>) -> Step<Option<&'static str>> {
        const UNKNOWN: Option<&str> = Some("a tensor with unknown metadata");
        let id = match metadata {
            None | Some(Value::None | Value::Bool(false) | Value::Int(0)) => return Ok(None),
            Some(Value::Dict(id)) => id,
            Some(_) => return Ok(UNKNOWN),
        };
        // The same dict may be given many times.
        self.heap.budget.spend(self.heap.dict(id).len())?;
        let heap = &self.heap;
        Ok(if heap.dict(id).is_empty() {
            None
        } else if heap.get(id, "neg").is_some() {
            Some("a tensor whose values are stored negated")
        } else if heap.get(id, "conj").is_some() {
            Some("a tensor whose values are stored conjugated")
        } else {
            UNKNOWN
        })
    }

    /// What the persistent id `('storage', class, key, location, elements)` means, in the legacy
    /// container with a view or `None`.
    pub(super) fn storage(&mut self, id: Value) -> Step<Value> {
        let unknown = || {
            self.input
                .damaged("it refers to something other than a storage")
        };
        let Value::Tuple(id) = id else {
            return Err(unknown());
        };
        let heap = &self.heap;
        let (kind, class, key, elements, view) = match *heap.tuple(id) {
            // A whole module brings its class, with its source.
            [kind, class @ Value::Class(_), ..] if heap.is_text(kind, "module") => {
                return Ok(class);
            }
            [kind, class, key, _, elements] => (kind, class, key, elements, Value::None),
            [kind, class, key, _, elements, view] => (kind, class, key, elements, view),
            _ => return Err(unknown()),
        };
        let (true, Value::Class(class), Value::Text(key), Some(elements)) =
            (heap.is_text(kind, "storage"), class, key, count(elements))
        else {
            return Err(unknown());
        };
        let (dtype, element_size) = storage_dtype(heap.class(class)).ok_or_else(unknown)?;
        let view = match view {
            Value::None => None,
            Value::Tuple(view) => match *heap.tuple(view) {
                [_, first, length] => {
                    let view = count(first).zip(count(length));
                    Some(view.ok_or_else(unknown)?)
                }
                _ => return Err(unknown()),
            },
            _ => return Err(unknown()),
        };
        let key = match std::str::from_utf8(heap.text(key)) {
            Ok(key) if key.len() <= MAX_KEY => key.to_owned(),
            _ => return Err(unknown()),
        };
        let storage = Storage {
            key,
            dtype,
            element_size,
            elements,
            view,
        };
        self.keep_storage(storage)
    }

    fn keep_storage(&mut self, storage: Storage) -> Step<Value> {
        let known = self.storage_keys.get(storage.key.as_bytes());
        if let Some(known) = known.and_then(|&id| self.heap.storage(id)) {
            let same = (known.dtype, known.elements) == (storage.dtype, storage.elements);
            // A storage without data may be viewed as several types.
            if !same && known.elements.max(storage.elements) > 0 {
                let problem = format!("storage `{}` has two types or sizes", storage.key);
                return Err(WeightsError::Damaged {
                    file: self.heap.file().to_owned(),
                    problem,
                });
            }
        }
        // Its key, its place in the two tables by key, and what allocations cost.
        self.heap.budget.spend(2 * MAX_KEY + 128)?;
        let id = self.heap.storages.len() as u32;
        self.storage_keys
            .entry(storage.key.clone().into_bytes())
            .or_insert(id);
        self.heap.budget.push(&mut self.heap.storages, storage)?;
        Ok(Value::Storage(id))
    }
}

/// Element type and size of a class of storages.
fn storage_dtype((module, name): (&[u8], &[u8])) -> Option<(DType, u64)> {
    if !matches!(module, b"torch" | b"torch.storage" | b"torch.cuda") {
        return None;
    }
    Some(match name {
        b"DoubleStorage" => (DType::F64, 8),
        b"FloatStorage" => (DType::F32, 4),
        b"HalfStorage" => (DType::F16, 2),
        b"BFloat16Storage" => (DType::BF16, 2),
        b"LongStorage" => (DType::I64, 8),
        b"IntStorage" => (DType::I32, 4),
        b"ShortStorage" => (DType::I16, 2),
        b"CharStorage" => (DType::I8, 1),
        b"ByteStorage" | b"UntypedStorage" | b"_UntypedStorage" => (DType::U8, 1),
        b"BoolStorage" => (DType::Bool, 1),
        b"ComplexFloatStorage" => (DType::Other("C64"), 8),
        b"ComplexDoubleStorage" => (DType::Other("C128"), 16),
        b"QInt8Storage" => (DType::Other("QINT8"), 1),
        b"QUInt8Storage" => (DType::Other("QUINT8"), 1),
        b"QInt32Storage" => (DType::Other("QINT32"), 4),
        b"QUInt4x2Storage" => (DType::Other("QUINT4X2"), 1),
        b"QUInt2x4Storage" => (DType::Other("QUINT2X4"), 1),
        _ => return None,
    })
}

/// Element type and size by the name of a `torch.dtype`.
fn named_dtype((module, name): (&[u8], &[u8])) -> Option<(DType, u64)> {
    if module != b"torch" {
        return None;
    }
    Some(match name {
        b"uint16" => (DType::U16, 2),
        b"uint32" => (DType::U32, 4),
        b"uint64" => (DType::Other("U64"), 8),
        b"float8_e4m3fn" => (DType::F8E4M3, 1),
        b"float8_e5m2" => (DType::F8E5M2, 1),
        b"float8_e4m3fnuz" => (DType::F8E4M3Fnuz, 1),
        b"float8_e5m2fnuz" => (DType::F8E5M2Fnuz, 1),
        b"float8_e8m0fnu" => (DType::F8E8M0, 1),
        b"float4_e2m1fn_x2" => (DType::Other("F4"), 1),
        b"float64" => (DType::F64, 8),
        b"float32" => (DType::F32, 4),
        b"float16" => (DType::F16, 2),
        b"bfloat16" => (DType::BF16, 2),
        b"int64" => (DType::I64, 8),
        b"int32" => (DType::I32, 4),
        b"int16" => (DType::I16, 2),
        b"int8" => (DType::I8, 1),
        b"uint8" => (DType::U8, 1),
        b"bool" => (DType::Bool, 1),
        b"complex64" => (DType::Other("C64"), 8),
        b"complex128" => (DType::Other("C128"), 16),
        _ => return None,
    })
}
