"""What tests of the built program share: running it, and judging what it does.

The program is $PUMICE_BUILD/pumice (default: build/pumice); models come from $PUMICE_SHARED or
../shared. `tests/test_cli.py NAME...` runs single tests.
"""
import os
import re
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("PUMICE_BUILD") or os.path.join(ROOT, "build")
SHARED = os.environ.get("PUMICE_SHARED") or os.path.join(ROOT, "..", "shared")
PROGRAM = os.path.join(BUILD, "pumice")
STORIES = os.path.join(SHARED, "models", "real", "stories260K-f32.gguf")
PEBBLE = os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "models", "pebble", "pebble.gguf"
)
TEMPORARY = tempfile.TemporaryDirectory()
OK, FAILURE, USAGE, BAD_FILE, NO_DEVICE, MEMORY, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% endif %}"
)


class Skip(Exception):
    """What this machine lacks."""


class Result:
    def __init__(self, code, out, err, usage):
        self.code, self.out, self.err = code, out, err
        self.cpu_seconds = usage.ru_utime + usage.ru_stime
        self.peak_bytes = usage.ru_maxrss * 1024


def pumice(*args, text=b"", env=None, timeout=120):
    """Runs the program to its end."""
    temporary = tempfile.TemporaryFile
    with temporary() as given, temporary() as out, temporary() as err:
        given.write(text)
        given.seek(0)
        process = subprocess.Popen(
            [PROGRAM, *args], stdin=given, stdout=out, stderr=err, env={**os.environ, **(env or {})}
        )
        deadline = time.monotonic() + timeout
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                process.kill()
                os.wait4(process.pid, 0)
                raise AssertionError(f"pumice {' '.join(args)}: still running after {timeout} s")
            time.sleep(0.002)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        return Result(process.returncode, out.read(), err.read().decode(errors="replace"), usage)


def on_cpu(command, *args, model=STORIES, **kwargs):
    return pumice(command, "-m", model, "--device", "cpu", *args, **kwargs)


def check(condition, what, result=None):
    if not condition:
        seen = (
            f"\n  exit {result.code}\n  stdout {result.out[:400]!r}\n  stderr {result.err[-800:]}"
            if result
            else ""
        )
        raise AssertionError(f"{what}{seen}")


def check_refusal(result, codes, what):
    """The right exit code, nothing on stdout, exactly one sentence besides the device line."""
    check(result.code in codes, f"{what}: exit code not in {codes}", result)
    check(result.out == b"", f"{what}: something on stdout", result)
    lines = [
        line
        for line in result.err.splitlines()
        if not re.match(
            r"pumice: (device .*;|\d+ prompt tokens|warning: |the model has no chat)", line
        )
    ]
    check(
        len(lines) == 1 and lines[0].startswith("pumice: ") and len(lines[0]) > 20,
        f"{what}: not one sentence",
        result,
    )
    return lines[0]


def chat_model():
    """stories260K with a ChatML template: a header of one key more, the data moved behind it."""
    path = os.path.join(TEMPORARY.name, "chat.gguf")
    if os.path.exists(path):
        return path
    with open(STORIES, "rb") as file:
        data = file.read()
    version, n_tensor, n_key = struct.unpack_from("<IQQ", data, 4)
    at = 24
    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

    def skip_text(at):
        return at + 8 + struct.unpack_from("<Q", data, at)[0]

    def skip_value(at, kind):
        if kind == 8:
            return skip_text(at)
        if kind == 9:
            kind, n = struct.unpack_from("<IQ", data, at)
            at += 12
            for _ in range(n):
                at = skip_value(at, kind)
            return at
        return at + sizes[kind]

    for _ in range(n_key):
        at = skip_text(at)
        at = skip_value(at + 4, struct.unpack_from("<I", data, at)[0])
    keys_end = at
    for _ in range(n_tensor):
        at = skip_text(at)
        at += 4 + 8 * struct.unpack_from("<I", data, at)[0] + 12
    key, value = b"tokenizer.chat_template", CHATML.encode()
    added = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(value)) + value
    header = (
        data[:4]
        + struct.pack("<IQQ", version, n_tensor, n_key + 1)
        + data[24:keys_end]
        + added
        + data[keys_end:at]
    )
    with open(path, "wb") as file:
        file.write(header + b"\0" * (-len(header) % 32) + data[at + -at % 32 :])
    return path


def commands():
    words = pumice("--completion-words").out.decode().split()
    return words[: words.index("help")]


def main(tests):
    """Runs the functions of `tests` (globals of a file) called test_..., or those named."""
    program = os.path.basename(sys.argv[0])
    if not os.path.exists(STORIES):
        print(f"{program}: skipped, {os.path.relpath(STORIES, ROOT)} is not there")
        sys.exit(77)
    check(os.access(PROGRAM, os.X_OK), f"{PROGRAM} is not built")
    wanted = sys.argv[1:]
    tests = {
        name: test
        for name, test in tests.items()
        if name.startswith("test_") and callable(test)
    }
    for name in wanted:
        check(name in tests, f"no test {name}")
    n_failed = n_skipped = 0
    for name, test in tests.items():
        if wanted and name not in wanted:
            continue
        start = time.monotonic()
        try:
            test()
            print(f"ok     {name} ({time.monotonic() - start:.1f} s)", flush=True)
        except Skip as reason:
            n_skipped += 1
            print(f"skipped {name}: {reason}", flush=True)
        except Exception as error:  # a broken document or a missing key is a failure like any other
            n_failed += 1
            print(
                f"FAILED {name}: {type(error).__name__}: {error}\n"
                f"  alone: python3 tests/{program} {name}",
                flush=True,
            )
    n = len(wanted) if wanted else len(tests)
    print(f"{n - n_failed - n_skipped} passed, {n_failed} failed, {n_skipped} skipped")
    sys.exit(1 if n_failed else 0)
