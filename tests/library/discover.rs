//! Data sets that say themselves which classes there are.

use std::fs;
#[cfg(feature = "parquet")]
use std::path::Path;
use std::path::PathBuf;

use senet::eval::{
    Classes, Dataset, DatasetOptions, DiscoverOptions, Discovered, EvalError, GroupBy,
};

/// A folder with copies of an image under these names, and files.
struct Data(tempfile::TempDir);

impl Data {
    fn new(images: &[&str]) -> Self {
        let data = Self(tempfile::tempdir().unwrap());
        let image = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/data/pictures/ankle-boot.png"
        );
        for name in images {
            data.write(name, &fs::read(image).unwrap());
        }
        data
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn discover(
        &self,
        labels: Option<&str>,
        group_by: Option<&str>,
    ) -> Result<Discovered, EvalError> {
        let mut options = DiscoverOptions::default();
        options.labels = labels.map(|name| self.path(name));
        options.group_by = group_by.map(|text| text.parse::<GroupBy>().unwrap());
        Dataset::discover(&[self.path("data")], &options)
    }
}

fn classes(found: &Discovered) -> Vec<&str> {
    let labels = found.labels.entries.iter();
    labels.map(|label| &*label.name).collect()
}

/// Names and classes of the images.
fn labelled(found: &Discovered) -> Vec<(&str, &str)> {
    let names = classes(found);
    let items = found.data.items.iter();
    items
        .map(|item| (&*item.name, names[item.labels[0]]))
        .collect()
}

#[test]
fn folders_are_classes_in_natural_order() {
    let data = Data::new(&[
        "data/class 10/a.png",
        "data/class 2/a.png",
        "data/class 2/burst/b.png",
        "data/Tench, Tinca tinca/a.png",
        "data/1/a.png",
        "data/0/a.png",
    ]);
    fs::create_dir_all(data.path("data/nothing")).unwrap();
    let found = data.discover(None, Some("folder")).unwrap();
    let expected = ["0", "1", "class 2", "class 10", "Tench, Tinca tinca"];
    assert_eq!(classes(&found), expected);
    assert_eq!(labelled(&found)[4], ("class 2/a.png", "class 2"));
    assert_eq!(labelled(&found)[5], ("class 2/burst/b.png", "class 2"));
    assert_eq!(found.groups, [0, 1, 2, 3, 4, 5]);
    assert_eq!(found.data.empty, ["nothing"]);
    // Another data set is labelled with the same classes.
    let open = |name: &str| {
        let classes = Classes::new(&found.labels);
        Dataset::open(&[data.path(name)], &classes, &DatasetOptions::default())
    };
    data.write("val/1/x.png", b"");
    data.write("val/Tench, Tinca tinca/x.png", b"");
    let val = open("val").unwrap();
    let labels: Vec<usize> = val.items.iter().map(|item| item.labels[0]).collect();
    assert_eq!(labels, [1, 4]);
    data.write("val/zebra/x.png", b"");
    assert!(matches!(open("val"), Err(EvalError::UnknownClasses { .. })));
}

#[test]
fn images_beside_the_class_folders_are_an_error() {
    let data = Data::new(&["data/cat/a.png", "data/b.png"]);
    match data.discover(None, None) {
        Err(EvalError::NoClassFolder {
            images: 1, first, ..
        }) => assert_eq!(first, "b.png"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn folders_below_the_class_are_groups() {
    let data = Data::new(&[
        "data/cat/1/a.png",
        "data/cat/1/b.png",
        "data/cat/2/a.png",
        "data/cat/x.png",
        "data/cat/y.png",
        "data/dog/1/a.png",
    ]);
    let found = data.discover(None, Some("folder")).unwrap();
    assert_eq!(found.groups, [0, 0, 1, 2, 3, 4]);
    assert_eq!(
        data.discover(None, None).unwrap().groups,
        [0, 1, 2, 3, 4, 5]
    );
    match data.discover(None, Some("patient")) {
        Err(EvalError::NoColumn { column, .. }) => assert_eq!(column, "patient"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn lists_name_the_classes() {
    let data = Data::new(&["data/a.png", "data/b.png", "data/sub/c.png", "data/d.png"]);
    for (list, left_out) in [
        ("a.png\tgreat white shark\nb\tcat\nsub/c.png\tcat\n", 1),
        ("name,class\na.png,great white shark\nb,cat\nsub/c,cat\n", 1),
        (
            "{\"a\": \"great white shark\", \"b\": \"cat\", \"sub/c\": [\"cat\"], \"d\": []}",
            1,
        ),
        (
            "image,class,patient\na.png,great white shark,1\nb,cat,1\nsub/c,cat,2\nd,,2\n",
            1,
        ),
    ] {
        data.write("labels", list.as_bytes());
        let found = data.discover(Some("labels"), None).unwrap();
        let expected = [
            ("a.png", "great white shark"),
            ("b.png", "cat"),
            ("sub/c.png", "cat"),
        ];
        assert_eq!(labelled(&found), expected, "{list}");
        assert_eq!(classes(&found), ["cat", "great white shark"]);
        assert_eq!(found.data.left_out, left_out, "{list}");
    }
    data.write(
        "labels",
        b"image\tpatient\tclass\na\tx\tcat\nb\ty\tdog\nsub/c\tx\tdog\nd\t\tcat\n",
    );
    let found = data.discover(Some("labels"), Some("patient")).unwrap();
    assert_eq!(found.groups, [0, 1, 2, 0]);
    assert_eq!(classes(&found), ["cat", "dog"]);
    // d.png comes before sub/c.png.
    assert_eq!(labelled(&found)[3], ("sub/c.png", "dog"));
}

#[test]
fn numbers_alone_are_classes_by_number() {
    let data = Data::new(&["data/x_1.png", "data/x_2.png", "data/x_3.png"]);
    data.write("labels", b"10\n2\n10\n");
    let found = data.discover(Some("labels"), None).unwrap();
    assert_eq!(
        labelled(&found),
        [("x_1.png", "10"), ("x_2.png", "2"), ("x_3.png", "10")]
    );
    assert_eq!(classes(&found), ["2", "10"]);
}

#[test]
fn what_a_list_gets_wrong() {
    let data = Data::new(&["data/a.png", "data/b.png"]);
    let check = |list: &str, group: Option<&str>| {
        data.write("labels", list.as_bytes());
        data.discover(Some("labels"), group).unwrap_err()
    };
    for list in [
        "a,cat\na,dog\n",
        "a,cat,1\nb,dog\n",
        "[[0], [1, 2]]",
        "i,c,p\na,cat,1\na,cat,2\n",
        "{\"a\": \"cat\", \"b\": \"dog\"}",
        "a,cat\nb,dog\n",
    ] {
        let error = check(list, Some("p"));
        let is_right = matches!(error, EvalError::Line { .. } | EvalError::NoColumn { .. });
        assert!(is_right, "{list}: {error:?}");
    }
    for list in ["a,cat\na,dog\n", "[[0], [1, 2]]"] {
        assert!(
            matches!(check(list, None), EvalError::Line { .. }),
            "{list}"
        );
    }
    let both = "{\"a\": [\"cat\", \"dog\"]}";
    assert!(matches!(check(both, None), EvalError::Entry { .. }));
    let elsewhere = "x,cat\ny,cat\n";
    assert!(matches!(
        check(elsewhere, None),
        EvalError::NothingListed { .. }
    ));
    // An image that is not there cannot be read, which is found out later.
    data.write("labels", b"a,cat\nb,dog\nx,cat\n");
    let found = data.discover(Some("labels"), None).unwrap();
    assert_eq!(labelled(&found)[2], ("x", "cat"));
    assert_eq!(found.data.left_out, 0);
}

#[test]
#[cfg(feature = "parquet")]
fn tables_state_their_classes() {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/eval/pictures.parquet");
    let mut options = DiscoverOptions::default();
    let found = Dataset::discover(&[&table], &options).unwrap();
    assert_eq!(found.data.items.len(), 6);
    options.group_by = Some(GroupBy::Column("label".into()));
    let grouped = Dataset::discover(&[&table], &options).unwrap();
    let labels = grouped.data.items.iter().map(|item| item.labels[0]);
    let pairs: std::collections::BTreeSet<_> = labels.zip(grouped.groups).collect();
    assert_eq!(pairs.len(), grouped.labels.len());
    options.group_by = Some(GroupBy::Column("patient".into()));
    let missing = Dataset::discover(&[&table], &options).unwrap_err();
    assert!(
        missing.to_string().contains("the column patient"),
        "{missing}"
    );
}
