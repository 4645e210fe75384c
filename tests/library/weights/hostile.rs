//! Files that lie about themselves: each must be an error that names the fault.

use senet::weights::{Weights, WeightsError};

use super::build::{
    archive, dict, int, ints, pickle, rebuild, refused, safetensors, storage, tensor, text, tuple,
};

#[test]
fn lying_safetensors_headers_are_errors() {
    let one = |tensor: &str, data: &[u8]| safetensors(&format!("{{\"a\":{tensor}}}"), data);
    let f32 = |shape: &str, range: &str| {
        format!("{{\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":{range}}}")
    };
    let mut long = one(&f32("[1]", "[0,4]"), &[0; 4]);
    long[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    refused(long.clone(), "over the limit");
    long[..8].copy_from_slice(&1_000_000u64.to_le_bytes());
    refused(long.clone(), "cut short: the header needs 1000008 bytes");
    long[..8].copy_from_slice(&20u64.to_le_bytes());
    refused(long, "safetensors header");

    refused(one(&f32("[2]", "[0,8]"), &[0; 4]), "cut short");
    refused(one(&f32("[1]", "[0,4]"), &[0; 5]), "not fully covered");
    refused(one(&f32("[2]", "[0,4]"), &[0; 4]), "invalid shape");
    refused(one(&f32("[1]", "[4,8]"), &[0; 8]), "invalid offset");
    refused(one(&f32("[1]", "[4,0]"), &[0; 4]), "invalid offset");
    refused(
        one(&f32("[1]", "[0,18446744073709551615]"), &[0; 4]),
        "cut short",
    );
    refused(
        one(&f32("[1]", "[18446744073709551612,0]"), &[0; 4]),
        "invalid offset",
    );
    refused(one(&f32("[-1]", "[0,4]"), &[0; 4]), "header");
    refused(
        one(&f32("[9223372036854775807,4]", "[0,4]"), &[0; 4]),
        "overflow",
    );
    refused(one(&f32("[4611686018427387904]", "[0,0]"), &[]), "overflow");
    refused(one("3", &[]), "header");
    refused(safetensors("{]", &[]), "header");
    refused(
        safetensors(&format!("{{\"a\":{}", "[".repeat(1_000_000)), &[]),
        "header",
    );
    refused(
        safetensors(
            &format!("{{\"__metadata__\":{}", "[".repeat(1_000_000)),
            &[],
        ),
        "header",
    );
    refused(b"\x01\x00\x00\x00\x00\x00\x00\x00{".to_vec(), "header");

    let two = |a: &str, b: &str, names: [&str; 2]| {
        let header = format!(
            "{{\"{}\":{},\"{}\":{}}}",
            names[0],
            f32("[1]", a),
            names[1],
            f32("[1]", b)
        );
        safetensors(&header, &[0; 8])
    };
    refused(two("[0,4]", "[0,4]", ["a", "b"]), "invalid offset");
    refused(two("[0,4]", "[2,6]", ["a", "b"]), "invalid offset");
    refused(two("[0,4]", "[4,8]", ["a", "a"]), "`a` occurs twice");
    assert_eq!(
        Weights::from_bytes("w", two("[4,8]", "[0,4]", ["a", "b"]))
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn hostile_pickles_are_errors() {
    let refused = |pickle: Vec<u8>, why: &str| refused(archive(&pickle, &[0; 64]), why);
    let bare = |body: &[u8], why: &str| refused(pickle(body.to_vec()), why);

    bare(b"cos\nsystem\nX\x02\0\0\0id\x85R", "`os.system`");
    bare(b"cbuiltins\neval\nX\x01\0\0\x001\x85R", "`builtins.eval`");
    bare(
        b"\x8c\x05posix\x8c\x06system\x93X\x02\0\0\0id\x85R",
        "`posix.system`",
    );
    bare(b"carg\x1b[31m\nparse\n", "u{1b}");
    bare(b"(Vls\nios\nsystem\n", "`os.system`");
    bare(b"(X\x02\0\0\0idios\nsystem\n", "`os.system`");
    bare(b"ctorch\nFloatStorage\n)R", "`torch.FloatStorage`");
    bare(b"ctorch\nFloatStorage\n)\x81", "`torch.FloatStorage`");
    bare(b"\xff", "0xff is not an opcode");
    bare(b"K\x01)R", "calls something that is not a function");
    bare(b"]]\x93", "a class name is not a string");

    // One list, then a tuple of ten of the last value, over and over.
    let mut laughs = b"](K\x01K\x02eq\x00".to_vec();
    for level in 0..40 {
        laughs.extend(
            [b'(']
                .iter()
                .chain([b'h', level].repeat(10).iter())
                .chain([b't', b'q', level + 1].iter()),
        );
    }
    bare(&laughs, "left on its stack");
    let long = text(&"x".repeat(1 << 16));
    let fetched = [&long[..], b"q\x00(", &b"h\x00".repeat(1 << 22), b"t"].concat();
    bare(&fetched, "over the limit");
    let kept = [&long[..], b"\x85", &b"q\x00".repeat(1 << 20)].concat();
    bare(&kept, "it holds a tuple");

    bare(
        &[b"\x8d", &(1u64 << 63).to_le_bytes()[..]].concat(),
        "ends in the middle",
    );
    bare(
        &[b"X", &u32::MAX.to_le_bytes()[..]].concat(),
        "ends in the middle",
    );
    bare(
        &[b"\x95", &u64::MAX.to_le_bytes()[..]].concat(),
        "ends in the middle",
    );
    bare(b"X\x01\0\0\0\xff", "UTF-8");
    bare(&[b"\x8a\xff", &[1; 255][..]].concat(), "it holds an int");
    bare(b"\x8b\x01\0\0\0\x01", "it holds an int");
    bare(b"\x8b\xff\xff\xff\xff\x01", "a negative length");
    bare(b"Nr\xff\xff\xff\xff", "over the limit");

    // Deep nesting does not recurse here.
    for (open, close, why) in [
        (&b"]"[..], &b"a"[..], "a value is missing"),
        (b"(", b"t", "it holds a tuple"),
        (b"}(N", b"u", "of the wrong type"),
        (b"N", b"\x85", "left on its stack"),
        (b")", b"Q", "something other than a storage"),
    ] {
        let file = [open.repeat(100_000), close.repeat(100_000)].concat();
        bare(&file, why);
    }

    refused(Vec::new(), "ends in the middle");
    refused(b"\x80\x02".to_vec(), "ends in the middle");
    refused(b"\x80\x02}".to_vec(), "ends in the middle");
    refused(b"\x80\x02.".to_vec(), "a value is missing");
    refused(b"\x80\x02NN.".to_vec(), "left on its stack");
    refused(b"\x80\x02N(.".to_vec(), "a value is missing");
    refused(b"\x80\x09}.".to_vec(), "protocol 9");
    for body in [
        &b"a"[..],
        b"]a",
        b"(a",
        b"](\x85",
        b"(q\x00",
        b"q\x00",
        b"h\x07",
        b"t",
        b"R",
        b"Q",
        b"b",
        b"}Ns",
        b"}(Nu",
        b"]NNs",
        b"NNa",
    ] {
        let error = Weights::from_bytes("file", archive(&pickle(body.to_vec()), &[])).unwrap_err();
        assert!(
            matches!(error, WeightsError::Damaged { .. }),
            "{body:?}: {error}"
        );
    }
    bare(b"K\x01", "it holds an int, not a dict");
    bare(b"}", "holds no tensors; it is empty");
    bare(
        &dict(&[("state_dict", int(3))]),
        "`state_dict` is an int, not a dict",
    );
    bare(
        &dict(&[("epoch", int(3))]),
        "holds no tensors; its 1 keys are `epoch`; a state dict was looked for",
    );
    for id in [&b"N"[..], b")", b"K\x01\x85", b"NNNNN"] {
        bare(&[&b"(("[..], id, b"tQ\x85"].concat(), "");
        bare(&[&b"]("[..], id, b"Qe"].concat(), "");
    }
    let module = tuple(&[
        text("module"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text("source"),
        text("x"),
        int(1),
    ]);
    bare(
        &[&module[..], b"Q"].concat(),
        "the Python object `torch.FloatStorage`, not a dict",
    );
}

#[test]
fn tensors_stay_inside_their_storage() {
    let file = |tensor: Vec<u8>| archive(&pickle(dict(&[("a", tensor)])), &[0; 64]);
    let f32 = |elements, offset, shape: &[i64], strides: &[i64]| {
        file(tensor("FloatStorage", elements, offset, shape, strides))
    };
    for (shape, strides) in [
        (&[16][..], &[1][..]),
        (&[4, 4], &[1, 4]),
        (&[2, 2], &[13, 2]),
        (&[], &[]),
        (&[0], &[1]),
    ] {
        let weights = Weights::from_bytes("w", f32(16, 0, shape, strides)).unwrap();
        let count: i64 = shape.iter().product();
        assert_eq!(weights.f32("a").unwrap().len() as i64, count);
    }
    refused(f32(17, 0, &[16], &[1]), "larger than the data");
    refused(f32(i64::MAX, 0, &[16], &[1]), "larger than the data");
    refused(f32(16, 0, &[17], &[1]), "outside its storage");
    refused(f32(16, 1, &[16], &[1]), "outside its storage");
    refused(f32(16, 0, &[4, 4], &[5, 1]), "outside its storage");
    refused(f32(8, 8, &[1], &[1]), "outside its storage");
    refused(f32(16, i64::MAX, &[2], &[1]), "outside its storage");
    refused(
        f32(16, i64::MAX, &[2, 2], &[i64::MAX, i64::MAX]),
        "overflows",
    );
    refused(f32(16, 0, &[i64::MAX, i64::MAX], &[0, 0]), "overflows");
    refused(f32(16, 0, &[1 << 40], &[0]), "repeats values");
    refused(f32(16, -1, &[1], &[1]), "an invalid storage");
    refused(f32(16, 0, &[-1], &[1]), "an invalid storage");
    refused(f32(16, 0, &[2], &[-1]), "an invalid storage");
    refused(f32(16, 0, &[2, 2], &[1]), "an invalid storage");
    refused(f32(-1, 0, &[1], &[1]), "storage");
    let short = b"\x8a\x01\xff".to_vec();
    refused(
        file(rebuild(&[
            storage("FloatStorage", 16),
            short,
            ints(&[1]),
            ints(&[1]),
        ])),
        "an invalid storage",
    );
    refused(file(rebuild(&[])), "an invalid storage");
    refused(
        file(rebuild(&[storage("FloatStorage", 16), int(0)])),
        "an invalid storage",
    );
    refused(
        file(rebuild(&[int(0), int(0), ints(&[1]), ints(&[1])])),
        "an invalid storage",
    );
    refused(
        file(b"ctorch._utils\n_rebuild_parameter\n)R".to_vec()),
        "without a tensor",
    );
    let twice = dict(&[
        ("a", tensor("FloatStorage", 16, 0, &[1], &[1])),
        ("b", tensor("HalfStorage", 16, 0, &[1], &[1])),
    ]);
    refused(archive(&pickle(twice), &[0; 64]), "two types or sizes");
    let same = tensor("FloatStorage", 16, 0, &[1], &[1]);
    let same = dict(&[("a", same.clone()), ("module.a", same)]);
    refused(archive(&pickle(same), &[0; 64]), "are both `a`");
}

#[test]
fn views_that_change_their_values_are_refused() {
    let file = |metadata: Vec<u8>| {
        let view = rebuild(&[
            storage("FloatStorage", 16),
            int(0),
            ints(&[2]),
            ints(&[1]),
            b"\x89".to_vec(),
            b"ccollections\nOrderedDict\n)R".to_vec(),
            metadata,
        ]);
        archive(&pickle(dict(&[("a", view)])), &[0; 64])
    };
    let (yes, no) = (b"\x88".to_vec(), b"\x89".to_vec());
    for (metadata, why) in [
        (dict(&[("neg", yes.clone())]), "stored negated"),
        (
            dict(&[("conj", no.clone()), ("neg", yes.clone())]),
            "stored negated",
        ),
        (dict(&[("conj", yes.clone())]), "stored conjugated"),
        // PyTorch looks at the key only.
        (dict(&[("neg", no.clone())]), "stored negated"),
        (dict(&[("other", yes.clone())]), "unknown metadata"),
        (int(1), "unknown metadata"),
    ] {
        refused(file(metadata.clone()), why);
        let error = Weights::from_bytes("w", file(metadata)).unwrap_err();
        assert!(
            matches!(&error, WeightsError::UnsupportedTensor { name, .. } if name == "a"),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("resolve_neg()"));
    }
    for metadata in [b"N".to_vec(), dict(&[]), no, b"K\0".to_vec()] {
        assert!(Weights::from_bytes("w", file(metadata)).is_ok());
    }
    // A stride of 0, as after `expand`: a few repeated values are accepted, many are not.
    let expanded = |count: i64| {
        let tensor = tensor("FloatStorage", 1, 0, &[count], &[0]);
        archive(&pickle(dict(&[("a", tensor)])), &1.5f32.to_le_bytes())
    };
    let weights = Weights::from_bytes("w", expanded(3)).unwrap();
    assert_eq!(weights.f32("a").unwrap(), [1.5; 3]);
    refused(expanded(1 << 40), "repeats values");
}

#[test]
fn python_2_checkpoints_are_read() {
    // `OrderedDict([['a', tensor], ['b', tensor]])` with byte strings and the attribute `_metadata`.
    let storage = storage("FloatStorage", 3);
    let oldest = tuple(&[storage, int(2), ints(&[1]), ints(&[1])]);
    let mut body = b"ccollections\nOrderedDict\nq\x01](]q\x02(U\x01a".to_vec();
    body.extend(tensor("FloatStorage", 3, 0, &[2], &[1]));
    body.extend(b"e](T\x01\0\0\0bctorch._utils\n_rebuild_tensor\n");
    body.extend(&oldest);
    body.extend(b"Ree\x85Rq\x03}U\x09_metadatah\x01)Rsb");
    let data: Vec<u8> = [1.5f32, -2.0, 7.0]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let weights = Weights::from_bytes("w", archive(&pickle(body), &data)).unwrap();
    assert_eq!(weights.names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(weights.f32("a").unwrap(), [1.5, -2.0]);
    assert_eq!(weights.f32("b").unwrap(), [7.0]);
}

#[test]
fn legacy_storages_are_checked() {
    let magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";
    let system = |little: u8| [b"}X\x0d\0\0\0little_endian", &[little][..], b"s"].concat();
    let view = tuple(&[text("v"), int(1), int(2)]);
    let class = b"ctorch\nFloatStorage\n".to_vec();
    let id = tuple(&[text("storage"), class, text("0"), text("cpu"), int(4), view]);
    let viewed = rebuild(&[[&id[..], b"Q"].concat(), int(0), ints(&[2]), ints(&[1])]);
    let keys = |keys: &[&str]| {
        let keys: Vec<u8> = keys.iter().flat_map(|key| text(key)).collect();
        pickle([b"](", &keys[..], b"e"].concat())
    };
    let floats: Vec<u8> = [1f32, 2.0, 3.0, 4.0]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let block = [&4u64.to_le_bytes(), &floats[..]].concat();
    let file = |version: i64, little: u8, keys: Vec<u8>, block: &[u8]| {
        let version = [b"M".to_vec(), (version as u16).to_le_bytes().to_vec()].concat();
        let model = pickle(dict(&[("a", viewed.clone())]));
        [
            &magic[..],
            &pickle(version),
            &pickle(system(little)),
            &model,
            &keys,
            block,
        ]
        .concat()
    };
    let good = Weights::from_bytes("w", file(1001, 0x88, keys(&["0"]), &block)).unwrap();
    assert_eq!(good.f32("a").unwrap(), [2.0, 3.0]);
    refused(file(1002, 0x88, keys(&["0"]), &block), "1001");
    refused(file(1001, 0x89, keys(&["0"]), &block), "little-endian");
    refused(
        file(1001, 0x88, keys(&["1"]), &block),
        "is not used by any tensor",
    );
    refused(file(1001, 0x88, keys(&[]), &block), "missing");
    refused(
        file(1001, 0x88, keys(&["0", "0"]), &block.repeat(2)),
        "twice",
    );
    refused(
        file(1001, 0x88, pickle(b"N".to_vec()), &block),
        "list of storages",
    );
    refused(
        file(1001, 0x88, keys(&["0"]), &block[..20]),
        "cut short: storage `0`",
    );
    let wrong = [&u64::MAX.to_le_bytes(), &floats[..]].concat();
    refused(
        file(1001, 0x88, keys(&["0"]), &wrong),
        "expected 4 elements",
    );
}
