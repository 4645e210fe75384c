//! Everything that a pickle may contain besides tensors, in every encoding: it changes nothing, and
//! none of it is executed.

use std::path::Path;

use senet::weights::{DType, Weights, WeightsError};

use super::build::{archive, dict, int, ints, pickle, rebuild, storage, tensor, text, tuple};
use super::data;

/// A file with a tensor of one value, 1.5.
fn one() -> Vec<u8> {
    tensor("FloatStorage", 1, 0, &[1], &[1])
}

fn open(body: Vec<u8>) -> Result<Weights, WeightsError> {
    Weights::from_bytes("w", archive(&pickle(body), &1.5f32.to_le_bytes()))
}

#[track_caller]
fn holds(body: Vec<u8>, names: &[&str]) {
    let weights = open(body).unwrap();
    assert_eq!(weights.names().collect::<Vec<_>>(), names);
    for name in names {
        assert_eq!(weights.f32(name).unwrap(), [1.5], "{name}");
    }
}

#[test]
fn nothing_is_executed() {
    // `make_weights_files.py` has checked that Python creates a file when it loads any of these.
    for file in ["zip", "legacy"]
        .into_iter()
        .flat_map(|kind| [1, 2, 4].map(|protocol| format!("hostile_{kind}_protocol{protocol}.pth")))
    {
        let weights = Weights::open(data(&file)).unwrap();
        assert_eq!(weights.shape("0.weight"), Some(&[4, 2, 3, 3][..]), "{file}");
    }
    // Protocol 0, and every other way to call or name a function.
    let touch = |call: &str| call.replace("CODE", "touch marker_by_hand").into_bytes();
    for call in [
        "cos\nsystem\n(S'CODE'\ntR",
        "(S'CODE'\nios\nsystem\n",
        "(cos\nsystem\nS'CODE'\no",
        "cos\nsystem\n(S'CODE'\nt\u{1}",
        "S'os'\nS'system'\n\u{2}(S'CODE'\ntR",
        "cos\nsystem\np7\n0g7\n(S'CODE'\ntR",
        "ccopyreg\n_reconstructor\n(cos\nsystem\nS'CODE'\ntR",
        "cfunctools\npartial\n(cos\nsystem\ntR(S'CODE'\ntR",
        "ccollections\ndefaultdict\n(cos\nsystem\ntR",
        "ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nNS'CODE'\n\u{3}NtR",
        "cos\nsystem\n(dS'CODE'\nNsb",
    ] {
        // NEWOBJ, STACK_GLOBAL, TUPLE1
        let call = touch(call).into_iter().map(|byte| match byte {
            1 => 0x81,
            2 => 0x93,
            3 => 0x85,
            byte => byte,
        });
        holds(dict(&[("x", call.collect()), ("a", one())]), &["a"]);
    }
    let made: Vec<_> = Path::new(".").read_dir().unwrap().collect();
    for entry in made {
        let name = entry.unwrap().file_name();
        assert!(!name.to_string_lossy().starts_with("marker"), "{name:?}");
    }
}

#[test]
fn every_opcode_is_known() {
    let long = 300u32.to_le_bytes();
    let values: [&[u8]; 64] = [
        b"I7\n",
        b"I01\n",
        b"I-1234567890123456789012345\n",
        b"J\xff\xff\xff\xff",
        b"K\xff",
        b"M\xff\xff",
        b"L-7L\n",
        b"L7\n",
        b"\x8a\0",
        b"\x8a\x01\xff",
        b"\x8a\x09\0\0\0\0\0\0\0\0\x01",
        &[b"\x8b", &long[..], &[7; 300]].concat(),
        b"S'it\\'s\\n\\x41\\101\\q'\n",
        b"S\"a\"\n",
        b"S'\\xff'\n",
        b"T\x02\0\0\0ab",
        b"U\x01\xff",
        b"B\x01\0\0\0\xff",
        b"C\x01\xff",
        b"\x8e\x01\0\0\0\0\0\0\0\xff",
        b"\x96\x01\0\0\0\0\0\0\0\xff",
        b"N",
        b"\x88",
        b"\x89",
        b"Vab\\u20ac\\U0001f40d\xe9\n",
        b"V\\ud800\n",
        b"\x8c\x01a",
        b"X\x03\0\0\0\xed\xa0\x80",
        b"\x8d\x01\0\0\0\0\0\0\0a",
        b"F1.5\n",
        b"Fnan\n",
        b"G\0\0\0\0\0\0\0\0",
        b"]",
        b"]Na",
        b"](NNe",
        b"(NNl",
        b")",
        b"(NNt",
        b"N\x85",
        b"NN\x86",
        b"NNN\x87",
        b"}",
        b"(NNd",
        b"}NNs",
        b"}(NNu",
        b"\x8f",
        b"\x8f(NN\x90",
        b"(NN\x91",
        b"NN0",
        b"N(0",
        b"N(NN1",
        b"N20",
        b"Np5\n0g5\n",
        b"Nq\x050h\x05",
        b"Nr\x05\0\0\x000j\x05\0\0\0",
        b"N\x940h\0",
        b"\x82\x01",
        b"\x83\x01\0",
        b"\x84\x01\0\0\0",
        b"cm\nn\n",
        b"X\x01\0\0\0mX\x01\0\0\0n\x93",
        b"cm\nC\n)}\x92Nb(NNe(NNu(N\x90",
        b"cm\nC\n)\x81NaNNsNb",
        b"Pan id\n",
    ];
    for value in values {
        let shown = value.escape_ascii();
        let weights = open(dict(&[("x", value.to_vec()), ("a", one())]));
        let weights = weights.unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert_eq!(weights.names().collect::<Vec<_>>(), ["a"], "{shown}");
    }
    for buffer in [0x97, 0x98] {
        let error = open(dict(&[("x", vec![buffer]), ("a", one())])).unwrap_err();
        assert!(error.to_string().contains("out-of-band"), "{error}");
    }
    for wrong in [
        &b"Ix\n"[..],
        b"L\n",
        b"L--1L\n",
        b"Fx\n",
        b"Sa\n",
        b"S'a\n",
        b"S'\\x4'\n",
        b"S'\\'\n",
        b"V\\u12\n",
        b"p-1\n",
        b"gx\n",
        b"X\x02\0\0\0\xed\xa0",
        b"NNb",
        b"N)R",
        b"cm\nn\nNR",
        b"N)\x81",
        b"(o",
        b"NQ",
        b"(NQ",
        b"N(N\x90",
    ] {
        let error = open(dict(&[("a", one()), ("x", wrong.to_vec())])).unwrap_err();
        assert!(
            matches!(error, WeightsError::Damaged { .. }),
            "{}: {error}",
            wrong.escape_ascii()
        );
    }
}

#[test]
fn text_is_decoded_in_every_protocol() {
    let entry = |key: &[u8]| [b"}(", key, &one()[..], b"u"].concat();
    holds(entry(b"Vaf\\u0066\xe9\n"), &["affé"]);
    holds(entry(b"S'it\\'s \\x41\\102\\\\'\n"), &["it's AB\\"]);
    holds(entry(b"\x8c\x05a\xe2\x82\xacb"), &["a€b"]);
    holds(entry(b"\x8d\x01\0\0\0\0\0\0\0a"), &["a"]);
}

#[test]
fn values_are_shared_as_in_python() {
    let set = |key: &str| [&text(key)[..], &one(), b"s"].concat();
    // A dict that is modified after it was put into another.
    let later = [
        b"}(",
        &text("state_dict")[..],
        b"}q\x01uh\x01",
        &set("a"),
        b"0",
    ]
    .concat();
    holds(later, &["a"]);
    // Under two keys, one of which counts.
    let twice = dict(&[
        ("model", [b"}q\x01", &set("a")[..]].concat()),
        ("state_dict", [b"h\x01", &set("b")[..]].concat()),
    ]);
    holds(twice, &["a", "b"]);
    // A dict in itself.
    let ring = [b"}q\x01", &text("self")[..], b"h\x01s", &set("a")].concat();
    holds(ring, &["a"]);
    // One tensor under two names.
    let tied = [
        b"}",
        &text("a")[..],
        &one(),
        b"q\x05s",
        &text("b"),
        b"h\x05s",
    ]
    .concat();
    holds(tied, &["a", "b"]);
}

#[test]
fn of_equal_keys_the_last_one_counts() {
    holds(dict(&[("a", int(1)), ("a", one())]), &["a"]);
    let other = tensor("FloatStorage", 1, 0, &[1, 1], &[1, 1]);
    let weights = open(dict(&[("a", one()), ("a", other)])).unwrap();
    assert_eq!(weights.shape("a"), Some(&[1, 1][..]));
    holds(
        dict(&[("a", one()), ("b", one()), ("a", b"N".to_vec())]),
        &["b"],
    );
    let under = |key: &str| dict(&[(key, one())]);
    holds(
        dict(&[("model", under("x")), ("model", under("y"))]),
        &["y"],
    );
    // timm takes averaged weights unless they are None, and otherwise the other ones if present.
    let none = || b"N".to_vec();
    holds(
        dict(&[("model_ema", none()), ("model", under("x"))]),
        &["x"],
    );
    holds(
        dict(&[
            ("model_ema", under("y")),
            ("model_ema", none()),
            ("model", under("x")),
        ]),
        &["x"],
    );
    for falsy in [&b"\x89"[..], b"K\0", b")", b"]"] {
        let body = dict(&[("model_ema", falsy.to_vec()), ("model", under("x"))]);
        let error = open(body).unwrap_err().to_string();
        assert!(error.contains("`model_ema` is a"), "{error}");
    }
    let error = open(dict(&[("state_dict", none()), ("model", under("x"))])).unwrap_err();
    assert!(
        error.to_string().contains("`state_dict` is None"),
        "{error}"
    );
    // A string instead of the model.
    let named = dict(&[("model", text("seresnet50")), ("net", under("x"))]);
    holds(named, &["x"]);
}

#[test]
fn truth_is_any_byte_but_0() {
    let body = dict(&[("a", tensor("BoolStorage", 4, 0, &[4], &[1]))]);
    let weights = Weights::from_bytes("w", archive(&pickle(body), &[0, 1, 2, 255])).unwrap();
    assert_eq!(weights.i64("a").unwrap(), [0, 1, 1, 1]);
}

#[test]
fn unread_values_are_errors_only_where_needed() {
    let weights = Weights::open(data("kinds.pth")).unwrap();
    for (name, kind) in [
        ("quantised", "a quantised tensor"),
        ("sparse", "a sparse tensor"),
        ("sparse.csr", "a sparse tensor"),
        ("meta", "a tensor without data"),
        ("negated", "a tensor whose values are stored negated"),
        ("array", "a NumPy array"),
        ("number", "a NumPy number"),
        ("options", "the Python object `argparse.Namespace`"),
    ] {
        let error = weights.f32(name).unwrap_err();
        let found = matches!(&error, WeightsError::UnsupportedTensor { found, .. } if found.starts_with(kind));
        assert!(found && error.to_string().contains(name), "{name}: {error}");
        assert!(error.hint().is_some());
        assert_eq!(weights.shape(name), None);
    }
    // The keys that lead to it.
    let array = || b"cnumpy\nndarray\n)R".to_vec();
    let inside = dict(&[("a", one()), ("b", array())]);
    let error = open(dict(&[("state_dict", inside)]))
        .unwrap()
        .f32("b")
        .unwrap_err();
    let expected = r#"`["state_dict"]["b"]` of `w` is the Python object `numpy.ndarray`"#;
    assert!(error.to_string().contains(expected), "{error}");

    let error = Weights::open(data("protocol0.pth"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("pickle protocol 0, which PyTorch cannot read either"),
        "{error}"
    );
    let whole = dict(&[("model", b"ctorchvision.models\nResNet\n)\x81}b".to_vec())]);
    let error = open(whole).unwrap_err();
    let expected = "`model` is the Python object `torchvision.models.ResNet`, not a dict";
    assert!(error.to_string().contains(expected), "{error}");
    assert!(error.hint().unwrap().contains("state_dict()"), "{error}");
}

/// What would change a tensor after its creation, or create it from something else.
#[test]
fn tensors_that_python_changes_are_refused() {
    let subclass = |state: Vec<u8>| {
        let arguments = tuple(&[
            b"ctorch._utils\n_rebuild_tensor_v2\n".to_vec(),
            b"ctorch.nn.parameter\nBuffer\n".to_vec(),
            tuple(&[storage("FloatStorage", 1), int(0), ints(&[1]), ints(&[1])]),
            state,
        ]);
        [
            b"ctorch._tensor\n_rebuild_from_type_v2\n",
            &arguments[..],
            b"R",
        ]
        .concat()
    };
    holds(dict(&[("a", subclass(dict(&[("note", int(1))])))]), &["a"]);
    holds(
        dict(&[("a", subclass(tuple(&[b"N".to_vec(), dict(&[])])))]),
        &["a"],
    );
    let parameter = |state: Vec<u8>| {
        let arguments = tuple(&[one(), b"\x88".to_vec(), b"N".to_vec(), state]);
        [
            b"ctorch._utils\n_rebuild_parameter_with_state\n",
            &arguments[..],
            b"R",
        ]
        .concat()
    };
    let data = || dict(&[("data", one())]);
    for changed in [
        subclass(data()),
        subclass(tuple(&[b"N".to_vec(), data()])),
        subclass(int(1)),
        parameter(data()),
        [
            &one()[..],
            &tuple(&[storage("FloatStorage", 1), int(0), ints(&[1]), ints(&[1])]),
            b"b",
        ]
        .concat(),
    ] {
        let body = dict(&[("a", changed.clone()), ("b", one())]);
        let weights = open(body).unwrap();
        assert_eq!(weights.names().collect::<Vec<_>>(), ["b"]);
        let error = weights.f32("a").unwrap_err();
        assert!(
            matches!(error, WeightsError::UnsupportedTensor { .. }),
            "{error}"
        );
    }
    // Endlessly nested subclasses do not take endless work.
    let mut nested = one();
    for _ in 0..20 {
        let arguments = [
            b"(ctorch._tensor\n_rebuild_from_type_v2\ncm\nC\n",
            &nested[..],
            b"Nt",
        ];
        nested = [
            b"ctorch._tensor\n_rebuild_from_type_v2\n",
            &arguments.concat()[..],
            b"R",
        ]
        .concat();
    }
    holds(dict(&[("a", nested), ("b", one())]), &["b"]);
}

#[test]
fn a_type_next_to_the_storage_counts() {
    let typed = |dtype: &str, count: i64| {
        let mut arguments = vec![
            storage("UntypedStorage", 4),
            int(0),
            ints(&[count]),
            ints(&[1]),
        ];
        arguments.extend([
            b"\x89".to_vec(),
            b"N".to_vec(),
            format!("ctorch\n{dtype}\n").into_bytes(),
        ]);
        let call = String::from_utf8(rebuild(&[]))
            .unwrap()
            .replace("_v2", "_v3");
        let name = call.split_inclusive('\n').take(2).collect::<String>();
        dict(&[("a", [name.as_bytes(), &tuple(&arguments), b"R"].concat())])
    };
    let weights = open(typed("uint16", 2)).unwrap();
    assert_eq!(weights.dtype("a"), Some(DType::U16));
    assert_eq!(weights.i64("a").unwrap(), [0, 0x3fc0]);
    let weights = open(typed("float32", 1)).unwrap();
    assert_eq!(weights.f32("a").unwrap(), [1.5]);
    let error = open(typed("uint16", 3)).unwrap_err().to_string();
    assert!(error.contains("outside its storage"), "{error}");
    let error = open(typed("uint7", 1)).unwrap_err().to_string();
    assert!(
        error.contains("a tensor of an unknown element type"),
        "{error}"
    );
}
