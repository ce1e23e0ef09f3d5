#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
#
# http-proxy-test.py BUILD [READS] - see http-proxy-test.sh. The origin is a server in this process.
# Each version of an object is one word of eight bytes, repeated. So a body that mixes two versions
# gives itself away.
#
# Server and client know just enough HTTP for the proxy. Those of Python's library take ten times
# as long, which counts where there are a million reads.
import email.utils
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

from http_proxy import (Client, SlowClient, at_once, build, check, clock_ahead, curl_options, loads,
                        proxy_program, run, skip, tool, wrong_ones)
from http2_origin import Http2Origin
from http_origin import CUTS, PARTS, Origin

reads = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
torn_test = os.path.join(build, "examples/http-proxy/torn-test")


def hits_and_misses(pool):
    text = subprocess.run([tool, "stats", pool, "--json"], capture_output=True, text=True).stdout
    return [int(re.search(r'"%s": *(\d+)' % name, text)[1]) for name in ("hit_blocks",
                                                                       "miss_blocks")]


# ---- Checks --------------------------------------------------------------------------------------

def test_chunked(proxy, origin, pool):
    paths = ["/%d/chunked,fresh/%d" % (9000 + 37001 * i, i) for i in range(12)]
    paths += ["/8192/chunked,fresh/a", "/0/chunked,fresh/b", "/1/chunked,fresh,norange/c",
              "/300000/chunked,fresh,norange/d", "/1500000/chunked,fresh,norange/e",
              "/300000/chunked,fresh,short/f", "/200004/chunked,fresh,short/g",
              "/300000/fresh,short/h"]
    wrong = wrong_ones(proxy, origin, paths)
    check("chunked: every body is right, cold", not wrong, wrong)
    before, old = origin.gets(), hits_and_misses(pool)
    wrong = wrong_ones(proxy, origin, paths)
    hits, misses = [new - o for new, o in zip(hits_and_misses(pool), old)]
    print("  %d hits, %d misses, %d GETs" % (hits, misses, origin.gets() - before))
    check("chunked: every body is right, warm", not wrong, wrong)
    check("chunked: at least 95 % are hits the second time", hits >= 19 * misses and hits > 500)
    check("chunked: the origin is not read the second time", origin.gets() == before)
    return paths


def test_one_flight(proxy, origin):
    path = "/300000/fresh/flight"
    origin.delay = 0.3
    results = at_once(proxy, path, 32)
    origin.delay = 0
    check("32 clients on a cold object: all get it",
          results == [(200, origin.body(path, 0))] * 32, "%d came" % len(results))
    asked = origin.gets("GET", path), origin.gets("HEAD", path)
    print("  %d GETs, %d HEADs" % asked)
    check("32 clients on a cold object: one GET, one HEAD", asked == (1, 1))


def test_plain(proxy, origin):
    for what in ("nostore", "fresh,long"):
        path = "/100000/%s/x" % what
        check(what + ": right twice", not wrong_ones(proxy, origin, [path, path]))
    check("no-store: read from the origin each time",
          origin.gets("GET", "/100000/nostore/x") == 2)
    check("an object that is missing", proxy.get("/missing") == (404, b""))
    check("other methods are refused", proxy.get("/1/fresh/x", method="DELETE")[0] == 405)
    path = "/50000/stale/x"
    wrong_ones(proxy, origin, [path, path])
    check("no max-age: each request asks, and the data are cached",
          (origin.gets("HEAD", path), origin.gets("GET", path)) == (2, 1))
    origin.change(path)
    check("a changed object is seen at once", not wrong_ones(proxy, origin, [path]))


def test_large(proxy, origin):
    """A large object that is not stored does not lie in memory."""
    def peak():
        with open("/proc/%d/status" % proxy.process.pid) as f:
            return int(re.search(r"VmHWM:\s*(\d+)", f.read())[1]) >> 10

    before = peak()
    for how in "nostore", "nostore,chunked", "nostore,open":
        wrong = wrong_ones(proxy, origin, ["/48000000/%s/large" % how])
        check("a large object that is not stored (%s): right" % how, not wrong)
    sizes = [262143, 262144, 262145, 300000]
    check("objects about as large as what lies in memory: right",
          not wrong_ones(proxy, origin, ["/%d/nostore/large" % n for n in sizes]))
    print("  %d MiB before, %d after" % (before, peak()))
    check("a large object that is not stored does not lie in memory", peak() < before + 24)


def test_no_room(pool, start):
    """The volume of the file for it has no room: here a file may have 1 MiB."""
    with open(pool + ".log", "w+") as log:
        proxy = start(pool + "-none", log)
        resource.prlimit(proxy.process.pid, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        status = [proxy.get("/%d/nostore/room" % n)[0] for n in (2000000, 500000)]
        proxy.end()
        log.seek(0)
        said = [line for line in log if "temporary" in line]
    check("no room for a large object: 502, and others are served", status == [502, 200], status)
    check("no room for a large object: the log says so, with the reason",
          said == ["http-proxy: /2000000/nostore/room: no room for a temporary file in %s: File "
                   "too large\n" % os.environ.get("TMPDIR", "/tmp")], said)


def test_directives(proxy, origin):
    """What Cache-Control, Age, Date and Vary mean: is it stored, and is it fresh then?"""
    now = email.utils.formatdate(usegmt=True)
    for n, (control, field, stored, fresh) in enumerate((
            ("Max-Age=600", None, True, True), ('max-age="600"', "Age: 0", True, True),
            ("max-age=600", "Age: 500", True, True), ("max-age=600", "Age: 600", True, False),
            ("max-age=600", "Age: 1000", True, False),
            ("max-age=0, s-maxage=600", "Age: 5", True, True),
            ("S-MaxAge=0, max-age=600", None, True, False), ("max-age=-1", None, True, False),
            ("max-age=600, No-Cache", None, True, False),
            ('ext="a, max-age=600"', None, True, False),
            ('ext="\\", max-age=600', None, True, False),
            ("x-max-age=600", None, True, False), ("my-no-store, max-age=600", None, True, True),
            ("No-Store, max-age=600", None, False, False),
            ('max-age=600,PRIVATE="x"', None, False, False),
            ("max-age=600", "Date: " + now, True, True), ("max-age=600", "Date: none", True, True),
            ("max-age=600", "Date: Mon, 01 Jan 2001 00:00:00 GMT", True, False),
            ("max-age=600", "Vary: Accept-Encoding", True, True),
            ("max-age=600", "Vary: Cookie , *", True, False))):
        path = "/50000/stale/control%d" % n
        origin.control[path] = control
        if field:
            origin.field[path] = field
        wrong_ones(proxy, origin, [path, path])
        gets = origin.gets("GET", path)
        origin.change(path)
        seen = not wrong_ones(proxy, origin, [path])
        check("Cache-Control: %s%s" % (control, " with " + field if field else ""),
              (gets == 1, not seen) == (stored, fresh), "%d reads, a change is seen: %s"
              % (gets, seen))


def test_methods(proxy, origin):
    """A signed URL is for one method, and some servers know no HEAD, or answer it as they like. A
    redirection is passed on."""
    refused = 400, 403, 404, 408, 410, 429, 500, 501, 503
    for status in (203, 204, 205, 206, 300, 304) + refused:
        wrong = wrong_ones(proxy, origin, ["/3000/fresh,head%d/x" % status] * 2)
        check("HEAD gives %d, and GET the object" % status, not wrong, wrong)
    for status in refused:
        got = proxy.get("/3000/fresh,get%d/x" % status)[0]
        check("GET gives %d, and HEAD 200" % status, got == status, got)
    for status in 301, 302, 303, 307, 308:
        path = "/3000/fresh,head%d,get%d/x" % (status, status)
        got = proxy.get(path)
        check("HEAD gives %d: it is passed on" % status,
              got == (status, b"") and origin.gets("GET", path) == 0, got)


def test_parts(proxy, origin):
    """A 206 counts only if it says for sure which part it is of an object of this size. If it does
    not, the whole object is passed on, and nothing is stored."""
    for how in PARTS:
        path = "/30000/fresh,%s/x" % how
        wrong, gets = wrong_ones(proxy, origin, [path]), origin.gets("GET", path)
        check("a 206 (%s): right" % how, not wrong and not wrong_ones(proxy, origin, [path]))
        kept = origin.gets("GET", path) == gets
        check("a 206 (%s): is it stored" % how, kept == (how in ("unit", "star")), kept)


def test_no_ranges(proxy, origin):
    """An origin that always sends the whole object sends it once for a response, not for each piece
    of it."""
    size = 12000000
    for how in "fresh,norange", "fresh,norange,chunked":
        path = "/%d/%s/once" % (size, how)
        check("no ranges (%s): right twice" % how, not wrong_ones(proxy, origin, [path, path]))
        check("no ranges (%s): the origin sends it once, and it is stored" % how,
              origin.gets("GET", path) == 1 and origin.sent[path] < size * 3 // 2,
              "%d GETs, %d bytes" % (origin.gets("GET", path), origin.sent[path]))


def test_head_tells(proxy, origin):
    """The length that a HEAD tells is wrong: the GET decides. If it told 0, that is no length, and
    what comes can be stored. So a server without a body for HEADs may say."""
    for told in 0, 1000, 100000, 600000:
        for how in "fresh", "fresh,norange", "fresh,norange,chunkedget", "fresh,norange,openget":
            path, size = "/300000/%s/told%d" % (how, told), 300000
            if told > size and "openget" in how:
                continue  # its body may be a broken one
            origin.told[path] = told
            results = [proxy.get(path) for _ in range(2)]
            right = (200, origin.body(path, 0))
            check("a HEAD tells %d of %d bytes (%s): right" % (told, size, how),
                  results == [right] * 2, [(status, len(body)) for status, body in results])
            gets = origin.gets("GET", path)
            kept = not wrong_ones(proxy, origin, [path]) and origin.gets("GET", path) == gets
            check("a HEAD tells %d of %d bytes (%s): is it stored" % (told, size, how),
                  kept == (told == 0 and "openget" not in how), kept)
    # Objects that end where a read of the library ends, so it reads on there.
    paths = ["/%d/fresh,no416/told0" % size for size in (331776, 983040, 1048576)]
    origin.told.update((path, 0) for path in paths)
    wrong = wrong_ones(proxy, origin, paths)
    check("a HEAD tells 0, and parts the size: nothing behind that is asked for", not wrong, wrong)
    path = "/0/stale/told0"
    check("a HEAD tells 0 bytes of an empty object: right",
          not wrong_ones(proxy, origin, [path, path]))


def test_environment(start, origin):
    """The proxies of the environment do not count."""
    nowhere = "http://127.0.0.1:1"
    proxy = start({"http_proxy": nowhere, "all_proxy": nowhere, "no_proxy": ""})
    check("http_proxy in the environment: the origin is asked",
          not wrong_ones(proxy, origin, ["/9000/fresh/environment"]))
    proxy.end()


def test_hang(start, origin):
    """The origin does not answer in time: it is not asked again for that response."""
    proxy = start({"LD_PRELOAD": curl_options, "CURL_LOW_SPEED_TIME": "3"})
    path, head, whole, old = ["/9000/%s/hang" % how for how in (
        "fresh", "stale", "nostore", "fresh,norange")]
    for method, p in ("GET", path), ("HEAD", head), ("GET", whole):
        origin.hangs[method, p] = threading.Event()
        status, body = proxy.get(p)
        check("the origin hangs (%s of %s): 504" % (method, p), (status, body) == (504, b""),
              status)
        asked = origin.gets("HEAD", p), origin.gets("GET", p)
        check("the origin hangs (%s of %s): it is asked once" % (method, p),
              asked == (1, method == "GET"), asked)
        origin.hangs.pop((method, p)).set()
        check("the origin hangs no more (%s of %s)" % (method, p),
              not wrong_ones(proxy, origin, [p]))
    origin.hangs["HEAD", head] = threading.Event()
    gets = origin.gets("GET", head)
    check("the origin hangs: an old copy is served",
          not wrong_ones(proxy, origin, [head]) and origin.gets("GET", head) == gets)
    origin.hangs.pop(("HEAD", head)).set()
    proxy.end()


def test_log(pool, start):
    """The log says why a client gets 502, and not for each request."""
    gone = Origin()
    gone.shutdown()
    gone.server_close()
    with open(pool + ".log", "w+") as log:
        proxy, began = start(pool, gone, log), time.time()
        status = {proxy.get("/9000/fresh/\x1bgone?secret")[0] for _ in range(30)}
        most = 1 + (time.time() - began) / 5
        proxy.end()
        log.seek(0)
        said = [line for line in log if "gone" in line]
    check("the origin is gone: 502", status == {502}, status)
    check("the origin is gone: the log says which path, and why",
          said and re.fullmatch(r"http-proxy: [^?\x1b]*/9000/fresh/\?gone: [^?]*connect.*\n",
                                said[0]), said[:1])
    check("the origin is gone: the log says it at most every 5 seconds", len(said) <= most, said)


def test_coding(proxy, origin):
    """An object that the origin has encoded: the client learns how."""
    for how in "fresh,gzip", "fresh,gzip,norange", "fresh,gzipget", "fresh,gzipget,norange", \
            "nostore,gzip", "fresh,gzip,brget", "fresh,identity":
        path = "/200000/%s/coding" % how
        right = "gzip, br" if "brget" in how else "gzip" if "gzip" in how else None
        for when in "first", "second":
            wrong = wrong_ones(proxy, origin, [path])
            check("an encoded object (%s), %s: right" % (how, when), not wrong)
            check("an encoded object (%s), %s: the client is told" % (how, when),
                  proxy.coding == right, proxy.coding)
    check("an object that is not encoded is stored", origin.gets("GET", path) == 1)


def test_no_store_later(proxy, origin):
    paths = ["/60000/stale/%s" % name for name in ("down", "later", "slow", "many")]
    wrong_ones(proxy, origin, paths)
    origin.control[paths[1]] = "no-store"
    check("no-store from now on: right", not wrong_ones(proxy, origin, paths[1:2]))
    origin.down.update(zip(paths, (503, 503, 408, 429)))
    for path in paths[0], paths[2], paths[3]:
        check("an origin that answers %d: an old copy is served" % origin.down[path],
              not wrong_ones(proxy, origin, [path]))
    check("no-store from now on: what was cached before is gone", proxy.get(paths[1])[0] == 503)
    origin.down.clear()


def test_half_head(proxy, origin):
    """An origin's connection that breaks in the head of an answer is no end of an object."""
    for cut in CUTS:
        name = cut.replace(" ", "-")
        for how in "fresh,norange", "fresh,norange,chunked", "fresh", "nostore":
            path = "/100000/%s/%s" % (how, name)
            origin.cut["GET", path] = cut
            status, body = proxy.get(path)
            check("%s of a GET (%s): 502" % (cut, how), status == 502 and not body,
                  "%s, %d bytes" % (status, len(body)))
            del origin.cut["GET", path]
            check("%s of a GET (%s): nothing was stored" % (cut, how),
                  not wrong_ones(proxy, origin, [path, path]))
        path = "/100000/nostore/head-" + name
        origin.cut["HEAD", path] = cut
        check("%s of a HEAD: the GET decides" % cut, not wrong_ones(proxy, origin, [path]))
        path = "/100000/stale/head-" + name
        wrong_ones(proxy, origin, [path])
        origin.cut["HEAD", path] = cut
        gets = origin.gets("GET", path)
        check("%s of a HEAD: an old copy is served" % cut,
              not wrong_ones(proxy, origin, [path]) and origin.gets("GET", path) == gets)
    origin.cut.clear()


def test_broken_body(proxy, origin):
    """A body that breaks is never taken for a whole one. If its end is the end of the connection,
    nobody can know whether it is whole: it ends so for the client, too."""
    for how, is_open, kept in (
            ("fresh,norange", False, True), ("fresh,norange,chunked", False, True),
            ("fresh", False, True), ("fresh,openget,norange", False, True),
            ("fresh,open,norange", True, False), ("nostore,open", True, False),
            ("fresh,open", False, True), ("nostore", False, False),
            ("nostore,chunked", False, False)):
        path = "/100000/%s/broken" % how
        origin.cut["GET", path] = "body"
        status, body = proxy.get(path)
        right = origin.body(path, 0)
        # An object that is read in parts has its other half from the second request.
        whole = (status, body) == (200, right) or right.startswith(body) and \
            (status in (None, 502) or "open" in how.split(",") and proxy.open_end)
        check("a body that breaks (%s): no wrong end" % how, whole,
              "%s, %d bytes" % (status, len(body)))
        del origin.cut["GET", path]
        check("a body that breaks (%s): not stored as whole" % how,
              not wrong_ones(proxy, origin, [path, path]))
        check("a body that breaks (%s): has the whole one an open end" % how,
              proxy.open_end == is_open)
        gets = origin.gets("GET", path)
        check("a body that breaks (%s): is the whole one kept" % how,
              not wrong_ones(proxy, origin, [path]) and
              (origin.gets("GET", path) == gets) == kept)
    path = "/2000/fresh,openget,norange/broken"  # its HEAD told the length
    origin.cut["GET", path] = "body"
    status = proxy.get(path)[0]
    check("a small body that breaks: 502", status == 502, status)


def test_changed_meanwhile(proxy, origin):
    """An object changes while it is read. The responses break off, and that is all: the new version
    is read once, also by many clients, and also if it changes again."""
    size = 16000000
    path = "/%d/stale/meanwhile" % size
    for change in "first", "second", "third":
        what = "the %s change of an object that is read: " % change
        origin.change(path)  # so nothing of it is cached
        slow = [SlowClient(proxy, path) for _ in range(2)]
        origin.change(path)
        origin.sent[path] = 0
        check(what + "the response breaks off", slow[0].rest() < size)
        results = at_once(proxy, path, 8)
        right = (200, origin.body(path, origin.versions[path]))
        check(what + "then all get the new version", results == [right] * 8,
              [(status, len(body)) for status, body in results])
        check(what + "another response breaks off later", slow[1].rest() < size)
        results = at_once(proxy, path, 8)
        check(what + "then all get the new version, too", results == [right] * 8,
              [(status, len(body)) for status, body in results])
        # The old version was read on until it turned out to be one.
        check(what + "the origin sends the new one once", origin.sent[path] < size * 3 // 2,
              "%d bytes of %d" % (origin.sent[path], size))
    proxy.end()


def test_two_etags(proxy, origin):
    """Two servers behind one name give an object two ETags: of a HEAD, and of a GET."""
    for how in "stale", "fresh", "fresh,norange", "fresh,chunked":
        path = "/300000/%s,twoetags/x" % how
        first = proxy.get(path)[0]
        check("two ETags (%s): the first response breaks off, or is whole" % how,
              first in (None, 200), first)
        check("two ETags (%s): the next ones are whole" % how,
              not wrong_ones(proxy, origin, [path] * 3))
    asked = origin.gets("HEAD", path)
    check("two ETags: passed on as it comes", not wrong_ones(proxy, origin, [path]) and
          origin.gets("HEAD", path) == asked)
    path = "/300000/fresh/one-etag-again"
    wrong_ones(proxy, origin, [path])
    gets = origin.gets("GET", path)
    check("an object of one ETag is cached", not wrong_ones(proxy, origin, [path] * 2) and
          origin.gets("GET", path) == gets)
    result = subprocess.run([torn_test], capture_output=True, text=True)
    check("two ETags: for how long it is passed on", result.returncode == 0, result.stdout)


def get_patiently(proxy, path):
    """libcurl may not see that a body of HTTP/2 has ended (curl_options.c). Then the proxy gives up
    with 502, and is asked once more."""
    answer = None, b""
    for _ in range(8):
        answer = proxy.get(path)
        if answer[0] not in (None, 502, 504):
            break
    return answer


def check_http2(what, start, certificate, env, kept):
    """How a body ends, whose length nobody has told. kept: is a whole one stored?"""
    right = b"".join(b"%08d" % n for n in range(50000))
    origin = Http2Origin(right, certificate)
    proxy = start(origin, dict(env, LD_PRELOAD=curl_options)) if loads(curl_options) else None
    came = proxy and get_patiently(proxy, "/x")
    if not proxy or not origin.connections:
        skip(what, "no LD_PRELOAD here, or a libcurl without HTTP/2 or TLS")
    else:
        check(what + ": a body without a length is right", came == (200, right), came[0])
        gets = origin.gets
        check(what + ": is a body without a length stored",
              get_patiently(proxy, "/x") == (200, right) and (origin.gets == gets) == kept,
              "%d GETs" % (origin.gets - gets))
        for origin.cut in "break", "rst0":
            path, how = "/" + origin.cut, "%s: a body that is cut (%s)" % (what, origin.cut)
            status, body = proxy.get(path)
            check(how + " is no whole one",
                  right.startswith(body) and (status in (None, 502, 504) or
                                              not kept and proxy.open_end),
                  "%s, %d bytes" % (status, len(body)))
            origin.cut = None
            answers = [get_patiently(proxy, path) for _ in range(2)]
            check(how + " is not stored as whole", answers == [(200, right)] * 2,
                  [(status, len(body)) for status, body in answers])
    origin.shutdown()
    origin.server_close()
    if proxy:
        proxy.end()


def test_http2(pool, start):
    """An origin gives up in the middle of a body, and the end of its stream tells of no error."""
    certificate = pool + ".pem"
    check_http2("HTTP/2", start, None, {"CURL_HTTP2": "1"}, False)
    if not shutil.which("openssl"):
        return skip("HTTP/2 or HTTP/1.1", "no openssl here, which makes a certificate")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                    "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
                    "-keyout", certificate, "-out", certificate + ".crt"],
                   check=True, stderr=subprocess.DEVNULL)
    with open(certificate, "a") as both, open(certificate + ".crt") as public:
        both.write(public.read())
    check_http2("HTTP/2 or HTTP/1.1", start, certificate, {}, True)


def test_usage(pool):
    """What is no port, or no origin, is refused at once. Of an origin, it is said why."""
    for port, url, why in (("abc", "http://localhost:1", b""), ("99999", "http://localhost:1", b""),
                           ("-1", "http://localhost:1", b""), ("", "http://localhost:1", b""),
                           ("0", "ftp://localhost", b"begins"), ("0", "localhost:1", b"begins"),
                           ("0", "http://", b"no host"), ("0", "http:///base", b"no host"),
                           ("0", "https://:80/", b"no host"), ("0", "http://u:p@", b"no host"),
                           ("0", "http://localhost/base", b"path"),
                           ("0", "http://localhost//", b"path"),
                           ("0", "https://localhost:1?x", b"path"),
                           ("0", "http://localhost#x", b"path"),
                           ("0", "http://localhost:99999", b"ort number")):
        try:
            status = subprocess.run([proxy_program, pool, port, url], stderr=subprocess.PIPE,
                                    stdout=subprocess.DEVNULL, timeout=5)
            lines = status.stderr.split(b"\n")
            right = status.returncode == 2 and lines[0].startswith(b"usage: http-proxy POOL") \
                and b"(PORT: 0 to 65535, " in lines[0] and b"https://" in lines[0] \
                and len(lines) == (3 if why else 2) and why in lines[-2]
        except subprocess.TimeoutExpired:
            right = False
        check("usage: PORT '%s', origin '%s'" % (port, url), right)


def test_clock_set_back(start, origin, flag):
    """The wall clock is set back by an hour while the proxy runs: max-age ends all the same."""
    env = {"LD_PRELOAD": clock_ahead, "CLOCK_AHEAD": flag}
    if not loads(clock_ahead):
        return skip("the clock is set back", "no LD_PRELOAD here")
    short, rare, long, new = ["/50000/%s" % p for p in (
        "second/short", "second/rare", "fresh/long", "fresh/new")]
    open(flag, "w").close()
    proxy = start(env)
    wrong_ones(proxy, origin, [rare, long])
    # So many that the proxy cannot remember for each of them when it asked.
    wrong_ones(proxy, origin, ["/0/stale/%d" % n for n in range(3000)] + [short])
    time.sleep(2.1)
    os.remove(flag)
    for what, path in ("an object", short), ("one of many objects", rare):
        origin.change(path)
        check("the clock is set back: %s is fresh for max-age, not longer" % what,
              not wrong_ones(proxy, origin, [path]))
    for what, path in ("before", long), ("after that", new):
        asked = origin.gets("HEAD", path)
        wrong_ones(proxy, origin, [path] * 4)
        asked = origin.gets("HEAD", path) - asked
        check("the clock is set back: an object of %s is asked for once" % what, asked <= 1, asked)
    proxy.end()


def test_killed_while_it_asks(start, origin):
    """max-age was 3 seconds and is over. The origin says max-age=0 now. The proxy is killed when
    the library has the validator: it must not take the object for fresh after that."""
    path, proxy = "/30000000/seconds/x", start()
    # Before the first request, because gdb may wait for ever when it attaches to a process in which
    # threads begin and end.
    gdb = ["gdb", "-nx", "-q", "-batch", "-p", str(proxy.process.pid)]
    for c in "break cm_file_revalidate", "shell echo ready", "continue", "finish", "kill":
        gdb += ["-ex", c]
    with subprocess.Popen(gdb, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as stop:
        said = ""
        while "ready" not in said and (line := stop.stdout.readline()):
            said += line
        if "Breakpoint 1" not in said:
            proxy.end(signal.SIGKILL)
            return skip("killed while it asks", "gdb cannot attach here")
        with socket.socket() as slow:  # reads the head only, so the object is in use all the time
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", proxy.port))
            slow.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
            slow.recv(100)
            time.sleep(3.1)
            still = "Breakpoint 1, " not in said and proxy.process.poll() is None
            origin.control[path] = "max-age=0"
            try:
                proxy.get(path)
            except OSError:
                pass
            said += stop.communicate(timeout=60)[0]
    check("killed while it asks: by the second request",
          still and said.count("Breakpoint 1, ") == 1, said)
    proxy.process.wait(20)
    proxy, before = start(), origin.gets("HEAD", path)
    wrong = wrong_ones(proxy, origin, [path])
    check("killed while it asks: max-age of before does not count",
          not wrong and origin.gets("HEAD", path) == before + 1)
    proxy.end()


class Readers:
    """Threads that read objects while these change, and the proxy is killed twice."""
    PATHS = ["/600000/stale/1", "/30000/chunked/2", "/20000/second/3", "/280000/chunked/4",
             "/10000/stale/5", "/40000/norange/6"]
    MOSTLY = [2, 4, 0, 5, 2, 4, 3, 2, 4, 1, 5, 2, 4, 1]

    def __init__(self, start):
        self.start, self.proxy, self.left, self.lock = start, start(), reads, threading.Lock()
        self.results = {"whole": 0, "early": 0, "mixed": 0, "lost": 0}

    def next(self):
        with self.lock:
            self.left -= 1
            return self.left, self.proxy.port

    def read(self):
        client, its_port = None, 0
        while (take := self.next())[0] >= 0:
            path, port = self.PATHS[self.MOSTLY[take[0] % len(self.MOSTLY)]], take[1]
            try:
                if client is None or its_port != port:
                    client, its_port = Client(port), port
                status, body = client.get(path)
                what = "whole" if status == 200 else "lost" if status else "early"
                if body != (body[:8] * (len(body) // 8 + 1))[:len(body)]:
                    what = "mixed"
                elif what == "whole" and len(body) != int(path.split("/")[1]):
                    what = "lost"
            except OSError:
                what = "lost"
            if what != "whole" and client:
                client.close()
                client = None
            with self.lock:
                self.results[what] += 1

    def run(self):
        threads = [threading.Thread(target=self.read) for _ in range(4)]
        for t in threads:
            t.start()
        for part in (2, 1):
            while self.left > reads * part // 3:
                time.sleep(0.01)
            with self.lock:  # nobody begins to read until there is another one
                self.proxy.end(signal.SIGKILL)
                self.proxy = self.start()
        for t in threads:
            t.join()
        self.proxy.end()
        return self.results


def test_changing(start, origin):
    origin.changing = Readers.PATHS
    began = time.time()
    result = Readers(start).run()
    origin.changing = []
    print("  %d reads of %d versions in %d seconds, kill -9 twice: %s" %
          (reads, sum(origin.versions.get(p, 0) for p in Readers.PATHS), time.time() - began,
           json.dumps(result)))
    check("changing: no body mixes versions", result["mixed"] == 0)
    check("changing: most responses are whole", result["whole"] > reads * 0.8)


def test_all(pool, start, origin):
    test_usage(pool)
    proxy = start()
    paths = test_chunked(proxy, origin, pool)
    test_one_flight(proxy, origin)
    test_plain(proxy, origin)
    test_directives(proxy, origin)
    test_methods(proxy, origin)
    test_parts(proxy, origin)
    test_no_ranges(proxy, origin)
    test_head_tells(proxy, origin)
    test_coding(proxy, origin)
    test_no_store_later(proxy, origin)
    test_large(proxy, origin)
    test_half_head(proxy, origin)
    test_broken_body(proxy, origin)
    test_two_etags(proxy, origin)
    check("it ends in order", proxy.end() == 0)

    before = dict(origin.asked)
    proxy = start()
    wrong = wrong_ones(proxy, origin, paths + ["/100000/fresh,long/x"])
    check("restart: fresh objects are right", not wrong, wrong)
    asked = {str(k): n for k, n in origin.asked.items() if n != before.get(k)}
    print("  %d requests to the origin" % len(asked))
    check("restart: the origin is not asked", not asked, asked)
    proxy.end(signal.SIGKILL)
    if shutil.which("gdb"):
        test_killed_while_it_asks(start, origin)
    else:
        skip("killed while it asks", "no gdb here")
    test_clock_set_back(lambda env: start(pool + "-changing", env), origin, pool + ".ahead")
    test_http2(pool, lambda its, env: start(pool, env, its))
    test_environment(lambda env: start(pool, env), origin)
    if loads(curl_options):
        test_hang(lambda env: start(pool, env), origin)
    else:
        skip("the origin hangs", "no LD_PRELOAD here")
    test_log(pool, lambda its, its_origin, log: start(its, None, its_origin, log))
    test_no_room(pool, lambda its, log: start(its, log=log))
    test_changed_meanwhile(start(pool + "-changing"), origin)
    test_changing(lambda: start(pool + "-changing"), origin)

    path = "/50000/stale/x"
    proxy = start(pool + "-none")
    check("without a pool the origin is served", not wrong_ones(proxy, origin, [path]))
    proxy.end()
    proxy = start()
    origin.shutdown()
    origin.server_close()
    check("the origin is gone: an old copy is served", not wrong_ones(proxy, origin, [path]))
    check("the origin is gone: 502 for what is not there", proxy.get("/1000/stale/y")[0] == 502)
    proxy.end()
    for p in (pool, pool + "-changing"):
        check("the pool is sound",
              subprocess.run([tool, "check", p], stdout=subprocess.DEVNULL).returncode == 0)


def main(pool, start_any):
    subprocess.run([tool, "create", pool + "-changing", "--size", "64M", "-q"], check=True)
    origin = Origin()

    def start(its_pool=pool, env=None, its_origin=origin, log=None):
        return start_any(its_pool, its_origin, env, log)

    test_all(pool, start, origin)


sys.exit(run(main))
