#!/usr/bin/env python3
"""Compiles the kernels of src/nn/candle/kernels.h for NVIDIA's GPUs, without one.

    python3 -m venv target/nvrtc
    target/nvrtc/bin/pip install nvidia-cuda-nvrtc==13.0.88 nvidia-cuda-nvcc==13.0.88
    target/nvrtc/bin/python tests/tools/compile_kernels.py

NVRTC compiles the program's text for its default compute capability, as the program does when it loads a
network, and for each other; ptxas turns both into machine code for each GPU. Prints the registers of each
kernel, of the default first. Fails on an error, a warning or a register spill.
"""

import ctypes
import pathlib
import re
import subprocess
import sys
import tempfile

import nvidia

CAPABILITIES = [75, 80, 86, 89, 90, 100, 120]
KERNELS = ["epilogue", "squeeze", "depthwise", "unfold", "weigh", "pool"]


def packaged(pattern):
    """A file of NVIDIA's packages."""
    for folder in nvidia.__path__:
        for path in sorted(pathlib.Path(folder).glob(pattern)):
            return path
    sys.exit(f"no {pattern} among NVIDIA's packages")


class Nvrtc:
    def __init__(self):
        # The first loads the second.
        ctypes.CDLL(packaged("**/libnvrtc-builtins.so.*"), mode=ctypes.RTLD_GLOBAL)
        self.library = ctypes.CDLL(packaged("**/libnvrtc.so.*"))

    def text(self, program, size_of, get):
        size = ctypes.c_size_t()
        self.check(getattr(self.library, size_of)(program, ctypes.byref(size)))
        buffer = ctypes.create_string_buffer(size.value)
        self.check(getattr(self.library, get)(program, buffer))
        return buffer.value.decode()

    def check(self, code):
        if code != 0:
            sys.exit(f"NVRTC: error {code}")

    def compile(self, source, capability):
        """PTX for a compute capability, or for NVRTC's default."""
        program = ctypes.c_void_p()
        text = ctypes.c_char_p(source.encode())
        self.check(self.library.nvrtcCreateProgram(ctypes.byref(program), text, None, 0, None, None))
        options = [f"--gpu-architecture=compute_{capability}".encode()] if capability else []
        array = (ctypes.c_char_p * len(options))(*options)
        code = self.library.nvrtcCompileProgram(program, len(options), array)
        log = self.text(program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog")
        if code != 0 or log.strip():
            sys.exit(f"compute_{capability or 'default'}: {log}")
        ptx = self.text(program, "nvrtcGetPTXSize", "nvrtcGetPTX")
        self.library.nvrtcDestroyProgram(ctypes.byref(program))
        return ptx


def registers(ptx, capability):
    """Registers of each kernel, by ptxas."""
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "kernels.ptx"
        source.write_text(ptx)
        command = [packaged("**/bin/ptxas"), f"-arch=sm_{capability}", "-v", source]
        command += ["-o", pathlib.Path(folder) / "kernels.cubin"]
        run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"sm_{capability}: {run.stderr}")
    found, spills = {}, set()
    kernel = None
    for line in run.stderr.splitlines():
        if match := re.search(r"Compiling entry function '(\w+)'", line):
            kernel = match[1]
        if match := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
            spills.add(kernel)
            if match[1] != "0" or match[2] != "0":
                sys.exit(f"sm_{capability}: {kernel} spills: {line.strip()}")
        if match := re.search(r"Used (\d+) registers", line):
            found[kernel] = int(match[1])
    if sorted(found) != sorted(KERNELS) or spills != set(KERNELS):
        sys.exit(f"sm_{capability}: expected {KERNELS}, found {sorted(found)}")
    return found


def main():
    folder = pathlib.Path(__file__).parents[2] / "src/nn/candle"
    text = (folder / "cuda.h").read_text() + (folder / "kernels.h").read_text()
    nvrtc = Nvrtc()
    print(f"{'registers':14}" + "".join(f"{kernel:>11}" for kernel in KERNELS))
    for name, definition in [("f32", ""), ("bf16", "#define BF16\n")]:
        default = nvrtc.compile(definition + text, None)
        for capability in CAPABILITIES:
            found = registers(default, capability)
            own = registers(nvrtc.compile(definition + text, capability), capability)
            cells = (f"{found[kernel]}, {own[kernel]}" for kernel in KERNELS)
            print(f"{name:5}sm_{capability:<6}" + "".join(f"{cell:>11}" for cell in cells))


if __name__ == "__main__":
    main()
