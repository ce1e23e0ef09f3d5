#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
#
# http-proxy-test.py BUILD [READS] - see http-proxy-test.sh. The origin is a server in this process.
# Each version of an object is one word of eight bytes, repeated. So a body that mixes two versions
# gives itself away.
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

build = sys.argv[1]
reads = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
proxy_program = os.path.join(build, "examples/http-proxy/http-proxy")
tool = os.path.join(build, "src/tool/cachemax")
passed = failed = skipped = 0


def check(name, right, why=""):
    global passed, failed
    if right:
        passed += 1
        print("ok " + name, flush=True)
    else:
        failed += 1
        print("FAIL %s: %s" % (name, why), flush=True)


def skip(name, why):
    global skipped
    skipped += 1
    print("skip %s: %s" % (name, why), flush=True)


class Origin(ThreadingHTTPServer):
    """Objects are named /SIZE/HEAD/NAME; HEAD: words of Handler.do_GET, with commas."""
    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.asked = {}  # (method, path): how often
        self.versions = {}  # path: number
        self.control = {}  # path: its Cache-Control from now on
        self.down = set()  # paths
        self.delay = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # a client that had enough

    def body(self, path, version):
        size = int(path.split("/")[1])
        word = b"%08d" % (version * 1000 + sum(path.encode()) % 1000)
        return (word * (size // 8 + 1))[:size]

    def gets(self, method="GET", path=None):
        with self.lock:
            return sum(n for (m, p), n in self.asked.items() if m == method and path in (None, p))

    def change(self, path):
        with self.lock:
            self.versions[path] = self.versions.get(path, 0) + 1


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        origin = self.server
        with origin.lock:
            key = (self.command, self.path)
            origin.asked[key] = origin.asked.get(key, 0) + 1
            version = origin.versions.get(self.path, 0)
        if self.path.startswith("/missing") or self.path in origin.down:
            self.send_response(503 if self.path in origin.down else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        how = self.path.split("/")[2]
        etag = '"v%d"' % version if "long" not in how else '"%040d"' % version
        time.sleep(origin.delay)
        body = origin.body(self.path, version)
        status, content_range = 200, None
        wanted = re.match(r"bytes=(\d+)-(\d+)$", self.headers.get("Range", ""))
        if self.headers.get("If-Match", etag) != etag:
            status, body = 412, b""
        elif wanted and "norange" not in how:
            first, total = int(wanted[1]), "*" if "chunked" in how else len(body)
            status, size = (206, len(body)) if first < len(body) else (416, len(body))
            body = body[first:int(wanted[2]) + 1]
            if "short" in how:  # a server may send less than it is asked for
                body = body[:50001]
            content_range = "bytes %d-%d/%s" % (first, first + len(body) - 1, total)
            if status == 416:
                content_range = "bytes */%d" % size
        self.send_response(status)
        self.send_header("ETag", etag)
        control = origin.control.get(self.path)
        for word, says in (("fresh", "public, max-age=600"), ("seconds", "max-age=3"),
                           ("second", "max-age=2"), ("nostore", "no-store")):
            if control is None and word in how.split(","):
                control = says
        if control:
            self.send_header("Cache-Control", control)
        if content_range:
            self.send_header("Content-Range", content_range)
        chunked = "chunked" in how and status in (200, 206)
        self.send_header(*(("Transfer-Encoding", "chunked") if chunked else
                           ("Content-Length", str(len(body)))))
        self.end_headers()
        if self.command == "HEAD":
            return
        if chunked:
            for at in range(0, len(body), 50000):
                part = body[at:at + 50000]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            body = b"0\r\n\r\n"
        self.wfile.write(body)


class Proxy:
    def __init__(self, pool, origin_port):
        self.process = subprocess.Popen(
            [proxy_program, pool, "0", "http://127.0.0.1:%d" % origin_port],
            stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().rsplit(":", 1)[1])

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.process.wait(20)

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def get(self, path, connection=None, method="GET"):
        """Status and body. If the response ends early: None, and what came of it."""
        c = connection or self.connect()
        try:
            c.request(method, path)
            response = c.getresponse()
            return response.status, response.read()
        except http.client.IncompleteRead as e:
            return None, e.partial
        finally:
            if not connection:
                c.close()


def hits_and_misses(pool):
    text = subprocess.run([tool, "stats", pool, "--json"], capture_output=True, text=True).stdout
    return [int(re.search(r'"%s": *(\d+)' % name, text)[1]) for name in ("hit_blocks",
                                                                       "miss_blocks")]


def test_chunked(proxy, origin, pool):
    paths = ["/%d/chunked,fresh/%d" % (9000 + 37001 * i, i) for i in range(12)]
    paths += ["/8192/chunked,fresh/a", "/0/chunked,fresh/b", "/1/chunked,fresh,norange/c",
              "/300000/chunked,fresh,norange/d", "/1500000/chunked,fresh,norange/e"]
    paths += ["/300000/chunked,fresh,short/f", "/200004/chunked,fresh,short/g",
              "/300000/fresh,short/h"]
    right = [proxy.get(p) == (200, origin.body(p, 0)) for p in paths]
    check("chunked: every body is right, cold", all(right),
          [p for p, r in zip(paths, right) if not r])
    before, old = origin.gets(), hits_and_misses(pool)
    right = [proxy.get(p) == (200, origin.body(p, 0)) for p in paths]
    hits, misses = [new - o for new, o in zip(hits_and_misses(pool), old)]
    check("chunked: every body is right, warm", all(right), str(right))
    check("chunked: at least 95 % are hits the second time", hits >= 19 * misses and hits > 500,
          "%d hits, %d misses" % (hits, misses))
    check("chunked: the origin is not read the second time", origin.gets() == before,
          "%d GETs" % (origin.gets() - before))
    return paths


def test_one_flight(proxy, origin):
    path, results = "/300000/fresh/flight", []
    origin.delay = 0.3
    threads = [threading.Thread(target=lambda: results.append(proxy.get(path))) for _ in range(32)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    origin.delay = 0
    check("32 clients on a cold object: all get it",
          results == [(200, origin.body(path, 0))] * 32, "%d came" % len(results))
    check("32 clients on a cold object: one GET, one HEAD",
          (origin.gets("GET", path), origin.gets("HEAD", path)) == (1, 1),
          "%d, %d" % (origin.gets("GET", path), origin.gets("HEAD", path)))


def test_plain(proxy, origin):
    for what in ("nostore", "fresh,long"):
        path = "/100000/%s/x" % what
        check(what + ": right twice",
              [proxy.get(path) for _ in range(2)] == [(200, origin.body(path, 0))] * 2)
    check("no-store: read from the origin each time",
          origin.gets("GET", "/100000/nostore/x") == 2)
    check("an object that is missing", proxy.get("/missing") == (404, b""))
    check("other methods are refused", proxy.get("/1/fresh/x", method="DELETE")[0] == 405)
    path = "/50000/stale/x"
    proxy.get(path)
    proxy.get(path)
    check("no max-age: each request asks, and the data are cached",
          (origin.gets("HEAD", path), origin.gets("GET", path)) == (2, 1))
    origin.change(path)
    check("a changed object is seen at once", proxy.get(path) == (200, origin.body(path, 1)))


def test_no_store_later(proxy, origin):
    paths = ["/60000/stale/down", "/60000/stale/later"]
    for path in paths:
        proxy.get(path)
    origin.control[paths[1]] = "no-store"
    check("no-store from now on: right", proxy.get(paths[1]) == (200, origin.body(paths[1], 0)))
    origin.down.update(paths)
    check("an origin that answers 503: an old copy is served",
          proxy.get(paths[0]) == (200, origin.body(paths[0], 0)))
    check("no-store from now on: what was cached before is gone", proxy.get(paths[1])[0] == 502)
    origin.down.clear()


def test_killed_while_it_asks(start, origin):
    """max-age was 3 seconds and is over. The origin says max-age=0 now. The proxy is killed when
    the library has the validator: it must not take the object for fresh after that."""
    path, gdb = "/30000000/seconds/x", ["gdb", "-nx", "-q", "-batch", "-p"]
    proxy = start()
    with socket.socket() as slow:  # reads the head only, so the object is in use all the time
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", proxy.port))
        slow.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
        slow.recv(100)
        time.sleep(3.1)
        origin.control[path] = "max-age=0"
        commands = ["break cm_file_revalidate", "shell echo ready", "continue", "finish", "kill"]
        stopper = subprocess.Popen(gdb + [str(proxy.process.pid)] +
                                   [w for c in commands for w in ("-ex", c)],
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said = ""
        while "ready" not in said and (line := stopper.stdout.readline()):
            said += line
        if "Breakpoint 1" not in said:
            stopper.communicate()
            proxy.end(signal.SIGKILL)
            return skip("killed while it asks", "gdb cannot attach here")
        try:
            proxy.get(path)
        except (OSError, http.client.HTTPException):
            pass
        stopper.communicate(timeout=60)
    proxy.process.wait(20)
    proxy, before = start(), origin.gets("HEAD", path)
    right = proxy.get(path) == (200, origin.body(path, 0))
    check("killed while it asks: max-age of before does not count",
          right and origin.gets("HEAD", path) == before + 1)
    proxy.end()


def test_changing(start, origin):
    """start() begins a proxy. It is killed in between."""
    paths = ["/1200000/stale/1", "/100000/chunked/2", "/90000/second/3", "/40000/stale/4",
             "/70000/norange/5"]
    result = {"whole": 0, "early": 0, "mixed": 0, "lost": 0}
    state = {"proxy": start(), "left": reads, "end": False}
    lock = threading.Lock()

    def change():
        while not state["end"]:
            for p in paths:
                origin.change(p)
                time.sleep(0.01)

    def read(number):
        connection = None
        while True:
            with lock:
                if state["left"] == 0:
                    return
                state["left"] -= 1
                n, proxy = state["left"], state["proxy"]
            path = paths[n % len(paths) if n % 50 < 10 else 1 + n % 4]
            body, port = None, proxy.port
            try:
                if connection is None or connection.port != port:
                    connection = proxy.connect()
                status, body = proxy.get(path, connection)
                whole = status == 200 and len(body) == int(path.split("/")[1])
                what = "whole" if whole else "lost" if status else "early"
            except (OSError, http.client.HTTPException):
                what = "lost"
            if what != "whole" and connection:
                connection.close()
                connection = None
            if body and what != "lost" and body != (body[:8] * (len(body) // 8 + 1))[:len(body)]:
                what = "mixed"
            with lock:
                result[what] += 1
            if what == "lost":
                time.sleep(0.02)

    changer = threading.Thread(target=change)
    readers = [threading.Thread(target=read, args=(i,)) for i in range(4)]
    for t in readers + [changer]:
        t.start()
    for part in (2, 1):
        while state["left"] > reads * part // 3:
            time.sleep(0.01)
        state["proxy"].end(signal.SIGKILL)
        with lock:
            state["proxy"] = start()
    for t in readers:
        t.join()
    state["end"] = True
    changer.join()
    print("  %d reads of %d versions, kill -9 twice: %s" %
          (reads, sum(origin.versions.values()), json.dumps(result)))
    check("changing: no body mixes versions", result["mixed"] == 0, json.dumps(result))
    check("changing: most responses are whole", result["whole"] > reads * 0.8, json.dumps(result))
    return state["proxy"]


def main():
    work = tempfile.mkdtemp(prefix="cachemax-http-proxy.",
                            dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    pool = os.path.join(work, "pool")
    subprocess.run([tool, "create", pool, "--size", "64M"], check=True,
                   stdout=subprocess.DEVNULL)
    origin = Origin()
    proxies = []

    def start(its_pool=pool):
        proxies.append(Proxy(its_pool, origin.server_port))
        return proxies[-1]

    try:
        proxy = start()
        paths = test_chunked(proxy, origin, pool)
        test_one_flight(proxy, origin)
        test_plain(proxy, origin)
        test_no_store_later(proxy, origin)
        check("it ends in order", proxy.end() == 0)

        before = dict(origin.asked)
        paths.append("/100000/fresh,long/x")
        proxy = start()
        right = [proxy.get(p) == (200, origin.body(p, 0)) for p in paths]
        check("restart: fresh objects are right", all(right), str(right))
        check("restart: the origin is not asked", origin.asked == before,
              str({k: v - before.get(k, 0) for k, v in origin.asked.items()
                   if v != before.get(k, 0)}))
        proxy.end(signal.SIGKILL)
        if shutil.which("gdb"):
            test_killed_while_it_asks(start, origin)
        else:
            skip("killed while it asks", "no gdb here")
        proxy = test_changing(start, origin)
        path = "/50000/stale/x"
        right = proxy.get(path)
        proxy.end()

        proxy = start(pool + "-none")
        check("without a pool the origin is served", proxy.get(path) == right)
        proxy.end()

        proxy = start()
        origin.shutdown()
        origin.server_close()
        check("the origin is gone: an old copy is served",
              proxy.get(path) == right == (200, origin.body(path, 1)))
        check("the origin is gone: 502 for what is not there",
              proxy.get("/1000/stale/y")[0] == 502)
        proxy.end()
        check("the pool is sound", subprocess.run([tool, "check", pool],
                                                  stdout=subprocess.DEVNULL).returncode == 0)
    finally:
        for p in proxies:
            if p.process.poll() is None:
                p.process.kill()
                p.process.wait()
        shutil.rmtree(work)
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed else 0


sys.exit(main())
