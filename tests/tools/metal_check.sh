#!/usr/bin/env bash
# Checks the types of the code for Metal on Linux, where it cannot be linked or run:
#
#   tests/tools/metal_check.sh
#
# A crate under target/ depends on this one with `metal`. Off Apple's systems, objc2-metal is refused because
# of the attribute that links the framework, so a copy without it takes its place; objc2 and block2 need a
# feature each.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
work=$root/target/metal-check
mkdir -p "$work/src"

source_of() {
  cargo metadata --locked --format-version 1 --features metal |
    python3 -c 'import json, os, sys
for package in json.load(sys.stdin)["packages"]:
    if package["name"] == sys.argv[1]:
        print(os.path.dirname(package["manifest_path"]))' "$1"
}

rm -rf "$work/objc2-metal"
cp -r "$(source_of objc2-metal)" "$work/objc2-metal"
sed -i '/#\[link(name = "Metal", kind = "framework")\]/d' "$work/objc2-metal/src/generated/mod.rs"

cat >"$work/Cargo.toml" <<EOF
[package]
name = "metal-check"
version = "0.0.0"
edition = "2024"

[workspace]

[dependencies]
senet = { path = "$root", default-features = false, features = ["metal"] }
objc2 = { version = "0.6", features = ["std", "unstable-compiler-rt"] }
block2 = { version = "0.6", features = ["compiler-rt"] }

[patch.crates-io]
objc2-metal = { path = "objc2-metal" }
EOF
echo 'use senet as _;' >"$work/src/lib.rs"
cp Cargo.lock "$work/Cargo.lock"

cd "$work"
RUSTFLAGS="-D warnings" cargo check --config 'profile.dev.package."*".opt-level=0'
