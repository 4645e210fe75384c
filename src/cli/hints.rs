//! Hints that name commands and options. The library's own hints name none.

use std::io;

use crate::device::DeviceError;
use crate::embed::{EmbedError, Format};
use crate::error::Error;
use crate::eval::{EvalError, FolderOrder, LabelIds, NUMBER_OF_A_CLASS, Numbering, Warning};
use crate::hub::{HubError, Location};
use crate::nets::{NetError, OtherEnds};
use crate::preprocess::ImageError;
use crate::store::PickError;
use crate::train::DirectoryError;
use crate::verify::VerifyError;
use crate::weights::{LooksLike, WeightsError};
use crate::zoo::CardError;

/// What the user can do about an error: the program's hint, or else the library's.
pub(super) fn hint(error: &Error) -> Option<String> {
    own(error).or_else(|| error.hint())
}

fn own(error: &Error) -> Option<String> {
    match error {
        Error::Card(error) => card(error),
        Error::Device(DeviceError::NoSuch { .. } | DeviceError::Unavailable { .. }) => Some(
            "use `--device auto` or `--device cpu`; `senet devices` lists what works".to_owned(),
        ),
        Error::Net(NetError::Precision(_)) => {
            Some("use `--precision auto`, or one of those listed".to_owned())
        }
        Error::Golden(VerifyError::Net(NetError::Weights(error)) | VerifyError::Weights(error))
        | Error::Net(NetError::Weights(error))
        | Error::Weights(error) => weights(error).map(str::to_owned),
        Error::Embed(error) => Some(embed(error)?.to_owned()),
        Error::Directory(error) => directory(error).map(str::to_owned),
        Error::Eval(error) => eval(error),
        Error::Hub(error) => hub(error),
        Error::Image(error) => image(error),
        Error::Pick(error) => Some(pick(error)?.to_owned()),
        Error::NoClassifier { release, .. } => {
            let url = release.as_ref()?;
            Some(format!(
                "the authors' file has it: download {url} and give it as `--weights`"
            ))
        }
        Error::OtherEnds { config, ends, .. } => other_ends(config.as_deref(), ends),
        _ => None,
    }
}

fn directory(error: &DirectoryError) -> Option<&'static str> {
    match error {
        DirectoryError::Exists { .. } => {
            Some("use another name, or `--force`, which replaces a model directory")
        }
        DirectoryError::NoArchitecture { .. } => {
            Some("`--head-only` writes the classifier, which `--head` takes")
        }
        _ => None,
    }
}

fn hub(error: &HubError) -> Option<String> {
    const FREE_SPACE: &str = "free some space (`senet cache list` shows what the models take), or set \
         HF_HUB_CACHE to another disk";
    let text = match error {
        HubError::Lockfile { .. } => "`senet lock FILE` writes one",
        HubError::NotLocked { .. } => {
            "`senet lock FILE` writes a new one with the files in the cache"
        }
        HubError::NotAsLocked { .. } => {
            "`senet cache verify --repair` finds damaged files and downloads them again; if the change \
             is intended, `senet lock FILE` records it"
        }
        HubError::Moved { endpoint, .. } => {
            return Some(format!(
                "if you trust that address, set HF_ENDPOINT or --endpoint to {endpoint}"
            ));
        }
        // `senet download` takes any name that other commands take.
        HubError::Offline { location, .. } if matches!(**location, Location::Image { .. }) => {
            "leave out --offline, HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE, or save the image"
        }
        HubError::Offline { .. } => {
            "run `senet download` with the model's name while connected, without --offline, \
             HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE"
        }
        HubError::NoSpace { .. } => FREE_SPACE,
        HubError::Disk { source, .. } if source.kind() == io::ErrorKind::StorageFull => FREE_SPACE,
        HubError::NoRemote => {
            "give your own weights with `--weights FILE`, or a directory with weights and \
             config.json as the model"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

fn embed(error: &EmbedError) -> Option<&'static str> {
    let text = match error {
        EmbedError::Exists { path } => match Format::of(path) {
            Ok(Format::Safetensors) => {
                "replace it with `--force`, add images to it with `--append`, or use another name"
            }
            _ => "replace it with `--force`, or use another name",
        },
        EmbedError::Unfinished { .. } => {
            "continue it with `--resume`, or start anew with `--force`"
        }
        EmbedError::Lacks { .. } => "`--append` adds them",
        EmbedError::Unwritable { error, .. } if error.kind() == io::ErrorKind::StorageFull => {
            "free some space; a run that had begun continues with `--resume`"
        }
        EmbedError::Mismatch { .. } => {
            "give the options and the data that the file was written with, or start anew with `--force`"
        }
        EmbedError::Damaged { .. } => "`senet embed` with `--force` writes it anew",
        EmbedError::NoF16 { .. } => "leave out `--dtype f16`",
        _ => return None,
    };
    Some(text)
}

fn eval(error: &EvalError) -> Option<String> {
    const FROM_ONE: &str = "numbers count the model's outputs from 0; `--label-ids from-one` says that \
         these count from 1";
    let text = match error {
        EvalError::NoClassFolder { .. } => {
            "give each class a folder (a WordNet id, a class name or an index), or name the classes of \
             the images in a file: `--labels FILE`"
        }
        EvalError::UnknownClasses {
            alike: Some(alike), ..
        } => {
            return Some(format!(
                "{alike} differ only in characters that are not seen: rename the one, or say in a \
                 `--class-map` that it means the other"
            ));
        }
        // Of numbers from 1 the last means nothing.
        EvalError::UnknownClasses { names, set, .. }
            if names == "1000" && set.starts_with("imagenet-1k ") =>
        {
            "numbers count the model's outputs from 0; `--label-ids devkit` says that these are the \
             classes of ImageNet's development kit, which count from 1"
        }
        EvalError::UnknownClasses { is_last: true, .. }
        | EvalError::Line {
            expected: NUMBER_OF_A_CLASS,
            ..
        } => FROM_ONE,
        EvalError::UnknownClasses { .. } => {
            "`--class-map FILE` says which class a folder or label means, one per line: the name, a \
             tab, the class; `-` as the class excludes its images"
        }
        EvalError::EmptyClasses { .. } => {
            "convert the images that are not read, or measure the other classes alone with \
             `--allow-empty-classes`"
        }
        EvalError::FolderOrder { .. } => {
            "`--label-ids` says what the numbers of folders count, `--class-map FILE` which class each \
             folder means"
        }
        EvalError::Ambiguous { .. } => {
            "use the WordNet id or the index of the class, or a `--class-map`"
        }
        EvalError::Exists { .. } => {
            "continue it with `--resume`, or start a new run under another name"
        }
        EvalError::NoData { exists: true, .. } => {
            "a validation set is a folder with a folder for each class, or with `--labels FILE`, or an \
             archive"
        }
        EvalError::LabelIds { .. } => "say which: `--label-ids index` or `--label-ids devkit`",
        _ => return None,
    };
    Some(text.to_owned())
}

/// A warning about a report, with the options that act on it.
pub(super) fn warning(warning: &Warning) -> String {
    match warning {
        Warning::OtherNumbering { numbering, .. } => {
            format!("{warning} ({})", numbering_options(*numbering))
        }
        Warning::Subset { name } => format!("{warning}: `--valid-labels {name}`"),
        _ => warning.to_string(),
    }
}

fn numbering_options(numbering: Numbering) -> String {
    let order = numbering.order.map(|order| match order {
        FolderOrder::Numeric => "--folder-order numeric",
        FolderOrder::String => "--folder-order string",
    });
    let ids = numbering.label_ids.map(|ids| match ids {
        LabelIds::Index => "--label-ids index",
        LabelIds::FromOne => "--label-ids from-one",
        LabelIds::Devkit => "--label-ids devkit",
    });
    let options: Vec<&str> = order.into_iter().chain(ids).collect();
    format!("`{}`", options.join(" "))
}

fn pick(error: &PickError) -> Option<&'static str> {
    match error {
        PickError::None { .. } => Some("give the weights file with `-w FILE`"),
        PickError::Several { .. } => {
            Some("choose one with `-w FILE` (download it first if it is on the hub)")
        }
        PickError::NoIndex { .. } => {
            Some("put the index next to them, or give a whole weights file with `-w FILE`")
        }
    }
}

fn weights(error: &WeightsError) -> Option<&'static str> {
    // `senet download` does not replace a damaged file in the cache.
    matches!(
        error,
        WeightsError::NotWeights {
            looks_like: LooksLike::Empty | LooksLike::Html,
            ..
        } | WeightsError::Truncated { .. }
            | WeightsError::Damaged { .. }
            | WeightsError::HashMismatch { .. }
    )
    .then_some(
        "download the file again (`senet cache verify --repair` does so where it is in the cache)",
    )
}

fn image(error: &ImageError) -> Option<String> {
    match error {
        ImageError::InFile { error, .. } => image(error),
        ImageError::TooLarge { width, height, .. } => Some(format!(
            "if the image is trusted, raise the limit with `--max-pixels {}`",
            u64::from(*width) * u64::from(*height)
        )),
        ImageError::Channels { .. } => Some(
            "the network still works in `senet info`, `senet bench` and `senet verify`".to_owned(),
        ),
        _ => None,
    }
}

fn card(error: &CardError) -> Option<String> {
    Some(match error {
        CardError::UnknownModel { suggestions, .. } if suggestions.is_empty() => {
            "`senet list` shows all models".to_owned()
        }
        CardError::WeightsFile { file, model } => match model {
            Some(model) => {
                format!("the model is `{model}`, and the file goes to `--weights {file}`")
            }
            None => format!(
                "name the network (one of `senet list`, or a directory with config.json) as the \
                 model, and give the file as `--weights {file}`"
            ),
        },
        CardError::NotADirectory { folder: None, .. } | CardError::NoDirectory { .. } => {
            "a model is a name that `senet list` shows, a directory with config.json, or \
             hf-hub:ORG/REPO"
                .to_owned()
        }
        CardError::UnknownArchitecture { .. } => {
            "`senet list --architectures` lists the known ones".to_owned()
        }
        CardError::OtherLibrary { .. } => {
            "if the weights are of a network that `senet list` shows, name that as the model and \
             give the file as `--weights FILE`; else timm's `push_to_hf_hub` or \
             `save_for_hf` writes what is needed here"
                .to_owned()
        }
        CardError::Field { field, .. } => return field_step(field),
        _ => return None,
    })
}

/// What to do about an invalid field of a `config.json`.
fn field_step(field: &str) -> Option<String> {
    let name = field.rsplit_once('.').map_or(field, |(_, name)| name);
    let option = match name {
        "input_size" | "test_input_size" => "--img-size SIZE",
        "crop_pct" | "test_crop_pct" => "--crop-pct FRACTION",
        "crop_mode" => "--crop-mode MODE",
        "interpolation" => "--interpolation FILTER",
        "mean" => "--mean RED,GREEN,BLUE",
        "std" => "--std RED,GREEN,BLUE",
        "num_classes" => {
            return Some("`--num-classes N` overrides what the file says".to_owned());
        }
        _ if ["label_names", "labels"]
            .iter()
            .any(|names| field.contains(names)) =>
        {
            let step = "`--num-classes N` leaves out names that do not fit N classes";
            return Some(step.to_owned());
        }
        _ => return None,
    };
    Some(format!(
        "in commands that read images, `{option}` overrides what the file says"
    ))
}

fn other_ends(config: Option<&str>, ends: &OtherEnds) -> Option<String> {
    let found = [ends.classes, ends.channels].map(|pair| pair.map(|[_, found]| found));
    let [Some(classes), None] = found else {
        return None;
    };
    Some(match config {
        Some(config) => format!(
            "correct `num_classes` in {config}, or give `--num-classes {classes}`, which leaves out \
             label names that do not fit"
        ),
        None => format!(
            "`--num-classes {classes}` runs it with numbered classes; a config.json next to the file, \
             with `architecture`, `num_classes` and `label_names`, names them: give the directory as \
             the model"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceChoice;

    #[test]
    fn a_refused_field_has_its_option() {
        for (field, option) in [
            ("pretrained_cfg.input_size", "--img-size SIZE"),
            ("test_crop_pct", "--crop-pct FRACTION"),
            ("crop_mode", "--crop-mode MODE"),
            ("interpolation", "--interpolation FILTER"),
            ("mean", "--mean RED,GREEN,BLUE"),
            ("pretrained_cfg.std", "--std RED,GREEN,BLUE"),
            ("model_args.num_classes", "--num-classes N"),
            ("label_names", "--num-classes N"),
        ] {
            let error = Error::Card(CardError::field("config.json", field, "is wrong"));
            let hint = hint(&error).unwrap();
            assert!(hint.contains(&format!("`{option}`")), "{field}: {hint}");
        }
    }

    #[test]
    fn warnings_name_the_options_that_act_on_them() {
        let other = |label_ids, order| {
            warning(&Warning::OtherNumbering {
                accuracy: 0.1,
                would_be: 1.0,
                numbering: Numbering { label_ids, order },
            })
        };
        let order = Some(FolderOrder::String);
        for (text, options) in [
            (other(None, order), "(`--folder-order string`)"),
            (
                other(Some(LabelIds::Devkit), None),
                "the development kit (`--label-ids devkit`)",
            ),
            (
                other(Some(LabelIds::FromOne), order),
                "from 1: 1, 10, … 2 (`--folder-order string --label-ids from-one`)",
            ),
            (
                warning(&Warning::Subset { name: "imagenet-a" }),
                "with them alone: `--valid-labels imagenet-a`",
            ),
        ] {
            assert!(text.ends_with(options), "{text}");
        }
    }

    #[test]
    fn commands_and_options_come_before_the_librarys_words() {
        let pick = PickError::None {
            place: "here".to_owned(),
            found: Vec::new(),
        };
        let damaged = || WeightsError::Damaged {
            file: "x.pth".to_owned(),
            problem: "it ends".to_owned(),
        };
        let large = ImageError::InFile {
            path: "x.png".into(),
            error: Box::new(ImageError::TooLarge {
                format: "PNG",
                width: 60_000,
                height: 60_000,
                limit: 1,
            }),
        };
        for (error, words) in [
            (Error::Hub(HubError::NoRemote), "`--weights FILE`"),
            (Error::Pick(pick), "`-w FILE`"),
            (Error::Weights(damaged()), "`senet cache verify --repair`"),
            (
                Error::Net(NetError::Weights(damaged())),
                "`senet cache verify --repair`",
            ),
            (Error::Image(large), "`--max-pixels 3600000000`"),
        ] {
            let own = hint(&error).unwrap();
            assert!(own.contains(words), "{own}");
            let library = error.hint().unwrap();
            assert!(!library.contains('`'), "{library}");
        }
        let device = Error::Device(DeviceError::NoSuch {
            choice: DeviceChoice::Cuda(3),
            count: 1,
        });
        assert!(hint(&device).unwrap().contains("`senet devices`"));
        let home = Error::Hub(HubError::NoHome);
        assert_eq!(hint(&home), home.hint());
    }
}
