"""`senet eval` as a cluster job: the shards are Spark tasks, some of which are killed.

    apt-get install default-jre-headless dataset-fashion-mnist
    pip install pyspark==4.3.0                     # Java 17 or newer
    cargo build --release
    python tests/tools/fashion_pictures.py target/fashion-mnist
    python tests/tools/eval_spark.py target/fashion-mnist

Spark runs in its `local-cluster` mode: a master, two workers and their executors, each a process of its
own. Every task runs one shard with `--resume`, so that an attempt after a failure resumes where the last
one ended. The first attempts at three of the shards are killed with `kill -9`: the program, the
task's Python, or the whole executor. The exit code is 0 if all of that happened and the merged report is,
byte for byte, that of one run without shards.

On a real cluster every worker can access the data, the results and the program, and neither
`--master` nor `KILLED` is needed.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pyspark import SparkConf, SparkContext, TaskContext

ROOT = Path(__file__).resolve().parents[2]
# What is killed in the first attempt at a shard, and the number of result lines at that time.
KILLED = {2: ("program", 50), 5: ("python", 300), 7: ("executor", 1000)}


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def evaluate(shard, shards, command, results):
    """One task. An exception makes Spark try again; unreadable images (exit code 1) are not a failure."""
    attempt = TaskContext.get().attemptNumber()
    path = Path(results, f"shard-{shard}.jsonl")
    before = lines(path)

    def note(end):
        with Path(results, "attempts.txt").open("a") as file:
            file.write(f"shard {shard}, attempt {attempt}: lines {before} to {lines(path)}, {end}\n")

    arguments = [*command, "--shard", f"{shard}/{shards}", "--results", path, "--resume", "--quiet"]
    # The program must not outlive its task, or it would write at the same time as the next attempt.
    bound = ["setpriv", "--pdeathsig", "KILL", *arguments]
    run = subprocess.Popen(bound, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if shard in KILLED and attempt == 0:
        victim, after = KILLED[shard]
        while run.poll() is None and lines(path) < after:
            time.sleep(0.002)
        note(f"{victim} killed")
        # The parent of this process is Spark's daemon for Python, and the executor is the parent of that.
        daemon = Path(f"/proc/{os.getppid()}/stat").read_text().split()
        number = {"program": run.pid, "python": os.getpid(), "executor": int(daemon[3])}[victim]
        os.kill(number, signal.SIGKILL)
    _, said = run.communicate()
    if run.returncode not in (0, 1):
        raise RuntimeError(f"shard {shard} ended with {run.returncode}: {said}")
    note("done")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with class folders")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--shards", type=int, default=7, help="at least 7")
    parser.add_argument("--senet", type=Path, default=ROOT / "target/release/senet")
    parser.add_argument("--master", default="local-cluster[2,1,1024]", help="workers, cores, MiB")
    args = parser.parse_args()
    senet = str(args.senet.resolve())
    command = [senet, "eval", str(args.data.resolve()), "--model", args.model]
    # Executors start Python by this name.
    os.environ["PYSPARK_PYTHON"] = sys.executable
    settings = {
        "spark.task.maxFailures": "3",
        "spark.executor.memory": "512m",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    conf = SparkConf().setMaster(args.master).setAppName("senet eval").setAll(settings.items())
    with tempfile.TemporaryDirectory(prefix="senet-spark-") as results:
        shards = args.shards
        with SparkContext(conf=conf) as spark:
            spark.setLogLevel("ERROR")  # a warning for each killed task is expected
            tasks = spark.parallelize(range(1, shards + 1), shards)
            start = time.time()
            tasks.foreach(lambda shard: evaluate(shard, shards, command, results))
            print(f"{shards} shards in {time.time() - start:.1f} s", flush=True)
        attempts = Path(results, "attempts.txt").read_text()
        print(attempts, end="")
        files = sorted(Path(results).glob("shard-*.jsonl"))
        merged = subprocess.run([senet, "eval", "merge", *files, "--json"], stdout=subprocess.PIPE)
        whole = subprocess.run([*command, "--json", "--quiet"], stdout=subprocess.PIPE)
    same = merged.stdout == whole.stdout != b"" and merged.returncode == whole.returncode
    all_killed = all(f"{victim} killed" in attempts for victim, _ in KILLED.values())
    print(f"reports of {len(merged.stdout)} and {len(whole.stdout)} bytes, {'identical' if same else 'DIFFERENT'}")
    sys.exit(not (same and all_killed))


if __name__ == "__main__":
    main()
