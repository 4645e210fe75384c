//! Invalid cards: each is an error that says where.

use senet::zoo::{Card, CardError, Zoo};

use super::{card_file, text_of};

/// Replaces `from`, which must be there, by `to` in a card and returns the error.
fn broken(name: &str, from: &str, to: &str) -> CardError {
    let (file, text) = card_file(name);
    assert!(text.contains(from), "{name} lacks {from}");
    match Card::parse(&file, &text.replacen(from, to, 1)) {
        Err(error) => error,
        Ok(_) => panic!("{name} with {to:?} for {from:?} was accepted"),
    }
}

#[test]
fn a_wrong_value_is_an_error_with_file_and_field() {
    let name = "seresnext50_32x4d.racm_in1k";
    for (from, to, field) in [
        ("apache-2.0", "", "license"),
        ("[\"1709.01507\", \"1611.05431\"]", "[]", "paper"),
        ("1709.01507", "1709.0150x", "paper"),
        ("1709.01507", "arXiv:1709.01507", "paper"),
        ("https://github.com", "github.com", "origin"),
        ("27_559_896", "27_559_897", "params"),
        ("gmacs = 4.233", "gmacs = -1.0", "gmacs"),
        ("gmacs = 4.233", "gmacs = nan", "gmacs"),
        (
            "kind = \"resnet\"",
            "kind = \"resnet\"\nhead_conv = 0",
            "network.head_conv",
        ),
        (
            "kind = \"resnet\"",
            "kind = \"resnet\"\nfinal_activation = true",
            "network.final_activation",
        ),
        (
            "kind = \"resnet\"",
            "kind = \"resnet\"\nlinear_end = true\nhead_conv = 8\nfinal_activation = true",
            "network.final_activation",
        ),
        (
            "kind = \"resnet\"",
            "kind = \"resnet\"\neps = 0.0",
            "network.eps",
        ),
        ("blocks = 4", "blocks = 0", "network.runs.blocks"),
        (
            "blocks = 4",
            "blocks = 18446744073709",
            "network.runs.blocks",
        ),
        ("blocks = 4", "blocks = 5", "params"),
        ("stage = 1", "stage = 0", "network.runs.stage"),
        ("stage = 1", "stage = 2", "network.runs.stage"),
        ("stage = 3", "stage = 4", "network.runs.stage"),
        ("stage = 3", "stage = 1", "network.runs.stage"),
        ("stride = 2", "stride = 0", "network.runs.stride"),
        ("stride = 2", "stride = 3", "network.runs.stride"),
        ("width = 1024", "width = 1025", "network.runs.groups"),
        ("groups = 32", "groups = 0", "network.runs.groups"),
        ("reduced = 32", "reduced = 0", "network.runs.reduced"),
        (", reduced = 32", "", "params"),
        ("se = {", "# se = {", "network.runs.reduced"),
        ("\"bottleneck\"", "\"basic\"", "network.stride_on"),
        (
            "\"bottleneck\"",
            "\"bottleneck\"\nsk = { split_input = false }",
            "network.se",
        ),
        ("kernel = 7", "kernel = 6", "network.stem.kernel"),
        ("strides = [2]", "strides = [2, 2]", "network.stem.strides"),
        (
            "naming = \"resnet\"",
            "naming = \"sknet\"",
            "tensors.naming",
        ),
        ("imagenet-1k", "imagenet-2k", "labels.set"),
        ("repo = \"timm/", "repo = \"", "weights.repo"),
        ("repo = \"timm/", "repo = \"../", "weights.repo"),
        ("file = \"model.safetensors\"", "", "weights.file"),
        (
            "\"model.safetensors\"",
            "\"../model.safetensors\"",
            "weights.file",
        ),
        ("file =", "revision = \"main\"\nfile =", "weights.revision"),
        ("file =", "sha256 = \"00\"\nfile =", "weights.sha256"),
        (
            "file =",
            "release = \"https://a.b/c.pth\"\nfile =",
            "weights.release",
        ),
        (
            "file =",
            "release = \"http://a.b/c-01234567.pth\"\nfile =",
            "weights.release",
        ),
        (
            "file =",
            "release = \"https://a.b/c-01234567.pth?raw=1\"\nfile =",
            "weights.release",
        ),
        (
            "file =",
            "release = \"https://a.b/c-01234567.pth.zip\"\nfile =",
            "weights.release",
        ),
        (
            "file =",
            "release = \"https://a.b/c-01234567.pth.zip\"\nsha1 = \"01234567\"\nfile =",
            "weights.sha1",
        ),
        (
            "file =",
            "release = \"https://a.b/c-01234568.pth.zip\"\nsha1 = \"0123456789012345678901234567890123456789\"\nfile =",
            "weights.release",
        ),
        (
            "file =",
            "release = \"https://a.b/c-01234567.pth\"\nsha1 = \"0123456789012345678901234567890123456789\"\nfile =",
            "weights.release",
        ),
        (
            "file =",
            "sha1 = \"0123456789012345678901234567890123456789\"\nfile =",
            "weights.sha1",
        ),
        ("size = [224, 224]", "size = [0, 224]", "input.size"),
        ("crop_pct = 0.875", "crop_pct = 1.3", "input.crop_pct"),
        ("crop_pct = 0.875", "crop_pct = 0.0", "input.crop_pct"),
        ("crop_pct = 0.875", "crop_pct = nan", "input.crop_pct"),
        ("test_size = [288, 288]", "", "input.test_crop_pct"),
        ("[0.485,", "[123.7,", "input.mean"),
        ("[0.229,", "[0.0,", "input.std"),
        ("top1 = 81.268", "top1 = 181.268", "published.top1"),
        ("top5 = 95.624", "top5 = 80.0", "published.top5"),
        (
            "[[published]]\nsize = [224, 224]",
            "[[published]]\nsize = [225, 225]",
            "published.size",
        ),
        (
            "source = \"timm",
            "source = \"\" # \"timm",
            "published.source",
        ),
    ] {
        match broken(name, from, to) {
            CardError::Field {
                file,
                field: found,
                reason,
            } => {
                assert_eq!(file, format!("se-resnext/{name}.toml"));
                assert_eq!(found, field, "{to}: {reason}");
                assert!(!reason.is_empty());
            }
            other => panic!("{to}: {other}"),
        }
    }
    let error = broken("seresnet20.fashion_mnist", "embedded = ", "# embedded = ");
    assert!(
        matches!(&error, CardError::Field { field, .. } if field == "weights"),
        "{error}"
    );
    let error = broken(
        "seresnet20.fashion_mnist",
        "embedded = \"",
        "embedded = \"/etc/",
    );
    assert!(
        matches!(&error, CardError::Field { field, .. } if field == "weights.embedded"),
        "{error}"
    );
}

#[test]
fn unknown_missing_and_mistyped_fields_are_errors_with_the_line() {
    let name = "seresnet50.ra2_in1k";
    let (file, text) = card_file(name);
    for table in [
        "",
        "[network]\nkind = \"resnet\"\n",
        "[tensors]\n",
        "[weights]\n",
        "[input]\n",
        "[labels]\n",
        "[[published]]\n",
    ] {
        let error = broken(name, table, &format!("{table}crop_percent = 1\n"));
        let CardError::Toml { text, message, .. } = &error else {
            panic!("{table}: {error}")
        };
        assert_eq!(text, "crop_percent = 1", "{error}");
        assert!(message.contains("unknown field `crop_percent`"), "{error}");
    }
    for table in ["stem = { ", "se = { ", "    { "] {
        let error = broken(name, table, &format!("{table}bias = true, "));
        assert!(
            error.to_string().contains("unknown field `bias`"),
            "{error}"
        );
    }
    // Every line except optional fields is required, and the error for a missing one names the
    // field.
    let parse = |lines: &[&str]| Card::parse(&file, &lines.join("\n"));
    let lines: Vec<&str> = text.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        // The runs take several lines; see `errors_name_the_run`.
        let Some((key, _)) = line
            .split_once(" = ")
            .filter(|_| !line.contains("runs") && !line.starts_with(' '))
        else {
            continue;
        };
        let optional = ["recommended", "gmacs", "test_crop_pct", "top5"].contains(&key);
        let mut without = lines.clone();
        without.remove(index);
        match parse(&without) {
            Ok(_) => assert!(optional, "{line} is not needed"),
            Err(error) => {
                let message = error.to_string();
                assert!(!optional && message.contains(&file), "{message}");
                // Without its first half, a pair is named by the second.
                let other = match key {
                    "test_size" => "test_crop_pct",
                    "repo" => "weights",
                    same => same,
                };
                assert!(message.contains(other), "{line}: {message}");
            }
        }
        let mistyped = format!("{key} = {{}}");
        let mut changed = lines.clone();
        changed[index] = &mistyped;
        let error = parse(&changed).unwrap_err();
        let CardError::Toml { line: number, .. } = &error else {
            panic!("{line}: {error}")
        };
        assert_eq!(*number, index + 1, "{error}");
        assert!(error.to_string().contains(key), "{error}");
    }
}

#[test]
fn errors_name_the_run() {
    let name = "seresnext50_32x4d.racm_in1k";
    let error = broken(name, "blocks = 6", "blocks = 0").to_string();
    assert!(
        error.contains("run 3: expected 1 to 1000, found 0"),
        "{error}"
    );
    for (from, to, message) in [
        ("blocks = 6", "blocks = \"6\"", "blocks"),
        ("stage = 3, ", "", "missing field `stage`"),
        ("reduced = 64", "reduced = -1", "reduced"),
    ] {
        let error = broken(name, from, to);
        let CardError::Toml { text, .. } = &error else {
            panic!("{to}: {error}")
        };
        assert!(
            text.starts_with("{ ") && text.contains("width = 512"),
            "{error}"
        );
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[test]
fn a_network_begins_with_its_kind() {
    let name = "seresnet50.ra2_in1k";
    for (from, to, expected) in [
        ("kind = \"resnet\"\n", "", "the first field must be `kind`"),
        (
            "kind = \"resnet\"",
            "kind = \"rasnet\"",
            "unknown variant `rasnet`",
        ),
    ] {
        let error = broken(name, from, to).to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// No modules in any run, though the card has a table for them.
#[test]
fn modules_without_channels_are_refused() {
    let name = "seresnet50.ra2_in1k";
    let (file, text) = card_file(name);
    let lines = text.lines().map(|line| match line.split_once(", reduced") {
        Some((before, _)) => format!("{before} }},\n"),
        None => format!("{line}\n"),
    });
    let error = Card::parse(&file, &lines.collect::<String>()).unwrap_err();
    assert!(error.to_string().contains("field `network.se`"), "{error}");
}

#[test]
fn damaged_cards_never_panic() {
    let (file, text) = card_file("seresnext26ts.ch_in1k");
    let mut accepted = 0;
    for end in 0..text.len() {
        if let Some(cut) = text.get(..end) {
            match Card::parse(&file, cut) {
                Ok(_) => accepted += 1,
                Err(error) => assert!(error.to_string().contains(&file), "{error}"),
            }
        }
    }
    // Only the end of the file, with the optional measurements, may be missing.
    assert!(accepted < 30, "{accepted}");
    for seed in 0..2000_usize {
        let mut bytes = text.clone().into_bytes();
        let at = seed.wrapping_mul(7919) % bytes.len();
        bytes[at] = b"0-\"[]{}=.\n#x9"[seed % 13];
        if let Ok(changed) = String::from_utf8(bytes) {
            let _ = Card::parse(&file, &changed);
        }
    }
}

#[test]
fn a_card_is_named_by_its_file() {
    for file in [
        "se/seresnet50.toml",
        "se/a.b.c.toml",
        "se/SE.b.toml",
        "se/.b.toml",
        "se/a..toml",
        "se/a.b",
        "se/a/b.c.toml",
        "a.b.toml",
        "/a.b.toml",
        "SE/a.b.toml",
        "../a.b.toml",
        "toml",
    ] {
        assert!(
            matches!(Card::parse(file, ""), Err(CardError::FileName { .. })),
            "{file}"
        );
    }
}

#[test]
fn cards_of_one_architecture_must_agree() {
    let (a1, a2) = (text_of("seresnet50.a1_in1k"), text_of("seresnet50.a2_in1k"));
    let parse = |a: &str, b: &str| Zoo::parse([("s/s.a1.toml", a), ("s/s.a2.toml", b)]);
    let recommended = a1.replacen("params", "recommended = true\nparams", 1);
    assert_eq!(
        parse(&recommended, &a2)
            .unwrap()
            .default_of("s")
            .unwrap()
            .name
            .tag(),
        "a1"
    );

    for (a, b, found) in [(&a1, &a2, 0), (&recommended, &recommended, 2)] {
        match parse(a, b) {
            Err(CardError::Recommended {
                files,
                found: number,
            }) => {
                assert_eq!(
                    (files, number),
                    (vec!["s/s.a1.toml".into(), "s/s.a2.toml".into()], found)
                );
            }
            other => panic!("{other:?}"),
        }
    }
    let other = a2.replacen("\"max_pad\"", "\"max_ceil\"", 1);
    match parse(&recommended, &other) {
        Err(CardError::Differ {
            first,
            second,
            field,
        }) => {
            assert_eq!(
                (first.as_str(), second.as_str()),
                ("s/s.a1.toml", "s/s.a2.toml")
            );
            assert_eq!(field, "network.stem_pool");
        }
        other => panic!("{other:?}"),
    }
    let other = a2.replacen("naming = \"resnet\"", "naming = \"senet\"", 1);
    let error = parse(&recommended, &other).unwrap_err();
    assert!(error.to_string().contains("`tensors.naming`"), "{error}");
}
