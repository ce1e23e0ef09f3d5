#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""dash-win32.py NATIVE WINDOWS - "cachemax dash" of the build for Windows, under Wine, beside that
of the native build. Both serve the same pool, and have to give the same pages, figures and
refusals. And what is particular to Windows: its own checks of names, clients on another address,
slow clients, Ctrl-C. The last line is "N passed, N failed, N skipped"; status 77 if nothing can
run.

What the page and the formats have to contain is tested by tests/tool/dash-test.py.
"""
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.realpath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(HERE, "../tool"))
from live import PATIENCE, Results  # noqa: E402

native, windows = (os.path.realpath(p) for p in sys.argv[1:3])
WINE = os.path.join(HERE, "wine-run")
CM = [WINE, os.path.join(windows, "src/tool/cachemax.exe")]
OPEN_METRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
INTERRUPTED = 58  # what is left of STATUS_CONTROL_C_EXIT
KILLED = -signal.SIGKILL  # Wine's server may kill what it has told to end
r = Results()


class Knocks:
    """The HTTP service of Wine 8 may miss that a connection has come, if another one has something
    to read or ends at the same moment, and from then on it accepts none. It looks again whenever
    any connection has something to read: so one sends a header that never ends, byte by byte."""

    def __init__(self, port):
        self.over = threading.Event()
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        self.socket.sendall(b"GET / HTTP/1.1\r\nX: ")
        while not self.over.wait(0.2):
            try:
                self.socket.sendall(b"x")
            except OSError:
                return

    def end(self):
        self.over.set()
        self.thread.join()
        self.socket.close()


class Server:
    def __init__(self, command, *args):
        self.process = subprocess.Popen([*command, "dash", *args], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=open("dash.err", "wb"))
        self.line = self.process.stdout.readline().decode()
        m = re.match(r"listening on http://(.*):(\d+)/\r?$", self.line)
        self.address, self.port = (m[1], int(m[2])) if m else (None, 0)
        self.knocks = Knocks(self.port) if m and command is CM else None

    def ask(self, path, method="GET", body=None, at="127.0.0.1", **headers):
        """(status, headers, body); HOST in a header is how this server calls itself."""
        c = http.client.HTTPConnection(at, self.port, timeout=PATIENCE)
        headers = {"Host": "localhost:PORT", **headers}
        c.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for k, v in headers.items():
            c.putheader(k, v.replace("PORT", str(self.port)))
        if body:
            c.putheader("Content-Length", str(len(body)))
        c.endheaders(body)
        reply = c.getresponse()
        got = reply.read()
        c.close()
        return reply.status, dict(reply.getheaders()), got

    def end(self, number):
        if self.knocks:
            self.knocks.end()
        self.process.send_signal(number)
        self.process.stdout.close()
        return self.process.wait(PATIENCE)


def run(*args):
    return subprocess.run([*CM, *args], capture_output=True, stdin=subprocess.DEVNULL,
                          timeout=PATIENCE)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait(condition):
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.1)
    return False


def make_pool():
    with open("data", "wb") as f:
        f.write(os.urandom(1 << 20))
    run("create", "p", "--size", "4M", "--names", "-q")
    for _ in range(2):
        run("cat", "data", "--pool", "p")


# ---- The same as on Linux ------------------------------------------------------------------------

REQUESTS = [("/", {}), ("/metrics", {}), ("/metrics", {"Accept": OPEN_METRICS}),
            ("/metrics", {"Accept": "text/plain"}), ("/health", {}), ("/health?x=1", {}),
            ("/stats.json?", {}), ("/x", {}), ("/metrics/", {}), ("//", {}), ("/" + 2000 * "x", {}),
            ("/metrics", {"Host": "LOCALHOST:PORT"}), ("/metrics", {"Host": "cache1.example:PORT"})]
METHODS = [("HEAD", None), ("POST", None), ("POST", b"abc"), ("PUT", b"x" * 3000),
           ("DELETE", None), ("OPTIONS", None), ("TRACE", None), ("BREW", None)]


def steady(path, body):
    """Without what tells the time or the machine."""
    if path.startswith("/stats.json") and body:
        data = json.loads(body)
        for p in data["pools"]:
            p["history"] = sorted(p.get("history", []))
            if "wear" in p:  # its seconds go on between the two answers
                p["wear"] = sorted(p["wear"])
            for key in "files_known", "files_estimated", "files", "blocks_in_use":
                p[key] = None  # looked at every ten seconds
        return data
    return body.decode()


def same(name, one, other, path, *args, **headers):
    a, b = one.ask(path, *args, **headers), other.ask(path, *args, **headers)
    r.equal("same-status-" + name, b[0], a[0])
    mine = {k.lower(): v for k, v in b[1].items()}
    wrong = {k: (v, mine.get(k.lower())) for k, v in a[1].items()
             if k.lower() not in ("date", "content-length", "connection") and
             mine.get(k.lower()) != v}
    r.equal("same-headers-" + name, wrong, {})
    length = path.startswith("/stats.json")  # what it tells of the time has another length
    r.check("same-length-" + name, length or mine["content-length"] ==
            dict((k.lower(), v) for k, v in a[1].items())["content-length"], b[1])
    r.equal("same-body-" + name, steady(path, b[2]), steady(path, a[2]))


def test_same():
    if not os.path.exists(os.path.join(native, "src/tool/cachemax-dash")):
        r.skip("same", "no cachemax-dash in the native build")
        return
    names = ["--host", "cache1.example,other"]
    one = Server([os.path.join(native, "src/tool/cachemax")], "p", "missing", "--listen",
                 "127.0.0.1:0", *names)
    other = Server(CM, "p", "missing", "--listen", "localhost:0", *names)
    r.equal("address", (other.address, one.address), ("localhost", "127.0.0.1"))
    for path, headers in REQUESTS:
        same("%s-%s" % (path[:20], "".join(headers.values())[:30]), one, other, path, **headers)
    for method, body in METHODS:
        for path in "/", "/metrics":
            same("%s-%s-%d" % (method, path, len(body or b"")), one, other, path, method, body)
    r.equal("kept-out", other.ask("/", Host="localhost:PORT.evil")[0], 421)
    one.end(signal.SIGTERM)
    r.check("ctrl-c", other.end(signal.SIGINT) in (INTERRUPTED, KILLED))


# ---- On Windows ----------------------------------------------------------------------------------

def raw(server, request, seconds):
    """What is answered within some seconds; b"" if nothing is."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as s:
        try:
            s.sendall(request)
            return s.recv(1 << 16)
        except OSError:
            return b""


def test_names(server):
    """Names that nobody registered the system keeps from us: Windows says 400, and Wine nothing."""
    for host in b"evil.example", b"evil.example:%d" % server.port, b"localhost.evil.example", b"":
        got = raw(server, b"GET /metrics HTTP/1.1\r\nHost: %s\r\n\r\n" % host, 0.3)
        r.check("evil-%s" % host.decode(), not got.startswith(b"HTTP/1.1 200"), got)
    for host in "localhost:PORT", "Localhost:PORT", "127.0.0.1:PORT":
        r.equal("good-" + host, server.ask("/health", Host=host)[0], 200)
    for host in "localhost:PORTx", "localhost:PORT.", "127.0.0.1:PORT@evil":
        r.equal("odd-" + host, server.ask("/health", Host=host)[0], 421)


def outer_address():
    """An address of this machine that is none of the loopback; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))
            return s.getsockname()[0]
        except OSError:
            return None


def test_elsewhere(server):
    at = outer_address()
    if not at or at.startswith("127."):
        r.skip("elsewhere", "this machine has the loopback address alone")
        return
    status, _, body = server.ask("/metrics", at=at)
    r.equal("elsewhere", (status, b"same machine" in body), (403, True))


def test_clients(server):
    c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    for n in range(3):
        c.request("GET", "/health", headers={"Host": "localhost:%d" % server.port})
        r.equal("kept-alive-%d" % n, c.getresponse().read(), b"ok\n")
    c.close()
    slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    for s in slow:
        s.sendall(b"GET / HTTP/1.1\r\nHost: local")  # and no more
    r.equal("slow-clients-hold-up-nobody", server.ask("/health")[0], 200)
    for s in slow:
        s.close()
    got = raw(server, b"GET / HTTP/1.1\r\nHost: localhost:%d\r\nX: %s\r\n\r\n" %
              (server.port, b"x" * 16000), PATIENCE)
    r.check("long-request", got.startswith(b"HTTP/1.1 200"), got[:80])
    raw(server, b"\x16\x03\x01\x02\x00\x01\x00" + b"\xff" * 100, 0.3)
    r.equal("serves-still", server.ask("/health")[0], 200)


def test_live(server):
    """Another process has the pool open: its counters are those of "stats"."""
    owner = subprocess.Popen([WINE, os.path.join(windows, "tests/cross/pool.exe"), "warm", "p",
                              "hang"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    for line in owner.stdout:
        if b"ready" in line:
            break

    def counted():
        stats = json.loads(run("stats", "p", "--json").stdout)
        got = json.loads(server.ask("/stats.json")[2])["pools"][0]
        return got["owned"] and stats["miss_blocks"] > 0 and \
            got["counters"] == {k: stats[k] for k in got["counters"]}
    r.check("live-counters", wait(counted))
    r.check("live-files", wait(lambda: json.loads(server.ask("/stats.json")[2])["pools"][0]
                               ["files_known"]))
    owner.kill()
    owner.wait()


def test_end(server):
    pending = socket.create_connection(("127.0.0.1", server.port))
    pending.sendall(b"GET / HTTP/1.1\r\n")
    r.check("ctrl-c-while-asked", server.end(signal.SIGINT) in (INTERRUPTED, KILLED))
    again = Server(CM, "p", "--listen", "127.0.0.1:%d" % server.port)
    r.equal("port-is-free-again", again.port, server.port)
    r.equal("port-serves-again", again.ask("/health")[0], 200)
    out = run("dash", "p", "--listen", "localhost:%d" % again.port)
    r.check("port-taken", out.returncode == 1 and b"another program has this port" in out.stderr,
            out)
    again.end(signal.SIGKILL)
    pending.close()


def test_usage():
    for address in "0.0.0.0:9843", "192.0.2.1:9843", "localhost", "localhost:", "localhost:65536", \
            "localhost:http", "evil.example:80", "":
        out = run("dash", "p", "--listen", address)
        r.check("usage-%s" % address, out.returncode == 2 and
                b"only this machine can be served" in out.stderr, out)


def main():
    make_pool()
    test_same()
    server = Server(CM, "p", "--listen", "localhost:%d" % free_port())
    if r.check("starts", server.address == "localhost", server.line):
        test_names(server)
        test_elsewhere(server)
        test_clients(server)
        test_live(server)
        test_end(server)
    test_usage()


with tempfile.TemporaryDirectory(prefix="cachemax-dash.") as work:
    os.chdir(work)
    main()
    os.chdir("/")
r.end()
