#!/usr/bin/env bash
# Checks and times the program on a GPU, in two parts of at most five minutes each:
#
#   cargo build --release --features cuda
#   cargo test --release --features cuda --test library --no-run
#   SENET=target/release/senet TESTS=target/release/deps/library-… tests/tools/gpu_check.sh 1 [OUT]
#   SENET=… TESTS=… tests/tools/gpu_check.sh 2 [OUT]
#
# Needs no weights and no network. DEVICE is a device such as cuda:0, its default, or metal; with DEVICE=cpu it
# is a dry run of the same steps with small images. Every step is limited in time and appends lines of JSON to
# OUT/results-PART.jsonl, so that a run that is cut short still says something; the end is a table,
# OUT/results-PART.md.
# compute-sanitizer, nsys and PyTorch with timm (of PYTHON) are used where they are installed.
set -uo pipefail
cd "$(dirname "$0")/../.."

part=${1-}
out=${2-target/gpu-check}
device=${DEVICE-cuda:0}
python=${PYTHON-python3}
case $part in 1 | 2) ;; *)
  echo "usage: SENET=PROGRAM TESTS=PROGRAM tests/tools/gpu_check.sh 1|2 [OUT]" >&2
  exit 2
  ;;
esac
: "${SENET:?the program, target/release/senet}"
: "${TESTS:?the program of the library tests, target/release/deps/library-…}"
mkdir -p "$out"
results=$out/results-$part.jsonl
: >"$results"
# What is left at the end is for the table.
deadline=$((SECONDS + 285))

export CARGO_MANIFEST_DIR=$PWD
export SENET_TEST_DEVICE=$device SENET_TEST_FOLDER=$out
if [ "$device" = cpu ]; then
  # The CPU has f32 alone in the program; the tests run the operations of any precision.
  precisions=(f32)
  batches=(1 2)
  size=64
  runs=2
  export SENET_TEST_SIZE=32 SENET_TEST_BATCHES=1,3 SENET_TEST_ROUNDS=3
  few=legacy_seresnet18,seresnext26ts,skresnet18,tf_mobilenetv3_small_100
  networks=(seresnext26ts legacy_seresnet18)
else
  precisions=(f32 tf32 bf16)
  batches=(1 32 256)
  size=224
  runs=20
  few=
  networks=(seresnext50_32x4d senet154 efficientnet_b0 regnety_016)
fi
[ "$device" = metal ] && precisions=(f32 bf16)

# Appends a line of JSON about a step that is not one already.
note() {
  printf '{"check":"%s","result":"%s"}\n' "$1" "$2" | tee -a "$results"
}

# step NAME SECONDS COMMAND...: keeps the JSON lines of its output, and all of it in a log.
step() {
  local name=$1 limit=$2 log
  shift 2
  log=$out/${name// /-}.log
  local start=$SECONDS left=$((deadline - SECONDS))
  limit=$((limit < left ? limit : left))
  if [ "$limit" -le 0 ]; then
    note "$name" "no time left"
    return
  fi
  timeout "$limit" "$@" >"$log" 2>&1
  local code=$?
  grep -h '^{' "$log" | tee -a "$results"
  case $code in
    0) note "$name" "ok, $((SECONDS - start)) s" ;;
    124) note "$name" "stopped after $limit s" ;;
    *) note "$name" "failed with $code: see ${log##*/}" ;;
  esac
}

tests() {
  "$TESTS" --ignored --exact --nocapture "networks::gpu::$1"
}
export -f tests
export TESTS

# bench NETWORK PRECISION BATCHES
bench() {
  step "bench $1 $2" 120 "$SENET" bench "$1" --weights "$out/$1.safetensors" --device "$device" \
    --precision "$2" --batch-size "$3" --img-size "$size" --runs "$runs" --json
}

joined() {
  local IFS=,
  echo "$*"
}

note "part $part" "$("$SENET" version | head -1) on $device"
step devices 20 "$SENET" devices --json
[ -e "$out/${networks[-1]}.safetensors" ] ||
  SENET_TEST_NETWORKS=$(joined "${networks[@]}") step weights 60 bash -c 'tests write_weights'

if [ "$part" = 1 ]; then
  SENET_TEST_NETWORKS=$few SENET_TEST_PRECISIONS=f32 step "goldens f32" 120 bash -c 'tests goldens'
  if [ "$device" != metal ]; then
    SENET_TEST_NETWORKS=$few SENET_TEST_PRECISIONS=tf32 step "goldens tf32" 60 bash -c 'tests goldens'
  fi
  step "damaged input" 20 bash -c 'tests damaged_inputs'
  step "two threads" 30 bash -c 'SENET_TEST_NETWORKS=seresnext26ts tests two_threads'
  for network in "${networks[@]}"; do
    bench "$network" f32 "${batches[0]},${batches[-1]}"
  done
  if command -v compute-sanitizer >/dev/null; then
    step memcheck 60 env SENET_TEST_NETWORKS=tf_mobilenetv3_small_100 SENET_TEST_PRECISIONS=f32 \
      compute-sanitizer --tool memcheck --track-stream-ordered-races all --error-exitcode 9 "$TESTS" --ignored --exact --nocapture \
      networks::gpu::goldens
  else
    note memcheck "compute-sanitizer is not installed"
  fi
else
  SENET_TEST_NETWORKS=$few SENET_TEST_PRECISIONS=bf16 step "goldens bf16" 60 bash -c 'tests goldens'
  SENET_TEST_PRECISIONS=$(joined "${precisions[@]}") step batches 60 \
    bash -c 'SENET_TEST_NETWORKS=seresnext26ts tests batches'
  for network in "${networks[@]}"; do
    for precision in "${precisions[@]}"; do
      bench "$network" "$precision" "$(joined "${batches[@]}")"
    done
  done
  if command -v nsys >/dev/null; then
    step launches 60 nsys profile --force-overwrite true --output "$out/launches" "$SENET" bench \
      "${networks[0]}" --weights "$out/${networks[0]}.safetensors" --device "$device" --runs 1 --json
    # Three passes warm up; each pass also sums its input on the device and joins that with the logits.
    nsys stats --report cuda_gpu_kern_sum --format csv "$out/launches.nsys-rep" >"$out/launches.csv"
    note "kernels in four passes" "$(awk -F, '/^ *[0-9]/ { n += $3 } END { print n }' "$out/launches.csv")"
  else
    note launches "nsys is not installed"
  fi
  if command -v compute-sanitizer >/dev/null; then
    for tool in racecheck initcheck synccheck; do
      step "$tool" 60 env SENET_TEST_NETWORKS=tf_mobilenetv3_small_100 SENET_TEST_PRECISIONS=f32 \
        compute-sanitizer --tool "$tool" --error-exitcode 9 "$TESTS" --ignored --exact --nocapture \
        networks::gpu::goldens
    done
  else
    note sanitizer "compute-sanitizer is not installed"
  fi
  if "$python" -c 'import timm, torch, safetensors' 2>/dev/null; then
    step "pytorch" 120 "$python" tests/tools/bench_torch.py --device "${device/metal/mps}" --folder "$out" \
      --size "$size" --runs "$runs" --batches "$(joined "${batches[@]}")" "${networks[@]}"
  else
    note pytorch "PyTorch and timm are not installed"
  fi
  # Decoding and resizing run ahead on the CPU while the GPU works: the whole takes less than both.
  mkdir -p "$out/images/n02123045"
  for index in $(seq 200); do
    cp tests/data/pictures/exact-256x224.png "$out/images/n02123045/$index.png"
  done
  step "200 images" 60 bash -c '
    "$0" eval "$3/images" --model "$1" --weights "$3/$1.safetensors" --device "$2" --json 2>&1 >/dev/null |
      sed -n "s/^note: \(.* images in .*\)/{\"check\":\"overlap\",\"result\":\"\1\"}/p"' \
    "$SENET" "${networks[0]}" "$device" "$out"
fi

{
  echo "| check | result |"
  echo "|---|---|"
  "$python" - "$results" <<'EOF'
import json, sys
for line in open(sys.argv[1]):
    try:
        row = json.loads(line)
    except ValueError:
        continue  # cut short
    if "infer_step_time" in row:
        name = f'{row["model"]} {row["precision"]} batch {row["infer_batch_size"]}'
        print(f'| {name} | {row["infer_step_time"]:.2f} ms, {row["infer_samples_per_sec"]:.0f} images/s |')
    elif "result" in row:
        print(f'| {row["check"]} | {row["result"]} |')
    elif not row.get("ok", True):
        print(f'| {row["check"]} {row.get("network", "")} {row.get("precision", "")} | **differs** |')
    elif "ms" in row:
        print(f'| {row["check"]} | {row["ms"]} ms |')
EOF
} | tee "$out/results-$part.md"
