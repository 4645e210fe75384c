//! Checkpoints are inspected before they are downloaded: one that does not fit the network is
//! rejected by its header.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;

use senet::hub::Progress;
use senet::store::ensure;
use senet::zoo::WeightsRef;
use senet::{Error, ModelSpec, Zoo};

use super::{FILE, Setup, files_in, setup};
use crate::common::hub_server::{HubServer, Mode, sha256};

const NETWORK: &str = "org/network";
/// Larger than files that are downloaded without inspection.
const LARGE: usize = 5 << 20;

#[derive(Default)]
struct Notes(RefCell<Vec<String>>);

impl Progress for Notes {
    fn advance(&self, _file: &str, _done: u64, _total: Option<u64>) {}

    fn note(&self, text: &str) {
        self.0.borrow_mut().push(text.to_owned());
    }
}

pub(super) fn spec(name: &str) -> ModelSpec {
    ModelSpec::from_card(Zoo::builtin().get(name).unwrap()).unwrap()
}

/// A safetensors file of zeros with these tensors, and one more that makes it at least `least`
/// bytes long.
fn file(tensors: &[(String, Vec<usize>)], least: usize) -> Vec<u8> {
    let mut at = 0;
    let mut header = serde_json::Map::new();
    let mut add = |name: &str, shape: &[usize]| {
        let end = at + 4 * shape.iter().product::<usize>();
        let tensor = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [at, end]});
        header.insert(name.to_owned(), tensor);
        at = end;
    };
    tensors.iter().for_each(|(name, shape)| add(name, shape));
    add("layer.num_batches_tracked", &[least / 4]);
    let header = serde_json::to_vec(&header).unwrap();
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], &header, &vec![0; at]].concat()
}

fn tensors(spec: &ModelSpec) -> Vec<(String, Vec<usize>)> {
    let plan = spec.network.plan(spec.naming, spec.classes()).unwrap();
    let tensors = plan.tensors().into_iter();
    tensors.map(|tensor| (tensor.name, tensor.shape)).collect()
}

fn reference() -> WeightsRef {
    WeightsRef {
        repo: Some(NETWORK.to_owned()),
        file: Some(FILE.to_owned()),
        ..WeightsRef::default()
    }
}

/// The requested ranges of the file.
fn ranges(setup: &Setup) -> Vec<Option<String>> {
    let requests = setup.server.requests().into_iter();
    requests
        .filter(|request| request.method == "GET" && request.path.ends_with(FILE))
        .map(|request| request.range)
        .collect()
}

#[test]
fn files_that_do_not_fit_are_refused_after_their_header() {
    let spec = spec("seresnet20.fashion_mnist");
    let mut other_classes = tensors(&spec);
    for (name, shape) in &mut other_classes {
        if name.starts_with("fc.") {
            shape[0] = 3;
        }
    }
    let mut other_shape = tensors(&spec);
    other_shape[0].1[0] += 1;
    for (tensors, expected) in [
        (vec![("a.weight".to_owned(), vec![3])], "conv1.weight"),
        (other_classes, "3 classes"),
        (other_shape, "expected [16, 3, 3, 3], found [17, 3, 3, 3]"),
    ] {
        for mode in [Mode::Direct, Mode::Redirect] {
            let setup = setup();
            let bytes = file(&tensors, LARGE);
            let header = u64::from_le_bytes(*bytes.first_chunk().unwrap());
            setup.server.replace(NETWORK, FILE, &bytes);
            setup.server.set(mode);
            let error = ensure(&reference(), Some(&spec), &setup.options, &()).unwrap_err();
            let text = format!("{error} {}", error.hint().unwrap_or_default());
            assert!(
                text.contains(expected) && text.contains("model.safetensors of hf-hub:org/network"),
                "{text}"
            );
            let mut asked = ranges(&setup);
            asked.dedup();
            // The hub is asked first, then the file server, for the same range.
            let ranges = ["bytes=0-7".to_owned(), format!("bytes=8-{}", header + 7)];
            assert_eq!(asked, ranges.map(Some), "{mode:?}");
            assert_eq!(files_in(setup.folder.path()), Vec::<PathBuf>::new());
        }
    }
}

#[test]
fn files_that_fit_are_downloaded_and_small_ones_not_inspected() {
    let spec = spec("seresnet20.fashion_mnist");
    for (least, looks) in [(LARGE, 2), (4, 0)] {
        let setup = setup();
        let bytes = file(&tensors(&spec), least);
        setup.server.replace(NETWORK, FILE, &bytes);
        let path = ensure(&reference(), Some(&spec), &setup.options, &()).unwrap();
        assert!(fs::read(path).unwrap() == bytes);
        let asked = ranges(&setup);
        assert_eq!(asked.iter().flatten().count(), looks, "{asked:?}");
        // A cached file needs no request.
        let before = setup.server.requests().len();
        ensure(&reference(), Some(&spec), &setup.options, &()).unwrap();
        assert_eq!(setup.server.requests().len(), before);
    }
}

/// Servers that send no ranges, other ranges or nothing useful: the file is downloaded as without
/// inspection.
#[test]
fn a_failed_inspection_is_not_an_error() {
    let spec = spec("seresnet20.fashion_mnist");
    let bytes = file(&tensors(&spec), LARGE);
    let fits_not = file(&[("a.weight".to_owned(), vec![3])], LARGE);
    let no_header = vec![0xff; LARGE];
    for (bytes, mode) in [
        (&bytes, Mode::NoRange),
        (&fits_not, Mode::NoRange),
        (&fits_not, Mode::WrongRange),
        (&no_header, Mode::Direct),
    ] {
        let setup = setup();
        setup.server.replace(NETWORK, FILE, bytes);
        setup.server.set(mode);
        let path = ensure(&reference(), Some(&spec), &setup.options, &()).unwrap();
        assert!(&fs::read(path).unwrap() == bytes, "{mode:?}");
    }
}

#[test]
fn the_release_takes_the_place_of_a_file_without_classifier() {
    let spec = spec("seresnet20.fashion_mnist");
    let mut backbone = tensors(&spec);
    backbone.retain(|(name, _)| !name.starts_with("fc."));
    let name = format!("seresnet20-{}.pth", &sha256(b"pickled")[..8]);
    let release = HubServer::start(&[("v1", &name, b"pickled")]);
    let url = format!("{}/v1/{name}", release.file_server());
    let with_release = WeightsRef {
        release: Some(url.clone()),
        ..reference()
    };
    // Known by its header, and later by the complete file in the cache.
    for least in [LARGE, 4] {
        let mut setup = setup();
        let bytes = file(&backbone, least);
        setup.server.replace(NETWORK, FILE, &bytes);
        let error = ensure(&reference(), Some(&spec), &setup.options, &());
        if least == LARGE {
            assert!(
                matches!(error, Err(Error::NoClassifier { .. })),
                "{error:?}"
            );
            assert_eq!(files_in(setup.folder.path()), Vec::<PathBuf>::new());
        }
        let notes = Notes::default();
        let path = ensure(&with_release, Some(&spec), &setup.options, &notes).unwrap();
        assert_eq!(path, setup.folder.path().join("senet/release").join(&name));
        let notes = notes.0.into_inner();
        assert!(
            notes.len() == 1
                && notes[0].contains("lacks the classifier")
                && notes[0].contains(&url),
            "{notes:?}"
        );
        // Now it is cached.
        setup.options.offline = true;
        let again = ensure(&with_release, Some(&spec), &setup.options, &()).unwrap();
        assert_eq!(again, path);
    }
}
