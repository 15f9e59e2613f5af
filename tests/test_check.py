#!/usr/bin/env python3
# ctest: model
"""`pumice check` finds kernels that are wrong, hang or crash, and runs go on with others.

Shaders are broken in a copy of shaders/ that PUMICE_SHADER_DIR points to. The program is
$PUMICE_BUILD/pumice (default: build/pumice); the model comes from $PUMICE_SHARED or ../shared.
`test_check.py NAME...` runs single tests.
"""
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("PUMICE_BUILD") or os.path.join(ROOT, "build")
SHARED = os.environ.get("PUMICE_SHARED") or os.path.join(ROOT, "..", "shared")
PROGRAM = os.path.join(BUILD, "pumice")
MODEL = os.path.join(SHARED, "models", "real", "stories260K-f32.gguf")
TEMPORARY = tempfile.TemporaryDirectory()
OK, USAGE, BAD_FILE, CHECK_FAILED, INTERRUPTED = 0, 2, 3, 7, 130
# the reduction of the subgroup tier takes its own element for the sum of all
WRONG = ("TYPE part = SUBGROUP(mine);", "TYPE part = mine;")
# 2^48 empty statements, which no compiler gets to the end of (llvmpipe leaves endless loops by
# itself)
HANGING = (
    "#ifdef TIER_SUBGROUP\n",
    "#ifdef TIER_SUBGROUP\n#define EMPTY0 ;\n"
    + "".join(f"#define EMPTY{i + 1} EMPTY{i} EMPTY{i}\n" for i in range(48))
    + "void never() { EMPTY48 }\n",
)


class Machine:
    """A cache directory, and shaders that are whole or broken."""

    def __init__(self, name, broken=None):
        self.cache = os.path.join(TEMPORARY.name, name, "cache")
        self.env = {**os.environ, "XDG_CACHE_HOME": self.cache}
        self.env.pop("PUMICE_SHADER_DIR", None)
        if broken:
            shaders = os.path.join(TEMPORARY.name, name, "shaders")
            shutil.copytree(os.path.join(ROOT, "shaders"), shaders)
            path = os.path.join(shaders, "subgroup.glsl")
            with open(path, encoding="utf-8") as file:
                text = file.read()
            assert broken[0] in text, "the line to break is not in subgroup.glsl"
            with open(path, "w", encoding="utf-8") as file:
                file.write(text.replace(*broken, 1))
            self.env["PUMICE_SHADER_DIR"] = shaders

    def start(self, *args, stdin=subprocess.DEVNULL):
        return subprocess.Popen(
            [PROGRAM, *args],
            env=self.env,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def pumice(self, *args, timeout=400):
        process = self.start(*args)
        out, err = process.communicate(timeout=timeout)
        return Result(process.returncode, out, err)

    def run(self, *args):
        return self.pumice("run", "-m", MODEL, "--raw", "-p", "Once upon a time", "--temp", "0",
                           "-n", "16", "--json", *args)  # fmt: skip

    def record(self):
        paths = glob.glob(os.path.join(self.cache, "pumice", "check-*.txt"))
        return paths[0] if len(paths) == 1 else None


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def json(self):
        check(self.out.startswith("{"), "one JSON document", self)
        return json.loads(self.out)


def check(condition, what, result=None):
    if not condition:
        seen = (
            f"\n  exit {result.code}\n  {result.out[-1500:]}\n  {result.err[-1500:]}"
            if result
            else ""
        )
        raise AssertionError(what + seen)


def reference_tokens():
    return Machine("cpu").run("--device", "cpu").json()["tokens"]


def has_subgroups(machine):
    devices = machine.pumice("devices", "--json").json()["devices"]
    usable = [d for d in devices if d["kind"] != "cpu" and d["usable"]]
    if not usable:
        return None
    tiers = usable[0]["tiers"]
    return any(t["tier"] == "subgroup" and t["available"] for t in tiers)


def test_whole_kernels_pass():
    machine = Machine("whole")
    result = machine.pumice("check", "--quick", "--json")
    check(result.code == OK, "a quick check of whole kernels", result)
    found = result.json()
    check(found["failed"] == found["unchecked"] == 0 and found["cases"] > 30, "counts", result)
    check(found["quarantined"] == [] and found["failures"] == [], "nothing in quarantine", result)
    names = {kernel["name"] for kernel in found["kernels"]}
    check({"embed", "matvec", "matmul", "attention", "advance"} <= names, "kernels", result)
    other = machine.pumice("check", "--quick", "--json", "-s", "99", "--kernel", "matvec").json()
    check([k["name"] for k in other["kernels"]] == ["matvec"], "--kernel takes one of that name")
    unknown = machine.pumice("check", "--kernel", "nosuch")
    check(unknown.code == USAGE and "is called 'nosuch'" in unknown.err, "unknown", unknown)
    missing = machine.pumice("check", "-m", "/nosuch.gguf")
    check(missing.code == BAD_FILE and "/nosuch.gguf" in missing.err, "no such model", missing)
    check(machine.pumice("check", "--quick", "--deep").code == USAGE, "two levels")


def test_model_nodes_pass():
    machine = Machine("nodes")
    result = machine.pumice("check", "--quick", "-m", MODEL, "--kernel", "node/", "--json")
    check(result.code == OK, "nodes of a model", result)
    kernels = result.json()["kernels"]
    check([k["name"] for k in kernels] == ["model nodes"], "only nodes", result)
    check(kernels[0]["cases"] >= 80 and kernels[0]["worst_nmse"] > 0, "every node twice", result)
    fused = machine.pumice("check", "--quick", "-m", MODEL, "--kernel", "fused", "--json")
    check(fused.code == OK, "with nodes fused as without", fused)
    check([k["name"] for k in fused.json()["kernels"]] == ["fused"], "only that", fused)


def test_wrong_kernels_are_quarantined():
    machine = Machine("wrong", WRONG)
    result = machine.pumice("check", "--quick", "--json")
    check(result.code == CHECK_FAILED, "wrong kernels are found", result)
    found = result.json()
    wrong = {k["name"] for k in found["kernels"] if k["name"].endswith("_subgroup")}
    check({"matvec_subgroup", "attention_subgroup"} < wrong, "kernels with subgroups", result)
    check({k["name"] for k in found["kernels"] if k["failed"]} == wrong, "which fail", result)
    instead = {q["kernel"]: q["instead"] for q in found["quarantined"]}
    check(set(instead) == wrong and all(instead.values()), "each is replaced", result)
    check(not wrong & set(instead.values()), "by one that is right", result)
    run = machine.run("--no-check")
    check(
        re.search(
            r"kernel rmsnorm_subgroup: quarantined on this driver "
            r"\(check failed: norm: NMSE [^)]*\(.*\)\); "
            r"rmsnorm is used",
            run.err,
        ),
        "a run says which kernels it does not use",
        run,
    )
    check(run.json()["tokens"] == reference_tokens(), "a run goes on with the right tokens", run)

    cleared = machine.pumice("check", "--clear")
    check(cleared.code == OK and machine.record() is None, "--clear removes the record", cleared)
    bad = machine.run("--no-check")
    check(
        bad.code != OK or bad.json()["tokens"] != reference_tokens(),
        "the broken shaders break nothing: this test proves nothing",
        bad,
    )


def test_no_fuse():
    machine = Machine("no-fuse")
    fused, plain = machine.run("--no-check"), machine.run("--no-check", "--no-fuse")
    check(fused.code == plain.code == OK, "both run", plain)
    check(fused.json()["tokens"] == plain.json()["tokens"], "the same tokens", plain)
    few, many = fused.json()["dispatches"], plain.json()["dispatches"]
    check(3 * few < 2 * many, f"{few} launches where there were {many}", plain)


def test_one_dispatch():
    machine = Machine("one-dispatch")
    one, many = machine.run("--no-check", "--one-dispatch"), machine.run("--no-check")
    check(one.code == many.code == OK, "both run", one)
    check(one.json()["tokens"] == many.json()["tokens"], "the same tokens", one)
    if "one dispatch:" not in one.err:
        few, all_of_them = one.json()["dispatches"], many.json()["dispatches"]
        check(2 * few < all_of_them, f"{few} launches where there were {all_of_them}", one)


def test_first_use():
    machine = Machine("first", WRONG)
    run = machine.run()
    check("first use of this device and driver" in run.err, "the short check says a line", run)
    check("rmsnorm is used" in run.err, "the same run takes other kernels", run)
    check(run.json()["tokens"] == reference_tokens(), "and has the right tokens", run)
    again = machine.run()
    check("first use" not in again.err, "it is remembered", again)
    check("rmsnorm is used" in again.err, "so is the quarantine", again)

    whole = Machine("first_whole")
    skipped = whole.run("--no-check")
    check("first use" not in skipped.err and whole.record() is None, "--no-check", skipped)
    uncached = whole.run("--no-cache")
    check("first use" not in uncached.err, "nothing to remember it in", uncached)
    checked = whole.run()
    check("0 failed" in checked.err and "quarantined" not in checked.err, "whole", checked)
    check(checked.json()["tokens"] == reference_tokens(), "the right tokens", checked)


def test_hostile_records():
    machine = Machine("hostile")
    machine.run()
    with open(machine.record(), "rb") as file:
        good = file.read()
    check(re.search(rb"\nend [0-9a-f]{16}\n$", good), "closed by a hash")
    lines = re.sub(rb"end \w+\n$", b"end\n", good).split(b"\n")  # as people close it
    bad = {
        "empty": b"",
        "torn": good[:-4],
        "one bit": good[:20] + bytes([good[20] ^ 1]) + good[21:],
        "two lines as one": good.replace(b"\nchecked", b" checked"),
        "longer": good + b"more\n",
        "zero": good[:20] + b"\0" + good[21:],
        "unknown kernel": b"\n".join(lines[:1] + [b"quarantined nosuch why"] + lines[1:]),
        "no reason": b"\n".join(lines[:1] + [b"quarantined rope "] + lines[1:]),
        "long reason": b"\n".join(lines[:1] + [b"quarantined rope " + b"x" * 500] + lines[1:]),
        "bad set": b"\n".join(lines[:1] + [b"checked 12zz"] + lines[1:]),
        "control": b"\n".join(lines[:1] + [b"device \x1b[2J"] + lines[1:]),
        "many sets": lines[0] + b"\n" + b"checked 0123456789abcdef\n" * 500 + b"end\n",
        "large": good[:-21] + b"device " + b"x" * 100000 + b"\nend\n",
        "noise": bytes(range(256)) * 40,
    }
    for name, text in bad.items():
        with open(machine.record(), "wb") as file:
            file.write(text)
        run = machine.run("--no-check")
        check(run.code == OK and "is no record of checks" in run.err, f"record: {name}", run)
        check("quarantined" not in run.err, f"record: {name} is ignored as a whole", run)
    path = machine.record()
    os.remove(path)
    os.mkdir(path)
    run = machine.run()
    check(run.code == OK and "cannot be written" in run.err, "a folder in the record's place", run)
    os.rmdir(path)

    # All kernels of an operation: nothing is left to run it with.
    with open(path, "wb") as file:
        file.write(b"\n".join(lines[:1] + [b"quarantined embed by hand"] + lines[1:]))
    run = machine.run("--no-check")
    check(run.code == BAD_FILE and "embed failed a check" in run.err, "no kernel is left", run)
    check("take another --device" in run.err and "--clear" in run.err, "and what to do", run)


def children(pid):
    found = []
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        with open(path, encoding="ascii") as file:
            found += [int(word) for word in file.read().split()]
    return found


def wait_for_child(process, seconds):
    """The child, once it has had time to start a kernel that hangs."""
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        found = children(process.pid)
        if found:
            time.sleep(seconds)
            return found[0]
        time.sleep(0.02)
    return None


def is_at_work(pid):
    """Neither gone nor waiting for somebody to ask how it ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def is_gone(pid, seconds):
    end = time.monotonic() + seconds
    while is_at_work(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not is_at_work(pid)


def test_hanging_kernels():
    machine = Machine("hanging", HANGING)
    result = machine.pumice("check", "--quick", "--kernel", "rmsnorm_subgroup", "--time-limit", "4",
                            "--json")  # fmt: skip
    check(result.code == CHECK_FAILED, "a kernel that hangs", result)
    found = result.json()
    check([q["kernel"] for q in found["quarantined"]] == ["rmsnorm_subgroup"], "which", result)
    check("hangs" in found["failures"][0]["why"], "why", result)

    process = machine.start("check", "--quick", "--kernel", "attention_subgroup", "--json")
    child = wait_for_child(process, 4)
    check(child is not None, "a child runs the kernel")
    os.kill(child, signal.SIGABRT)
    out, err = process.communicate(timeout=60)
    crashed = Result(process.returncode, out, err)
    check(crashed.code == CHECK_FAILED, "a driver that crashes", crashed)
    check("crashed (signal 6)" in crashed.json()["failures"][0]["why"], "why", crashed)

    for interruption in (signal.SIGINT, signal.SIGTERM):
        process = machine.start("check", "--quick", "--kernel", "matvec_subgroup")
        child = wait_for_child(process, 1)
        process.send_signal(interruption)
        out, err = process.communicate(timeout=30)
        interrupted = Result(process.returncode, out, err)
        check(process.returncode == INTERRUPTED, f"interrupted by {interruption}", interrupted)
        check(not os.path.exists(f"/proc/{child}"), "and no child is left")

    process = machine.start("check", "--quick", "--kernel", "matvec_subgroup")
    child = wait_for_child(process, 1)
    check(child is not None and is_at_work(child), "a child runs the kernel")
    process.kill()
    process.communicate(timeout=30)
    check(is_gone(child, 10), "who is killed leaves no child behind")


def test_parent_gone_early():
    """A child whose parent ended before the child ran at all."""
    machine = Machine("orphan", HANGING)
    ends = os.pipe()
    os.close(ends[1])
    child = machine.start("check", "--quick", "--kernel", "matvec_subgroup", "--child", "all:0:",
                          stdin=ends[0])  # fmt: skip
    os.close(ends[0])
    try:
        child.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        raise AssertionError("a child without a parent goes on") from None
    check(child.returncode == INTERRUPTED, "it says that nobody wanted the rest")


def main():
    tests = {name[5:]: f for name, f in sorted(globals().items()) if name.startswith("test_")}
    if not os.path.exists(MODEL):
        print(f"skipped: {MODEL} is not there")
        return 77
    if not has_subgroups(Machine("devices")):
        print("skipped: no usable Vulkan device with subgroup kernels")
        return 77
    for name in sys.argv[1:] or tests:
        started = time.monotonic()
        tests[name]()
        print(f"{name}: ok, {time.monotonic() - started:.1f} s", flush=True)
    return 0


sys.exit(main())
