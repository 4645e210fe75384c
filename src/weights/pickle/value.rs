//! How a pickle's values are represented, and the memory that they may take.

use super::tensor::{Storage, Tensor};
use crate::weights::WeightsError;

/// Most bytes for the values of a pickle and for the index made of them. A growing vector is briefly in
/// memory twice, so the peak is half as much again. SENet154's state dict with an optimizer's state
/// takes 3 MB.
pub(in crate::weights) const MAX_MEMORY: usize = 40 << 20;

/// A range: where it begins and how long it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::weights) struct Span {
    pub(super) at: u32,
    pub(super) len: u32,
}

/// A value. Copies of one share its content, as Python's references do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::weights) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// An integer of more than 64 bits.
    LongInt,
    Float,
    Text(Span),
    /// Bytes, or text that is not valid Unicode: no name that is looked for is either.
    Bytes,
    /// A class or function, by its number.
    Class(u32),
    /// An opaque object, by the class or function that made it.
    Object(u32),
    Tuple(Span),
    List(u32),
    Dict(u32),
    Storage(u32),
    Tensor(u32),
}

/// The name of a class or function.
#[derive(Clone, Copy)]
pub(super) struct Class {
    pub(super) module: Span,
    pub(super) name: Span,
}

/// Everything that values refer to.
pub(in crate::weights) struct Heap<'a> {
    file: &'a str,
    bytes: &'a [u8],
    /// Decoded text of literals with escapes. Its positions follow the end of `bytes`.
    pub(super) decoded: Vec<u8>,
    pub(super) tuples: Vec<Value>,
    pub(super) lists: Vec<Vec<Value>>,
    pub(super) dicts: Vec<Vec<(Value, Value)>>,
    pub(super) classes: Vec<Class>,
    pub(super) tensors: Vec<Tensor>,
    pub(super) storages: Vec<Storage>,
    pub(super) budget: Budget<'a>,
}

impl<'a> Heap<'a> {
    pub(super) fn new(file: &'a str, bytes: &'a [u8], memory: usize) -> Self {
        Self {
            file,
            bytes,
            decoded: Vec::new(),
            tuples: Vec::new(),
            lists: Vec::new(),
            dicts: Vec::new(),
            classes: Vec::new(),
            tensors: Vec::new(),
            storages: Vec::new(),
            budget: Budget { file, left: memory },
        }
    }

    pub(in crate::weights) fn text(&self, span: Span) -> &[u8] {
        let (at, len) = (span.at as usize, span.len as usize);
        let part = match at.checked_sub(self.bytes.len()) {
            None => self.bytes.get(at..at + len),
            Some(at) => self.decoded.get(at..at + len),
        };
        part.unwrap_or_default()
    }

    pub(in crate::weights) fn tuple(&self, span: Span) -> &[Value] {
        let (at, len) = (span.at as usize, span.len as usize);
        self.tuples.get(at..at + len).unwrap_or_default()
    }

    pub(in crate::weights) fn list(&self, id: u32) -> &[Value] {
        self.lists.get(id as usize).map_or(&[], Vec::as_slice)
    }

    /// The entries of a dict in the order in which they were set: if a key repeats, the last one counts.
    pub(in crate::weights) fn dict(&self, id: u32) -> &[(Value, Value)] {
        self.dicts.get(id as usize).map_or(&[], Vec::as_slice)
    }

    pub(in crate::weights) fn storages(&self) -> &[Storage] {
        &self.storages
    }

    pub(in crate::weights) fn is_text(&self, value: Value, text: &str) -> bool {
        matches!(value, Value::Text(span) if self.text(span) == text.as_bytes())
    }

    /// A dict's value for a key that is text.
    pub(in crate::weights) fn get(&self, dict: u32, key: &str) -> Option<Value> {
        let entries = self.dict(dict).iter().rev();
        let mut of_key = entries.filter(|(name, _)| self.is_text(*name, key));
        of_key.next().map(|(_, value)| *value)
    }

    /// The module and name of a class or function.
    pub(super) fn class(&self, id: u32) -> (&[u8], &[u8]) {
        let class = self.classes.get(id as usize);
        class.map_or((&[], &[]), |class| {
            (self.text(class.module), self.text(class.name))
        })
    }

    /// What a value is, for messages.
    pub(in crate::weights) fn kind(&self, value: Value) -> String {
        let word = match value {
            Value::None => "None",
            Value::Bool(_) => "a bool",
            Value::Int(_) | Value::LongInt => "an int",
            Value::Float => "a float",
            Value::Text(_) => "a str",
            Value::Bytes => "a bytes object",
            Value::Tuple(_) => "a tuple",
            Value::List(_) => "a list",
            Value::Dict(_) => "a dict",
            Value::Storage(_) => "a storage without a tensor",
            Value::Tensor(_) => "a tensor",
            Value::Class(id) => return format!("the Python object `{}`", self.class_name(id)),
            Value::Object(id) => return self.object_kind(id),
        };
        word.to_owned()
    }

    fn object_kind(&self, id: u32) -> String {
        let name = self.class_name(id);
        let word = match name.as_str() {
            "torch._utils._rebuild_qtensor" => "a quantised tensor",
            "torch._utils._rebuild_sparse_tensor" | "torch._utils._rebuild_sparse_csr_tensor" => {
                "a sparse tensor"
            }
            "torch._utils._rebuild_meta_tensor_no_storage" => {
                "a tensor without data (on the `meta` device)"
            }
            "torch._utils._rebuild_nested_tensor" => "a nested tensor",
            "torch._tensor._rebuild_from_type_v2" => "a tensor with a state that may change it",
            "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state" => {
                "a parameter without a tensor"
            }
            _ if name.ends_with(".multiarray._reconstruct") || name.ends_with("._frombuffer") => {
                "a NumPy array"
            }
            _ if name.ends_with(".multiarray.scalar") => "a NumPy number",
            _ => return format!("the Python object `{name}`"),
        };
        word.to_owned()
    }

    /// Whether a value is a tensor of any kind, or an object made as one.
    pub(in crate::weights) fn is_tensor(&self, value: Value) -> bool {
        match value {
            Value::Tensor(_) => true,
            Value::Object(id) => {
                let (module, name) = self.class(id);
                matches!(module, b"torch._utils" | b"torch._tensor")
                    && name.starts_with(b"_rebuild")
            }
            _ => false,
        }
    }

    /// `module.name`, shortened and without control characters.
    fn class_name(&self, id: u32) -> String {
        let (module, name) = self.class(id);
        let shown = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]);
            text.escape_debug().to_string()
        };
        format!("{}.{}", shown(module), shown(name))
    }

    pub(in crate::weights) fn file(&self) -> &'a str {
        self.file
    }

    pub(in crate::weights) fn budget(&mut self) -> &mut Budget<'a> {
        &mut self.budget
    }
}

/// The memory that is left to a pickle.
pub(in crate::weights) struct Budget<'a> {
    file: &'a str,
    pub(in crate::weights) left: usize,
}

impl Budget<'_> {
    /// What an allocation costs in addition to its content.
    const ALLOCATION: usize = 32;

    pub(in crate::weights) fn spend(&mut self, bytes: usize) -> Result<(), WeightsError> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(WeightsError::TooLarge {
                file: self.file.to_owned(),
                what: "what the pickle expands to, in bytes,".to_owned(),
                limit: MAX_MEMORY as u64,
            }),
        }
    }

    pub(super) fn push<T>(&mut self, values: &mut Vec<T>, value: T) -> Result<(), WeightsError> {
        self.reserve(values, 1)?;
        values.push(value);
        Ok(())
    }

    /// Makes room for `more` values.
    pub(super) fn reserve<T>(
        &mut self,
        values: &mut Vec<T>,
        more: usize,
    ) -> Result<(), WeightsError> {
        let (needed, capacity) = (values.len() + more, values.capacity());
        if needed > capacity {
            let enough = needed.max(2 * capacity).max(4);
            let added = (enough - capacity).saturating_mul(size_of::<T>());
            let once = if capacity == 0 { Self::ALLOCATION } else { 0 };
            self.spend(added.saturating_add(once))?;
            values.reserve_exact(enough - values.len());
        }
        Ok(())
    }
}
