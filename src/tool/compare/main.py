# SPDX-License-Identifier: BSD-2-Clause
"""main.py - cachemax-compare: the run, and that everything is removed at its end.

A signal becomes an exception wherever the run is, so that there is one way out: Run.end().
"""
import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time

import chart
import report as reports
from fio import WORKLOADS, Files, Fio
from places import (Mount, Place, Refused, check_mounting, one_line, program, reason, say, start,
                    takes_direct)

MIB = 1 << 20


class Ended(BaseException):
    def __init__(self, number):
        super().__init__()
        self.number = number


def on_signal(number, _):
    catch(signal.SIG_IGN)  # one exception at most, so that no second one leaves the removal
    raise Ended(number)


def read_arguments():
    p = argparse.ArgumentParser(prog="cachemax-compare", allow_abbrev=False,
                                description="is run by 'cachemax compare'; see its --help")
    for name in "origin", "pool-volume", "mount", "json", "svg", "clean":
        p.add_argument("--" + name)
    for name, default in ("size", 1 << 30), ("seconds", 5), ("rounds", 3):
        p.add_argument("--" + name, type=int, default=default)
    a = p.parse_args()
    if not a.clean and not (a.origin and a.pool_volume):
        p.error("--origin and --pool-volume are needed")
    return a


class Run:
    def __init__(self, a):
        self.a, self.files = a, Files(a.size)
        self.slow, self.fast = Place(a.mount or a.origin), Place(a.pool_volume)
        self.fio = self.mount = self.command = None
        self.notes, self.direct, self.cached = [], {}, []
        self.pool_bytes = (self.files.bytes() * 5 // 4 + 32 * MIB) // 4096 * 4096

    # ---- Before anything is written --------------------------------------------------------------

    def check(self):
        a = self.a
        fio = shutil.which("fio")
        if not fio:
            raise Refused("there is no fio, which measures; install the package fio")
        self.fio = Fio(fio, self.files, a.seconds)
        self.command = program("cachemax")
        if not self.command:
            raise Refused("there is no cachemax beside this program, nor in PATH")
        check_mounting()
        origin = Place(a.origin)
        if a.mount and origin.device() != self.slow.device():
            raise Refused("%s: is not on the file system of %s, so it is not the volume that would "
                          "be measured" % (a.mount, a.origin))
        if self.slow.path == self.fast.path:
            raise Refused("%s: is both the origin and the pool volume" % self.slow.parent)
        for place in (self.slow, self.fast):
            if not os.access(place.parent, os.W_OK | os.X_OK):
                raise Refused("%s: no permission to make files there" % place.parent)
        for path in filter(None, (a.json, a.svg)):
            folder = os.path.dirname(os.path.abspath(path))
            if os.path.isdir(path) or not os.access(folder, os.W_OK | os.X_OK):
                raise Refused("%s: cannot be written" % path)
        if self.slow.device() == self.fast.device():
            self.note("origin and pool volume are on the same device, so the fast volume is as "
                      "slow as the origin, and the cache has to share it")

    def check_space(self):
        """What a killed run left has been removed before."""
        slow = self.files.bytes() + self.files.mixed
        fast = self.files.bytes() + self.pool_bytes
        needs = [(self.slow, slow), (self.fast, fast)]
        if self.slow.device() == self.fast.device():
            needs = [(self.slow, slow + fast)]
        for place, need in needs:
            need += need // 20 + 4 * MIB
            if place.free() < need:
                raise Refused("%s: not enough space: %d MiB are needed and %d MiB are free; a "
                              "smaller --size needs less" %
                              (place.parent, -(-need // MIB), place.free() // MIB))

    def note(self, text):
        self.notes.append(text)
        say(text)

    # ---- Files, pool and mount -------------------------------------------------------------------

    def call(self, *args):
        p = start([self.command, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = p.communicate()
        if p.returncode not in (0, 7):  # 7: some was left out
            raise Refused("'cachemax %s' failed: %s" %
                          (args[0], one_line(err)))
        return out

    def pool_and_mount(self):
        """The mount is tried over an empty directory, before gigabytes are written."""
        pool = os.path.join(self.fast.path, "pool")
        self.call("create", pool, "--size", str(self.pool_bytes), "--quiet")
        self.begin_mount()
        self.end_mount()

    def begin_mount(self):
        self.mount = Mount(self.slow.tree, os.path.join(self.fast.path, "pool"),
                           os.path.join(self.fast.path, "mount.log"))
        self.mount.begin()

    def end_mount(self):
        if self.mount:
            self.mount.end()
            self.mount = None

    def write_files(self):
        self.progress("writing the test files")
        beside = os.path.join(self.slow.path, "beside")
        try:
            for path in self.slow.tree, self.fast.tree:
                self.in_directory(path, self.files.write)
            # The origin's own: what is below a mount is changed by the mount alone.
            os.mkdir(beside, 0o700)
            path = beside
            self.in_directory(beside, self.files.write_mixed)
        except OSError as e:
            raise Refused("%s: cannot write the test files: %s" % (path, reason(e)))
        time.sleep(1)  # older than the granule of a clock: a file that changed now is not cached

    @staticmethod
    def in_directory(path, act):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            act(fd)
        finally:
            os.close(fd)

    def find_direct(self):
        below = "/proc/%d/fd/%d" % (os.getpid(), self.mount.below)
        for place, path, what in [("origin", below, self.slow.parent),
                                  ("fast", self.fast.tree, self.fast.parent),
                                  ("cache", self.slow.tree, "the mount")]:
            self.direct[place] = takes_direct(os.path.join(path, "data"))
            if not self.direct[place]:
                self.note("%s refuses O_DIRECT: its reads are buffered, so they may come from "
                          "memory" % what)

    # ---- Measuring -------------------------------------------------------------------------------

    def progress(self, text):
        if sys.stderr.isatty():
            say(text)

    def measure(self, workload, turn, into):
        below = "/proc/%d/fd/%d" % (os.getpid(), self.mount.below)
        if workload[0] == "mixed":
            below = os.path.join(self.slow.path, "beside")

        def put(place, figures):
            for row in figures:
                into[row][place].append(figures[row])

        def origin():
            self.files.drop_pages(self.mount.below)
            put("origin", self.fio.run(workload, below, self.direct["origin"]))

        def fast():
            put("fast", self.fio.run(workload, self.fast.tree, self.direct["fast"]))

        def cache():
            self.call("forget", self.slow.tree, "--quiet")
            self.files.drop_pages(self.mount.below)
            put("cold", self.fio.run(workload, self.slow.tree, self.direct["cache"], once=True))
            what = os.path.join(self.slow.tree, workload[1])
            self.call("warm", what, "--quiet")
            counted = json.loads(self.call("cached", what, "--json"))
            self.cached.append(100.0 * counted["all_cached_bytes"] / counted["all_size"])
            put("warm", self.fio.run(workload, self.slow.tree, self.direct["cache"]))

        turns = [origin, fast, cache]
        for i in range(len(turns)):
            turns[(i + turn) % len(turns)]()

    def measure_all(self):
        rows = [(row, title) for w in WORKLOADS for row, _, title in w[3]]
        into = {row: {place: [] for place, _ in reports.PLACES} for row, _ in rows}
        turn = 0
        for i in range(self.a.rounds):
            for workload in WORKLOADS:
                self.progress("round %d of %d: %s" % (i + 1, self.a.rounds, workload[0]))
                self.measure(workload, turn + i, into)
                turn += 1
        if min(self.cached) < 99:
            self.note("before a warm run only %.0f %% of the files were in the pool" %
                      min(self.cached))
        return reports.summary(rows, into)

    def result(self, began, workloads):
        def place(p, directory, direct):
            kind, source = p.file_system()
            return {"directory": os.path.realpath(directory), "file_system": kind,
                    "source": source, "direct": direct}

        if self.pool_is_mapped():
            self.notes.append("the pool is mapped: hits may come from memory, where the kernel "
                              "keeps pages of the pool, and not from the fast volume")
        return {"version": 1,
                "cachemax": self.call("--version").decode().split()[-1], "fio": self.fio.version(),
                "system": platform.platform(), "began": began,
                "origin": place(self.slow, self.a.mount or self.a.origin, self.direct["origin"]),
                "pool_volume": place(self.fast, self.a.pool_volume, self.direct["fast"]),
                "mount": {"direct": self.direct["cache"], "pool_bytes": self.pool_bytes,
                          "cached_percent": round(min(self.cached), 2)},
                "size_bytes": self.files.bytes(), "seconds": self.a.seconds,
                "rounds": self.a.rounds, "notes": self.notes, "workloads": workloads}

    def pool_is_mapped(self):
        text = self.call("info", os.path.join(self.fast.path, "pool")).decode("utf-8", "replace")
        durability = [line for line in text.splitlines() if line.startswith("durability")]
        return not any("DAX" in line or "volatile" in line for line in durability)

    def run(self):
        began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.check()
        self.slow.make()
        self.fast.make()
        self.check_space()
        self.pool_and_mount()
        self.write_files()
        self.begin_mount()
        self.find_direct()
        r = self.result(began, self.measure_all())
        self.end()  # before the output: a reader that does not read keeps nothing in place
        if self.a.json:
            reports.write_whole(self.a.json, reports.as_json(r))
        if self.a.svg:
            reports.write_whole(self.a.svg, chart.chart(r))
        sys.stdout.write(reports.table(r))
        sys.stdout.flush()

    def end(self):
        """Works at any moment, and again."""
        if self.fio:
            self.fio.end()
        self.end_mount()
        self.slow.remove()
        self.fast.remove()


def catch(handler):
    for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
        signal.signal(number, handler)


def clean(directory):
    if not Place(directory).clean():
        say("%s: nothing of 'cachemax compare' there" % directory)


def work(a):
    run = None
    try:
        if a.clean:
            clean(a.clean)
            return
        run = Run(a)
        run.run()
    finally:
        try:
            catch(signal.SIG_IGN)  # what is removed now is removed to the end
        finally:
            if run:
                run.end()


def main():
    if sys.version_info < (3, 7):
        sys.exit("cachemax: compare needs Python 3.7")
    a = read_arguments()
    catch(on_signal)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    number = 0
    try:
        work(a)
    except Refused as e:
        say(str(e))
        sys.exit(1)
    except Ended as e:
        number = e.number
    except BrokenPipeError:
        number = signal.SIGPIPE
    except OSError as e:
        say("%s: %s" % (e.filename or "compare", reason(e)))
        sys.exit(1)
    if number:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


if __name__ == "__main__":
    main()
