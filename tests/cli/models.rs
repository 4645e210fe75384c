//! `senet list`, `info`, `download`, and models that are not built in.

use std::fs;

use safetensors::tensor::{Dtype, TensorView};
use senet::nets::Plan;
use senet::{ModelSpec, Zoo};
use serde_json::Value;

use super::common::hub_server::{COMMIT, HubServer};
use super::env::Env;

#[test]
fn list() {
    let env = Env::new();
    env.check("list", &["list"]);
    env.check("list-filter", &["list", "SE-ResNet50"]);
    env.check("list-json", &["list", "demo", "--json"]);
    env.check("list-json-one", &["list", "fashion", "--json"]);
    env.check("list-nothing", &["list", "vgg"]);
}

#[test]
fn a_choice_of_checkpoints() {
    let env = Env::new();
    let sorted = ["list", "--family", "SE-ResNeXt", "--sort"];
    for by in ["top1", "params", "macs"] {
        env.check(&format!("list-by-{by}"), &[&sorted[..], &[by]].concat());
    }
    env.check("list-license", &["list", "--license", "CC-BY-NC-4.0"]);
    env.check("list-family-unknown", &["list", "--family", "vgg"]);
    env.check("list-too-large", &["list", "demo", "--max-params", "many"]);
    env.check(
        "list-none-fits",
        &["list", "--family", "senet", "--max-params", "10M"],
    );
    env.check(
        "list-sorted-architectures",
        &["list", "--architectures", "--sort", "macs"],
    );
    let names = |arguments: &[&str]| {
        let output = env.run(&[&["list", "--json"], arguments].concat());
        let lines = String::from_utf8(output.stdout).unwrap();
        let rows = lines
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        rows.collect::<Vec<_>>()
    };
    for row in names(&["--max-params", "10M", "--license", "permissive"]) {
        assert!(row["params"].as_u64().unwrap() <= 10_000_000, "{row}");
        assert!(!row["license"].as_str().unwrap().contains("nc"), "{row}");
    }
    // The accuracies on other classes come after all on ImageNet-1k's.
    let all = names(&["--sort", "top1"]);
    let others = |row: &Value| !row["labels"].as_str().unwrap().starts_with("imagenet-1k");
    assert!(all.is_sorted_by_key(others) && others(all.last().unwrap()));
    assert_eq!(all.len(), Zoo::builtin().names().len());
}

#[test]
fn checkpoints_that_no_other_beats() {
    let env = Env::new();
    let pareto = ["list", "--pareto", "--family", "se-resnext"];
    env.check("list-pareto", &pareto);
    env.check("list-pareto-macs", &["list", "resnext", "--pareto=macs"]);
    env.check("list-pareto-nothing", &["list", "fashion", "--pareto"]);
    env.check("list-pareto-speed", &["list", "--pareto=speed"]);
    env.check("list-svg-alone", &["list", "--svg", "a.svg"]);
    let output = env.run(&[&pareto[..], &["--svg", "a.svg"]].concat());
    assert_eq!(output.status.code(), Some(0));
    let svg = fs::read_to_string(env.path("a.svg")).unwrap();
    let zoo = Zoo::builtin().cards();
    let known = zoo
        .filter(|card| card.family == "se-resnext")
        .map(|card| card.published.len());
    assert_eq!(svg.matches("<circle").count(), known.sum::<usize>());
}

/// A network is timed with random weights.
#[test]
fn measured() {
    let env = Env::new();
    let rows = |arguments: &[&str]| {
        let output = env.run(
            &[
                &["list", "--measure", "--threads", "2", "--json"],
                arguments,
            ]
            .concat(),
        );
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let lines = String::from_utf8(output.stdout).unwrap();
        let times = lines.lines().map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            row["ms"].as_f64().unwrap()
        });
        times.collect::<Vec<_>>()
    };
    let sorted = rows(&["tinynet", "--max-params", "2.5M", "--sort", "speed"]);
    assert!(
        sorted.len() > 1 && sorted.is_sorted() && sorted[0] > 0.0,
        "{sorted:?}"
    );
    let best = rows(&["tinynet_e", "--pareto"]);
    assert_eq!(best.len(), 1);
}

/// What was timed until then is listed; if that is nothing, the note alone says so.
#[cfg(target_os = "linux")]
#[test]
fn ctrl_c_lists_what_has_been_timed() {
    use std::io::{BufRead, BufReader, Read};
    use std::process::{Command, Stdio};
    let env = Env::new();
    for (kind, wait) in [
        ("--pareto", false),
        ("--pareto", true),
        ("--sort=speed", true),
    ] {
        let arguments = ["list", "--measure", "--threads", "1", "--json", kind];
        let mut child = env
            .interruptible(&arguments)
            .stdout(fs::File::create(env.path("rows")).unwrap())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // All networks take minutes.
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut notes = String::new();
        stderr.read_line(&mut notes).unwrap();
        assert!(notes.contains("timed with random weights"), "{notes}");
        if wait {
            std::thread::sleep(std::time::Duration::from_secs(3));
        }
        let id = child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &id]).status();
        assert!(sent.unwrap().success());
        stderr.read_to_string(&mut notes).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{notes}");
        assert!(!notes.contains("error"), "{notes}");
        let said = notes.split_once("interrupted: ").unwrap().1;
        let timed: usize = said.split_once(' ').unwrap().0.parse().unwrap();
        let rows = fs::read_to_string(env.path("rows")).unwrap();
        let rows = rows
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let rows = rows.filter(|row| row["ms"].is_number()).count();
        match kind {
            "--pareto" => assert!(
                rows <= timed && (rows > 0) == (timed > 0),
                "{rows} of {timed}"
            ),
            _ => assert_eq!(rows, timed),
        }
        assert!(timed < 200);
    }
}

/// Said on stderr, once, and not with `--quiet`.
#[test]
fn a_licence_with_conditions_is_noted() {
    let env = Env::new();
    let arguments = ["download", "regnety_160.swag_ft_in1k", "--offline"];
    env.check("download-license", &arguments);
    let output = env.run(&[&arguments[..], &["-q"]].concat());
    assert!(!String::from_utf8_lossy(&output.stderr).contains("commercial"));
}

#[test]
fn architectures() {
    let env = Env::new();
    env.check("list-architectures", &["list", "--architectures"]);
    env.check(
        "list-architectures-json",
        &["list", "seresnet50", "--architectures", "--json"],
    );
    env.check(
        "list-architectures-nothing",
        &["list", "densenet", "--architectures"],
    );
    env.check("info-untrained", &["info", "seresnet101"]);
    env.check("download-untrained", &["download", "seresnet101"]);
}

/// A fine-tune of an architecture without a published checkpoint, as a directory and with `-w`.
#[test]
fn an_architecture_without_a_checkpoint_runs() {
    let env = Env::new();
    env.image("ankle-boot.png", "boot.png");
    let known = Zoo::builtin().architecture("skresnet50d").unwrap();
    let plan = |classes| known.network.plan(known.naming, classes).unwrap();
    env.write(
        "pets/config.json",
        r#"{"architecture": "skresnet50d", "num_classes": 3, "pretrained_cfg": {"input_size": [3, 32, 32]}}"#,
    );
    env.write("pets/model.safetensors", weights_of(&plan(3)));
    env.write("own.safetensors", weights_of(&plan(1000)));
    for model in [
        &["-m", "pets"][..],
        &[
            "-m",
            "skresnet50d",
            "-w",
            "own.safetensors",
            "--img-size",
            "32",
        ],
    ] {
        let arguments = [
            &["classify", "boot.png", "-k", "1", "--threads", "2"][..],
            model,
        ]
        .concat();
        let output = env.run(&arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    env.check(
        "classify-untrained",
        &[
            "classify",
            "boot.png",
            "-m",
            "skresnet50d",
            "--threads",
            "2",
        ],
    );
}

/// Values of a config.json that no transform can be made from, and the options that replace them.
#[test]
fn options_replace_refused_settings() {
    let env = Env::new();
    env.image("ankle-boot.png", "boot.png");
    let config = config(3, "\"x\": 1").replace("bilinear", "random");
    env.write(
        "pets/config.json",
        config.replace("0.286, 0.286]", "0.286]"),
    );
    env.write("pets/model.safetensors", weights_of(&demo_plan(3)));
    env.check("config-refused", &["classify", "boot.png", "-m", "pets"]);
    let options = ["--interpolation", "lanczos", "--mean", "-0.5,0,0.1"];
    let more = [
        "--std",
        "0.25",
        "--crop-mode",
        "squash",
        "--crop-pct",
        "0.9",
    ];
    let options = [&options[..], &more].concat();
    for command in [
        &[
            "classify",
            "boot.png",
            "-m",
            "pets",
            "-k",
            "1",
            "--threads",
            "2",
        ][..],
        &[
            "preprocess",
            "boot.png",
            "-m",
            "pets",
            "-o",
            "out.safetensors",
        ],
    ] {
        let output = env.run(&[command, &options].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    env.check(
        "config-replaced",
        &[&["info", "pets"], &options[..]].concat(),
    );
    // Commands that take no image do not need them.
    let output = env.run(&["bench", "pets", "--runs", "1"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn info() {
    let env = Env::new();
    env.check("info-demo", &["info", "demo", "--layers"]);
    env.check("info-legacy", &["info", "cadene/se_resnet50"]);
    env.check("info-json", &["info", "senet154", "--json"]);
    env.check(
        "info-other-size",
        &["info", "skresnet18", "--layers", "--img-size", "65x33"],
    );
    env.check(
        "info-size-that-does-not-fit",
        &[
            "info",
            "seresnextaa101d_32x8d",
            "--layers",
            "--img-size",
            "45",
        ],
    );
    env.check("info-near-miss", &["info", "seresnext51_32x4d"]);
    env.check("info-ambiguous", &["info", "se-resnext101"]);
    env.check("info-other-hub", &["info", "someone/network"]);
}

#[test]
fn download_without_a_network() {
    let env = Env::new();
    env.check("download-offline", &["download", "senet154", "--offline"]);
    // Notes of concurrent downloads come in any order.
    env.check(
        "download-no-network",
        &["download", "senet154", "demo", "-q"],
    );
    env.check("download-demo", &["download", "demo"]);
    env.check("download-unknown", &["download", "resnet50"]);
}

#[test]
fn download_then_use_the_cache() {
    let mut env = Env::new();
    let weights = weights_of(&demo_plan(3));
    let config = config(3, r#""label_names": ["cat", "dog", "bird"]"#);
    let server = HubServer::start(&[
        ("someone/pets", "model.safetensors", &weights),
        ("someone/pets", "config.json", config.as_bytes()),
    ]);
    env.set("HF_ENDPOINT", server.url());
    env.set("HF_HOME", "cache");
    env.image("ankle-boot.png", "boot.png");
    let check = |name: &str, arguments: &[&str]| {
        let output = env.run(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    };
    let path = check("download", &["download", "hf-hub:someone/pets"]);
    let expected =
        format!("cache/hub/models--someone--pets/snapshots/{COMMIT}/model.safetensors\n");
    assert!(path.ends_with(&expected), "{path} {expected}");
    let requests = server.requests().len();
    let again = check("again", &["download", "hf-hub:someone/pets", "--offline"]);
    assert_eq!(again, path);
    let answer = check(
        "classify",
        &[
            "classify",
            "boot.png",
            "-m",
            "hf-hub:someone/pets",
            "-k",
            "3",
            "--json",
        ],
    );
    assert!(
        answer.contains("\"cat\"") && answer.contains("\"bird\""),
        "{answer}"
    );
    assert_eq!(
        server.requests().len(),
        requests,
        "the cache needs no request"
    );
}

#[test]
fn an_old_repository_has_a_pytorch_file() {
    let mut env = Env::new();
    let weights = weights_of(&demo_plan(3));
    let config = config(3, "\"x\": 1");
    let server = HubServer::start(&[
        ("someone/pets", "pytorch_model.bin", &weights),
        ("someone/pets", "config.json", config.as_bytes()),
        ("someone/bare", "config.json", config.as_bytes()),
    ]);
    env.set("HF_ENDPOINT", server.url());
    env.set("HF_HOME", "cache");
    env.image("ankle-boot.png", "boot.png");
    let bare = env.run(&["download", "hf-hub:someone/bare"]);
    let stderr = String::from_utf8_lossy(&bare.stderr);
    assert!(
        stderr.contains("hf-hub:someone/bare holds no weights"),
        "{stderr}"
    );
    for arguments in [
        &["download", "hf-hub:someone/pets", "--dry-run"][..],
        &["download", "hf-hub:someone/pets"],
        &["classify", "boot.png", "-m", "hf-hub:someone/pets"],
        &[
            "classify",
            "boot.png",
            "-m",
            "hf-hub:someone/pets",
            "--offline",
        ],
    ] {
        let output = env.run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_local_directory() {
    let env = Env::new();
    env.image("ankle-boot.png", "boot.png");
    env.write(
        "pets/config.json",
        config(3, r#""label_names": ["cat", "dog", "bird"]"#),
    );
    env.write("pets/model.safetensors", weights_of(&demo_plan(3)));
    env.check(
        "local-classify",
        &[
            "classify",
            "boot.png",
            "-m",
            "pets",
            "-k",
            "9",
            "--threads",
            "2",
        ],
    );
    env.check("local-info", &["info", "./pets"]);

    env.write(
        "unknown/config.json",
        config(3, "\"x\": 1").replace("seresnet20", "resnet20"),
    );
    env.write("unknown/model.safetensors", "");
    env.check("local-unknown-architecture", &["info", "./unknown"]);
    env.write("bare/config.json", config(3, "\"x\": 1"));
    env.check("local-without-weights", &["info", "./bare"]);
    env.write("broken/config.json", "{\"architecture\": ");
    env.write("broken/model.safetensors", "");
    env.check("local-broken-config", &["info", "./broken"]);
}

/// Paths given as a model that are not one.
#[test]
fn files_in_place_of_a_model() {
    let env = Env::new();
    let config = config(3, "\"x\": 1");
    env.write("pets/config.json", &config);
    env.write("pets/best.pth", "");
    env.write("alone/model.safetensors", "");
    env.write("alone/notes.txt", "");
    env.write("se_resnet50-ce0d4300.pth", "");
    for (name, model) in [
        ("model-weights", "alone/model.safetensors"),
        ("model-weights-beside-config", "pets/best.pth"),
        ("model-weights-missing", "seresnet50.pth.tar"),
        ("model-release", "se_resnet50-ce0d4300.pth"),
        ("model-config", "pets/config.json"),
        ("model-other-file", "./alone/notes.txt"),
        ("model-no-directory", "./nowhere"),
        ("model-no-local-dir", "local-dir:nowhere"),
        (
            "model-blob",
            "https://huggingface.co/org/repo/blob/main/best.pth",
        ),
        ("model-tag", "seresnet50.a9_in1k"),
    ] {
        env.check(name, &["info", model]);
    }
}

#[test]
fn a_directory_and_a_repository_by_other_forms() {
    let mut env = Env::new();
    let weights = weights_of(&demo_plan(3));
    let config = config(3, "\"x\": 1");
    env.write("pets/config.json", &config);
    env.write("pets/model.safetensors", &weights);
    let server = HubServer::start(&[
        ("someone/pets", "model.safetensors", &weights),
        ("someone/pets", "config.json", config.as_bytes()),
    ]);
    env.set("HF_ENDPOINT", server.url());
    env.set("HF_HOME", "cache");
    let page = "https://huggingface.co/someone/pets";
    let main = format!("{page}/tree/main");
    for (arguments, note) in [
        (&["info", "local-dir:pets"][..], ""),
        (
            &["info", page],
            "note: https://huggingface.co/someone/pets is hf-hub:someone/pets\n",
        ),
        (
            &["info", &main],
            "note: https://huggingface.co/someone/pets/tree/main is hf-hub:someone/pets@main\n",
        ),
        (&["info", page, "--revision", "main"], ""),
    ] {
        let output = env.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.ends_with(note), "{arguments:?}: {stderr}");
    }
    let twice = env.run(&["info", &main, "--revision", "v1"]);
    let stderr = String::from_utf8_lossy(&twice.stderr);
    assert!(stderr.contains("has a revision of its own"), "{stderr}");
}

#[test]
fn other_weights() {
    let env = Env::new();
    env.image("ankle-boot.png", "boot.png");
    let run = |name: &str, file: &str, model: &str| {
        env.check(
            name,
            &[
                "classify",
                "boot.png",
                "-m",
                model,
                "-w",
                file,
                "--threads",
                "2",
                "-k",
                "1",
            ],
        );
    };
    env.write("three.safetensors", weights_of(&demo_plan(3)));
    run("weights-other-classes", "three.safetensors", "demo");
    run(
        "weights-other-architecture",
        "three.safetensors",
        "seresnet50",
    );
    env.write(
        "backbone.safetensors",
        without(&demo_plan(10), &["fc.weight", "fc.bias"]),
    );
    run("weights-no-classifier", "backbone.safetensors", "demo");
    env.write(
        "gap.safetensors",
        without(&demo_plan(10), &["layer1.0.se.fc1.bias"]),
    );
    run("weights-missing", "gap.safetensors", "demo");
    env.write("nan.safetensors", tensors(&demo_plan(10), &[], f32::NAN));
    run("weights-nan", "nan.safetensors", "demo");
    let red = TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap();
    env.write(
        "steer.safetensors",
        safetensors::serialize([("\u{1b}[31mred", red)], None).unwrap(),
    );
    run("weights-control-characters", "steer.safetensors", "demo");
    env.write("page.bin", "<html>sign in</html>");
    run("weights-html", "page.bin", "demo");
    env.write(
        "pointer.safetensors",
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    );
    run("weights-lfs-pointer", "pointer.safetensors", "demo");
    run("weights-missing-file", "nowhere.pth", "demo");
    env.write("se_resnet50-ce0d4300.pth", "something else");
    run(
        "weights-wrong-release",
        "se_resnet50-ce0d4300.pth",
        "legacy_seresnet50",
    );
}

#[test]
fn a_backbone_of_a_legacy_model_names_the_release() {
    let env = Env::new();
    env.image("ankle-boot.png", "boot.png");
    let spec = spec("legacy_seresnet18.in1k");
    let plan = spec.network.plan(spec.naming, 1000).unwrap();
    env.write(
        "backbone.safetensors",
        without(&plan, &["last_linear.weight", "last_linear.bias"]),
    );
    let arguments = [
        "classify",
        "boot.png",
        "-m",
        "legacy_seresnet18.in1k",
        "-w",
        "backbone.safetensors",
        "-q",
    ];
    env.check("weights-legacy-backbone", &arguments);
}

pub(super) fn spec(name: &str) -> ModelSpec {
    ModelSpec::from_card(Zoo::builtin().get(name).unwrap()).unwrap()
}

pub(super) fn demo_plan(classes: usize) -> Plan {
    let spec = spec("seresnet20.fashion_mnist");
    spec.network.plan(spec.naming, classes).unwrap()
}

pub(super) fn config(classes: usize, more: &str) -> String {
    format!(
        r#"{{"architecture": "seresnet20", "num_classes": {classes}, {more},
        "pretrained_cfg": {{"input_size": [3, 28, 28], "crop_pct": 1.0, "interpolation": "bilinear",
        "mean": [0.286, 0.286, 0.286], "std": [0.353, 0.353, 0.353]}}}}"#
    )
}

pub(super) fn weights_of(plan: &Plan) -> Vec<u8> {
    without(plan, &[])
}

fn without(plan: &Plan, names: &[&str]) -> Vec<u8> {
    tensors(plan, names, 0.25)
}

/// A file of small waves; `first` is the classifier's first value.
pub(super) fn tensors(plan: &Plan, without: &[&str], first: f32) -> Vec<u8> {
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = plan
        .tensors()
        .into_iter()
        .filter(|tensor| !without.contains(&tensor.name.as_str()))
        .map(|tensor| {
            let count: usize = tensor.shape.iter().product();
            let positive = tensor.name.ends_with("running_var");
            let wave = |i: usize| {
                if positive {
                    1.0
                } else {
                    ((i * 37 % 101) as f32 - 50.0) / 200.0
                }
            };
            let mut values: Vec<f32> = (0..count).map(wave).collect();
            if tensor.name == format!("{}.weight", plan.classifier.name) {
                values[0] = first;
            }
            let bytes = values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            (tensor.name, tensor.shape, bytes)
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (
            name.as_str(),
            TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap(),
        )
    });
    safetensors::serialize(views, None).unwrap()
}
