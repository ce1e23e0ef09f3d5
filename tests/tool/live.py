# SPDX-License-Identifier: BSD-2-Clause
"""What the tests of the live views share (top-test.py, dash-test.py): results, a pool whose owner
is the test itself, so that each counter moves when the test reads and at no other time, and
programs in terminals of a chosen size.
"""
import ctypes
import fcntl
import json
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time

BLOCK = 4096
PATIENCE = 60  # seconds; nothing here takes longer, unless it hangs
# What nohup or a shell's background ignores, all that runs here would ignore, too.
for number in signal.SIGHUP, signal.SIGINT, signal.SIGTERM:
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)


class Results:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def check(self, name, good, why=""):
        if good:
            self.passed += 1
            print("ok " + name)
        else:
            self.failed += 1
            print("FAIL %s: %s" % (name, str(why)[:1500]))
        return good

    def equal(self, name, got, want):
        return self.check(name, got == want, "got %r instead of %r" % (got, want))

    def skip(self, name, why):
        self.skipped += 1
        print("skip %s: %s" % (name, why))

    def end(self):
        print("%d passed, %d failed, %d skipped" % (self.passed, self.failed, self.skipped))
        sys.exit(self.failed != 0)


class Bed:
    """A directory, the command of a build, and the library for the owner."""

    def __init__(self, build):
        self.build = os.path.realpath(build)
        self.cm = os.path.join(self.build, "src/tool/cachemax")
        os.environ["CACHEMAX_LIBRARY"] = os.path.join(self.build, "src/libcachemax.so.0")
        sys.dont_write_bytecode = True
        self.dir = tempfile.mkdtemp(prefix="cachemax-live.")
        os.chdir(self.dir)

    def end(self):
        os.chdir("/")
        shutil.rmtree(self.dir, ignore_errors=True)

    def run(self, *args, **more):
        return subprocess.run([self.cm, *args], capture_output=True, stdin=subprocess.DEVNULL,
                              timeout=PATIENCE, **more)

    def json(self, *args):
        return json.loads(self.run(*args, "--json").stdout)


class Owner:
    """Has a pool open, with files of made content."""

    def __init__(self, path, **options):
        import calls  # it looks for the library that Bed has named
        self.module = calls
        self.cache, self.files = calls.Cache(path, **options), {}

    def file(self, number, size=1 << 24, name=None):
        m = self.module
        validator = m.validator_of(b"v%d" % number, m.now(), size)
        f = self.files[number] = self.cache.open(m.FileId(7, number), validator, m.SOLE_WRITER)
        if name is not None:
            call = m._lib.cm_file_set_name
            call.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
            call(f._handle, name)
        return f

    def read(self, number, first, blocks):
        """Block by block, so that nothing is read ahead of need between two others."""
        for b in range(first, first + blocks):
            data = self.files[number].read(b * BLOCK, BLOCK, lambda off, n: b"d" * n)
            assert data == b"d" * BLOCK

    def close(self):
        for f in self.files.values():
            f.close()
        self.cache.close()


# Where the statistics page is, and the first shard of its counters; words of a shard.
STATS, SHARD, HITS, ORIGIN, COUNTERS = 8192, 12288, 0, 32, 64


def write(pool, at, *words):
    with open(pool, "r+b", buffering=0) as f:
        f.seek(at)
        f.write(struct.pack("<%dQ" % len(words), *words))


class StatsPage:
    """The statistics page of a closed pool (docs/format.md). All counters are 0 at first."""

    def __init__(self, bed, pool):
        self.pool = pool
        said = bed.json("stats", pool)
        keys = list(said)
        self.names = keys[keys.index("hit_blocks"):keys.index("lifetime_pool_bytes")]
        self.write(STATS + 8, 0)
        self.write(STATS + 24, time.time_ns())
        self.write(SHARD, *[0] * (32 * 128))
        self.form(len(self.names))

    def write(self, at, *words):
        write(self.pool, at, *words)

    def form(self, counters):
        self.write(STATS, counters << 32 | 1)

    def opened(self, ns):
        self.write(STATS + 16, ns)

    def curve(self, hits, reads, skipped):
        """`hits`: parts per million, None: not known."""
        self.write(STATS + 40, reads, skipped, *[0 if h is None else h + 1 for h in hits])

    def count(self, **counters):
        for name, n in counters.items():
            self.write(SHARD + 8 * (COUNTERS + self.names.index(name)), n)

    def latency(self, first, **buckets):
        for bucket, n in buckets.items():
            self.write(SHARD + 8 * (first + int(bucket[1:])), n)


# A session of its own, so that the program has a terminal, and a shell's work: the program is a job
# in the foreground. Tells each change of its state, and continues it when it is told to.
JOB = r"""
import fcntl, os, signal, sys, termios
told, asked = int(sys.argv[1]), int(sys.argv[2])
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
pid = os.fork()
if pid == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.argv[3], sys.argv[3:])
os.write(told, b"pid %d\n" % pid)
while True:
    _, status = os.waitpid(pid, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        break
    os.tcsetpgrp(0, os.getpid())
    os.write(told, b"stopped\n")
    os.read(asked, 1)
    os.tcsetpgrp(0, pid)
    os.kill(pid, signal.SIGCONT)
os.write(told, b"exit %d\n" % os.WEXITSTATUS(status) if os.WIFEXITED(status) else
         b"signal %d\n" % os.WTERMSIG(status))
"""


class Terminal:
    """A program in a terminal. `output` is all that it wrote there."""

    def __init__(self, columns, rows, command, env=None):
        self.master, self.slave = os.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(self.slave)
        told, to = os.pipe()
        come, self.ask = os.pipe()
        self.told, self.states, self.output, self.pid = told, b"", b"", None
        self.job = subprocess.Popen([sys.executable, "-c", JOB, str(to), str(come), *command],
                                    stdin=self.slave, stdout=self.slave,
                                    stderr=open("terminal.err", "wb"), pass_fds=(to, come),
                                    env={**os.environ, "TERM": "xterm", **(env or {})})
        os.close(to)
        os.close(come)

    def wait(self, condition):
        """Takes what is written until the condition holds. False: it did not, for a minute."""
        until = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > until:
                return False
            for fd in select.select([self.master, self.told], [], [], 0.2)[0]:
                if fd == self.master:
                    self.output += os.read(fd, 1 << 16)
                else:
                    got = os.read(fd, 1 << 16)
                    self.states += got
                    if not got and not condition():
                        return False
        return True

    def frames(self):
        """Those that are complete, as lists of lines, without escape sequences."""
        text = self.output.decode("utf-8", "replace").split("\033[H")[1:]
        return [plain(t.split("\033[J")[0]).split("\r\n") for t in text if "\033[J" in t]

    def wait_frames(self, n):
        return self.wait(lambda: len(self.frames()) >= n)

    def keys(self, data):
        os.write(self.master, data)

    def resize(self, columns, rows):
        """The system tells the program (SIGWINCH)."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def child(self):
        self.wait(lambda: b"pid " in self.states)
        return int(self.states.split(b"pid ")[1].split()[0])

    def ended(self):
        """How it ended, such as "exit 0" or "signal 2"."""
        self.wait(lambda: b"exit" in self.states or b"signal" in self.states)
        if self.job.poll() is None:
            try:
                self.job.wait(10)
            except subprocess.TimeoutExpired:
                os.kill(self.child(), signal.SIGKILL)
                self.job.kill()
                self.job.wait()
        while select.select([self.master], [], [], 0)[0]:
            self.output += os.read(self.master, 1 << 16)
        return self.states.decode().split("\n")[-2]

    def restored(self):
        return termios.tcgetattr(self.slave) == self.before

    def close(self):
        os.close(self.master)
        os.close(self.slave)
        os.close(self.told)
        os.close(self.ask)


def run_all(what, main, bed, results, missing):
    """Runs the tests. missing: why they cannot run here; None: they can."""
    try:
        if missing is None:
            main()
    finally:
        bed.end()
    if missing is not None:
        print("skip %s: %s" % (what, missing))
        print("0 passed, 0 failed, 1 skipped")
        sys.exit(77)
    results.end()


def plain(text):
    """Without the escape sequences that the view uses; others stay, and are found."""
    out, i = [], 0
    while i < len(text):
        if text[i:i + 2] == "\033[":
            end = i + 2
            while end < len(text) and text[end] in "0123456789;?":
                end += 1
            if end < len(text) and text[end] in "HJKmhl":
                i = end + 1
                continue
        out.append(text[i])
        i += 1
    return "".join(out)
