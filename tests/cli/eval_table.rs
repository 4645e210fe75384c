//! `senet eval --parquet`: results as a table.

use super::env::Env;
use super::eval::{eval, folders};

#[test]
#[cfg(not(feature = "parquet"))]
fn a_table_needs_a_feature() {
    let env = Env::new();
    folders(&env);
    let output = env.run(&eval(&["--parquet", "r.parquet", "--results", "r.jsonl"]));
    let messages = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(messages.contains("--features parquet"), "{messages}");
    assert!(!env.path("r.jsonl").exists(), "reported before the run");
}

#[cfg(feature = "parquet")]
mod with_parquet {
    use std::collections::BTreeMap;
    use std::fs::{self, File};

    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;
    use serde_json::{Value, json};

    use super::{Env, eval, folders};

    /// The header and the rows as they would be in a results file.
    fn read(env: &Env, name: &str) -> (Value, Vec<Value>) {
        let file = File::open(env.path(name)).unwrap();
        let reader = SerializedFileReader::new(file).unwrap();
        let pairs = reader.metadata().file_metadata().key_value_metadata();
        let header = pairs
            .unwrap()
            .iter()
            .find(|pair| pair.key == "senet")
            .unwrap();
        let header = serde_json::from_str(header.value.as_ref().unwrap()).unwrap();
        let rows = reader.get_row_iter(None).unwrap().map(|row| {
            let row = row.unwrap();
            let fields = row.get_column_iter().filter_map(|(name, field)| {
                Some((
                    name.clone(),
                    match field {
                        Field::Null => return None,
                        Field::Long(value) => json!(value),
                        Field::Int(value) => json!(value),
                        Field::Double(value) => json!(value),
                        Field::Str(value) => json!(value),
                        Field::ListInternal(list) => list
                            .elements()
                            .iter()
                            .map(|value| match value {
                                Field::Float(value) => json!(value),
                                other => panic!("{other:?}"),
                            })
                            .collect(),
                        other => panic!("{other:?}"),
                    },
                ))
            });
            Value::Object(fields.collect())
        });
        (header, rows.collect())
    }

    /// The lines of a results file in the order of the data set, with the names of classes.
    fn lines(env: &Env, name: &str) -> (Value, Vec<Value>) {
        let text = fs::read_to_string(env.path(name)).unwrap();
        let mut lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let header = lines.next().unwrap();
        let sorted: BTreeMap<u64, Value> = lines
            .map(|mut line| {
                for (class, name) in [("label", "label_name"), ("prediction", "prediction_name")] {
                    if let Some(class) = line[class].as_u64() {
                        line[name] = header["classes"][class as usize].clone();
                    }
                }
                if let Some(losses) = line.get_mut("tempered") {
                    for loss in losses.as_array_mut().unwrap() {
                        *loss = json!(loss.as_f64().unwrap() as f32);
                    }
                }
                line.as_object_mut()
                    .unwrap()
                    .retain(|_, value| !value.is_null());
                (line["index"].as_u64().unwrap(), line)
            })
            .collect();
        (header, sorted.into_values().collect())
    }

    #[test]
    fn a_table_has_the_fields_of_the_lines() {
        let env = Env::new();
        folders(&env);
        env.run(&eval(&[
            "--results",
            "all.jsonl",
            "--parquet",
            "all.parquet",
            "-b",
            "3",
        ]));
        let (header, rows) = read(&env, "all.parquet");
        let expected = lines(&env, "all.jsonl");
        assert_eq!(rows.len(), 7);
        assert!(rows.iter().any(|row| row.get("error").is_some()));
        assert_eq!((header, rows), expected);

        // Of shards together, of a run that keeps nothing else, and replacing an older table.
        for shard in ["1/2", "2/2"] {
            env.run(&eval(&[
                "--shard",
                shard,
                "--results",
                &format!("{}.jsonl", &shard[..1]),
            ]));
        }
        for merge in [true, false] {
            env.write("other.parquet", b"old");
            let output = env.run(&if merge {
                vec![
                    "eval",
                    "merge",
                    "2.jsonl",
                    "1.jsonl",
                    "--parquet",
                    "other.parquet",
                ]
            } else {
                eval(&["--parquet", "other.parquet"])
            });
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            assert_eq!(read(&env, "other.parquet"), expected);
        }
        assert!(expected.0["members"][0]["weights"].as_str().unwrap().len() == 64);
    }

    #[test]
    fn an_unwritable_table_is_reported_before_the_run() {
        let env = Env::new();
        folders(&env);
        let nowhere = ["--parquet", "no/r.parquet", "--results", "r.jsonl"];
        let output = env.run(&eval(&nowhere));
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(!env.path("r.jsonl").exists());
    }
}
