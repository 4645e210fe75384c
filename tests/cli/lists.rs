//! Lists as editors and systems write them, and how the names in them are resolved.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use super::env::Env;
use super::eval_data::{counts, eval, twin};

/// A text as other programs save it.
fn saved(text: &str) -> Vec<(&'static str, Vec<u8>)> {
    let windows = text.replace('\n', "\r\n");
    let units = |text: &str, bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
        let units = std::iter::once(0xFEFF).chain(text.encode_utf16());
        units.flat_map(bytes).collect()
    };
    vec![
        ("UTF-8", text.into()),
        ("UTF-8 with a mark", format!("\u{FEFF}{windows}").into()),
        ("CR", text.replace('\n', "\r").into()),
        ("UTF-16LE", units(&windows, u16::to_le_bytes)),
        ("UTF-16BE", units(text, u16::to_be_bytes)),
    ]
}

/// The label of each image in a results file.
fn labels(env: &Env, arguments: &[&str]) -> BTreeMap<String, u64> {
    let _ = fs::remove_file(env.path("r"));
    let arguments = [arguments, &["--results", "r"]].concat();
    let output = env.run(&[&["eval", "-q"], &arguments[..]].concat());
    let messages = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{messages}");
    let lines = fs::read_to_string(env.path("r")).unwrap();
    let lines = lines.lines().skip(1);
    lines
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let image = line["image"].as_str().unwrap().to_owned();
            (image, line["label"].as_u64().unwrap())
        })
        .collect()
}

#[test]
fn lists_in_every_encoding() {
    let env = Env::new();
    for name in ["a.png", "été.png"] {
        env.image("ankle-boot.png", &format!("set/{name}"));
    }
    for (encoding, list) in saved("a.png\tAnkle boot\nété.png\tköter\n") {
        env.write("list", list);
        for (_, map) in saved("# of mine\nköter\tSneaker\n") {
            env.write("map", map);
            for (_, valid) in saved("Ankle boot\n7\n") {
                env.write("valid", valid);
                let arguments = ["set", "--labels", "list", "--class-map", "map"];
                let (code, report, messages) = eval(
                    &env,
                    &[&arguments[..], &["--valid-labels", "valid"]].concat(),
                );
                assert_eq!(
                    (code, counts(&report)),
                    (0, [2, 2, 1].map(Value::from)),
                    "{encoding}: {messages}"
                );
            }
        }
    }
}

#[test]
fn lists_that_are_not_text() {
    let env = Env::new();
    env.image("ankle-boot.png", "set/9/a.png");
    let unmarked: Vec<u8> = "9/a.png 9\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    for (bytes, what) in [
        (
            b"# of\n9/b.png\tk\xF6ter\n".to_vec(),
            ", line 2: expected text in UTF-8, found the byte 0xf6",
        ),
        (
            b"# of\n\0".to_vec(),
            ", line 2: expected text in UTF-8, found a NUL byte",
        ),
        (
            unmarked,
            ", line 1: expected text in UTF-8, found a NUL byte",
        ),
        (
            b"\xFF\xFE\0\0".to_vec(),
            ", line 1: expected text in UTF-8 or UTF-16, found UTF-32",
        ),
        (Vec::new(), " is empty"),
        (
            b"\xEF\xBB\xBF\r\n\n# only this\n".to_vec(),
            " is empty: it has no line but blank lines",
        ),
    ] {
        env.write("list", bytes);
        for option in ["--labels", "--class-map", "--valid-labels"] {
            let (code, _, messages) = eval(&env, &["set", option, "list"]);
            assert_eq!(code, 2, "{messages}");
            assert!(
                messages.contains(&format!("list{what}")),
                "{option}: {messages}"
            );
            let hint = messages.contains("hint: save the file as UTF-8");
            assert_eq!(hint, what.contains("found"), "{messages}");
        }
    }
}

#[test]
fn labels_as_a_json_object() {
    let env = Env::new();
    for name in ["a.png", "b.png", "c.png", "d.png"] {
        env.image("ankle-boot.png", &format!("set/{name}"));
    }
    let object = r#"{ "a.png": "Ankle boot", "./b": 7, "c.png": ["Bag", 9], "d.png": [] }"#;
    for (encoding, list) in saved(object) {
        env.write("list", list);
        let (code, report, messages) = eval(&env, &["set", "--labels", "list"]);
        assert_eq!(
            (code, counts(&report)),
            (0, [3, 3, 2].map(Value::from)),
            "{encoding}: {messages}"
        );
    }
    for (object, what) in [
        (
            r#"{"a.png": 9, "a.png": "Bag"}"#,
            "list, `a.png`: expected one class for an image, and this one had another, found `Bag`",
        ),
        (r#"{"a.png": null}"#, "expected a class by name or number"),
        (r#"{"a.png": 9"#, "cannot read list: EOF while parsing"),
        (
            r#"{"a.png": "hat"}"#,
            "are no classes of fashion-mnist (10 classes): hat",
        ),
        ("{}", "all 4 images of set are left out"),
    ] {
        env.write("list", object);
        let (code, _, messages) = eval(&env, &["set", "--labels", "list"]);
        assert_eq!(code, 2, "{messages}");
        assert!(messages.contains(what), "{messages}");
    }
    env.write("map", r#"{"a.png": "Ankle boot"}"#);
    env.write("list", "a.png a.png\n");
    let (code, _, messages) = eval(&env, &["set", "--labels", "list", "--class-map", "map"]);
    assert_eq!(code, 0, "{messages}");
}

/// Paths with every character that a path may hold, except separators.
#[test]
fn paths_in_every_encoding() {
    let env = Env::new();
    for name in ["a.png", "été 雨.png"] {
        env.image("ankle-boot.png", name);
    }
    let run = |list: &[u8], more: &[&str]| {
        env.write("list", list);
        let demo = [
            "classify",
            "-m",
            "demo",
            "-q",
            "-k",
            "1",
            "--json",
            "--files-from",
        ];
        let output = env.run(&[&demo[..], &["list"], more].concat());
        let rows = String::from_utf8(output.stdout).unwrap();
        let rows = rows.lines().map(|row| serde_json::from_str(row).unwrap());
        let rows: Vec<Value> = rows.collect();
        let paths: Vec<String> = rows
            .iter()
            .filter(|row| row.get("error").is_none())
            .map(|row| row["path"].as_str().unwrap().to_owned())
            .collect();
        let messages = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), paths, messages)
    };
    for (encoding, list) in saved("a.png\n\nété 雨.png\n") {
        let (code, paths, messages) = run(&list, &[]);
        assert_eq!((code, paths.len()), (0, 2), "{encoding}: {messages}");
    }
    for list in [
        &b"a.png\0\xC3\xA9t\xC3\xA9 \xE9\x9B\xA8.png\0"[..],
        b"a.png\0a.png",
    ] {
        for more in [&[][..], &["-0"], &["--null"]] {
            let (code, paths, messages) = run(list, more);
            assert_eq!((code, paths.len()), (0, 2), "{messages}");
        }
    }
    assert_eq!(run(b"a.png", &["-0"]).1, ["a.png"]);
    let unmarked: Vec<u8> = "a.png\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let turned: Vec<u8> = "a.png\n"
        .encode_utf16()
        .flat_map(u16::to_be_bytes)
        .collect();
    let late = [&b"a.png\n".repeat(2000)[..], b"\0"].concat();
    for (list, what) in [
        (
            &unmarked[..],
            "or in UTF-16 with a byte order mark, found paths of one letter",
        ),
        (&turned, "expected a path before each NUL byte, found none"),
        (
            &late,
            "list, line 2001: expected a path on each line (`--null`",
        ),
        (b"", "list is empty"),
        (b"\n\r\n", "list is empty"),
    ] {
        let (code, _, messages) = run(list, &[]);
        assert_eq!(code, 2, "{messages}");
        assert!(messages.contains(what), "{messages}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let odd = std::ffi::OsStr::from_bytes(b"new\nline \xFF.png");
        fs::copy(env.path("a.png"), env.path("").join(odd)).unwrap();
        let (code, paths, messages) = run(b"a.png\0new\nline \xFF.png\0", &[]);
        assert_eq!((code, paths.len()), (0, 2), "{messages}");
    }
}

/// A model whose class names are almost equal.
fn near(env: &Env) {
    twin(env);
    let names = [
        "A",
        "a",
        "left turn",
        "left-turn",
        "x_y",
        "x y",
        "cat ",
        "cat",
        "caf\u{e9}",
        "Gr\u{fc}n",
    ];
    let config = fs::read_to_string(env.path("twin/config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["label_names"] = json!(names);
    env.write("twin/config.json", config.to_string());
}

#[test]
fn similar_names_are_not_confused() {
    let env = Env::new();
    near(&env);
    let names = [
        ("A", 0),
        ("a", 1),
        ("left turn", 2),
        ("left-turn", 3),
        ("x_y", 4),
        ("x y", 5),
        ("cat ", 6),
        ("cat", 7),
        ("caf\u{e9}", 8),
        // Another Unicode form of the same name, and one in another case.
        ("cafe\u{301}", 8),
        ("gru\u{308}n", 9),
        (" cat", 7),
    ];
    let mut list = String::new();
    let mut object = serde_json::Map::new();
    let mut map = String::new();
    for (place, (name, _)) in names.iter().enumerate() {
        env.image("ankle-boot.png", &format!("set/{name}/{place}.png"));
        env.image("ankle-boot.png", &format!("flat/{place}.png"));
        env.image("ankle-boot.png", &format!("mapped/<{name}>/{place}.png"));
        list += &format!("{place}.png\t{name}\n");
        map += &format!("<{name}>\t{name}\n");
        object.insert(format!("{place}.png"), json!(name));
    }
    env.write("list", list.replace('\n', "\r\n"));
    env.write("list.csv", list.replace('\t', ","));
    env.write("list.json", Value::Object(object).to_string());
    env.write("map", map);
    for arguments in [
        &["set"][..],
        &["flat", "--labels", "list"],
        &["flat", "--labels", "list.csv"],
        &["flat", "--labels", "list.json"],
        &["mapped", "--class-map", "map"],
    ] {
        let found = labels(&env, &[&["-m", "twin"], arguments].concat());
        for (place, (name, class)) in names.iter().enumerate() {
            let file = format!("{place}.png");
            let found = found
                .iter()
                .find(|(image, _)| image.rsplit('/').next() == Some(&*file));
            assert_eq!(found.unwrap().1, class, "{arguments:?}: {name:?}");
        }
    }

    // Neither is exact: both match.
    env.image("ankle-boot.png", "both/LEFT_TURN/a.png");
    let output = env.run(&["eval", "-q", "-m", "twin", "both"]);
    let messages = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{messages}");
    assert!(
        messages.contains("`LEFT_TURN` means 2 classes"),
        "{messages}"
    );
}

#[test]
fn images_are_found_in_either_form_of_unicode() {
    let env = Env::new();
    env.image("ankle-boot.png", "set/e\u{301}t.png");
    env.image("ankle-boot.png", "set/\u{e4}.png");
    env.write("list", "\u{e9}t.png\t9\na\u{308}\t9\n");
    let (code, report, messages) = eval(&env, &["set", "--labels", "list"]);
    assert_eq!(
        (code, counts(&report)),
        (0, [2, 2, 2].map(Value::from)),
        "{messages}"
    );
}

#[test]
fn invisible_characters_in_names_are_shown() {
    let env = Env::new();
    for (name, shown) in [
        ("Ankle\u{a0}boot", "Ankle<U+00A0>boot"),
        ("\u{200b}Ankle boot", "<U+200B>Ankle boot"),
        ("Ankle  boot", "Ankle <U+0020>boot"),
    ] {
        env.image("ankle-boot.png", &format!("set/{name}/a.png"));
        let (code, _, messages) = eval(&env, &["set"]);
        assert_eq!(code, 2);
        assert!(
            messages.contains(&format!("(10 classes): {shown}\n")),
            "{messages}"
        );
        let hint = format!("hint: `{shown}` and the class `Ankle boot` differ only in");
        assert!(messages.contains(&hint), "{messages}");
        fs::remove_dir_all(env.path("set")).unwrap();
    }
}
