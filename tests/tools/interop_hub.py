"""Tests the cache and the protocol against two independent programs: Python's `huggingface_hub` as another
client, and `olah` as a hub that serves a local git repository.

    python3 -m venv target/interop && target/interop/bin/pip install huggingface_hub==2.4.0 olah==0.5.4
    cargo build && target/interop/bin/python tests/tools/interop_hub.py target/debug/senet
"""

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NAME = "timm/seresnet50.ra2_in1k"
MODEL = "seresnet50.ra2_in1k"
FILE = "model.safetensors"


def serve(work: Path, contents: bytes) -> tuple[subprocess.Popen, str]:
    """Starts olah on a repository with one large file, stored by git-lfs."""
    repo = work / "mirror/models" / NAME
    repo.mkdir(parents=True)

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        subprocess.run(["git", *identity, "-C", repo, *arguments], check=True)

    git("init", "--quiet", "--initial-branch=main")
    oid = hashlib.sha256(contents).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(contents)}\n"
    (repo / FILE).write_text(pointer)
    objects = repo / ".git/lfs/objects" / oid[:2] / oid[2:4]
    objects.mkdir(parents=True)
    (objects / oid).write_bytes(contents)
    git("add", "--all")
    git("commit", "--quiet", "--message=weights")

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = work / "olah.toml"
    config.write_text(
        f"""[basic]
host = "127.0.0.1"
port = {port}
repos-path = "{work}/repos"
mirrors-path = ["{work}/mirror"]
[accessibility]
offline = true
"""
    )
    command = [Path(sys.executable).parent / "olah-cli", "-c", config]
    with open(work / "log", "w") as log:
        server = subprocess.Popen(command, cwd=work, stdout=log, stderr=log)
    for _ in range(150):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.2)
    return server, f"http://127.0.0.1:{port}"


def main() -> None:
    senet = str(Path(sys.argv[1]).resolve())
    work = Path(tempfile.mkdtemp())
    contents = os.urandom(3_000_000)
    server, endpoint = serve(work, contents)

    def run(command: list[str], home: str) -> str:
        environment = os.environ | {
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(work / home),
            "HF_HUB_DISABLE_XET": "1",
        }
        done = subprocess.run(command, env=environment, cwd=work, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def python(code: str, home: str) -> str:
        return run([sys.executable, "-c", f"from huggingface_hub import *; {code}"], home)

    try:
        ours = run([senet, "download", MODEL], "ours")
        assert Path(ours).read_bytes() == contents
        found = python(f"print(hf_hub_download({NAME!r}, {FILE!r}, local_files_only=True))", "ours")
        assert found == ours, f"{found} is not {ours}"
        scan = python("c = scan_cache_dir(); print(len(c.repos), c.size_on_disk, c.warnings)", "ours")
        assert scan == f"1 {len(contents)} []", scan
        theirs = python(f"print(hf_hub_download({NAME!r}, {FILE!r}))", "theirs")
        assert run([senet, "download", MODEL, "--offline"], "theirs") == theirs
        assert run([senet, "cache", "verify"], "theirs").endswith("1 file ok, 0 damaged")
        run([senet, "cache", "remove", MODEL, "--yes"], "theirs")
        scan = python("c = scan_cache_dir(); print(len(c.repos), c.warnings)", "theirs")
        assert scan == "0 []", scan
    except AssertionError:
        print((work / "log").read_text()[-2000:], file=sys.stderr)
        raise
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(work)
    print("both read each other's cache, and olah's answers are understood")


if __name__ == "__main__":
    main()
