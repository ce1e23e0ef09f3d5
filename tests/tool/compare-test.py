#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""compare-test.py BUILD - "cachemax compare": a run to its end, and that nothing stays behind after
a signal, a kill, a full volume or a failure of fio. The last line is "N passed, N failed, N
skipped"; status 77 if nothing can run.

The figures depend on the machine. What is compared is what they must agree on with one another.
"""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

from live import PATIENCE, Bed, Results

NAME = "cachemax-compare.d"
MARK = "made-by-cachemax-compare"
SHORT = ["--size", "8M", "--seconds", "1", "--rounds", "1"]
LONG = ["--size", "8M", "--seconds", "600", "--rounds", "1"]
r = Results()
bed = Bed(sys.argv[1])
mount_dir = os.path.join(bed.build, "examples/mount")
as_root = os.geteuid() == 0


def mounts():
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as f:
        return [line.split()[1] for line in f]


def processes(word):
    """Command lines of processes that have this word in them, without those of this test."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as f:
                line = f.read().replace(b"\0", b" ").decode("utf-8", "replace")
            where = os.readlink("/proc/%s/cwd" % pid)
        except OSError:
            continue
        if int(pid) != os.getpid() and (word in line or where.startswith(word)):
            found.append(line)
    return found


def wait(condition):
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.05)
    return False


class Places:
    """A new origin with a file of the user, and a new directory for the pool."""
    count = 0

    def __init__(self, origin=None, fast=None):
        Places.count += 1
        self.origin = origin or os.path.join(bed.dir, "origin with spaces: %d" % Places.count)
        self.fast = fast or os.path.join(fast_parent, "fast%d" % Places.count)
        for d in self.origin, self.fast:
            os.makedirs(d, exist_ok=True)
        self.tree = os.path.join(self.origin, NAME, "tree")
        with open(os.path.join(self.origin, "of-the-user"), "w") as f:
            f.write("stays")

    def command(self, *more):
        return [bed.cm, "compare", "--origin", self.origin, "--pool-volume", self.fast, *more]

    def start(self, *more, **options):
        self.out, self.err = (tempfile.TemporaryFile() for _ in range(2))
        return subprocess.Popen(self.command(*more), stdin=subprocess.DEVNULL, stdout=self.out,
                                stderr=self.err, **options)

    def run(self, *more, env=None, before=()):
        p = subprocess.run([*before, *self.command(*more)], stdin=subprocess.DEVNULL, timeout=300,
                           capture_output=True, env={**os.environ, **(env or {})})
        return p.returncode, p.stdout.decode(), p.stderr.decode()

    def mounted(self):
        return self.tree.replace(" ", "\\040") in mounts()

    def nothing_left(self, name):
        r.equal(name + "-origin-as-before", os.listdir(self.origin), ["of-the-user"])
        r.equal(name + "-fast-as-before", os.listdir(self.fast), [])
        r.check(name + "-no-mount", not self.mounted(), mounts())
        for d in self.origin, self.fast:
            r.check(name + "-no-process", wait(lambda: not processes(d)), processes(d))


def path_with(**programs):
    """A PATH where programs are replaced, by a script, or are not there (None)."""
    folder = tempfile.mkdtemp(dir=bed.dir)
    for name, text in programs.items():
        if text is None:
            continue
        with open(os.path.join(folder, name), "w") as f:
            f.write(text)
        os.chmod(f.name, 0o755)
    if None not in programs.values():
        return folder + ":" + os.environ["PATH"]
    for name in "python3", "fusermount3", "umount":
        if name not in programs:
            found = sys.executable if name == "python3" else shutil.which(name)
            os.symlink(found or "/nonexistent", os.path.join(folder, name))
    return folder


def fio_stub(*lines):
    return "#!/bin/sh\n[ \"$1\" != --version ] || { echo fio-0; exit 0; }\n%s\n" % "\n".join(lines)


# ---- A whole run ---------------------------------------------------------------------------------

def test_whole():
    p = Places()
    status, out, err = p.run(*SHORT, "--json", "r.json", "--svg", "r.svg")
    if not r.equal("whole-status", (status, err[:300] if status else ""), (0, "")):
        return
    with open("r.json") as f:
        got = json.load(f)
    r.equal("json-version", got["version"], 1)
    r.equal("json-places", (got["origin"]["directory"], got["pool_volume"]["directory"]),
            (os.path.realpath(p.origin), os.path.realpath(p.fast)))
    r.equal("json-size", (got["size_bytes"], got["seconds"], got["rounds"]), (8 << 20, 1, 1))
    r.check("json-fio", got["fio"].startswith("fio-"), got["fio"])
    r.check("json-warm", got["mount"]["cached_percent"] > 99, got["mount"])
    r.equal("json-workloads", [w["name"] for w in got["workloads"]],
            ["random-read", "sequential-read", "small-files", "mixed-read", "mixed-write"])
    block = {"random-read": 4096, "sequential-read": 131072, "small-files": 16384,
             "mixed-read": 4096, "mixed-write": 4096}
    wrong = []
    for w in got["workloads"]:
        places = w["places"]
        if sorted(places) != ["cold", "fast", "origin", "warm"]:
            wrong.append((w["name"], sorted(places)))
            continue
        for name, at in places.items():
            rate = at["bytes_per_second"] / block[w["name"]]
            if not (at["iops"] > 0 and at["mean_us"] > 0 and at["p99_us"] > 0 and
                    0.9 < rate / at["iops"] < 1.1 and at["rounds_iops"] == [at["iops"]]):
                wrong.append((w["name"], name, at))
        for ratio, a, b in [("warm_to_origin", "warm", "origin"), ("warm_to_fast", "warm", "fast"),
                            ("cold_to_origin", "cold", "origin")]:
            want = places[a]["iops"] / places[b]["iops"]
            if abs(w["ratios"][ratio] - want) > 0.001:
                wrong.append((w["name"], ratio, w["ratios"][ratio], want))
    r.equal("json-figures", wrong, [])
    for w in got["workloads"]:
        part = out.split(w["title"], 1)[-1].split("\n\n", 1)[0]
        rows = re.findall(r"^  (origin alone|fast volume alone|cache, cold|cache, warm) +"
                          r"([\d.e+]+) ", part, re.M)
        want = [w["places"][k]["iops"] for k in ("origin", "fast", "cold", "warm")]
        r.check("table-" + w["name"], len(rows) == 4 and
                all(abs(float(a) - b) <= 0.01 * b for (_, a), b in zip(rows, want)), (rows, want))
    check_chart(got)
    p.nothing_left("whole")


def check_chart(got):
    with open("r.svg", encoding="utf-8") as f:
        svg = f.read()
    root = xml.etree.ElementTree.fromstring(svg)
    words = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
    r.check("chart-titles", all(w["title"] in words for w in got["workloads"]), words)
    for name in "origin alone", "fast volume alone", "cache, cold", "cache, warm":
        r.equal("chart-names-" + name, words.count(name), len(got["workloads"]))
    r.check("chart-is-self-contained", not re.search(r"href|url\((?!#)|<script|@import", svg))
    r.check("chart-dark", "prefers-color-scheme: dark" in svg)


# ---- Ended early ---------------------------------------------------------------------------------

def test_signals():
    """In the middle of a measurement, and while the test files are written."""
    for number, name in (signal.SIGINT, "sigint"), (signal.SIGTERM, "sigterm"):
        # There is not much room in the memory of some machines.
        p = Places(fast=None if number == signal.SIGINT else os.path.join(bed.dir, "large"))
        if number == signal.SIGINT:
            child = p.start(*LONG)
            reached = wait(lambda: p.mounted() and any("--runtime" in c
                                                       for c in processes(p.origin)))
        else:
            child = p.start("--size", "512M")
            data = os.path.join(p.tree, "data")
            reached = wait(lambda: os.path.exists(data) and not p.mounted())
        r.check(name + "-is-in-the-middle", reached, child.poll())
        child.send_signal(number)
        r.equal(name + "-status", child.wait(PATIENCE), -number)
        p.nothing_left(name)


def test_kill():
    p = Places()
    child = p.start(*LONG)
    r.check("kill-is-in-the-middle", wait(lambda: p.mounted() and any(
        "--runtime" in c for c in processes(p.origin))), child.poll())
    status, _, err = p.run(*SHORT)
    r.check("second-run-refused", status == 1 and "is in use by" in err, err)
    busy = bed.run("compare", "--clean", p.fast)
    r.check("clean-of-a-run-refused", busy.returncode == 1 and b"is in use by" in busy.stderr, busy)
    child.kill()
    child.wait()
    r.check("kill-ends-children", wait(lambda: not processes(p.origin) and not processes(p.fast)),
            processes(p.origin) + processes(p.fast))
    r.equal("kill-leaves-one", (sorted(os.listdir(p.origin)), os.listdir(p.fast)),
            ([NAME, "of-the-user"], [NAME]))
    r.equal("clean-status", bed.run("compare", "--clean", p.fast).returncode, 0)
    r.equal("clean-removes", os.listdir(p.fast), [])
    # The next run removes the other one, whatever comes of it.
    status, _, err = p.run(*SHORT, env={"PATH": path_with(fio=fio_stub("exit 3"))})
    r.check("next-run-removes", status == 1 and "left by a run that was killed" in err, err)
    p.nothing_left("kill")
    again = bed.run("compare", "--clean", p.fast)
    r.check("clean-of-nothing", again.returncode == 0 and b"nothing of" in again.stderr, again)


def test_mount_ends():
    """The mount and its keeper are killed. What runs over it then fails."""
    p = Places()
    child = p.start(*SHORT)
    r.check("mount-is-there", wait(lambda: p.mounted() and any("--runtime" in c for c in
                                                               processes(p.origin))), child.poll())
    killed = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as f:
                line = f.read().split(b"\0")
        except OSError:
            continue
        if line[0].endswith(b"/cachemax-mount") and os.fsencode(p.tree) in line:
            os.kill(int(pid), signal.SIGKILL)
            killed += 1
    r.check("mount-is-killed", killed > 0)
    r.equal("mount-ends-status", child.wait(PATIENCE), 1)
    p.nothing_left("mount-ends")


def test_replaced():
    """Somebody puts a link in the place of the directory: where it leads to, all stays."""
    p = Places()
    precious = os.path.join(bed.dir, "precious")
    os.mkdir(precious)
    with open(os.path.join(precious, "file"), "w") as f:
        f.write("x")
    ours, moved = os.path.join(p.fast, NAME), os.path.join(p.fast, "moved")
    stub = fio_stub("mv '%s' '%s'" % (ours, moved), "ln -s '%s' '%s'" % (precious, ours), "exit 3")
    status, _, err = p.run(*SHORT, env={"PATH": path_with(fio=stub)})
    r.check("replaced-says-so", status == 1 and "cannot be removed" in err, (status, err))
    r.equal("replaced-removes-nothing-else", os.listdir(precious), ["file"])
    r.equal("replaced-is-emptied", os.listdir(moved), [])
    os.rmdir(moved)
    clean = bed.run("compare", "--clean", p.fast)
    r.check("replaced-clean", clean.returncode == 1 and b"so it stays" in clean.stderr, clean)
    os.unlink(ours)
    p.nothing_left("replaced")


def test_foreign():
    """A directory of that name without the mark, or with another one, or with a link for one."""
    for name, content in ("no-mark", None), ("other-mark", "something else"), ("link", ""):
        p = Places()
        inside = os.path.join(p.origin, NAME)
        os.mkdir(inside)
        with open(os.path.join(inside, "precious"), "w") as f:
            f.write("x")
        if name == "link":
            with open("mark", "w") as f:
                f.write("The test files of 'cachemax compare'.")
            os.symlink(os.path.abspath("mark"), os.path.join(inside, MARK))
        elif content:
            with open(os.path.join(inside, MARK), "w") as f:
                f.write(content)
        for what, args in ("run", p.command(*SHORT)), ("clean", [bed.cm, "compare", "--clean",
                                                                 p.origin]):
            got = subprocess.run(args, capture_output=True, timeout=PATIENCE)
            r.check("foreign-%s-%s" % (name, what), got.returncode == 1 and
                    b"so it stays" in got.stderr and os.path.exists(inside + "/precious"), got)
        r.equal("foreign-%s-fast" % name, os.listdir(p.fast), [])


# ---- Failures ------------------------------------------------------------------------------------

def test_fio():
    p = Places(fast=os.path.join(bed.dir, "same-device"))
    log = os.path.join(bed.dir, "fio.log")
    for name, lines, want in [
            ("fails", ["echo broken >&2", "exit 3"], "fio failed in 'random-read' with status 3: "
             "broken"),
            ("says-nonsense", ["echo '{\"jobs\": 5}'"], "is not understood"),
            ("dies", ["kill -9 $$"], "status -9")]:
        stub = fio_stub("echo \"$@\" >>'%s'" % log, *lines)
        status, out, err = p.run(*SHORT, env={"PATH": path_with(fio=stub)})
        r.check("fio-%s" % name, status == 1 and want in err and not out, (status, out, err))
        r.check("fio-%s-same-device" % name, "are on the same device" in err, err)
        p.nothing_left("fio-" + name)
    with open(log) as f:
        r.check("fio-direct", "--direct=1" in f.readline())
    status, _, err = p.run(*SHORT, env={"PATH": path_with(fio=None)})
    r.check("no-fio", status == 1 and "install the package fio" in err, err)
    status, _, err = p.run(*SHORT, env={"PATH": path_with(fio=None, python3=None)})
    r.check("no-python", status == 1 and "install the package python3" in err, err)
    p.nothing_left("no-fio")


REFUSE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/types.h>
#define REFUSE(name) int name(const char *path, int flags, ...) { \
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, #name); va_list a; mode_t mode; \
    const int makes = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE; \
    va_start(a, flags); mode = makes ? va_arg(a, mode_t) : 0; va_end(a); \
    if (flags & O_DIRECT) { errno = EINVAL; return -1; } return real(path, flags, mode); }
REFUSE(open) REFUSE(open64)
"""


def test_no_direct():
    """A file system that refuses O_DIRECT: here the library's open does."""
    compiler = shutil.which("cc")
    if not compiler or "asan" in bed.build:
        r.skip("no-direct", "no compiler here, or a sanitizer, which has to be loaded first")
        return
    with open("refuse.c", "w") as f:
        f.write(REFUSE)
    subprocess.run([compiler, "-shared", "-fPIC", "-w", "-o", "refuse.so", "refuse.c", "-ldl"],
                   check=True)
    log = os.path.join(bed.dir, "direct.log")
    stub = fio_stub("echo \"$@\" >>'%s'" % log, "exit 3")
    p = Places()
    status, _, err = p.run(*SHORT, env={"PATH": path_with(fio=stub),
                                        "LD_PRELOAD": os.path.abspath("refuse.so")})
    r.check("no-direct-says-so", status == 1 and err.count("refuses O_DIRECT: its reads are "
                                                           "buffered") == 3, err)
    with open(log) as f:
        r.check("no-direct-is-buffered", "--direct=0" in f.read())
    p.nothing_left("no-direct")


def test_full():
    p = Places()
    status, _, err = p.run("--size", "1T")
    r.check("space-is-checked", status == 1 and "not enough space" in err, err)
    p.nothing_left("space")
    if not as_root:
        r.skip("full", "only root can mount a tmpfs")
        return
    for name, options, want in [("small", "size=12m", "not enough space"),
                                ("inodes", "size=64m,nr_inodes=60", "the volume is full")]:
        at = os.path.join(bed.dir, "full-" + name)
        os.mkdir(at)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", at],
                          capture_output=True).returncode != 0:
            r.skip("full-" + name, "mounting is not permitted")
            continue
        try:
            p = Places(fast=at)
            status, _, err = p.run(*SHORT)
            r.check("full-" + name, status == 1 and want in err and at in err, (status, err))
            p.nothing_left("full-" + name)
            p = Places(origin=at)
            status, _, err = p.run(*SHORT)
            r.check("full-%s-origin" % name, status == 1 and want in err, (status, err))
            p.nothing_left("full-%s-origin" % name)
        finally:
            subprocess.run(["umount", at], check=True)


def test_hidden_files():
    """An origin where an open file that is removed stays for a while, under another name, as on
    FUSE and NFS: the directory is not empty then."""
    if not shutil.which("bindfs"):
        r.skip("hidden-files", "bindfs is not installed")
        return
    below, at = os.path.join(bed.dir, "below"), os.path.join(bed.dir, "bound")
    os.mkdir(below)
    os.mkdir(at)
    if subprocess.run(["bindfs", below, at], capture_output=True).returncode != 0:
        r.skip("hidden-files", "bindfs cannot mount")
        return
    try:
        p = Places(origin=at)
        status, _, err = p.run(*SHORT, env={"PATH": path_with(fio=fio_stub("exit 3"))})
        r.check("hidden-files", status == 1 and "fio failed" in err and
                "cannot be removed" not in err, (status, err))
        r.equal("hidden-files-as-before", os.listdir(at), ["of-the-user"])
        r.equal("hidden-files-below-as-before", os.listdir(below), ["of-the-user"])
    finally:
        subprocess.run(["fusermount3", "-u", "-z", at], check=True)


def test_not_permitted():
    if not as_root or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        r.skip("not-permitted", "no namespace of mounts can be made")
        return
    p = Places()
    hide = ["unshare", "-m", "sh", "-c", "mount --bind /dev/null /dev/fuse && exec \"$@\"", "sh"]
    status, _, err = p.run("--size", "1G", before=hide)
    r.check("not-permitted", status == 1 and "cannot mount: cachemax-mount failed" in err, err)
    p.nothing_left("not-permitted")


def test_arguments():
    p = Places()
    other = [d for d in (fast_parent, "/dev/shm", "/tmp")
             if os.stat(d).st_dev != os.stat(p.origin).st_dev]
    for name, args, status, want in [
            ("none", ["compare"], 2, "needs --origin DIR"),
            ("size", p.command("--size", "1M"), 2, "from 8M to 1T"),
            ("seconds", p.command("--seconds", "0"), 2, "--seconds needs"),
            ("rounds", p.command("--rounds", "x"), 2, "--rounds needs"),
            ("clean", p.command("--clean", "."), 2, "stands alone"),
            ("unknown", ["compare", "--orign", "x"], 2, "did you mean '--origin'"),
            ("operand", ["compare", "x"], 2, "takes no argument"),
            ("missing", ["compare", "-o", "none", "-p", p.fast], 1, "no such directory"),
            ("a file", ["compare", "-o", __file__, "-p", p.fast], 1, "not a directory"),
            ("same", ["compare", "-o", p.fast, "-p", p.fast], 1, "is both"),
            ("json", p.command("--json", "none/x"), 1, "none/x: cannot be written"),
            *[("mount", p.command("--mount", d), 1, "is not on the file system") for d in other]]:
        args = args[1:] if args[0] == bed.cm else args
        got = bed.run(*args)
        r.check("arguments-" + name, got.returncode == status and want in got.stderr.decode(), got)
    inside = os.path.join(p.origin, "inside")
    os.mkdir(inside)
    seen = os.path.join(bed.dir, "seen")
    stub = fio_stub("ls -d '%s'/*/tree >'%s'" % (inside, seen), "exit 3")
    p.run("--mount", inside, *SHORT, env={"PATH": path_with(fio=stub)})
    with open(seen) as f:
        r.equal("mount-elsewhere", f.read().strip(), os.path.join(inside, NAME, "tree"))
    r.equal("mount-elsewhere-clean", os.listdir(inside), [])
    os.rmdir(inside)
    p.nothing_left("arguments")


why = None
for need in "fio", "fusermount3":
    why = why or (None if shutil.which(need) else need + " is not installed")
if not os.access("/dev/fuse", os.R_OK | os.W_OK):
    why = "no permission for /dev/fuse"
if not os.path.exists(os.path.join(mount_dir, "cachemax-mount")):
    why = "cachemax-mount is not built"
if why:
    bed.end()
    print("skip compare: %s\n0 passed, 0 failed, 1 skipped" % why)
    sys.exit(77)
fast_parent = tempfile.mkdtemp(prefix="cachemax-live.",
                               dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
try:
    for test in (test_arguments, test_fio, test_no_direct, test_full, test_hidden_files,
                 test_not_permitted, test_foreign, test_replaced, test_signals, test_mount_ends,
                 test_kill, test_whole):
        test()
finally:
    for left in [m for m in mounts() if m.startswith((bed.dir, fast_parent))]:
        subprocess.run(["umount", "-l", left.replace("\\040", " ")])
    shutil.rmtree(fast_parent, ignore_errors=True)
    bed.end()
r.end()
