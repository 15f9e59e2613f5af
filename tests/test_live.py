#!/usr/bin/env python3
# ctest: model
"""The program while somebody is at it: chats, signals, streams that are closed or full."""
import json
import os
import pty
import random
import re
import resource
import select
import signal
import subprocess
import tempfile
import time

from cli import (
    BAD_FILE,
    FAILURE,
    INTERRUPTED,
    OK,
    PROGRAM,
    STORIES,
    Skip,
    TEMPORARY,
    USAGE,
    chat_model,
    check,
    on_cpu,
    pumice,
    main,
)


# ---- chat ------------------------------------------------------------------------------



def test_chat_from_a_pipe():
    args = ["-n", "12", "--temp", "0"]
    result = on_cpu(
        "chat", *args, text=b"Hello\n\n/stats\nAgain\n/exit\nnever\n", model=chat_model()
    )
    check(
        result.code == OK
        and b"never" not in result.out
        and "4 messages" not in result.out.decode(),
        "chat",
        result,
    )
    first = on_cpu("chat", *args, text=b"Hello", model=chat_model())
    check(
        first.code == OK and result.out.startswith(first.out) and len(result.out) > len(first.out),
        "two answers",
        result,
    )
    cleared = on_cpu("chat", *args, text=b"Again\n/clear\nHello\n", model=chat_model())
    check(cleared.out.endswith(first.out), "/clear forgets", cleared)
    unknown = on_cpu("chat", *args, text=b"/sing\n", model=chat_model())
    check_refusal_lines = [line for line in unknown.err.splitlines() if "/sing" in line]
    check(
        unknown.code == USAGE and unknown.out == b"" and len(check_refusal_lines) == 1,
        "unknown command",
        unknown,
    )
    check(on_cpu("chat", text=b"x\n").code == BAD_FILE, "no template, no chat")


def test_chat_saves_and_loads():
    saved = os.path.join(TEMPORARY.name, "saved.json")
    script = f"/system Be short\nHello\n/save {saved}\nMore\n"
    result = on_cpu("chat", "-n", "8", "--temp", "0", text=script.encode(), model=chat_model())
    check(result.code == OK, "save", result)
    with open(saved, encoding="utf-8") as file:
        messages = json.load(file)
    check(
        [m["role"] for m in messages] == ["system", "user", "assistant"]
        and messages[0]["content"] == "Be short",
        messages,
    )
    loaded = on_cpu(
        "chat", "-n", "8", "--temp", "0", text=f"/load {saved}\nMore\n".encode(), model=chat_model()
    )
    check(
        loaded.code == OK and result.out.endswith(loaded.out),
        "a loaded conversation goes on alike",
        loaded,
    )
    for bad in (
        "[",
        "{}",
        '[{"role": "king", "content": ""}]',
        '[{"role": "user"}]',
        '[{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]',
    ):
        with open(saved, "w", encoding="utf-8") as file:
            file.write(bad)
        check(
            on_cpu("chat", text=f"/load {saved}\n".encode(), model=chat_model()).code == BAD_FILE,
            bad,
        )


def test_saving_on_a_full_disk():
    folder = tempfile.mkdtemp(dir=TEMPORARY.name)
    saved, link = os.path.join(folder, "saved.json"), os.path.join(folder, "link.json")

    def save(path, file_bytes=resource.RLIM_INFINITY):
        return subprocess.run(
            [PROGRAM, "chat", "-m", chat_model(), "--device", "cpu", "-n", "4", "--temp", "0"],
            input=f"Hello\n/save {path}\n".encode(),
            capture_output=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes)),
            timeout=120,
        )

    check(save(saved).returncode == OK, "save")
    os.chmod(saved, 0o640)
    os.symlink(saved, link)
    with open(saved, "rb") as file:
        whole = file.read()
    for path in (saved, link):
        full = save(path, 20)
        check(full.returncode == FAILURE and b"cannot write" in full.stderr, full.stderr)
        with open(saved, "rb") as file:
            check(file.read() == whole, "what was saved before is still there")
    check(save(link).returncode == OK and os.path.islink(link), "a link is followed")
    check(os.stat(saved).st_mode & 0o777 == 0o640, "the mode is kept")
    check(sorted(os.listdir(folder)) == ["link.json", "saved.json"], os.listdir(folder))
    device = save("/dev/full")
    check(device.returncode == FAILURE and b"No space left" in device.stderr, device.stderr)
    missing = save(os.path.join(folder, "missing", "saved.json"))
    check(missing.returncode == FAILURE and b"cannot create" in missing.stderr, missing.stderr)


def test_chat_context_full():
    result = on_cpu(
        "chat", "-c", "64", "-n", "4", text=b"Hello\n" + b"word " * 60 + b"\n", model=chat_model()
    )
    check(
        result.code == FAILURE and "/clear" in result.err and "64" in result.err,
        "context full",
        result,
    )


# ---- signals ---------------------------------------------------------------------------


def start_endless_run():
    """A run that goes on until somebody stops it."""
    command = [PROGRAM, "run", "-m", STORIES, "--device", "cpu", "--raw", "-p", "Once"]
    command += ["-c", "100000", "--ignore-eos"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_interrupted_run():
    process = start_endless_run()
    check(len(process.stdout.read(40)) == 40, "some text")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    check(process.returncode == INTERRUPTED, f"exit {process.returncode}: {err[-400:]}")
    check(
        out.endswith(b"\n") and b" tokens  " in err.splitlines()[-1],
        "text and closing line are complete",
    )


# None of them ends by itself before the signal, however fast the device.
ENDLESS = ["--raw", "--ignore-eos", "-c", "20000"]
MOMENTS = (
    ("run", signal.SIGINT, ["-p", "Once upon a time", *ENDLESS]),
    ("run", signal.SIGTERM, ["-p", "Once " * 300, "--answers", "3", *ENDLESS]),
    ("score", signal.SIGINT, ["-p", "The cat sat on the mat. " * 4000, "-c", "300"]),
)


def stop_at(command, number, args, seconds, env):
    """Sends a signal so long after the program has its handlers; gives the time it took to end."""
    process = subprocess.Popen(
        [PROGRAM, command, "-m", STORIES, *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env,
    )
    try:
        wait_until_caught(process.pid)
        time.sleep(seconds)
        sent = time.monotonic()
        process.send_signal(number)
        text = process.communicate(timeout=120)[0].decode(errors="replace")
    finally:
        process.kill()
    took = time.monotonic() - sent
    what = f"{command}, {number.name} after {seconds:.2f} s"
    check(process.returncode == INTERRUPTED, f"{what}: exit {process.returncode}: {text[-400:]}")
    check("Validation" not in text and "VUID" not in text, f"{what}: {text[-2000:]}")
    return took


def test_any_moment():
    """Whatever it does when a signal comes, it lets the device end what it has begun."""
    rng = random.Random(9)
    slowest = 0
    for i in range(30):
        command, number, args = MOMENTS[i % len(MOMENTS)]
        env = dict(os.environ)
        if i % 6 == 5:  # where the layer is not installed, the loader leaves it out
            env["VK_INSTANCE_LAYERS"] = "VK_LAYER_KHRONOS_validation"
        slowest = max(slowest, stop_at(command, number, args, rng.uniform(0, 2.5), env))
    print(f"  30 moments, the slowest end took {slowest:.1f} s")


def test_closed_stdout():
    process = start_endless_run()
    process.stdout.read(1)
    process.stdout.close()
    err = process.stderr.read()
    check(
        process.wait(timeout=60) == FAILURE and b"standard output" in err,
        f"exit {process.returncode}: {err[-400:]}",
    )


def test_full_stdout():
    """Every command that prints says so when it cannot."""
    cpu = ["-m", STORIES, "--device", "cpu"]
    for args in (
        ["--version"],
        ["help"],
        ["help", "run"],
        ["run", "--help"],
        ["--completion-words"],
        ["info", "-m", STORIES],
        ["info", "-m", STORIES, "--json"],
        ["plan", *cpu],
        ["plan", *cpu, "--json"],
        ["tokenize", "-m", STORIES, "-p", "Hello"],
        ["tokenize", "-m", STORIES, "-p", "5 6", "--decode"],
        ["score", *cpu, "-p", "Hello there"],
        ["run", *cpu, "--raw", "-p", "Once", "-n", "4"],
        ["run", *cpu, "--raw", "-p", "Once", "-n", "4", "-a", "2"],
        ["run", *cpu, "--raw", "-p", "Once", "-n", "4", "--json"],
    ):
        with open("/dev/full", "wb") as full:
            result = subprocess.run(
                [PROGRAM, *args], stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE
            )
        lines = [line for line in result.stderr.splitlines() if b"standard output" in line]
        check(result.returncode == FAILURE and len(lines) == 1, f"{args}: {result}")


def test_streams_closed_before_the_start():
    """Nothing that is opened takes the place of standard output."""
    closed = subprocess.run(
        [PROGRAM, "run", "-m", STORIES, "--device", "cpu", "--raw", "-p", "Once", "-n", "4"],
        stderr=subprocess.PIPE,
        preexec_fn=lambda: os.close(1),
    )
    check(closed.returncode == FAILURE and b"standard output" in closed.stderr, closed)
    closed = subprocess.run(
        [PROGRAM, "tokenize", "-m", STORIES], stderr=subprocess.PIPE, preexec_fn=lambda: os.close(0)
    )
    check(closed.returncode == BAD_FILE and b"standard input" in closed.stderr, closed)


def test_interrupted_wait():
    """Ctrl-C before any input has come from a pipe."""
    for command, last in (("chat", b"context "), ("run", None)):
        process = subprocess.Popen(
            [PROGRAM, command, "-m", chat_model(), "--device", "cpu"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            if last:
                while last not in (line := process.stderr.readline()):
                    check(line, f"{command}: ended early")
            else:
                wait_until_caught(process.pid)
            process.send_signal(signal.SIGINT)
            check(
                process.wait(timeout=60) == INTERRUPTED,
                f"{command}: exit {process.returncode}",
            )
        finally:
            process.kill()
            process.communicate()


def wait_until_caught(pid, timeout=60):
    """Until the program has its handler of SIGINT."""
    deadline = time.monotonic() + timeout
    while True:
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            caught = re.search(r"^SigCgt:\s*(\w+)", file.read(), re.MULTILINE)
        if caught and int(caught[1], 16) & 1 << (signal.SIGINT - 1):
            return
        check(time.monotonic() < deadline, "SIGINT is not caught")
        time.sleep(0.01)


class Terminal:
    """A chat on a terminal of its own."""

    def __init__(self, *args, state=None, file_bytes=resource.RLIM_INFINITY):
        self.state = state or tempfile.mkdtemp(dir=TEMPORARY.name)
        try:
            self.pid, self.fd = pty.fork()
        except OSError as error:  # a chroot without /dev/pts
            raise Skip(f"no terminal to be had: {error}") from None
        if self.pid == 0:
            os.environ.update(XDG_STATE_HOME=self.state, TERM="xterm")
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
            os.execv(PROGRAM, [PROGRAM, "chat", "-m", chat_model(), "--device", "cpu", *args])
        self.seen = ""

    def wait_for(self, pattern, timeout=60):
        deadline = time.monotonic() + timeout
        while not (match := re.search(pattern, self.seen)):
            left = deadline - time.monotonic()
            check(
                left > 0 and select.select([self.fd], [], [], left)[0],
                f"no {pattern!r} in {self.seen[-600:]!r}",
            )
            try:
                self.seen += os.read(self.fd, 65536).decode(errors="replace")
            except OSError:
                raise AssertionError(f"ended without {pattern!r}: {self.seen[-600:]!r}") from None
        self.seen = self.seen[match.end() :]

    def type(self, text):
        os.write(self.fd, text.encode())

    def end(self, timeout=60):
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                os.close(self.fd)
                raise AssertionError(f"still running after {timeout} s: {self.seen[-600:]!r}")
            try:
                text = os.read(self.fd, 65536)
            except OSError:
                break
            if not text:
                break
            self.seen += text.decode(errors="replace")
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        return code


def test_chat_on_a_terminal():
    chat = Terminal("-n", "5", "--temp", "0")
    chat.wait_for("> ")
    chat.type("Hello 你好\n")
    chat.wait_for(r"\n> ")
    chat.type("/stats\n")
    chat.wait_for("2 messages")
    chat.wait_for("> ")
    chat.type("\x03")
    chat.wait_for("once more")
    chat.type("/stats\n")
    chat.wait_for("2 messages")
    chat.wait_for("> ")
    chat.type("\x04")
    check(chat.end() == OK, "Ctrl-D leaves")
    with open(os.path.join(chat.state, "pumice", "chat_history"), encoding="utf-8") as file:
        check("stats" in file.read(), "the history is kept")


def test_history_on_a_full_disk():
    state, seen = None, []
    for line, file_bytes in (("/stats\n", resource.RLIM_INFINITY), ("/system Short\n", 10)):
        chat = Terminal(state=state, file_bytes=file_bytes)
        chat.wait_for("> ")
        chat.type(line)
        chat.wait_for("pumice: ")
        chat.wait_for("> ")
        chat.type("/exit\n")
        check(chat.end() == OK, "left")
        state = chat.state
        with open(os.path.join(state, "pumice", "chat_history"), encoding="utf-8") as file:
            seen.append(file.read())
    check("stays as it was" in chat.seen, chat.seen)
    check("stats" in seen[0] and seen[0] == seen[1], seen)
    check(os.listdir(os.path.join(state, "pumice")) == ["chat_history"], "nothing else is left")


def test_interrupted_chat():
    chat = Terminal("-c", "100000", "--temp", "0")
    chat.wait_for("> ")
    chat.type("Hello\n")
    chat.wait_for(r"Hello\s+\S")
    chat.type("\x03")
    chat.wait_for("stopped; the conversation is kept")
    chat.wait_for("> ")
    chat.type("/stats\n")
    chat.wait_for("2 messages")
    chat.wait_for("> ")
    chat.type("\x03")
    chat.wait_for("once more")
    chat.type("\x03")
    check(chat.end() == INTERRUPTED, "Ctrl-C twice leaves")


main(globals())
