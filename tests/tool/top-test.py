#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""top-test.py BUILD - "cachemax top": its figures against the counters, in terminals of 80 and 120
columns, when the size changes, and how it ends. The last line is "N passed, N failed, N skipped";
status 77 if nothing can run.

The test itself owns the pool, so it knows each read. What is said of all since the open is exact. A
rate is of one view's interval; the rates of all views, each times its seconds, must sum up to what
was read meanwhile. A rate is rounded to its last digit and the seconds to 0.01 s; the tolerance is
the sum of both roundings, and nothing for the speed of the machine.
"""
import os
import re
import signal
import sys

from live import Bed, Owner, Results, Terminal, plain, run_all

r = Results()
bed = Bed(sys.argv[1])
UTF8, C = {"LC_ALL": "C.UTF-8"}, {"LC_ALL": "C"}
NAMES = {1: b"/srv/big.img", 2: "/srv/gr\u00f6\u00dfe.bin".encode(), 3: b"/srv/e\033[31mvil\n"}
TABLE = [  # row, its unit; the counters that it sums, and by what they are divided
    ("from the pool", "blocks/s", ["hit_blocks"], 1),
    ("", "MB/s", ["hit_bytes"], 1e6),
    ("from the origin", "reads/s", ["origin_reads"], 1),
    (" ", "MB/s", ["origin_bytes"], 1e6),
    ("fills", "blocks/s", ["fill_blocks"], 1),
    ("evictions", "blocks/s", ["evicted", "displaced"], 1),
    ("pool writes", "MB/s", ["pool_bytes"], 1e6),
]


def rows(frame):
    """The table: {(row, unit): (rate, sum)}; and the seconds, None if no interval has passed."""
    found, last = {}, None
    for line in frame:
        m = re.match(r"(.{15}) (\S+/s) +(-|[\d.]+) +([\d.]+)(?: MB)?(?: |$)", line)
        if m:
            what = m[1].strip() or (" " if last == "from the origin" else "")
            last = what
            found[what, m[2]] = (None if m[3] == "-" else float(m[3]), float(m[4]))
    seconds = re.search(r"in ([\d.]+) s +since open", "\n".join(frame))
    return found, float(seconds[1]) if seconds else None


def of(stats, counters, divisor):
    return sum(stats[c] for c in counters) / divisor


def fits(frame, columns):
    return all(len(line) <= columns for line in frame)


def erased(output):
    """Lines whose rest is erased. At the end of a full line the cursor is in the last column, as
    the view lets no line wrap, so that would clear a character that was just written."""
    text = output.decode("utf-8", "replace")
    lines = [line for frame in text.split("\033[H")[1:]
             for line in frame.split("\033[J")[0].split("\r\n")]
    return [plain(line) for line in lines if line.endswith("\033[K")]


def busy(owner):
    """Hits, misses, fills and evictions, with names that a terminal must not get."""
    for number, name in NAMES.items():
        owner.file(number, name=name)
    for _ in range(3):
        owner.read(1, 0, 700)
    owner.read(2, 0, 500)
    for _ in range(3):
        owner.read(3, 0, 100)
    owner.read(1, 0, 700)


def test_once(owner):
    a = bed.json("stats", "p")
    out = bed.run("top", "p", "--once", "--interval", "0.2", env={**os.environ, **UTF8})
    text = out.stdout.decode()
    frame = text.split("\n")
    r.equal("once-status", (out.returncode, out.stderr), (0, b""))
    r.check("once-plain", "\033" not in text and not re.search(r" $", text, re.M), text)
    r.check("once-80-columns", fits(frame, 80), text)
    table, seconds = rows(frame)
    r.check("once-interval", seconds is not None and seconds >= 0.2, text)
    # One interval is known, whatever room the graph has.
    r.check("once-graph", re.search("graph: last 1 s .*graph top", text), text)
    for what, unit, counters, divisor in TABLE:
        rate, total = table[what, unit]
        want = of(a, counters, divisor)
        name = "once-%s-%s" % (what.replace(" ", "-"), unit)
        r.check(name + "-sum", abs(total - want) <= (0.05001 if divisor > 1 else 0),
                "%s instead of %s" % (total, want))
        r.equal(name + "-now", rate, 0.0)
    share = "%.2f %%" % (100 * a["hit_blocks"] / (a["hit_blocks"] + a["miss_blocks"]))
    r.check("once-hit-rate", re.search(r"^hit rate +- +%s" % re.escape(share), text, re.M), text)
    r.check("once-why", re.search(r"^not cached +0\.0 +%d$" % a["miss_absent"], text, re.M), text)
    r.check("once-evictions-happened", of(a, ["evicted", "displaced"], 1) > 0, a)
    r.check("once-owner", "p: open in process %d for " % os.getpid() in text, text)
    r.check("once-files", "; %d files of " % len(NAMES) in text, text)
    r.check("once-wear", "needs 24 h before" in text and "needs 1 h before" in text, text)
    # Of the origin all reads are timed; what is not timed is left out.
    r.check("once-latency", re.search(r"^origin reads, since it opened +\S+ \ws +\S+ \ws$", text,
                                      re.M), text)
    timed = sum(a["hit_latency"]) > 0
    r.equal("once-latency-of-hits", "hits, since it opened" in text, timed)


def test_files():
    text = bed.run("top", "p", "--once", "--interval", "0.1",
                   env={**os.environ, **UTF8}).stdout.decode()
    files = re.findall(r"^ +([\d.]+) (\w+) +([\d.]+) % +(-|\d+)  (.*)$", text, re.M)
    r.equal("files-names", sorted(f[4] for f in files),
            ["/srv/big.img", "/srv/e\\x1b[31mvil\\x0a", "/srv/gr\u00f6\u00dfe.bin"])
    unit = {"bytes": 1, "KiB": 1024, "MiB": 1 << 20}
    shown = {f[4]: float(f[0]) * unit[f[1]] for f in files}
    r.check("files-order", list(shown.values()) == sorted(shown.values(), reverse=True), shown)
    ascii_text = bed.run("top", "p", "--once", "--interval", "0.1", env={**os.environ, **C}).stdout
    r.check("files-ascii", all(c < 0x80 for c in ascii_text) and b"/srv/gr??e.bin" in
            ascii_text.replace(b"????", b"??"), ascii_text)
    return shown


def test_files_counts(shown):
    """The owner is gone: "files" counts the same, by another way."""
    want = {f["name"]: f["cached_bytes"] for f in bed.json("files", "p")["files"]}
    want = {n.replace("\033", "\\x1b").replace("\n", "\\x0a"): b for n, b in want.items()
            if b > 0}
    text = bed.run("top", "p", "--once", "--interval", "0.1",
                   env={**os.environ, **UTF8}).stdout.decode()
    r.check("closed", "p: not open; counters of the last session" in text, text)
    for line in re.findall(r"^ +([\d.]+ \w+) .* (?:-|\d+)  (/srv.*)$", text, re.M):
        value, unit = line[0].split()
        bytes_ = float(value) * {"bytes": 1, "KiB": 1024, "MiB": 1 << 20}[unit]
        r.check("files-count-%s" % line[1].split("/")[-1], abs(bytes_ - want[line[1]]) <=
                0.006 * bytes_, "%s, and files says %s" % (line, want[line[1]]))
    r.check("files-all", all(n in text for n in want), text)
    r.check("files-known-while-open", set(shown) >= set(want), shown)


def test_sample():
    """A pool of two million blocks: every second page of headers is counted, for twice as much.
    Blocks are stored one slot after the other, so the error is a page of 128 headers at most."""
    bed.run("create", "large", "--size", "8G", "--sparse", "--names", "-q")
    owner = Owner("large", probation_bytes=2**64 - 1)
    owner.file(1, name=b"/srv/one")
    owner.read(1, 0, 3000)
    text = bed.run("top", "large", "--once", "--interval", "0.1", env={**os.environ, **C})
    owner.close()
    os.unlink("large")
    text = text.stdout.decode()
    m = re.search(r"^ +([\d.]+) MiB .*  /srv/one$", text, re.M)
    r.check("sample", m and abs(float(m[1]) * 256 - 3000) <= 130, text)
    r.check("sample-said", "cached: estimated" in text, text)


def test_curve():
    """All of its figures are in the 80 columns."""
    bed.run("create", "curve", "--size", "4M", "-q")
    owner = Owner("curve")
    owner.file(1)
    for _ in range(30):
        owner.read(1, 0, 700)
    text = bed.run("top", "curve", "--once", "--interval", "0.1").stdout.decode()
    owner.close()
    os.unlink("curve")
    r.check("curve", re.search(r"^hits % by size: x1/8 \d+(, x\S+ \d+){5}, x8 \d+$", text, re.M),
            text)
    r.check("curve-file", re.search(r"; 1 file of \d+ or more; ", text), text)


def test_rates(owner, columns, rows_, env, extra):
    name = "live-%d" % columns
    t = Terminal(columns, rows_, [bed.cm, "top", "p", "--interval", "0.3", *extra], env)
    if not r.check(name + "-starts", t.wait_frames(1), open("terminal.err").read()):
        t.close()
        return
    a = bed.json("stats", "p")
    owner.read(1, 0, 900)
    owner.read(2, 700, 400)
    b = bed.json("stats", "p")

    def all_seen():
        frames = t.frames()
        return frames and rows(frames[-1])[0].get(("from the pool", "blocks/s"), (0, 0))[1] == \
            b["hit_blocks"] and rows(frames[-1])[0]["from the origin", "reads/s"][1] == \
            b["origin_reads"]
    r.check(name + "-sees-all", t.wait(all_seen), t.frames()[-1])
    frames = [rows(f) for f in t.frames()]
    for what, unit, counters, divisor in TABLE:
        want, got, tolerance = of(b, counters, divisor) - of(a, counters, divisor), 0, 0
        for table, seconds in frames:
            rate = table[what, unit][0]
            if rate is not None:
                got += rate * seconds
                tolerance += 0.005 * rate + (0.05 if rate < 1000 else 0.5) * (seconds + 0.005)
        r.check("%s-%s-%s" % (name, what.strip().replace(" ", "-") or "MB", unit),
                abs(got - want) <= tolerance, "%s instead of %s +- %s" % (got, want, tolerance))
    # The reasons of misses, in the same way.
    got, tolerance = 0, 0
    for frame, (_, seconds) in zip(t.frames(), frames):
        m = re.search(r"^not cached +(-|[\d.]+) +(\d+)", "\n".join(frame), re.M)
        if m and m[1] != "-":
            got += float(m[1]) * seconds
            tolerance += 0.005 * float(m[1]) + 0.5 * (seconds + 0.005)
    want = b["miss_absent"] - a["miss_absent"]
    r.check(name + "-not-cached", want > 0 and abs(got - want) <= tolerance,
            "%s instead of %s +- %s" % (got, want, tolerance))
    last = t.frames()[-1]
    r.check(name + "-fits", fits(last, columns) and len(last) <= rows_, last)
    full = [line for line in last if len(line) == columns]
    r.check(name + "-full-lines", full and not [x for x in erased(t.output) if len(x) == columns],
            last)
    r.check(name + "-last-row", "q: end; every 0.3 s" in last[-1], last)
    side = any("why blocks were not served" in line and "latency below" in line for line in last)
    r.equal(name + "-two-columns", side, columns >= 110)
    r.check("graph", re.search(r"graph: last \d+ \w+ .*graph top", "\n".join(last)), last)
    marks = [line[49:columns - 10] for line in last if line.startswith("from the pool")][0]
    blocks = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
    r.check(name + "-marks", marks.strip() and set(marks.strip()) <=
            set("_.,-=+*#" if extra or env == C else blocks), last)
    r.check(name + "-highest-mark", ("#" if extra or env == C else blocks[-1]) in marks, last)
    if extra or env == C:
        r.check(name + "-ascii", all(c < 0x80 for c in t.output))
    r.check(name + "-no-sequence-of-a-name", "\033[31m" not in t.output.decode("utf-8", "replace"))
    t.keys(b"q")
    r.equal(name + "-q", t.ended(), "exit 0")
    r.check(name + "-restored", t.restored() and t.output.endswith(b"\033[?25h\033[?1049l"),
            t.output[-40:])
    t.close()


def test_resize():
    t = Terminal(120, 40, [bed.cm, "top", "p", "--interval", "60"], UTF8)
    r.check("resize-starts", t.wait_frames(1))
    for n, (columns, lines) in enumerate([(80, 24), (40, 12), (200, 60), (5, 2)]):
        t.resize(columns, lines)
        r.check("resize-%d-draws" % columns, t.wait_frames(n + 2))  # long before the interval ends
        frame = t.frames()[-1]
        r.check("resize-%d" % columns, fits(frame, columns) and len(frame) <= lines, frame)
    t.keys(b"\003")
    r.equal("ctrl-c", t.ended(), "signal %d" % signal.SIGINT)
    r.check("ctrl-c-restored", t.restored() and t.output.endswith(b"\033[?1049l"))
    t.close()


def test_stop():
    t = Terminal(80, 24, [bed.cm, "top", "p", "--interval", "60"], UTF8)
    r.check("stop-starts", t.wait_frames(1) and not t.restored())
    t.keys(b"\032")
    r.check("stop-stops", t.wait(lambda: b"stopped" in t.states))
    r.check("stop-restored", t.restored() and t.output.endswith(b"\033[?1049l"))
    os.write(t.ask, b"c")
    r.check("stop-goes-on", t.wait_frames(2) and not t.restored())
    os.kill(t.child(), signal.SIGTERM)
    r.equal("term", t.ended(), "signal %d" % signal.SIGTERM)
    r.check("term-restored", t.restored() and t.output.endswith(b"\033[?1049l"))
    t.close()


def test_dumb():
    for kind in ["dumb", ""]:
        t = Terminal(80, 24, [bed.cm, "top", "p"], {**UTF8, "TERM": kind})
        r.equal("term '%s'" % kind, t.ended(), "exit 1")
        r.check("term '%s', says so" % kind, "with --once one view is printed" in
                open("terminal.err").read())
        r.check("term '%s', nothing is written" % kind, b"\033" not in t.output, t.output)
        t.close()


def test_sessions():
    """The pool is closed, opened again and removed while it is watched."""
    owner = Owner("p")
    t = Terminal(80, 40, [bed.cm, "top", "p", "--interval", "0.1"], C)
    r.check("session-starts", t.wait(lambda: t.frames() and "open in" in t.frames()[-1][0]))
    owner.close()
    r.check("session-closed", t.wait(lambda: "not open" in t.frames()[-1][0]), t.frames()[-1])
    owner = Owner("p")
    owner.file(1)
    r.check("session-opened", t.wait(lambda: "open in process" in t.frames()[-1][0]))
    owner.read(1, 0, 50)
    r.check("session-anew", t.wait(lambda: rows(t.frames()[-1])[0]["from the pool", "blocks/s"][1]
                                   == owner.cache.stats()["hit_blocks"]), t.frames()[-1])
    # Never more in an interval than was read since the open; both figures are rounded.
    wrong = [(rate, seconds) for table, seconds in map(rows, t.frames()) if seconds
             for rate in [table["from the pool", "blocks/s"][0]]
             if (rate - 0.5) * (seconds - 0.005) > owner.cache.stats()["hit_blocks"]]
    r.equal("session-no-false-rate", wrong, [])
    owner.close()
    os.unlink("p")
    r.equal("removed", t.ended(), "exit 1")
    r.check("removed-restored", t.restored())
    r.check("removed-says-so", "p: no such file" in open("terminal.err").read())
    t.close()


def test_usage():
    for name, args, status, text in [
            ("not-a-terminal", ["p"], 2, "not a terminal; with --once"),
            ("junk", ["p", "--interval", "soon"], 2, "'soon' is not a number of seconds"),
            ("zero", ["p", "--once", "--interval", "0"], 2, "is not a number of seconds"),
            ("nan", ["p", "--once", "--interval", "nan"], 2, "is not a number of seconds"),
            ("missing", ["missing", "--once"], 1, "missing: no such file"),
            ("no-pool", [__file__, "--once"], 3, "not a cachemax pool"),
            ("help", ["--help"], 0, "Usage: cachemax top POOL")]:
        out = bed.run("top", *args)
        r.check("usage-" + name, out.returncode == status and text in
                (out.stdout + out.stderr).decode(), (out.returncode, out.stderr))


def main():
    bed.run("create", "p", "--size", "4M", "--names", "-q")
    owner = Owner("p")
    busy(owner)
    test_once(owner)
    shown = test_files()
    test_rates(owner, 120, 45, UTF8, [])
    test_rates(owner, 80, 24, UTF8, ["--ascii"])
    test_rates(owner, 100, 60, C, [])
    test_resize()
    test_stop()
    test_dumb()
    owner.close()
    test_files_counts(shown)
    test_sample()
    test_curve()
    test_sessions()
    test_usage()


__file__ = os.path.realpath(__file__)
missing = None
try:
    import ctypes  # noqa: F401
    import pty  # noqa: F401
    if not os.path.exists(os.path.join(bed.build, "src/libcachemax.so.0")):
        raise ImportError("no shared library in this build")
except ImportError as e:
    missing = str(e)
run_all("top", main, bed, r, missing)
