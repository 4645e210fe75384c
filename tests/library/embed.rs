//! Features of data sets: the rows, and the files that keep them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use senet::Model;
use senet::embed::{
    Batch, EmbedError, ExtractOptions, FeatureFile, FeatureHeader, FeatureType, FeatureWriter,
    Format, Layer, Opened, Start, WriterOptions, Written, check_images, extract,
};
use senet::eval::{Dataset, Item, Source};
use senet::hub::HubOptions;
use senet::preprocess::Views;

fn demo() -> Model {
    let mut offline = HubOptions::from_env().unwrap();
    offline.offline = true;
    Model::builder("demo").hub(offline).open().unwrap()
}

fn pictures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pictures")
}

/// A folder with some of the pictures and one file that is no picture.
fn folder(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        fs::copy(pictures().join(name), folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join("f-bad.png"), "no picture").unwrap();
    folder
}

const NAMES: [&str; 6] = [
    "ankle-boot.png",
    "grey.png",
    "plain.gif",
    "rgb.jpg",
    "tiny.jpg",
    "wide.png",
];

fn options(batch_size: usize) -> ExtractOptions {
    let mut options = ExtractOptions::default();
    options.batch_size = batch_size;
    options
}

/// The row of each image, or its error.
fn rows(model: &Model, data: &Dataset, options: &ExtractOptions) -> Vec<Result<Vec<f32>, String>> {
    let items: Vec<&Item> = data.items.iter().collect();
    let mut rows = Vec::new();
    let summary = extract(model, &items, options, |batch| {
        assert_eq!(batch.first, rows.len());
        rows.extend(batch.rows);
        Ok(())
    });
    assert!(!summary.unwrap().stopped);
    rows
}

fn header(model: &Model, options: &ExtractOptions, dtype: FeatureType) -> FeatureHeader {
    FeatureHeader::new(model, "ab".repeat(32), options, dtype).unwrap()
}

/// Writes the features of the data as far as `stop_after` images.
fn write(
    path: &Path,
    model: &Model,
    data: &Dataset,
    writer: &WriterOptions,
    stop_after: Option<usize>,
) -> Result<Option<Written>, EmbedError> {
    let options = options(2);
    let header = header(model, &options, FeatureType::F32);
    let Opened::Writer(mut writer) = FeatureWriter::open(path, header, &data.items, writer)? else {
        return Ok(None);
    };
    let mut remaining = writer.remaining();
    remaining.truncate(stop_after.unwrap_or(usize::MAX));
    extract(model, &remaining, &options, |batch| writer.push(&batch))?;
    match stop_after {
        // As if it had been killed: without a last checkpoint.
        Some(_) => Ok(None),
        None => writer.finish().map(Some),
    }
}

fn checkpoints_always(start: Start) -> WriterOptions {
    let mut options = WriterOptions::default();
    options.start = start;
    options.checkpoint = Duration::ZERO;
    options
}

#[test]
fn rows_do_not_depend_on_the_batch() {
    let (model, folder) = (demo(), folder(&NAMES));
    let data = Dataset::unlabelled(&[folder.path()]).unwrap();
    let whole = rows(&model, &data, &options(1));
    assert_eq!(whole.len(), 7);
    let bad: Vec<bool> = whole.iter().map(Result::is_err).collect();
    assert_eq!(bad, [false, true, false, false, false, false, false]);
    for batch_size in [2, 3, 8] {
        assert_eq!(rows(&model, &data, &options(batch_size)), whole);
    }
    let decode = options(1).decode;
    for (item, row) in data.items.iter().zip(&whole) {
        let Ok(row) = row else { continue };
        let image = item.source.open(&decode).unwrap();
        let features = model.network().features(&model.batch(&[image]).unwrap());
        assert_eq!(
            features.unwrap().to_vec2::<f32>().unwrap(),
            std::slice::from_ref(row)
        );
    }
}

#[test]
fn an_interrupted_run_resumes_to_the_same_bytes() {
    let (model, folder) = (demo(), folder(&NAMES));
    let data = Dataset::unlabelled(&[folder.path()]).unwrap();
    let out = tempfile::tempdir().unwrap();
    let at = |name: &str| out.path().join(name);
    for (format, longest_header) in [
        (Format::Safetensors, usize::MAX),
        (Format::Safetensors, 100),
        (Format::Npy, 0),
        (Format::JsonLines, 0),
        #[cfg(feature = "parquet")]
        (Format::Parquet, 0),
    ] {
        let options = |start| {
            let mut options = checkpoints_always(start);
            options.longest_header = longest_header;
            options.format = format;
            options
        };
        let whole = write(&at("a"), &model, &data, &options(Start::Replace), None).unwrap();
        let whole = whole.unwrap();
        assert_eq!((whole.rows, whole.failed), (6, 1));
        for stop_after in [0, 1, 2, 4, 7] {
            let run = |start, stop| write(&at("b"), &model, &data, &options(start), stop);
            run(Start::Replace, Some(stop_after)).unwrap();
            let again = run(Start::New, None);
            assert!(
                matches!(again, Err(EmbedError::Unfinished { .. })),
                "{again:?}"
            );
            let resumed = run(Start::Resume, None).unwrap().unwrap();
            assert_eq!(resumed, whole, "after {stop_after}");
            for end in ["", ".errors.jsonl"] {
                let [a, b] = ["a", "b"].map(|name| fs::read(at(&format!("{name}{end}"))).unwrap());
                assert!(a == b, "after {stop_after}{end}");
            }
            let again = run(Start::Resume, None);
            match format {
                // There is nothing left to do.
                Format::Safetensors => assert_eq!(again.unwrap(), None),
                _ => assert!(matches!(again, Err(EmbedError::Exists { .. })), "{again:?}"),
            }
            let again = run(Start::New, None);
            assert!(matches!(again, Err(EmbedError::Exists { .. })), "{again:?}");
        }
        let left = fs::read_dir(out.path()).unwrap().count();
        let beside = if format == Format::Npy { 2 } else { 1 };
        assert_eq!(left, 2 * (1 + beside), "two files and their lists");
        if format != Format::Safetensors {
            for name in ["a", "b"] {
                let _ = fs::remove_file(at(&format!("{name}.paths.txt")));
            }
            continue;
        }
        let file = FeatureFile::open(at("a")).unwrap();
        let paths: Vec<_> = (0..file.len())
            .map(|row| file.path(row).into_owned())
            .collect();
        assert_eq!(paths, NAMES);
        let expected: Vec<f32> = rows(&model, &data, &super::embed::options(8))
            .into_iter()
            .filter_map(Result::ok)
            .flatten()
            .collect();
        assert_eq!(*file.rows(0..6), expected);
        assert!(matches!(file.rows(0..6), std::borrow::Cow::Borrowed(_)));
    }
}

#[test]
fn later_images_are_appended() {
    let (model, first, second) = (demo(), folder(&NAMES[..4]), folder(&NAMES));
    let [few, all] = [&first, &second].map(|dir| Dataset::unlabelled(&[dir.path()]).unwrap());
    let out = tempfile::tempdir().unwrap();
    let at = |name: &str| out.path().join(name);
    let append = |start| {
        let mut options = checkpoints_always(start);
        options.append = true;
        options
    };
    write(&at("few"), &model, &few, &append(Start::New), None).unwrap();
    write(&at("all"), &model, &few, &append(Start::New), None).unwrap();
    write(&at("all"), &model, &all, &append(Start::New), Some(2)).unwrap();
    let resumed = write(&at("all"), &model, &all, &append(Start::Resume), None).unwrap();
    // The file that failed is tried again.
    assert_eq!(resumed.map(|it| (it.rows, it.failed)), Some((6, 1)));
    let [few, all] = ["few", "all"].map(|name| FeatureFile::open(at(name)).unwrap());
    assert_eq!((few.len(), all.len()), (4, 6));
    assert_eq!(few.rows(0..4), all.rows(0..4));
    let paths: Vec<_> = (0..6).map(|row| all.path(row).into_owned()).collect();
    assert_eq!(paths, NAMES);
}

/// A file knows images by their paths, which those of another data set may have as well.
#[test]
fn other_images_with_the_same_paths_are_noticed() {
    let (model, folder, others) = (demo(), folder(&NAMES), folder(&NAMES[..1]));
    let data = Dataset::unlabelled(&[folder.path()]).unwrap();
    let path = folder.path().join("features");
    let options = options(8);
    write(&path, &model, &data, &checkpoints_always(Start::New), None).unwrap();
    let header = header(&model, &options, FeatureType::F32);
    let check = |path: &Path, items: &[Item]| check_images(path, &header, &model, items, &options);
    check(&path, &data.items).unwrap();
    // No file, and no image that the file has.
    check(&folder.path().join("nothing"), &data.items).unwrap();
    check(&path, &[]).unwrap();
    // One that cannot be read any more is not another one.
    fs::write(folder.path().join(NAMES[1]), "no picture").unwrap();
    check(&path, &data.items).unwrap();
    let name = NAMES[0];
    fs::copy(pictures().join(NAMES[5]), others.path().join(name)).unwrap();
    let other = Dataset::unlabelled(&[others.path()]).unwrap();
    let error = check(&path, &other.items).unwrap_err();
    assert!(
        matches!(&error, EmbedError::OtherImage { image, .. } if image == name),
        "{error}"
    );
}

#[test]
fn features_of_something_else_are_refused() {
    let (model, folder) = (demo(), folder(&NAMES));
    let data = Dataset::unlabelled(&[folder.path()]).unwrap();
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("a");
    let writer = checkpoints_always(Start::Resume);
    write(&path, &model, &data, &writer, Some(2)).unwrap();
    type Change = fn(&mut FeatureHeader);
    let others: [(&str, Change); 6] = [
        ("model", |header| header.model = "another".into()),
        ("weights", |header| header.weights = "cd".repeat(32)),
        ("preprocessing", |header| header.input.crop_pct = 0.5),
        ("EXIF setting", |header| header.exif = true),
        ("element type", |header| header.dtype = FeatureType::F16),
        ("L2 normalization", |header| header.l2 = true),
    ];
    for whole in [false, true] {
        for (expected, change) in &others {
            let mut header = header(&model, &options(2), FeatureType::F32);
            change(&mut header);
            let opened = FeatureWriter::open(&path, header, &data.items, &writer);
            let Err(EmbedError::Mismatch { field, .. }) = opened else {
                panic!("{opened:?}");
            };
            assert_eq!(field, *expected);
        }
        let header = header(&model, &options(2), FeatureType::F32);
        let fewer = FeatureWriter::open(&path, header, &data.items[..3], &writer);
        assert!(
            matches!(fewer, Err(EmbedError::Mismatch { .. })),
            "{fewer:?}"
        );
        if !whole {
            write(&path, &model, &data, &writer, None).unwrap();
        }
    }
}

#[test]
fn layers_views_and_element_types() {
    let (model, folder) = (demo(), folder(&NAMES));
    let data = Dataset::unlabelled(&[folder.path()]).unwrap();
    let plain = |layer| {
        let mut options = options(3);
        options.layer = layer;
        options
    };
    let plan = model.network().plan();
    for (layer, shape) in [
        (Layer::Pooled, vec![plan.num_features()]),
        (Layer::Logits, vec![10]),
    ] {
        let header = header(&model, &plain(layer), FeatureType::F32);
        assert_eq!(header.shape, shape);
    }
    for stage in 1..=5 {
        let layer: Layer = format!("stage{stage}").parse().unwrap();
        let shape = layer.shape(plan, model.spec().input.size);
        if usize::from(stage as u8) > plan.stages.len() + 1 {
            assert!(
                matches!(shape, Err(EmbedError::NoStage { .. })),
                "{shape:?}"
            );
            continue;
        }
        let width = shape.unwrap().iter().product::<usize>();
        let found = rows(&model, &data, &plain(layer));
        assert!(found.iter().flatten().all(|row| row.len() == width));
    }
    for text in [
        "stage0", "stage6", "stage", "stage+1", "stage01", "Pooled", "",
    ] {
        assert!(text.parse::<Layer>().is_err(), "{text}");
    }
    let mut both = options(3);
    both.views = Views::Flip;
    both.l2 = true;
    let single = rows(&model, &data, &options(3));
    for (row, single) in rows(&model, &data, &both).iter().zip(single) {
        assert_eq!(row.is_ok(), single.is_ok());
        let (Ok(row), Ok(single)) = (row, single) else {
            continue;
        };
        let length = single.iter().map(|value| value * value).sum::<f32>().sqrt();
        let (view, mirrored) = row.split_at(row.len() / 2);
        for (found, value) in view.iter().zip(&single) {
            assert!((found - value / length).abs() < 1e-6);
        }
        let length = mirrored.iter().map(|value| value * value).sum::<f32>();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
    }
}

/// A million images, without the network.
#[test]
#[ignore = "measures memory, so it runs alone: cargo test --release --test library million_rows -- --ignored --nocapture"]
#[expect(clippy::print_stdout, reason = "the figures are what it is run for")]
fn a_million_rows_are_written_in_bounded_memory() {
    const IMAGES: usize = 1_000_000;
    const MIB: usize = 1 << 20;
    let model = demo();
    let items: Vec<Item> = (0..IMAGES).map(synthetic).collect();
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("a.safetensors");
    let options = options(64);
    let header = header(&model, &options, FeatureType::F32);
    let width = header.width();
    crate::MEMORY.reset_peak_usage();
    let before = crate::MEMORY.current_usage();
    let memory = || (crate::MEMORY.peak_usage() - before) / MIB;
    let opened = FeatureWriter::open(&path, header, &items, &WriterOptions::default());
    let Opened::Writer(mut writer) = opened.unwrap() else {
        panic!("there was no file");
    };
    for first in (0..IMAGES).step_by(64) {
        let row = |index: usize| match index % 1000 {
            0 => Err("no picture".to_owned()),
            _ => Ok(vec![index as f32; width]),
        };
        let rows = (first..IMAGES.min(first + 64)).map(row).collect();
        writer.push(&Batch::new(first, rows)).unwrap();
    }
    let pushing = memory();
    let written = writer.finish().unwrap();
    let finishing = memory();
    assert_eq!((written.rows, written.failed), (999_000, 1000));
    crate::MEMORY.reset_peak_usage();
    let file = FeatureFile::open(&path).unwrap();
    let reading = memory();
    let last = file.len() - 1;
    assert_eq!(file.path(last), items[IMAGES - 1].name);
    assert_eq!(*file.row(last), vec![(IMAGES - 1) as f32; width]);
    let bytes = fs::metadata(&path).unwrap().len() as usize / MIB;
    println!(
        "{bytes} MiB written with {pushing} MiB, finished with {finishing} MiB, opened with {reading} MiB"
    );
    // A pointer to each image, and the header as long as it may hold the paths.
    assert!(pushing < 200, "{pushing} MiB");
    assert!(finishing < 200, "{finishing} MiB");
    // The header's JSON, the list of paths in it, and the paths, of at most 64 MB each.
    assert!(reading < 200, "{reading} MiB");
}

fn synthetic(index: usize) -> Item {
    Item {
        index,
        name: format!("a/folder/with/a/rather/long/name/to/fill/{index:012}.jpg"),
        name_bytes: None,
        source: Source::Nothing("synthetic".into()),
        labels: Vec::new(),
    }
}

/// What the guide says about the memory of the list of images.
#[test]
#[ignore = "measures memory, so it runs alone: cargo test --release --test library list_of_images -- --ignored --nocapture"]
#[expect(clippy::print_stdout, reason = "the figures are what it is run for")]
fn the_list_of_images_takes_little_memory() {
    const IMAGES: usize = 20_000;
    let folder = tempfile::tempdir().unwrap();
    for index in 0..IMAGES {
        fs::write(folder.path().join(format!("{index:012}.jpg")), "").unwrap();
    }
    crate::MEMORY.reset_peak_usage();
    let before = crate::MEMORY.current_usage();
    let data = Dataset::unlabelled(&[folder.path()]).unwrap();
    let each = |usage: usize| (usage - before) / data.items.len();
    let kept = each(crate::MEMORY.current_usage());
    let peak = each(crate::MEMORY.peak_usage());
    println!("{kept} bytes for each image, {peak} while they are found");
    assert!(kept < 400 && peak < 1000, "{kept} {peak}");
}

/// What Python's libraries read.
#[test]
#[ignore = "needs Python with numpy, safetensors, torch and faiss-cpu; PYTHON=… cargo test --test library other_programs -- --ignored"]
fn other_programs_read_the_files() {
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let (model, folder) = (demo(), folder(&NAMES));
    let data = Dataset::unlabelled(&[folder.path()]).unwrap();
    let out = tempfile::tempdir().unwrap();
    let files = [
        ("a.safetensors", FeatureType::F32, usize::MAX),
        ("tensors.safetensors", FeatureType::F32, 100),
        ("half.safetensors", FeatureType::F16, usize::MAX),
        ("a.npy", FeatureType::F32, 0),
        ("a.jsonl", FeatureType::F32, 0),
    ];
    let options = options(8);
    for (name, dtype, longest_header) in files {
        let path = out.path().join(name);
        let mut writer = WriterOptions::default();
        writer.format = Format::of(&path).unwrap();
        writer.longest_header = longest_header;
        let header = header(&model, &options, dtype);
        let opened = FeatureWriter::open(&path, header, &data.items, &writer);
        let Opened::Writer(mut writer) = opened.unwrap() else {
            panic!("there was no file");
        };
        extract(&model, &writer.remaining(), &options, |batch| {
            writer.push(&batch)
        })
        .unwrap();
        writer.finish().unwrap();
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/read_features.py");
    let output = Command::new(python)
        .arg(script)
        .arg(out.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["paths"], serde_json::json!(NAMES));
    let file = FeatureFile::open(out.path().join("a.safetensors")).unwrap();
    let sum: f64 = file.rows(0..6).iter().map(|&value| f64::from(value)).sum();
    assert!((found["sum"].as_f64().unwrap() - sum).abs() < 1e-6);
    assert_eq!(found["nearest"], serde_json::json!([0, 1, 2, 3, 4, 5]));
}
