//! `senet eval` on archives and tables, with ImageNet's own lists, and on several models at once.

use std::fs;

use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use super::env::{Env, data};

pub(super) fn eval(env: &Env, arguments: &[&str]) -> (i32, Value, String) {
    let output = env.run(&[&["eval", "-m", "demo", "-q", "--json"], arguments].concat());
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let messages = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), report, messages)
}

pub(super) fn image(name: &str) -> Vec<u8> {
    fs::read(data(&format!("pictures/{name}"))).unwrap()
}

/// An archive with these files.
pub(super) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, *bytes).unwrap();
    }
    archive.into_inner().unwrap()
}

/// Numbers of images, answers and right answers.
pub(super) fn counts(report: &Value) -> [Value; 3] {
    let top1 = &report["top"][0]["correct"];
    [&report["images"], &report["answered"], top1].map(Clone::clone)
}

#[test]
fn folders_and_samples_in_archives() {
    let env = Env::new();
    let boot = image("ankle-boot.png");
    let folders = [
        ("./val/Ankle boot/a.png", &boot[..]),
        ("val/9/nested/b.png", &boot),
        ("val/Sneaker/c.png", &boot),
        ("val/Sneaker/._c.png", b"what macOS adds"),
        ("val/Bag/broken.png", b"no image"),
    ];
    env.write("folders.tar", archive(&folders));
    let (code, report, messages) = eval(&env, &["folders.tar"]);
    assert_eq!(
        (code, counts(&report)),
        (1, [4, 3, 2].map(Value::from)),
        "{messages}"
    );
    assert!(
        messages.contains("folders.tar/val/Bag/broken.png: "),
        "{messages}"
    );

    // WebDataset: the label is next to the image, before or after it.
    let samples = [
        ("0001.png", &boot[..]),
        ("0001.cls", b"9\n"),
        ("0001.json", b"{\"label\": 3, \"height\": 28}"),
        ("sub/0002.json", b"{\"label\": \"Sneaker\"}"),
        ("sub/0002.v2.png", &boot),
        ("notes.json", b"not JSON"),
    ];
    env.write("shards/b.tar", archive(&samples));
    // The name of an archive is the class of images that are in no folder.
    env.write("shards/9.tar", archive(&[("x.png", &boot)]));
    let (code, report, messages) = eval(&env, &["shards"]);
    assert_eq!(
        (code, counts(&report)),
        (0, [3, 3, 2].map(Value::from)),
        "{messages}"
    );
    let (_, together, _) = eval(&env, &["folders.tar", "shards"]);
    assert_eq!(counts(&together), [7, 6, 4].map(Value::from));

    // In an archive with labels, an image without one is not labelled by the archive's name.
    env.write(
        "3.tar",
        archive(&[("a.png", &boot), ("a.cls", b"9"), ("b.png", &boot)]),
    );
    let (code, _, messages) = eval(&env, &["3.tar"]);
    assert_eq!(code, 2, "{messages}");
    assert!(
        messages.contains("(1; the first is 3.tar/b.png)"),
        "{messages}"
    );

    // Labels from a list, by the names inside.
    env.write("list", "0001.png Ankle boot\nsub/0002.v2 9\nx 9\n");
    let (code, report, messages) = eval(&env, &["shards", "--labels", "list"]);
    assert_eq!(
        (code, counts(&report)),
        (0, [3, 3, 3].map(Value::from)),
        "{messages}"
    );
}

#[test]
fn archives_are_read_whole_or_not_at_all() {
    let env = Env::new();
    let boot = image("ankle-boot.png");
    let whole = archive(&[("9/a.png", &boot), ("9/b.png", &boot)]);
    let (first, second) = (512, 512 + boot.len().next_multiple_of(512) + 512);
    for cut in [first + 100, second - 200, second + 700, whole.len() - 1024] {
        env.write("set.tar", &whole[..cut]);
        let (code, _, messages) = eval(&env, &["set.tar"]);
        assert_eq!(code, 2, "cut at {cut}: {messages}");
        assert!(
            messages.starts_with("error: cannot use the archive set.tar: "),
            "{messages}"
        );
    }
    let twice = archive(&[("9/a.png", &boot), ("9/a.png", &boot)]);
    for (bytes, what) in [
        (twice, "it holds `9/a.png` twice"),
        (
            b"\x28\xb5\x2f\xfdrest".to_vec(),
            "compressed with Zstandard",
        ),
        (vec![b'x'; 2048], "numeric field"),
        (Vec::new(), "it is cut off"),
    ] {
        env.write("set.tar", bytes);
        let (code, _, messages) = eval(&env, &["set.tar"]);
        assert_eq!(code, 2, "{messages}");
        assert!(messages.contains(what), "{messages}");
    }
    env.write("both/9/a.png", &boot);
    env.write("both/set.tar", &whole);
    let (code, _, messages) = eval(&env, &["both"]);
    assert_eq!(code, 2);
    assert!(
        messages.contains("holds both images (9/a.png) and archives (set.tar)"),
        "{messages}"
    );
}

#[test]
fn links_in_archives() {
    let env = Env::new();
    let boot = image("ankle-boot.png");
    let mut links = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(boot.len() as u64);
    links
        .append_data(&mut header, "9/a.png", &boot[..])
        .unwrap();
    for (kind, name, target) in [
        (EntryType::Link, "7/same.png", "9/a.png"),
        (EntryType::Link, "7/lost.png", "9/b.png"),
        (EntryType::Symlink, "7/soft.png", "../9/a.png"),
    ] {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        links.append_link(&mut header, name, target).unwrap();
    }
    env.write("links.tar", links.into_inner().unwrap());
    let (code, report, messages) = eval(&env, &["links.tar"]);
    assert_eq!(
        (code, counts(&report)),
        (1, [4, 2, 1].map(Value::from)),
        "{messages}"
    );
    assert!(
        messages.contains("7/lost.png: cannot read the image: a link to what"),
        "{messages}"
    );
}

#[test]
#[cfg(feature = "parquet")]
fn tables_of_the_hub() {
    let env = Env::new();
    let bytes = fs::read(data("eval/pictures.parquet")).unwrap();
    env.write("t.parquet", &bytes);
    let (code, report, messages) = eval(&env, &["t.parquet"]);
    assert_eq!(
        (code, &report["images"], &report["answered"]),
        (1, &6.into(), &5.into()),
        "{messages}"
    );
    let boots = report["classes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["name"] == "Ankle boot");
    assert_eq!(
        boots.unwrap()["correct"],
        2,
        "labels by the table's own names"
    );
    assert!(messages.contains("t.parquet/3: "), "{messages}");

    // A table without images is not a data set; a row without one is an image that fails.
    let mut other = bytes.clone();
    for place in 0..other.len() - 5 {
        if &other[place..place + 5] == b"image" {
            other[place..place + 5].copy_from_slice(b"photo");
        }
    }
    env.write("t.parquet", &other);
    let (code, _, messages) = eval(&env, &["t.parquet"]);
    assert_eq!(code, 2, "{messages}");
    assert!(
        messages.contains("expected the columns image and label, found photo, label"),
        "{messages}"
    );

    // An image's bytes were changed: only its row group is lost.
    let needle = image("exact-224.png");
    let place = bytes
        .windows(40)
        .position(|window| window == &needle[60..100]);
    let mut broken = bytes.clone();
    let place = place.unwrap_or(bytes.len() / 2);
    broken[place..place + 40].fill(0xff);
    env.write("t.parquet", &broken);
    let (code, report, messages) = eval(&env, &["t.parquet"]);
    assert_eq!(code, 1, "{messages}");
    assert!(report["answered"].as_u64().unwrap() >= 3, "{messages}");

    for cut in [0, 3, 100, bytes.len() / 2, bytes.len() - 9, bytes.len() - 1] {
        env.write("t.parquet", &bytes[..cut]);
        let (code, _, messages) = eval(&env, &["t.parquet"]);
        assert_eq!(code, 2, "cut at {cut}: {messages}");
        assert!(
            messages.starts_with("error: cannot use the archive t.parquet: "),
            "{messages}"
        );
    }
}

#[test]
#[cfg(not(feature = "parquet"))]
fn tables_need_a_feature() {
    let env = Env::new();
    env.write("t.parquet", b"PAR1");
    let (code, _, messages) = eval(&env, &["t.parquet"]);
    assert_eq!(code, 2);
    assert!(messages.contains("--features parquet"), "{messages}");
}

/// Lists that refer to images by number, and answers restricted to some classes.
#[test]
fn lists_by_number() {
    let env = Env::new();
    for number in 1..=3 {
        env.image("ankle-boot.png", &format!("set/val_{number:08}.png"));
    }
    env.write("indices", "0\n9\n9\n");
    let (code, report, messages) = eval(&env, &["set", "--labels", "indices"]);
    assert_eq!(
        (code, counts(&report)),
        (0, [3, 3, 2].map(Value::from)),
        "{messages}"
    );
    // All right classes of each image; one without any is skipped.
    env.write("real.json", "[[0, 9], [], [7]]");
    let (code, report, messages) = eval(&env, &["set", "--labels", "real.json"]);
    assert_eq!(
        (code, counts(&report)),
        (0, [2, 2, 1].map(Value::from)),
        "{messages}"
    );
    assert_eq!(report["classes"][1]["name"], "Ankle boot");

    for (list, what) in [
        ("9\n9\n", "has a number outside of 1 to 2"),
        (
            "9\n9\n10\n",
            "line 3: expected the number of a class, found `10`",
        ),
        (
            "[[1], [2], [10]]",
            "are no classes of fashion-mnist (10 classes): 10",
        ),
        ("[[1], [2], ", "cannot read list: EOF while parsing"),
    ] {
        env.write("list", list);
        let (code, _, messages) = eval(&env, &["set", "--labels", "list"]);
        assert_eq!(code, 2);
        assert!(messages.contains(what), "{messages}");
    }
    env.image("ankle-boot.png", "set/more/val_1.png");
    let (_, _, messages) = eval(&env, &["set", "--labels", "indices"]);
    assert!(
        messages.contains("set/more/val_1.png") || messages.contains("has the same number as"),
        "{messages}"
    );
    let (code, _, messages) = eval(
        &env,
        &["set", "--labels", "indices", "--label-ids", "devkit"],
    );
    assert_eq!(code, 2);
    assert!(messages.contains("about imagenet-1k"), "{messages}");
}

#[test]
fn valid_classes_are_the_only_answers() {
    let env = Env::new();
    env.image("ankle-boot.png", "set/Sneaker/a.png");
    env.image("ankle-boot.png", "set/Bag/a.png");
    env.image("ankle-boot.png", "set/9/a.png");
    let (_, report, _) = eval(&env, &["set"]);
    assert_eq!(counts(&report), [3, 3, 1].map(Value::from));
    env.write("valid", "# shoes that are left\nSneaker\nBag\n");
    let (code, report, messages) = eval(&env, &["set", "--valid-labels", "valid"]);
    assert_eq!(
        (code, counts(&report)),
        (0, [2, 2, 1].map(Value::from)),
        "{messages}"
    );
    assert_eq!(report["confusions"][0]["prediction_name"], "Sneaker");
    let (code, _, messages) = eval(&env, &["set", "--valid-labels", "imagenet-a"]);
    assert_eq!(code, 2);
    assert!(messages.contains("about imagenet-1k"), "{messages}");
}

const CONFIG: &str = r#"{"architecture": "seresnet20", "num_classes": 10,
    "label_names": ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt",
        "Sneaker", "Bag", "Ankle boot"],
    "pretrained_cfg": {"input_size": [3, 28, 28], "crop_pct": 1.0, "interpolation": "bilinear",
        "mean": [0.286, 0.286, 0.286], "std": [0.353, 0.353, 0.353]}}"#;

/// A second model: the embedded one as a local checkpoint.
pub(super) fn twin(env: &Env) {
    let weights = "/models/weights/seresnet20.fashion_mnist.safetensors";
    let weights = env!("CARGO_MANIFEST_DIR").to_owned() + weights;
    env.write("twin/config.json", CONFIG);
    env.write("twin/model.safetensors", fs::read(weights).unwrap());
}

#[test]
fn several_models_and_views_in_one_pass() {
    let env = Env::new();
    for (class, name) in [
        ("9", "ankle-boot.png"),
        ("T-shirt/top", "grey.png"),
        ("3", "exact-224.png"),
    ] {
        env.image(name, &format!("set/{}/{name}", class.replace('/', "_")));
    }
    env.write("set/Bag/broken.png", b"no image");
    twin(&env);
    let (_, alone, _) = eval(&env, &["set"]);
    let both = ["set", "-m", "twin", "--ensemble", "--results", "runs"];
    let (code, several, messages) = eval(&env, &both);
    assert_eq!(code, 1, "{messages}");
    let models = several["models"].as_array().unwrap();
    assert_eq!(models.len(), 3);
    for model in models {
        assert_eq!(model["top"], alone["top"]);
        assert_eq!(model["failed"], 1);
    }
    assert_eq!(several["pairs"].as_array().unwrap().len(), 3);
    let mut files: Vec<_> = fs::read_dir(env.path("runs"))
        .unwrap()
        .map(|f| f.unwrap().file_name())
        .collect();
    files.sort();
    assert_eq!(files.len(), 3, "{files:?}");

    // Killed at any point, also with one model ahead of the others.
    let file = env.path("runs/ensemble.jsonl");
    let bytes = fs::read(&file).unwrap();
    for cut in [bytes.len() - 30, bytes.len() / 2, 10] {
        fs::write(&file, &bytes[..cut]).unwrap();
        let (_, resumed, messages) = eval(&env, &[&both[..], &["--resume"]].concat());
        assert_eq!(resumed, several, "{messages}");
        assert_eq!(fs::read(&file).unwrap(), bytes);
    }
    let pair = env.run(&[
        "compare",
        "runs/ensemble.jsonl",
        "runs/twin.jsonl",
        "--json",
    ]);
    let pair: Value = serde_json::from_slice(&pair.stdout).unwrap();
    assert_eq!(pair["differing"], json!([]));

    for views in ["flip", "ten-crop"] {
        let (code, report, messages) = eval(&env, &["set", "--views", views]);
        assert_eq!((code, &report["answered"]), (1, &3.into()), "{messages}");
        assert_ne!(report["loss"], alone["loss"]);
    }
    for (arguments, what) in [
        (
            &["set", "--ensemble"][..],
            "an ensemble has several members",
        ),
        (
            &["set", "-m", "twin", "-w", "x.pth"],
            "`--weights` is for one model",
        ),
        (&["set", "-m", "demo"], "demo is given twice"),
        (
            &["set", "-m", "se-resnet50", "--offline"],
            "do not have the same classes",
        ),
    ] {
        let (code, _, messages) = eval(&env, arguments);
        assert_eq!(code, 2, "{messages}");
        assert!(messages.contains(what), "{messages}");
    }
}
