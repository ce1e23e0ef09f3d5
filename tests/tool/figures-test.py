#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""figures-test.py BUILD - the figures that "cachemax" prints about a pool: each against the bytes
of the pool, against what the test did, and the text against the JSON. The last line is "N passed, N
failed, N skipped"; status 77 if nothing can run.

Most counters are made up: the test writes a statistics page into a pool that is closed, so every
unit and every rounding has its place. A rate is only compared with another one of the same line, or
each is multiplied by the seconds of its line; so no figure depends on the speed of the machine.
"""
import ctypes
import json
import os
import re
import subprocess
import sys
import time

from live import (COUNTERS, HITS, ORIGIN, SHARD, STATS, Bed, Owner, Results, StatsPage, run_all,
                  write)

r = Results()
bed = Bed(sys.argv[1])
DURABLE = {"volatile": "volatile: ", "dax": "DAX on ", "pagecache": "page cache of ",
           "checkpoints": "checkpoints on ", "unknown": "not known"}


def said(*args, status=0, **more):
    """What a command prints, and on standard error."""
    out = bed.run(*args, **more)
    if out.returncode != status:
        r.check("status of " + " ".join(args), False, (out.returncode, out.stderr))
    return out.stdout.decode("utf-8", "replace"), out.stderr.decode("utf-8", "replace")


def has(name, text, *lines):
    for i, line in enumerate(lines):
        r.check(name if len(lines) == 1 else "%s-%d" % (name, i + 1),
                re.search(line, text, re.M), "%r is not in %s" % (line, text))


# ---- Counters ----------------------------------------------------------------------------------

def new_pool(name, *options):
    """A pool that was open once, so that it has a page of statistics."""
    bed.run("create", name, "--size", "4M", "-q", *options)
    with open("one", "wb") as f:
        f.write(b"1" * 4096)
    bed.run("cat", "one", "--pool", name)
    return StatsPage(bed, name)


def test_stats():
    p = new_pool("p")
    text = said("stats", "p")[0]
    has("stats-nothing", text, "^hit rate: nothing read yet$")
    r.equal("stats-nothing-json", bed.json("stats", "p")["hit_rate_percent"], None)
    at = 1_600_000_000
    p.opened(at * 10**9)
    p.count(hit_blocks=1_234_567_890, miss_blocks=1, hit_bytes=1_048_575, fill_blocks=2_550_000,
            buffered=3_100_000_000_000, promoted=999_999, fill_bytes=1023, pool_bytes=5 << 40)
    p.latency(HITS, b4=10, b9=45, b19=44, b30=1)
    p.latency(ORIGIN, b5=3)
    text = said("stats", "p")[0]
    has("stats", text,
        "since %s$" % time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)),
        r"^hit rate: 99\.99 %$",  # not 100 %, as there was a miss
        r"^hits: half below 1\.0 us, 99 % below 1\.0 ms, all below 2\.15 s$",
        "^origin reads: half below 64 ns, 99 % below 64 ns, all below 64 ns$",
        r" 1234567890 \(1\.2 billion\)$", r" 1\.00 MiB \(1048575 bytes\)$",
        r" 2550000 \(2\.[56] million\)$", r" 3100000000000 \(3\.1 trillion\)$", " 999999$",
        " 1023 bytes$", r"^ +bytes written to the pool since .* 5\.00 TiB \(5497558138880 bytes\)$")
    r.check("stats-no-newer", "newer version" not in text, text)
    j = bed.json("stats", "p")
    r.equal("stats-json", [j[k] for k in ("hit_blocks", "hit_bytes", "hit_rate_percent",
                                          "opened_at_ns")],
            [1_234_567_890, 1_048_575, 99.99, at * 10**9])
    p.form(len(p.names) + 3)
    has("stats-newer", said("stats", "p")[0], r"^  \(3 more, of a newer version than this one\)$")
    os.unlink("p")


def test_unrecorded():
    """How many files a pool should have room for: those that it knows, and those without room."""
    bed.run("create", "p", "--size", "1M", "--max-files", "20", "-q")
    owner = Owner("p")
    info = bed.json("info", "p")
    for number in range(1, info["max_files"]):
        owner.file(number)
        owner.read(number, 0, 1)
    owner.close()
    page = StatsPage(bed, "p")
    page.count(unrecorded=1001 - info["max_files"])
    used = bed.json("info", "p")["used_files"]
    r.check("unrecorded-full", used >= info["max_files"] // 2, (used, info["max_files"]))
    has("unrecorded", said("stats", "p")[0],
        "^files without a record: %d; create the pool with --max-files 2000 to keep them$" %
        (1001 - info["max_files"]))
    os.unlink("p")


def test_lost_files():
    """A smaller pool has room for fewer files, and "resize" says how many it still knows."""
    bed.run("create", "p", "--size", "8M", "--max-files", "1000", "-q")
    owner = Owner("p", probation_bytes=2**64 - 1)
    for number in range(1, 701):
        owner.file(number)
        owner.read(number, 0, 1)
    owner.close()
    was = bed.json("info", "p")["used_files"]
    text = said("resize", "p", "1M")[0]
    now = bed.json("info", "p")["used_files"]
    r.check("lost-files-happened", now < was, (now, was))
    has("lost-files", text, "^  knows %d of %d files$" % (now, was))
    os.unlink("p")


class Watch:
    """A "cachemax stats --watch" that is at work. `lines` are all that it has printed."""

    def __init__(self, *args):
        self.process = subprocess.Popen([bed.cm, "stats", "p", "--watch=0.1", *args],
                                        stdout=subprocess.PIPE, stderr=open("watch.err", "wb"))
        self.lines = []

    def next(self):
        self.lines.append(self.process.stdout.readline().decode())
        return self.lines[-1]

    def until(self, condition):
        for _ in range(600):
            if condition(self.next()):
                return True
        return False

    def end(self):
        self.process.terminate()
        self.process.stdout.close()
        self.process.wait()


def sums(lines):
    """Each rate of JSON lines, times the seconds, summed up."""
    total = {}
    for line in map(json.loads, lines):
        for key, value in line.items():
            if key.endswith("_per_second"):
                total[key] = total.get(key, 0) + value * line["seconds"]
    return total


def near(got, want):
    return abs(got - want) <= 0.02 * want


def test_watch():
    p = new_pool("p")
    p.opened(10**18)
    w = Watch("--json")
    w.next()
    p.count(hit_blocks=10**6, hit_bytes=3 * 10**9, fill_blocks=2 * 10**6, pool_bytes=7 * 10**9)
    w.next()  # it may have looked in the middle of that
    r.check("watch-json-sees", w.until(lambda line: json.loads(line)["hits_per_second"] == 0))
    total = sums(w.lines)
    for key, want in (("hits", 10**6), ("hit_bytes", 3 * 10**9), ("fills", 2 * 10**6),
                      ("pool_bytes", 7 * 10**9)):
        r.check("watch-json-" + key, near(total[key + "_per_second"], want), total)
    # Another session: it began at 0, whatever the one before had.
    w.lines = []
    p.opened(10**18 + 10**9)
    r.check("watch-anew", w.until(lambda line: json.loads(line)["hits_per_second"] > 0))
    r.check("watch-anew-all", near(sums(w.lines)["hits_per_second"], 10**6), w.lines)
    w.end()
    p.write(SHARD, *[0] * (COUNTERS + len(p.names)))
    w = Watch()
    w.until(lambda line: "hits/s" in line)
    w.next()
    p.count(hit_blocks=10**6, hit_bytes=3 * 10**9, fill_blocks=2 * 10**6, pool_bytes=7 * 10**9)
    w.next()
    w.until(lambda line: line.split()[1] == "0")
    rates = [list(map(float, line.split()[1:])) for line in w.lines if "hit" not in line]
    w.end()
    hits, mb, fills, written = (sum(x[i] for x in rates) for i in range(4))
    r.check("watch", hits and 0.003 / 1.5 < mb / hits < 0.003 * 1.5 and 1.3 < fills / hits < 3 and
            0.007 / 1.5 < written / hits < 0.007 * 1.5, (rates, w.lines))
    os.unlink("p")
    for seconds in "0.04", "86401":
        has("watch-" + seconds, said("stats", "p", "--watch=" + seconds, status=2)[1],
            "is not a number of seconds from 0.05 to 86400")


def test_watch_closed(owner):
    w = Watch()
    w.next()
    w.next()
    owner.close()
    for _ in range(600):
        if "was closed" in open("watch.err").read():
            break
        w.next()
    w.end()
    r.equal("watch-closed", open("watch.err").read(),
            "cachemax: p: was closed; waiting for it to be opened again\n")


# ---- What a pool is ----------------------------------------------------------------------------

def figures(text, line):
    m = re.search("^%s: +(.*)$" % line, text, re.M)
    return [float(n) for n in re.findall(r"[\d.]*\d", m[1])] if m else []


def test_info():
    text = said("create", "p", "--size", "4M", "--names")[0]
    j = bed.json("info", "p")
    overhead = 100 * j["metadata_bytes"] / j["size"]
    has("create", text, "room for %d blocks and %d files; %.2f %% overhead, " %
        (j["slots"], j["max_files"], overhead))
    owner = Owner("p", probation_bytes=2**64 - 1)  # all is stored at once
    owner.file(1, name=b"f")
    owner.read(1, 0, 100)
    text, j = said("info", "p")[0], bed.json("info", "p")
    r.equal("info-owner", (j["state"], j["owner_pid"], j["owned"], j["clean"]),
            ("open", os.getpid(), True, False))
    cached = bed.json("stats", "p")["fill_blocks"]  # some were read ahead
    r.check("info-slots", j["used_slots"] >= cached and j["used_files"] == 1, (j, cached))
    used = figures(text, "used ever")
    r.check("info-used", used[0] == j["used_slots"] and
            abs(used[1] - 100 * j["used_slots"] / j["slots"]) <= 0.051, text)
    r.equal("info-known", figures(text, "max files"), [j["max_files"], j["used_files"]])
    r.check("info-overhead", abs(j["overhead_percent"] - overhead) < 1e-4 and
            abs(figures(text, "metadata")[-1] - overhead) <= 0.0051, text)
    r.check("info-memory", abs(j["dram_bytes"] / j["slots"] - j["dram_bytes_per_slot"]) < 1e-4 and
            abs(figures(text, "memory")[2] - j["dram_bytes_per_slot"]) <= 0.0051, text)
    has("info-durability", text, "^durability: +" + DURABLE.get(j["durability"], "no such word"))
    r.equal("info-durability-text", j["durability_text"],
            re.search("^durability: +(.*)$", text, re.M)[1])
    super_ = bed.json("dump", "p", "superblock")["superblock"]["copies"]
    newest = [c for c in super_ if c["counts"]][0]
    r.equal("info-epoch", (j["epoch"], j["format_version"]), (newest["epoch"], newest["version"]))
    words = {"pagecache": "page cache"}
    r.equal("dump-durability", newest["durability_name"],
            words.get(j["durability"], j["durability"]))
    # Two days and an hour ago; an hour and a half ago; an hour ago.
    for ago, span in ((49 * 3600, "2 days"), (5400, "1 h 30 min"), (3600, "1 h")):
        write("p", STATS + 16, time.time_ns() - ago * 10**9)
        has("top-" + span.replace(" ", "-"), said("top", "p", "--once", "--interval", "0.1")[0],
            "^p: open in process %d for %s$" % (os.getpid(), span))
    with open("p", "rb") as f, open("killed", "wb") as g:
        g.write(f.read())
    j = bed.json("info", "killed")
    r.equal("info-unclean", (j["state"], j["owner_pid"], j["clean"]), ("unclean", None, False))
    r.equal("info-not-damaged", j["superblocks_damaged"], 0)
    with open("killed", "r+b") as f:
        f.write(b"x")
    r.equal("info-damaged", bed.json("info", "killed")["superblocks_damaged"], 1)
    r.equal("check-damaged", bed.json("check", "killed")["superblocks_damaged"], 1)
    top = said("top", "p", "--once", "--interval", "0.1")[0]
    has("top", top, "^4.00 MiB, %.1f %% in use; 1 file of %d or more; durability: %s$" %
        (100 * cached / j["slots"], j["max_files"], {"pagecache": "page cache", "dax": "DAX"}.get(
            bed.json("info", "p")["durability"], newest["durability_name"])))
    os.unlink("killed")
    if "until a program makes checkpoints" not in text:
        r.skip("info-checkpoints", "the volume keeps no checkpoints")
        return owner
    call = owner.module._lib.cm_checkpoint
    call.argtypes = [ctypes.c_void_p]
    r.equal("checkpoint", call(owner.cache._handle), 0)
    r.equal("info-checkpoints", bed.json("info", "p")["durability"], "checkpoints")
    has("info-checkpoints-text", said("info", "p")[0], "^durability: +checkpoints on .*; after an "
        "OS crash or power cut as of the last checkpoint$")
    return owner



def test_check():
    """One block has a wrong byte: its line is marked, and no other."""
    with open("f", "wb") as f:
        f.write(os.urandom(8192))
    bed.run("create", "p", "--size", "4M", "-q")
    bed.run("cat", "f", "--pool", "p")
    slot = bed.json("dump", "p", "find", "f", "1")["find"]
    at = [c["slot"]["payload_offset"] for b in slot["buckets"] for c in b["cells"]][0]
    write("p", at, 0x5555)
    text = said("check", "p", status=5)[0]
    r.equal("check-marked", re.findall("^  !(.*)$", text, re.M),
            ["%25d  blocks with a wrong checksum" % 1])
    for repair, metadata in ((0, 1), (0, 0), (1, 1), (1, 0)):
        j = bed.json("check", "p", *["--repair"] * repair, *["--metadata"] * metadata)
        r.equal("check-json-%d%d" % (repair, metadata),
                [j[k] for k in ("repair", "metadata_only", "bad_payload", "dropped", "result")],
                [bool(repair), bool(metadata), int(not metadata), int(repair and not metadata),
                 "sound" if metadata else "repaired" if repair else "damaged"])
    os.unlink("p")


# ---- Files -------------------------------------------------------------------------------------

def columns(text):
    """{name: (cached, share, size, hits, last used, state)} of what `files` prints."""
    found = {}
    for line in text.split("\n")[1:-2]:
        m = re.match(r" *(\S+ \S+) +(\S+) +(\S+ \S+) +(\d+) +(-|\S+ \S+) (\S+) +\w{32} (\S+)$",
                     line)
        if r.check("files-line", m, line):
            found[m[7]] = m.groups()[:6]
    return found


def test_files():
    """Each order is another one: 1 has the most cached, 2 the most hits and the largest size, and 3
    was used last."""
    bed.run("create", "p", "--size", "8M", "--names", "-q")
    owner = Owner("p", probation_bytes=2**64 - 1)
    for number, size, blocks in ((1, 16 << 20, 700), (2, 32 << 20, 100)):
        owner.file(number, size, b"%d" % number)
        owner.read(number, 0, blocks)
    for _ in range(60):
        owner.read(2, 0, 100)
    owner.close()
    one = said("files", "p", "--sort", "name")[0]
    used = max(f["last_used_ns"] for f in bed.json("files", "p")["files"])
    while time.time_ns() // 10**9 <= used // 10**9:
        time.sleep(0.05)
    owner = Owner("p", probation_bytes=2**64 - 1)
    owner.file(3, 8 << 20, b"3")
    owner.read(3, 0, 300)
    owner.close()
    files = {f["name"]: f for f in bed.json("files", "p")["files"]}
    r.check("files-hits", files["2"]["hits"] > files["1"]["hits"] > 0 and
            all(f["hits"] % 64 == 0 for f in files.values()), files)
    r.equal("files-clean", [(f["dirty"], f["racy"]) for f in files.values()], [(False, False)] * 3)
    for order, want in (("bytes", "132"), ("hits", "2"), ("used", "3"), ("size", "213"),
                        ("name", "123")):
        got = "".join(f["name"] for f in bed.json("files", "p", "--sort", order)["files"])
        r.equal("files-by-" + order, got[:len(want)], want)
    got = [f["name"] for f in bed.json("files", "p", "--no-count")["files"]]
    r.equal("files-uncounted-by-hits", got[0], "2")
    for name, f in columns(said("files", "p")[0]).items():
        j = files[name]
        r.equal("files-text-" + name, f[1:], (
            "%.1f" % (100 * j["cached_bytes"] / j["size"]), "%d.00 MiB" % (j["size"] >> 20),
            str(j["hits"]), time.strftime("%Y-%m-%d %H:%M:%S",
                                          time.localtime(j["last_used_ns"] // 10**9)), "-"))
    has("files-all", one, "^2 files; there is room for ")
    has("top-hits", said("top", "p", "--once", "--interval", "0.1")[0],
        "^ +%.1f KiB +%s %% +%d  2$" % (files["2"]["cached_bytes"] / 1024, r"\d\.\d",
                                       files["2"]["hits"]))
    os.unlink("p")


def test_states():
    """A file that somebody has open for writing is racy. One that was only read is not dirty, but
    one is whose writer has gone without a sync."""
    bed.run("create", "p", "--size", "4M", "--names", "-q")
    with open("racy", "w+b") as f:
        f.write(b"r" * 5000)
        f.flush()
        bed.run("cat", "racy", "--pool", "p")
        j, text = bed.json("files", "p")["files"], said("files", "p")[0]
    r.equal("state-racy", (len(j), j[0]["racy"], j[0]["hits"]), (1, True, 0))
    r.check("state-used", j[0]["last_used_ns"], j)
    r.check("state-racy-text", "racy" in columns(text)["racy"][5].split(","), text)
    has("state-one", text, "^1 file; there is room for ")
    with open("read", "wb") as f:
        f.write(b"x" * 5000)
    out = said("cat", "read", "--pool", "p", "-v")[1]
    m = re.search(r"read: 4.88 KiB in ([\d.]+) s, ([\d.]+) (\w+)/s; .* 4.88 KiB read from the "
                  "origin$", out, re.M)
    if r.check("cat-summary", m, out):
        rate = float(m[2]) * {"bytes": 1, "KiB": 1024, "MiB": 1 << 20}[m[3]]
        seconds = float(m[1])
        r.check("cat-rate", 4900 / (seconds + 0.006) < rate and
                (seconds < 0.01 or rate < 5100 / (seconds - 0.006)), out)
    has("cat-again", said("cat", "read", "--pool", "p", "-v")[1], " 0 bytes read from the origin$")
    owner = Owner("p")
    call = owner.module._lib.cm_write_begin
    call.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_void_p]
    room = (ctypes.c_uint64 * 64)()
    call(owner.file(1, name=b"written")._handle, 0, 4096, room)
    with open("p", "rb") as f, open("killed", "wb") as g:
        g.write(f.read())
    end = owner.module._lib.cm_write_end
    end.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    end(owner.files[1]._handle, room, None)
    owner.close()
    files = {f["name"]: f for f in bed.json("files", "killed")["files"]}
    if bed.json("info", "p")["durability"] == "volatile":
        r.skip("state-dirty", "nothing here is kept over a crash of the system")
    else:
        r.equal("state-dirty", (files["written"]["dirty"], files["read"]["dirty"]), (True, False))
        text = columns(said("files", "killed")[0])
        r.check("state-dirty-text", "dirty" in text["written"][5] and text["read"][5] == "-", text)
    os.unlink("p")
    os.unlink("killed")


# ---- Advice ------------------------------------------------------------------------------------

def test_advice():
    p = new_pool("p")
    p.count(hit_blocks=10**6)
    p.curve([100_000, 212_500, 400_000, 500_000, 700_000, 500_000, None], 20000, 0)
    text = said("advise", "p")[0]
    has("advice", text, r"^ 1/8 x +512\.0 KiB +10\.0 % \|#{4} {36}\|$",
        r"^ 1/4 x +1\.00 MiB +21\.2 % \|#{9} {31}\|$",
        r"^ 1/2 x +2\.00 MiB +40\.0 % \|#{16} {24}\|$",
        r"^   1 x +4\.00 MiB +50\.0 % \|#{20} {20}\|$",
        r"^   2 x +8\.00 MiB +70\.0 % \|#{28} {12}\|$",
        r"^   8 x +32\.00 MiB +\?$",
        r"^half the pool: 50\.0 % -> 40\.0 %, 20 % more reads of the origin$",
        r"^twice the pool: 50\.0 % -> 70\.0 %, 40 % fewer reads of the origin$",
        r"^four times the pool: 50\.0 % -> 50\.0 %, no change$",
        r"^eight times the pool: observed 1000000 block reads \(3\.81 GiB\), too few of them in ")
    for reads, skipped, words in ((20000, 0, "good to\nabout a point"),
                                  (19999, 2222, "good to\na few points"),
                                  (4000, 0, "good to\na few points"), (3999, 0, "a first\nguess")):
        p.curve([500_000] * 7, reads, skipped)
        text = said("advise", "p")[0]
        r.check("advice-%d" % reads, words in text and
                "Estimated from %d reads of a sample" % reads in text, text)
        r.equal("advice-%d-skipped" % reads, "% of them were left out" in text, False)
    p.curve([500_000] * 7, 18000, 2001)
    has("advice-skipped", said("advise", "p")[0], "^10 % of them were left out, because many")
    j = bed.json("advise", "p")
    r.equal("advice-json", [j[k] for k in ("size", "known", "curve_reads", "curve_skipped",
                                           "block_reads", "curve_reads_needed")],
            [4 << 20, True, 18000, 2001, 10**6, 1024])
    os.unlink("p")


# ---- Texts -------------------------------------------------------------------------------------

ODD = {  # bytes of a name: the same in JSON, and for a terminal
    b"\x1f\x7f\"\\": ('\x1f\x7f"\\', '\\x1f\\x7f"\\\\'),
    b"\xc0\xaf\xe0\x80\xaf\xf0\x80\x80\xaf": ("\ufffd" * 9, None),  # longer than it need be
    b"\xed\xa0\x80": ("\ufffd" * 3, None),  # half of a pair of UTF-16
    b"\xf4\x90\x80\x80": ("\ufffd" * 4, None),  # beyond the last one
    b"\xe2\x82": ("\ufffd" * 2, None),
}
HIDDEN = [0x61c, 0x200e, 0x200f, 0x2028, 0x202a, 0x202e, 0x2066, 0x2069, 0x80, 0x9f]
SHOWN = [0xa0, 0x61d, 0x200d, 0x2010, 0x2027, 0x202f, 0x2065, 0x206a, 0xd7ff, 0xe000, 0x10ffff]


def test_texts():
    bed.run("create", "p", "--size", "4M", "-q")
    for i, (name, (as_json, shown)) in enumerate(ODD.items()):
        os.rename(b"p", name)
        out = bed.run("info", name, "--json").stdout
        try:
            got = json.loads(out.decode("utf-8"))["pool"]
        except ValueError as e:
            got = e
        r.equal("odd-json-%d" % i, got, as_json)
        out = bed.run("info", name).stdout.split(b"\n")[0]
        want = shown or "".join("\\x%02x" % b for b in name)
        r.equal("odd-text-%d" % i, out, b"pool:        " + want.encode())
        os.rename(name, b"p")
    for codes, hidden in (HIDDEN, True), (SHOWN, False):
        name = "".join(map(chr, codes)).encode()
        os.rename(b"p", name)
        out = bed.run("info", name).stdout.split(b"\n")[0]
        want = "".join("\\x%02x" % b for b in name).encode() if hidden else name
        r.equal("codes-" + ("hidden" if hidden else "shown"), out, b"pool:        " + want)
        os.rename(name, b"p")
    os.unlink("p")


def test_wide():
    """A character of an East Asian text takes two columns."""
    bed.run("create", "p", "--size", "4M", "--names", "-q")
    owner = Owner("p", probation_bytes=2**64 - 1)
    owner.file(1, name=("\u65e5\u672c" * 30).encode())
    owner.read(1, 0, 10)
    text = said("top", "p", "--once", "--interval", "0.1",
                env={**os.environ, "LC_ALL": "C.UTF-8"})[0]
    owner.close()
    line = re.search("^.*\u65e5.*$", text, re.M)
    if r.check("wide", line, text):
        columns_ = sum(2 if ord(c) > 0x2e80 else 1 for c in line[0])
        r.check("wide-fits", 79 <= columns_ <= 80, line[0])
    os.unlink("p")


def test_latencies_of_top():
    p = new_pool("p")
    p.latency(HITS, b4=10, b9=45, b19=44, b30=1)
    p.latency(ORIGIN, b5=3)
    has("top-latency", said("top", "p", "--once", "--interval", "0.1")[0],
        r"^hits, since it opened +1\.0 us +1\.0 ms$",
        "^origin reads, since it opened +64 ns +64 ns$")
    os.unlink("p")


def test_usage():
    """The short options, and what stands behind "help"."""
    r.equal("letter-help", said("-h"), said("--help"))
    r.equal("letter-help-of-info", said("info", "-h"), said("info", "--help"))
    r.equal("letters-help", said("check", "-mh"), said("check", "--help"))
    has("help-of-nothing", said("help", "craete", status=2)[1],
        "^cachemax: unknown command 'craete'; did you mean 'create'")
    has("prefix", said("comp", status=2)[1], "did you mean 'compare'")
    has("interval", said("top", "p", "--once", "--interval", "3601", status=2)[1],
        "is not a number of seconds from 0.1 to 3600")


def main():
    test_usage()
    test_stats()
    test_unrecorded()
    test_lost_files()
    test_watch()
    test_watch_closed(test_info())
    os.unlink("p")
    test_check()
    test_files()
    test_states()
    test_advice()
    test_texts()
    test_wide()
    test_latencies_of_top()


missing = None
if not os.path.exists(os.path.join(bed.build, "src/libcachemax.so.0")):
    missing = "no shared library in this build"
run_all("figures", main, bed, r, missing)
