"""Times `senet download` beside curl: one large file from a hub on this machine, in turn.

    cargo build --release && python3 benches/download.py target/release/senet

curl only writes what comes; senet also takes its SHA-256, and has the file on the disk before it gives
it its name. Prints a Markdown table (median, fastest to slowest), and the time of a cache hit. The memory counts
this script's own, from which the commands are started, so it is an upper bound.
"""

import argparse
import hashlib
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

MODEL, REPO, FILE = "seresnet50.ra2_in1k", "timm/seresnet50.ra2_in1k", "model.safetensors"


def serve(listener: socket.socket, path: Path, digest: str) -> None:
    """Answers HEAD and GET of any address with the file, as the hub does, for ever."""
    size = path.stat().st_size
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nConnection: close\r\nX-Repo-Commit: {'a' * 40}\r\n"
        f'X-Linked-Etag: "{digest}"\r\nX-Linked-Size: {size}\r\nETag: "{digest}"\r\n\r\n'
    ).encode()
    while True:
        stream, _ = listener.accept()
        with stream, open(path, "rb") as file:
            request = b""
            while b"\r\n\r\n" not in request:
                request += stream.recv(65536)
            stream.sendall(head)
            if request.startswith(b"GET"):
                stream.sendfile(file)
            stream.shutdown(socket.SHUT_WR)


def measure(command: list[str], environment: dict[str, str]) -> tuple[float, float, float]:
    """Seconds, seconds of CPU and MiB of memory that a command takes."""
    start = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{command} ended with {process.returncode}"
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def shown(values: list[float], digits: int) -> str:
    figures = statistics.median(values), min(values), max(values)
    middle, low, high = (f"{value:.{digits}f}" for value in figures)
    return f"{middle} ({low} to {high})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("senet", type=Path)
    parser.add_argument("--megabytes", type=int, default=460)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--folder", type=Path, help="where to write [default: the system's for temporary files]")
    arguments = parser.parse_args()
    senet = str(arguments.senet.resolve())
    work = Path(tempfile.mkdtemp(dir=arguments.folder))
    source = work / "source"
    block = os.urandom(1_000_000)
    hasher = hashlib.sha256()
    with open(source, "wb") as file:
        for number in range(arguments.megabytes):
            piece = number.to_bytes(8, "big") + block[8:]
            file.write(piece)
            hasher.update(piece)
        # Nothing of it is left to be written while others are timed.
        os.fsync(file.fileno())
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = os.fork()
    if server == 0:
        serve(listener, source, hasher.hexdigest())
    environment = os.environ | {"HF_ENDPOINT": url, "HF_HOME": str(work / "home")}
    curl = ["curl", "--silent", "--fail", "--output", str(work / "curl"), f"{url}/{REPO}/resolve/main/{FILE}"]
    commands = {
        "curl": curl,
        "curl, sha256sum": ["sh", "-c", f'"$@" && sha256sum {work}/curl', "sh", *curl],
        "curl, sync": ["sh", "-c", f'"$@" && sync {work}/curl', "sh", *curl],
        "senet": [senet, "download", MODEL],
    }
    try:
        figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
        for _ in range(arguments.runs):
            for name, command in commands.items():
                figures[name].append(measure(command, environment))
                if name != "senet":
                    (work / "curl").unlink()
                    continue
                hits = [measure(command, environment) for _ in range(5)]
                figures.setdefault("senet, cache hit", []).extend(hits)
                shutil.rmtree(work / "home")
        print("|  | s | of curl | CPU s | peak MiB |\n| --- | ---: | ---: | ---: | ---: |")
        base = statistics.median(seconds for seconds, _, _ in figures["curl"])
        for name, rows in figures.items():
            seconds, cpu, memory = (list(column) for column in zip(*rows))
            ratio = statistics.median(seconds) / base
            print(f"| {name} | {shown(seconds, 4)} | {ratio:.2f} | {shown(cpu, 3)} | {max(memory):.0f} |")
    finally:
        os.kill(server, 15)
        os.waitpid(server, 0)
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
