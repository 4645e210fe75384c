//! Weights files: safetensors, PyTorch and Caffe, read safely.
//!
//! [`Weights::open`] detects the format by the content, maps the file into memory and makes an index
//! of its tensors. Four containers are read: safetensors, the zip archive that `torch.save` writes
//! since PyTorch 1.6, the stream it wrote before, and Caffe's; an index of shards stands for all of them. Of a
//! training checkpoint, the state dict that timm would load is used, and the rest is skipped. The
//! `module.` and `_orig_mod.` that wrappers put before names are removed, whichever the format.
//!
//! Files may come from anywhere. Nothing in them is executed; every offset, size and stride is
//! checked against the file when it is opened, before memory is taken for it; and the work that a
//! pickle may ask for is bounded.

mod caffe;
mod checkpoint;
mod dtype;
mod error;
mod hash;
mod looks;
pub(crate) mod map;
mod pickle;
mod safetensors;
mod shards;
mod state_dict;
mod torch;
mod write;
mod zip;

use std::path::Path;
use std::sync::Arc;

use checkpoint::StateDicts;
pub use dtype::DType;
use dtype::Element;
pub use error::WeightsError;
pub(crate) use hash::{check_release, release_digits};
pub use looks::LooksLike;
use looks::recognise;
use map::Bytes;
use sha2::{Digest, Sha256};
pub use shards::files_of;
pub(crate) use shards::shard_names;
use state_dict::{Entry, StateDict, plain_name};
pub(crate) use write::small_file;
pub(crate) use zip::OnlyMember;

use crate::digest::hexadecimal;

/// Smallest tensor, in bytes, for which giving its pages back after reading is worth a call.
const RELEASED_FROM: usize = 1 << 18;

/// Weights that were opened and checked: the bytes of their files and an index of the tensors.
#[derive(Clone)]
pub struct Weights {
    source: String,
    /// One file, with what had to be computed from it, or all the shards of an index.
    parts: Vec<Arc<Part>>,
    dict: StateDict,
    /// Other dicts of the file that may be meant.
    alternatives: Vec<StateDict>,
    /// The keys of the file and those that were looked for, where several may be meant.
    keys: Option<String>,
}

/// One file.
struct Part {
    source: String,
    bytes: Bytes,
}

impl Weights {
    /// Opens the file at `path`, in whichever of the formats it is, or all the shards that the index at
    /// `path` names.
    ///
    /// The file is mapped into memory and must not be changed by anyone while this value lives: its
    /// tensors could change, and truncating it would end the process.
    ///
    /// # Errors
    /// Any [`WeightsError`] about the file as a whole. A tensor of an unsupported type is an error only
    /// when it is asked for.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let path = path.as_ref();
        if shards::is_index_name(path) {
            return shards::open(path);
        }
        Self::open_one(path)
    }

    fn open_one(path: &Path) -> Result<Self, WeightsError> {
        Self::index(path.display().to_string(), map_file(path)?)
    }

    /// Reads weights that are part of the program; `name` is used in messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_static(name: &str, bytes: &'static [u8]) -> Result<Self, WeightsError> {
        Self::index(name.to_owned(), Bytes::Static(bytes))
    }

    /// Reads weights that are in memory; `name` is used in messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self, WeightsError> {
        Self::index(name.to_owned(), Bytes::Owned(bytes))
    }

    /// Names and shapes from the beginning of a safetensors file, up to the end of its header, to
    /// compare them with a network before the rest is downloaded. Values must not be asked for.
    ///
    /// # Errors
    /// [`WeightsError::Damaged`].
    pub(crate) fn of_header(name: &str, beginning: &[u8]) -> Result<Self, WeightsError> {
        let dict = StateDict {
            entries: safetensors::index_header(name, beginning)?,
            ..StateDict::default()
        };
        Ok(Self {
            dict: dict.unwrapped(name)?,
            alternatives: Vec::new(),
            keys: None,
            parts: vec![Arc::new(Part {
                source: name.to_owned(),
                bytes: Bytes::Owned(Vec::new()),
            })],
            source: name.to_owned(),
        })
    }

    fn index(source: String, bytes: Bytes) -> Result<Self, WeightsError> {
        let mut computed = None;
        let dicts = if bytes.starts_with(zip::MAGIC) {
            torch::index_zip(&source, &bytes)?
        } else if let Some(pos) = torch::legacy_start(&bytes) {
            torch::index_legacy(&source, &bytes, pos)?
        } else if safetensors::looks_like(&bytes) {
            let entries = safetensors::index(&source, &bytes)?;
            let dict = StateDict {
                entries,
                ..StateDict::default()
            };
            StateDicts {
                found: vec![dict],
                keys: None,
            }
        } else if caffe::looks_like(&bytes) {
            let indexed = caffe::index(&source, &bytes)?;
            computed = Some(Bytes::Owned(indexed.computed));
            StateDicts {
                found: vec![indexed.dict],
                keys: None,
            }
        } else {
            return Err(WeightsError::NotWeights {
                looks_like: recognise(&bytes),
                file: source,
            });
        };
        let mut found = dicts.found.into_iter();
        let dict = found.next().unwrap_or_default().unwrapped(&source)?;
        Ok(Self {
            dict,
            alternatives: found.flat_map(|dict| dict.unwrapped(&source)).collect(),
            keys: dicts.keys,
            parts: [Some(bytes), computed]
                .into_iter()
                .flatten()
                .map(|bytes| {
                    Arc::new(Part {
                        source: source.clone(),
                        bytes,
                    })
                })
                .collect(),
            source,
        })
    }

    fn get(&self, name: &str) -> Option<(&Part, &Entry)> {
        let entry = self.dict.entries.get(name)?;
        Some((self.parts.get(entry.part)?, entry))
    }

    /// The path or name, for messages; of shards, that of their index.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The path or name of the file that holds a tensor: of shards, the one shard.
    pub fn source_of(&self, name: &str) -> &str {
        self.get(name)
            .map_or(&self.source, |(part, _)| &part.source)
    }

    /// The tensors' names, without the prefixes of wrappers, in alphabetical order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.dict.entries.keys().map(String::as_str)
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.dict.entries.len()
    }

    /// Whether there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.dict.entries.is_empty()
    }

    /// Shape of a tensor; empty for a scalar.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.get(name).map(|(_, entry)| entry.shape.as_slice())
    }

    /// Stored element type of a tensor.
    pub fn dtype(&self, name: &str) -> Option<DType> {
        self.get(name).map(|(_, entry)| entry.dtype)
    }

    /// Values of a floating-point tensor in row-major order; `F64` is rounded to nearest.
    ///
    /// # Errors
    /// [`WeightsError::MissingTensor`], [`WeightsError::WrongDtype`].
    pub fn f32(&self, name: &str) -> Result<Vec<f32>, WeightsError> {
        let mut values = Vec::new();
        self.f32_into(name, &mut values)?;
        Ok(values)
    }

    /// As [`Weights::f32`], replacing the contents of `values`: reusing memory is cheaper.
    ///
    /// # Errors
    /// As [`Weights::f32`].
    pub fn f32_into(&self, name: &str, values: &mut Vec<f32>) -> Result<(), WeightsError> {
        // Nearly every value of every network is read here: no call per value.
        match self.get(name) {
            Some((part, entry)) if entry.dtype == DType::F32 && entry.strides.is_none() => {
                let bytes = part.bytes.get(entry.start..).unwrap_or(&[]);
                let (stored, _) = bytes.as_chunks();
                let count = entry.shape.iter().product();
                let stored = stored.iter().take(count).copied();
                values.clear();
                values.extend(stored.map(f32::from_le_bytes));
                part.release(entry, count * size_of::<f32>());
            }
            _ => self.values_into(name, values)?,
        }
        Ok(())
    }

    /// Values of a floating-point tensor in row-major order, exactly.
    ///
    /// # Errors
    /// [`WeightsError::MissingTensor`], [`WeightsError::WrongDtype`].
    pub fn f64(&self, name: &str) -> Result<Vec<f64>, WeightsError> {
        self.values(name)
    }

    /// Values of an integer or boolean tensor in row-major order.
    ///
    /// # Errors
    /// [`WeightsError::MissingTensor`], [`WeightsError::WrongDtype`].
    pub fn i64(&self, name: &str) -> Result<Vec<i64>, WeightsError> {
        self.values(name)
    }

    /// SHA-256 over the names, shapes and values of all tensors, as 64 lower-case hexadecimal digits:
    /// the same for the same weights in another kind of file.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn fingerprint(&self) -> Result<String, WeightsError> {
        let mut hash = Sha256::new();
        for dict in self.dicts() {
            dict.hash(&mut hash)?;
        }
        Ok(hexadecimal(&hash.finalize()))
    }

    /// Each dict of the file that may be meant, alone.
    pub(crate) fn dicts(&self) -> impl Iterator<Item = Self> {
        let dicts = std::iter::once(&self.dict).chain(&self.alternatives);
        dicts.map(|dict| self.with(dict.clone()))
    }

    /// The dict's key, if it is one that timm does not look for.
    pub(crate) fn unusual_key(&self) -> Option<&str> {
        let key = self.dict.key.as_deref();
        key.filter(|key| checkpoint::OTHER_KEYS.contains(key))
    }

    /// The keys of the file and those that were looked for, where several dicts may be meant.
    pub(crate) fn keys(&self) -> Option<&str> {
        self.keys.as_deref()
    }

    /// The same tensors under new names, without those that have none. The names must stay different.
    pub(crate) fn renamed(&self, new_name: impl Fn(&str) -> Option<String>) -> Self {
        let StateDict {
            key,
            entries,
            others,
        } = &self.dict;
        let entries = entries.iter();
        let others = others.iter();
        self.with(StateDict {
            key: key.clone(),
            entries: entries
                .filter_map(|(name, entry)| Some((new_name(name)?, entry.clone())))
                .collect(),
            others: others
                .filter_map(|(name, other)| Some((new_name(name)?, other.clone())))
                .collect(),
        })
    }

    /// These tensors, and those of `other`, which replace any of the same name.
    pub(crate) fn replaced_by(&self, other: &Self) -> Self {
        let mut replaced = self.with(self.dict.clone());
        let first = replaced.parts.len();
        replaced.parts.extend(other.parts.iter().cloned());
        let entries = other.dict.entries.iter().map(|(name, entry)| {
            let part = first + entry.part;
            let entry = Entry {
                part,
                ..entry.clone()
            };
            (name.clone(), entry)
        });
        replaced.dict.entries.extend(entries);
        replaced
    }

    /// A text that a safetensors file has beside its tensors.
    pub(crate) fn metadata(&self, key: &str) -> Option<String> {
        safetensors::metadata(&self.parts.first()?.bytes, key)
    }

    /// Another dict of the same file.
    fn with(&self, dict: StateDict) -> Self {
        Self {
            source: self.source.clone(),
            parts: self.parts.clone(),
            dict,
            alternatives: Vec::new(),
            keys: None,
        }
    }

    /// Named values that are not read as tensors: the name, what it is, and whether it is a tensor of
    /// another kind.
    pub(crate) fn others(&self) -> impl Iterator<Item = (&str, &str, bool)> {
        let others = self.dict.others.iter();
        others.map(|(name, other)| (name.as_str(), other.kind.as_str(), other.is_tensor))
    }

    /// Why the value of that name cannot be read, if there is one.
    pub(crate) fn unread(&self, name: &str) -> Option<WeightsError> {
        self.dict
            .others
            .contains_key(name)
            .then(|| self.missing(name))
    }

    /// Why there is no tensor to read under a name.
    fn missing(&self, name: &str) -> WeightsError {
        match self.dict.others.get(name) {
            Some(other) => WeightsError::UnsupportedTensor {
                file: self.source.clone(),
                name: other.path.clone(),
                found: other.kind.clone(),
            },
            None => WeightsError::MissingTensor {
                file: self.source.clone(),
                name: name.to_owned(),
            },
        }
    }

    fn hash(&self, hash: &mut Sha256) -> Result<(), WeightsError> {
        for (name, entry) in &self.dict.entries {
            hash.update(format!("{name}\0{:?}\n", entry.shape));
            match self.f32(name) {
                Ok(values) => values
                    .chunks(1 << 14)
                    .for_each(|values| hash.update(bytemuck::cast_slice(values))),
                Err(WeightsError::WrongDtype { .. }) => {
                    let values = self.i64(name)?;
                    hash.update(bytemuck::cast_slice(&values));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn values<T: Element>(&self, name: &str) -> Result<Vec<T>, WeightsError> {
        let mut values = Vec::new();
        self.values_into(name, &mut values)?;
        Ok(values)
    }

    fn values_into<T: Element>(&self, name: &str, values: &mut Vec<T>) -> Result<(), WeightsError> {
        let (part, entry) = self.get(name).ok_or_else(|| self.missing(name))?;
        let (Some(decode), Some(size)) = (T::decoder(entry.dtype), entry.dtype.size()) else {
            return Err(WeightsError::WrongDtype {
                file: part.source.clone(),
                name: name.to_owned(),
                expected: T::KIND,
                found: entry.dtype,
            });
        };
        let data = part.bytes.get(entry.start..).unwrap_or(&[]);
        let count: usize = entry.shape.iter().product();
        values.clear();
        match &entry.strides {
            None => {
                values.extend(data.chunks_exact(size).take(count).map(decode));
                part.release(entry, count * size);
            }
            Some(strides) => {
                let places = gather(&entry.shape, strides, count);
                values.extend(places.map(|at| decode(&data[at * size..])));
            }
        }
        Ok(())
    }
}

impl Part {
    /// Gives back the pages of a large tensor that was read.
    fn release(&self, entry: &Entry, len: usize) {
        if len >= RELEASED_FROM {
            self.bytes.release(entry.start..entry.start + len);
        }
    }
}

fn map_file(path: &Path) -> Result<Bytes, WeightsError> {
    map::map_file(path).map_err(|error| WeightsError::Unreadable {
        file: path.display().to_string(),
        error,
    })
}

impl std::fmt::Debug for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Weights")
            .field("source", &self.source)
            .field("tensors", &self.dict.entries.len())
            .finish_non_exhaustive()
    }
}

/// The places of a strided tensor's `count` elements in row-major order, counted from the first.
fn gather(shape: &[usize], strides: &[usize], count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |mut index| {
        let mut at = 0;
        for (&dim, &stride) in shape.iter().zip(strides).rev() {
            at += index % dim * stride;
            index /= dim;
        }
        at
    })
}
