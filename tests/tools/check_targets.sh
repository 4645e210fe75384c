#!/usr/bin/env bash
# Checks the types of the code for systems that it cannot be linked for or run on here, with rustup:
#
#   tests/tools/check_targets.sh
#
# macOS with Metal, and Windows. No C code is compiled.
set -euo pipefail
cd "$(dirname "$0")/../.."

check() {
  local target=$1 variable=${1//-/_}
  shift
  rustup target add "$target"
  env "CC_$variable=$PWD/tests/tools/no_compiler" "AR_$variable=$PWD/tests/tools/no_compiler" \
    CARGO_PROFILE_DEV_OPT_LEVEL=0 cargo clippy --locked --target "$target" "$@" -- -D warnings
}

check aarch64-apple-darwin --features metal
check x86_64-pc-windows-msvc
