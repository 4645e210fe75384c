//! `senet devices`.

use super::env::{Env, json_rows};

/// What differs between machines is left out of the text: the name of the CPU, its threads and
/// instruction set.
#[cfg(not(any(feature = "cuda", feature = "metal")))]
#[test]
fn a_cpu_program_says_why_it_has_no_gpu() {
    let mut env = Env::new();
    env.set("SENET_ISA", "portable");
    let output = env.run(&["devices"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    let (rows, cpu) = text
        .rsplit_once("cpu     f32, bf16      -       -  ")
        .unwrap();
    assert_eq!(
        rows,
        "device  precisions  free  memory  description\n\
         cuda:0  -              -       -  this program was built without CUDA support\n\
         metal   -              -       -  this program was built without Metal support\n"
    );
    assert!(
        cpu.ends_with(" threads, portable\n") || cpu.ends_with("1 thread, portable\n"),
        "{cpu}"
    );

    let rows = json_rows(&env.run(&["devices", "--json"]).stdout);
    let names: Vec<&str> = rows
        .iter()
        .map(|row| row["device"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["cuda:0", "metal", "cpu"]);
    for row in &rows[..2] {
        let error = row["error"].as_str().unwrap();
        assert!(error.starts_with("this program was built without "));
        assert_eq!(row["precisions"].as_array().unwrap().len(), 0);
        assert_eq!(row["isa_available"].as_array().unwrap().len(), 0);
    }
}

#[test]
fn the_cpu_can_always_be_used() {
    let mut env = Env::new();
    env.set("SENET_ISA", "portable");
    let rows = json_rows(&env.run(&["devices", "--json"]).stdout);
    let cpu = rows.last().unwrap();
    assert_eq!(cpu["device"], "cpu");
    assert_eq!(cpu["isa"], "portable");
    assert_eq!(cpu["isa_available"][0], "portable");
    assert_eq!(cpu["precisions"][0], "f32");
    assert!(cpu["threads"].as_u64().unwrap() > 0);
    assert!(cpu["error"].is_null());
    let csv = env.run(&["devices", "--csv"]).stdout;
    let csv = String::from_utf8(csv).unwrap();
    let last = csv.lines().last().unwrap();
    assert!(
        last.starts_with("cpu,") && last.ends_with(",,,,f32 bf16,"),
        "{last}"
    );
}
