//! Which of the files in a directory or repository holds the weights.
//!
//! The order is that of timm's `load_state_dict_from_path`, followed by the indexes of shards and the
//! names that other trainers use. Where timm takes the first of several files, it is an error here.

use std::path::{Path, PathBuf};

use crate::zoo::CardError;

/// Names that are always preferred, best first: the four that timm prefers, then indexes of shards.
const PREFERRED: [&str; 6] = [
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
    "model.safetensors.index.json",
    "pytorch_model.bin.index.json",
];

/// Groups of endings. The first group that any file belongs to decides, and only one file may.
const ENDINGS: [&[&str]; 6] = [
    &[
        ".safetensors.index.json",
        ".bin.index.json",
        ".pth.index.json",
    ],
    &[".safetensors"],
    &[".pth"],
    &[".pth.tar"],
    &[".bin"],
    &[".pt", ".ckpt"],
];

/// Prefixes of files that are stored next to checkpoints and hold no network.
const NO_NETWORK: [&str; 8] = [
    ".",
    "optim",
    "scheduler",
    "scaler",
    "rng_state",
    "random_states",
    "training_args",
    "trainer_state",
];

/// What is looked for, for messages.
const LOOKED_FOR: &str = "model.safetensors, pytorch_model.bin, pytorch_model.pth, model.pth, an index \
     of shards (*.index.json), then a single *.safetensors, *.pth, *.pth.tar, *.bin, *.pt or *.ckpt";

/// A place whose files do not say which of them holds the weights.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PickError {
    /// No file that may hold weights.
    #[error(
        "{place} holds no weights{}; looked for {LOOKED_FOR}",
        found_there(found)
    )]
    None {
        /// The directory or repository.
        place: String,
        /// The files that are there.
        found: Vec<String>,
    },
    /// More than one.
    #[error("{place} holds {} files that may be the weights: {}", candidates.len(), listed(candidates))]
    Several {
        /// The directory or repository.
        place: String,
        /// Their names.
        candidates: Vec<String>,
    },
    /// Shards without the file that says what is in them.
    #[error(
        "{place} holds shards ({}) without an index such as model.safetensors.index.json",
        listed(shards)
    )]
    NoIndex {
        /// The directory or repository.
        place: String,
        /// Their names.
        shards: Vec<String>,
    },
}

impl PickError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::None { .. } => "give the weights file itself".to_owned(),
            Self::Several { .. } => {
                "give the file you mean (from the hub: download it first)".to_owned()
            }
            Self::NoIndex { .. } => {
                "put the index next to them, or give a whole weights file".to_owned()
            }
        })
    }
}

/// The weights file of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Picked {
    pub(super) name: String,
    /// Other files that may hold weights, which are not used.
    pub(super) others: Vec<String>,
}

impl Picked {
    /// Says which file is used; nothing for the names that timm writes.
    pub(super) fn note(&self, place: &str) -> Option<String> {
        if self.others.is_empty() || PREFERRED.contains(&self.name.as_str()) {
            return None;
        }
        let (name, others) = (&self.name, listed(&self.others));
        Some(format!(
            "{place}: the weights are taken from {name}; {} not used: {others}",
            self.others.len()
        ))
    }
}

/// Picks among the names of the files in `place`.
pub(super) fn pick(place: &str, names: &[String]) -> Result<Picked, PickError> {
    let place = place.to_owned();
    let (shards, whole): (Vec<&String>, Vec<&String>) = names
        .iter()
        .filter(|name| may_hold_weights(name))
        .partition(|name| is_shard(name));
    let picked = |name: &String| {
        let others = whole.iter().filter(|other| **other != name);
        Picked {
            name: name.clone(),
            others: others.map(|&name| name.clone()).collect(),
        }
    };
    let preferred = PREFERRED
        .iter()
        .find_map(|preferred| whole.iter().find(|name| name == &preferred));
    if let Some(name) = preferred {
        return Ok(picked(name));
    }
    let of = |endings: &[&str]| -> Vec<&String> {
        let ends = |name: &&&String| endings.iter().any(|ending| has_ending(name, ending));
        whole.iter().filter(ends).copied().collect()
    };
    let Some(group) = ENDINGS.into_iter().map(of).find(|group| !group.is_empty()) else {
        return Err(match shards.is_empty() {
            true => PickError::None {
                place,
                found: names.to_vec(),
            },
            false => PickError::NoIndex {
                place,
                shards: shards.into_iter().cloned().collect(),
            },
        });
    };
    let is_best = |name: &&&String| name.split('.').next() == Some("best");
    let best: Vec<&String> = group.iter().filter(is_best).copied().collect();
    match (&group[..], &best[..]) {
        ([one], _) | (_, [one]) => Ok(picked(one)),
        _ => Err(PickError::Several {
            place,
            candidates: whole.into_iter().cloned().collect(),
        }),
    }
}

/// The path of the weights in a directory, and a note about it.
///
/// # Errors
/// [`PickError`], [`CardError::Read`] if the directory cannot be read.
pub(super) fn pick_in(folder: &Path) -> crate::error::Result<(PathBuf, Option<String>)> {
    let place = folder.display().to_string();
    let picked = pick(&place, &file_names(folder)?)?;
    Ok((folder.join(&picked.name), picked.note(&place)))
}

/// Names of the files in a directory, sorted; links to files count.
fn file_names(folder: &Path) -> Result<Vec<String>, CardError> {
    let read = || -> std::io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in folder.read_dir()? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string()
                && entry.path().is_file()
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    };
    read().map_err(|source| CardError::Read {
        path: folder.to_owned(),
        source,
    })
}

/// Whether a file of this name may hold weights; files in subfolders never do.
pub(super) fn may_hold_weights(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let mut endings = ENDINGS.into_iter().flatten();
    !name.contains('/')
        && endings.any(|ending| lower.ends_with(ending))
        && !NO_NETWORK.iter().any(|start| lower.starts_with(start))
}

fn has_ending(name: &str, ending: &str) -> bool {
    name.to_ascii_lowercase().ends_with(ending)
}

/// `model-00001-of-00003.safetensors`
fn is_shard(name: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let stem = name.split('.').next().unwrap_or_default();
    stem.rsplit_once("-of-")
        .and_then(|(start, count)| Some((start.rsplit_once('-')?.1, count)))
        // `1-of-1` is a complete file.
        .is_some_and(|(place, count)| {
            number(place) && number(count) && count.trim_start_matches('0') != "1"
        })
}

fn found_there(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!(" (only {})", listed(names)),
    }
}

/// The first few names.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len() {
        0..=SHOWN => shown,
        more => format!("{shown} and {} more", more - SHOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Result<Picked, PickError> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        pick("here", &names)
    }

    /// `tests/tools/make_pick.py` wrote what timm does.
    #[test]
    fn timm_takes_the_same_file_where_there_are_not_several() {
        #[derive(serde::Deserialize)]
        struct Case {
            files: Vec<String>,
            timm: Option<String>,
            several: bool,
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pick.json");
        let cases = std::fs::read(path).unwrap();
        let cases: Vec<Case> = serde_json::from_slice(&cases).unwrap();
        assert!(cases.len() > 100);
        for Case {
            files,
            timm,
            several,
        } in cases
        {
            match (pick("here", &files), timm) {
                (Ok(picked), Some(timm)) => {
                    assert!(!several, "{files:?}");
                    assert_eq!(picked.name, timm, "{files:?}");
                }
                (Err(PickError::Several { .. }), Some(_)) => assert!(several, "{files:?}"),
                (Err(PickError::None { .. }), None) => {}
                (found, timm) => panic!("{files:?}: {found:?}, timm {timm:?}"),
            }
        }
    }

    #[test]
    fn the_order_is_that_of_timm() {
        // Each is preferred to all that come after it.
        let order = [
            "model.safetensors",
            "pytorch_model.bin",
            "pytorch_model.pth",
            "model.pth",
            "model.safetensors.index.json",
            "pytorch_model.bin.index.json",
            "some.safetensors",
            "last.pth",
            "last.pth.tar",
            "last.bin",
            "last.ckpt",
        ];
        for start in 0..order.len() {
            let mut names = order[start..].to_vec();
            names.reverse();
            let picked = of(&names).unwrap();
            assert_eq!(picked.name, order[start]);
            assert_eq!(picked.others.len(), names.len() - 1);
            assert_eq!(
                picked.note("here").is_some(),
                (6..order.len() - 1).contains(&start),
                "{start}"
            );
        }
    }

    #[test]
    fn several_are_an_error_that_lists_them() {
        for names in [
            &["a.safetensors", "b.safetensors"][..],
            &["a.pth", "b.pth"],
            &["a.pth.tar", "b.pth.tar"],
            &["a.bin", "b.bin"],
            &["a.pt", "b.ckpt"],
            &["best.pt", "best.ckpt"],
        ] {
            let error = of(names).unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, PickError::Several { .. }), "{text}");
            assert!(text.ends_with(&names.join(", ")), "{text}");
            assert!(error.hint().unwrap().contains("the file you mean"));
        }
        assert_eq!(of(&["last.pt", "best.pt"]).unwrap().name, "best.pt");
        assert_eq!(of(&["last.pth", "best.pth"]).unwrap().name, "best.pth");
        // The last checkpoint does not become the network because its ending comes first.
        let many: Vec<String> = (0..40).map(|i| format!("epoch-{i}.pth")).collect();
        let text = pick("here", &many).unwrap_err().to_string();
        assert!(
            text.contains("40 files") && text.ends_with("and 28 more"),
            "{text}"
        );
    }

    #[test]
    fn files_stored_next_to_checkpoints_do_not_count() {
        let others = [
            "optimizer.pt",
            "optimizer.bin",
            "optim.pth",
            "scheduler.pt",
            "scaler.pt",
            "rng_state.pth",
            "rng_state_0.pth",
            "random_states_0.pkl",
            "training_args.bin",
            "trainer_state.json",
            ".hidden.pth",
            "._model.safetensors",
            "config.json",
            "README.md",
            "onnx/model.bin",
            "some.index.json",
            "events.out.tfevents",
        ];
        assert!(matches!(of(&others), Err(PickError::None { .. })));
        let mut names = others.to_vec();
        names.push("Last.PTH");
        assert_eq!(of(&names).unwrap().name, "Last.PTH");
        assert!(of(&names).unwrap().others.is_empty());
    }

    #[test]
    fn shards_need_their_index() {
        let shards = [
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
        ];
        let error = of(&shards).unwrap_err();
        assert!(matches!(error, PickError::NoIndex { .. }), "{error}");
        let with = |name| of(&[shards[0], shards[1], name]).unwrap();
        let index = "model.safetensors.index.json";
        assert_eq!(with(index).name, index);
        assert_eq!(
            with("net.safetensors.index.json").name,
            "net.safetensors.index.json"
        );
        assert_eq!(with("whole.bin").name, "whole.bin");
    }
}
