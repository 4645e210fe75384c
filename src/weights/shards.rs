//! Weights in several files: an index in JSON says which file holds which tensor.
//!
//! The form is that of `transformers` and `huggingface_hub`: `model.safetensors.index.json` (or
//! `pytorch_model.bin.index.json`) has a table `weight_map` from tensors to the files next to it.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};

use super::{LooksLike, StateDict, Weights, WeightsError, map_file, plain_name};

/// The longest index that is read. A network of 10,000 tensors needs about 1 MB.
const MAX_INDEX: u64 = 16 << 20;

/// How the name of an index ends, after the ending of its shards.
const INDEX_ENDING: &str = ".index.json";

/// Which file holds which tensor.
struct Index {
    /// Path of the index, for messages.
    source: String,
    /// Tensors without the prefixes of wrappers, and their files.
    homes: BTreeMap<String, String>,
    /// The files, each once, by name.
    files: Vec<String>,
}

/// Whether a file of this name may be an index of shards.
pub(super) fn is_index_name(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.ends_with(INDEX_ENDING))
}

/// The files that the weights at `path` consist of: the shards that an index names, in the index's
/// folder, and the file itself, which comes first. The shards need not be there.
///
/// # Errors
/// If `path` is called an index and cannot be read as one.
pub fn files_of(path: impl AsRef<Path>) -> Result<Vec<PathBuf>, WeightsError> {
    let path = path.as_ref();
    let mut files = vec![path.to_owned()];
    for shard in shard_names(path)? {
        files.push(path.with_file_name(shard));
    }
    Ok(files)
}

/// The names of the shards that the index at `path` lists; none if its name is not that of an index.
///
/// # Errors
/// As [`files_of`].
pub(crate) fn shard_names(path: &Path) -> Result<Vec<String>, WeightsError> {
    if !is_index_name(path) {
        return Ok(Vec::new());
    }
    Ok(Index::parse(path.display().to_string(), &map_file(path)?)?.files)
}

/// The tensors of all the shards of the index at `path`.
pub(super) fn open(path: &Path) -> Result<Weights, WeightsError> {
    let index = Index::parse(path.display().to_string(), &map_file(path)?)?;
    let missing = |file: &&String| !path.with_file_name(file).is_file();
    let missing: Vec<String> = index.files.iter().filter(missing).cloned().collect();
    if !missing.is_empty() {
        return Err(WeightsError::MissingShards {
            file: index.source,
            total: index.files.len(),
            missing,
        });
    }
    let mut all = Weights {
        source: index.source.clone(),
        parts: Vec::with_capacity(index.files.len()),
        dict: StateDict::default(),
        alternatives: Vec::new(),
        keys: None,
    };
    for file in &index.files {
        index.add(
            file,
            Weights::open_one(&path.with_file_name(file))?,
            &mut all,
        )?;
    }
    Ok(all)
}

impl Index {
    fn parse(source: String, bytes: &[u8]) -> Result<Self, WeightsError> {
        if bytes.len() as u64 > MAX_INDEX {
            return Err(WeightsError::TooLarge {
                file: source,
                what: format!("an index of {} bytes", bytes.len()),
                limit: MAX_INDEX,
            });
        }
        let bad = |problem: String| WeightsError::Index {
            file: source.clone(),
            problem,
        };
        let mut document: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
        let Some(weight_map) = document.remove("weight_map") else {
            return Err(WeightsError::NotWeights {
                file: source,
                looks_like: LooksLike::Json,
            });
        };
        let weight_map: BTreeMap<String, String> = serde_json::from_value(weight_map)
            .map_err(|error| bad(format!("its `weight_map`: {error}")))?;
        if weight_map.is_empty() {
            return Err(bad("its `weight_map` names no tensor".to_owned()));
        }
        let mut files: Vec<String> = weight_map.values().cloned().collect();
        files.sort_unstable();
        files.dedup();
        if let Some(outside) = files.iter().find(|file| !stays_inside(file)) {
            let problem = format!("`{outside}` is not the name of a file in the index's folder");
            return Err(bad(problem));
        }
        let mut homes = BTreeMap::new();
        for (name, file) in weight_map {
            let plain = plain_name(&name).to_owned();
            if homes.insert(plain, file).is_some() {
                let problem = format!("without the prefixes of wrappers, `{name}` occurs twice");
                return Err(bad(problem));
            }
        }
        Ok(Self {
            source,
            homes,
            files,
        })
    }

    /// Adds the tensors of one shard. Those that the index puts elsewhere are copies.
    fn add(&self, file: &str, shard: Weights, all: &mut Weights) -> Result<(), WeightsError> {
        let promised = self.homes.iter().filter(|(_, home)| *home == file);
        let lacking: Vec<String> = promised
            .map(|(name, _)| name)
            .filter(|name| !shard.dict.has(name))
            .cloned()
            .collect();
        if !lacking.is_empty() {
            return Err(WeightsError::ShardLacks {
                file: shard.source,
                index: self.source.clone(),
                missing: lacking,
            });
        }
        let first = all.parts.len();
        let elsewhere = |name: &String| self.homes.get(name).is_some_and(|home| home != file);
        let others = shard.dict.others.into_iter();
        let others = others.filter(|(name, _)| !elsewhere(name));
        all.dict.others.extend(others);
        for (name, mut entry) in shard.dict.entries {
            if elsewhere(&name) {
                continue;
            }
            entry.part += first;
            if let Some(other) = all.dict.entries.insert(name.clone(), entry) {
                let other = all.parts.get(other.part).map(|part| part.source.as_str());
                return Err(WeightsError::Index {
                    file: self.source.clone(),
                    problem: format!(
                        "it does not name tensor `{name}`, which both {} and {} hold",
                        other.unwrap_or_default(),
                        shard.source
                    ),
                });
            }
        }
        all.parts.extend(shard.parts);
        Ok(())
    }
}

/// Whether a name in an index is a path below the index's folder, on every system.
fn stays_inside(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    !name.is_empty()
        && !name.contains(|c: char| c.is_control() || matches!(c, '\\' | ':'))
        && parts.all(|part| matches!(part, Component::Normal(_)))
}
