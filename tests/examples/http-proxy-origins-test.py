#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
#
# http-proxy-origins-test.py BUILD - see http-proxy-test.sh. Origins that hang, drip, fail in the
# middle, or contradict themselves, and clients that meet them at the same time, or leave.
import ctypes
import os
import resource
import socket
import subprocess
import sys
import threading
import time

from http_origin import Origin
from http_proxy import (Client, SlowClient, at_once, check, curl_options, held_program, loads, run,
                        skip, tool, wrong_ones)


class Log:
    """The standard error of a proxy."""

    def __init__(self, pool):
        self.file = open(pool + ".log", "w+")

    def lines(self):
        self.file.seek(0)
        return self.file.readlines()


def leave(proxy, path, more=b""):
    """A client that asks, sends more, and goes away."""
    with socket.create_connection(("127.0.0.1", proxy.port)) as client:
        client.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
        time.sleep(0.3)
        client.sendall(more)


def until(condition, seconds=15):
    end = time.time() + seconds
    while not condition() and time.time() < end:
        time.sleep(0.1)
    return condition()


# ---- Waiting -------------------------------------------------------------------------------------

def test_hang(pool, start):
    """The origin hangs: all clients of an object learn it together, and fresh ones do not wait."""
    if not loads(curl_options):
        return skip("the origin hangs for many", "no LD_PRELOAD here")
    origin = Origin()
    proxy = start(pool, origin, {"LD_PRELOAD": curl_options, "CURL_LOW_SPEED_TIME": "4"})
    for method in "HEAD", "GET":
        path = "/9000/fresh/hang-" + method
        origin.hangs[method, path] = threading.Event()
        results = at_once(proxy, path, 4)
        check("the origin hangs at a %s of 4 clients: 504 for all" % method,
              results == [(504, b"")] * 4, results)
        check("the origin hangs at a %s of 4 clients: it is asked once" % method,
              origin.gets(method, path) == 1, origin.gets(method, path))
        origin.hangs.pop((method, path)).set()
    proxy.end()


def test_slow(pool, start):
    """The origin is slow. Clients that give up after some seconds without a byte get all of it,
    also those that wait for what is read for another one, and it is stored."""
    origin = Origin()
    proxy = start(pool, origin)
    for how in "fresh,slow", "fresh,slow,chunked":
        path, results = "/200000/%s/x" % how, []  # 10 seconds
        clients = [Client(proxy.port) for _ in range(3)]

        def read(client):
            client.socket.settimeout(7)
            try:
                results.append(client.get(path) == (200, origin.body(path, 0)))
            except OSError as e:
                results.append(e)

        threads = [threading.Thread(target=read, args=(c,)) for c in clients]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        gets = origin.gets("GET", path)
        check("a slow origin (%s): the client has some bytes every 7 seconds" % how,
              results == [True] * 3, results)
        print("  %d GETs" % gets)
        check("a slow origin (%s): all is stored" % how,
              not wrong_ones(proxy, origin, [path]) and origin.gets("GET", path) == gets,
              "%d GETs, %d before" % (origin.gets("GET", path), gets))
    proxy.end()


def test_slow_once(pool, start):
    """The origin is slow once. Later it takes a while to begin, and then it is quick: it is asked
    for more at a time again. For another object, which has the same lock, it always was."""
    origin = Origin()
    proxy = start(pool, origin, program=held_program)
    once, other = "/500000/fresh/once", "/100000/fresh/other"
    origin.slow.add(once)
    origin.late_parts[once] = 1.1
    result = proxy.get(once)
    check("slow once: right", result == (200, origin.body(once, 0)), result[0])
    check("slow once: pieces grow again", origin.gets("GET", once) <= 9, origin.gets("GET", once))
    still = "/150000/fresh,slow/still"
    client = SlowClient(proxy, still)
    until(lambda: origin.gets("GET", still) > 1)  # so it is known as slow
    result = proxy.get(other)
    check("a slow object: right is another one, too", result == (200, origin.body(other, 0)))
    check("a slow object: another one is read as ever", origin.gets("GET", other) == 1,
          origin.gets("GET", other))
    client.socket.close()
    proxy.end()


def test_others_hang(pool, start):
    origin = Origin()
    proxy = start(pool, origin)
    fresh = ["/5000/fresh/%d" % n for n in range(60)]
    wrong_ones(proxy, origin, fresh)
    hangs = ["/5000/fresh/hang%d" % n for n in range(180)]  # a mutex is of many objects
    for path in hangs:
        origin.hangs["HEAD", path] = threading.Event()
    clients = [threading.Thread(target=proxy.get, args=(path,)) for path in hangs]
    for c in clients:
        c.start()
    until(lambda: sum(origin.gets("HEAD", path) for path in hangs) >= 150)
    wrong = []
    reader = threading.Thread(target=lambda: wrong.append(wrong_ones(proxy, origin, fresh)))
    reader.start()
    reader.join(10)  # the others hang for 20
    check("180 other objects hang: fresh ones do not wait", wrong == [[]], wrong)
    for path in hangs:
        origin.hangs.pop(("HEAD", path)).set()
    for c in clients + [reader]:
        c.join()
    check("it ends in order", proxy.end() == 0)


def test_slow_names(pool, start):
    """The name of the origin is not resolved: that ends as soon as other connects, and keeps the
    proxy running no longer."""
    if not loads(curl_options):
        return skip("the name of the origin", "no LD_PRELOAD here")
    version = ctypes.CDLL("libcurl.so.4").curl_version
    version.restype = ctypes.c_char_p
    if [int(n) for n in version().split()[0].split(b"/")[1].split(b".")[:2]] < [7, 87]:
        return skip("the name of the origin", "this libcurl waits for it")
    origin = Origin()
    origin.url = origin.url.replace("127.0.0.1", "origin.test")
    proxy = start(pool, origin, {"LD_PRELOAD": curl_options, "SLOW_NAMES": "60"})
    began = time.time()
    status = proxy.get("/9000/fresh/name")[0]
    check("the name of the origin is not resolved: 504 soon", status == 504 and
          time.time() - began < 30, "%s, %.1f s" % (status, time.time() - began))
    client = threading.Thread(target=proxy.get, args=("/9000/fresh/name2",))
    client.start()
    time.sleep(1)
    began = time.time()
    status = proxy.end()
    client.join()
    check("SIGTERM while a name is resolved: it ends at once",
          status == 0 and time.time() - began < 4, "%s, %.1f s" % (status, time.time() - began))


def test_no_ranges(pool, start):
    """Many clients of a cold object, and an origin that knows no ranges: it sends it once."""
    origin = Origin()
    proxy = start(pool, origin)
    size = 6000000
    for how in "fresh,norange", "fresh,norange,chunked":
        path = "/%d/%s/many" % (size, how)
        origin.delay = 0.3
        results = at_once(proxy, path, 8)
        origin.delay = 0
        check("8 clients, no ranges (%s): right" % how,
              results == [(200, origin.body(path, 0))] * 8)
        check("8 clients, no ranges (%s): the origin sends it once" % how,
              origin.gets("GET", path) == 1, origin.gets("GET", path))
    proxy.end()


def test_private(pool, start):
    """A HEAD says nothing of it, but the answer to a GET is private: nobody else gets it, though
    others wait for the same object."""
    origin = Origin()
    proxy = start(pool, origin)
    for how in "fresh,token,norange", "fresh,token,norange,chunked", "fresh,token":
        path = "/80000/%s/private" % how
        origin.delay = 0.3
        results = at_once(proxy, path, 8)
        origin.delay = 0
        whole = [status == 200 and body == body[:8] * 10000 for status, body in results]
        check("private answers for 8 clients (%s): whole" % how, all(whole), whole)
        tokens = {body[:8] for _, body in results}
        check("private answers for 8 clients (%s): each has its own" % how,
              len(tokens) == 8, sorted(tokens))
    proxy.end()


def test_clients_leave(pool, start):
    """The origin is not asked for clients that have left, nor after SIGTERM."""
    origin = Origin()
    proxy = start(pool, origin)
    paths = ["/9000/%s/leave" % how for how in ("fresh", "nostore", "stale")]
    asked = [("GET", paths[0]), ("GET", paths[1]), ("HEAD", paths[2])]
    for key in asked:
        origin.hangs[key] = threading.Event()
    before = len(os.listdir("/proc/%d/task" % proxy.process.pid))
    for path, more in zip(paths, (b"", b"\r\n", b"GET /9000/fresh/x HTTP/1.1\r\n")):
        leave(proxy, path, more)
    check("clients leave while the origin hangs: their threads end",
          until(lambda: len(os.listdir("/proc/%d/task" % proxy.process.pid)) <= before),
          os.listdir("/proc/%d/task" % proxy.process.pid))
    check("clients leave while the origin hangs: it was asked",
          all(origin.gets(*key) == 1 for key in asked))
    clients = []
    for path in paths:
        clients.append(socket.create_connection(("127.0.0.1", proxy.port)))
        clients[-1].sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
    until(lambda: all(origin.gets(*key) == 2 for key in asked))
    began = time.time()
    status = proxy.end()
    check("SIGTERM while the origin hangs: it ends at once",
          status == 0 and time.time() - began < 10, "%.1f s" % (time.time() - began))
    for c in clients:
        c.close()
    for event in origin.hangs.values():
        event.set()


def test_one_leaves(pool, start):
    """One of two clients of an object leaves, for which the origin was asked."""
    origin = Origin()
    proxy, path, results = start(pool, origin), "/9000/stale/stays", []
    origin.hangs["GET", path] = threading.Event()
    stays = threading.Thread(target=lambda: results.append(proxy.get(path)))
    with socket.create_connection(("127.0.0.1", proxy.port)) as leaver:
        leaver.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
        until(lambda: origin.gets("GET", path) == 1)
        stays.start()
        until(lambda: origin.gets("HEAD", path) == 2)
    time.sleep(1.5)  # longer than the proxy takes to look
    origin.hangs.pop(("GET", path)).set()
    stays.join()
    check("one of two clients of an object leaves: the other one gets it, from the same read",
          results == [(200, origin.body(path, 0))] and origin.gets("GET", path) == 1,
          "%s, %d GETs" % ([r[0] for r in results], origin.gets("GET", path)))
    proxy.end()


def test_waiters_leave(pool, start):
    """Clients leave that wait for what another one has asked for. They give up their places at
    once, and that one gets its answer."""
    origin = Origin()
    proxy = start(pool, origin)

    def threads():
        return len(os.listdir("/proc/%d/task" % proxy.process.pid))

    for method in "HEAD", "GET":
        path, results = "/9000/fresh/wait-" + method, []
        origin.hangs[method, path] = threading.Event()
        stays = threading.Thread(target=lambda: results.append(proxy.get(path)))
        stays.start()
        until(lambda: origin.gets(method, path) == 1)
        before = threads()
        clients = [socket.create_connection(("127.0.0.1", proxy.port)) for _ in range(20)]
        for c in clients:
            c.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
        came = until(lambda: threads() == before + 20)
        time.sleep(0.5)
        for c in clients:
            c.close()
        check("20 clients wait for the %s of another one, and leave: their threads end" % method,
              came and until(lambda: threads() <= before), "%d before, %d" % (before, threads()))
        origin.hangs.pop((method, path)).set()
        stays.join()
        check("20 clients wait for the %s of another one, and leave: that one gets it" % method,
              results == [(200, origin.body(path, 0))] and origin.gets(method, path) == 1,
              "%s, asked %d times" % ([r[0] for r in results], origin.gets(method, path)))
    proxy.end()


# ---- What the origin says ------------------------------------------------------------------------

def test_old_clients(pool, start):
    """HTTP/1.0 knows no chunks: an object of unknown size must not end early and look whole."""
    origin = Origin()
    proxy = start(pool, origin)
    path = "/3000000/fresh,chunked/old"
    origin.fails_from[path] = 2000000
    status, body = proxy.get(path, version="1.0")
    right = origin.body(path, 0)
    check("HTTP/1.0, the origin fails in the middle: no wrong end",
          status in (None, 502) or body == right, "%s, %d bytes" % (status, len(body)))
    path = "/3000000/fresh,chunked/whole"
    status, body = proxy.get(path, version="1.0")
    check("HTTP/1.0, a size that is not known: right, with its length",
          (status, body, proxy.open_end) == (200, origin.body(path, 0), False), len(body))
    gets = origin.gets("GET", path)
    check("HTTP/1.0, a size that is not known: it is stored",
          not wrong_ones(proxy, origin, [path]) and origin.gets("GET", path) == gets)
    status = proxy.get("/3000000/fresh,chunked/head", method="HEAD", version="1.0")[0]
    check("HTTP/1.0: the origin is not read for a HEAD",
          origin.sent["/3000000/fresh,chunked/head"] < 2000000)
    proxy.end()


def test_few_files(pool, start):
    """More clients than the proxy has descriptors for: they wait for each other."""
    origin = Origin()
    proxy = start(pool, origin, files=100)
    path = "/300000/nostore/files"
    origin.delay = 0.3
    results = at_once(proxy, path, 24)
    check("a limit of 100 files, 24 clients: all are served",
          results == [(200, origin.body(path, 0))] * 24, [r[0] for r in results])
    proxy.end()


def test_sizes(pool, start):
    """Neither a HEAD nor a part tells the true size: the GET of the whole object does."""
    origin = Origin()
    proxy = start(pool, origin)
    for size, told, how in ((0, 100, "fresh"), (0, 100, "fresh,star"), (3000000, 6000000, "fresh"),
                            (3000000, 6000000, "fresh,star"), (3000000, 1500000, "fresh"),
                            (3000000, 1500000, "fresh,star"), (3000, 1500, "fresh,star"),
                            (3000, 6000, "fresh,star")):
        path = "/%d/%s/told%d" % (size, how, told)
        origin.told[path] = told
        results = [proxy.get(path) for _ in range(2)]
        check("a HEAD tells %d of %d bytes (%s): right" % (told, size, how),
              results == [(200, origin.body(path, 0))] * 2,
              [(status, len(body)) for status, body in results])
    for path in "/3000000/fresh,star/right", "/3000/fresh,star/right":
        wrong, gets = wrong_ones(proxy, origin, [path]), origin.gets("GET", path)
        check("a HEAD tells the size, and no part does: right, and stored (%s)" % path,
              not wrong and not wrong_ones(proxy, origin, [path]) and
              origin.gets("GET", path) == gets, wrong)
    proxy.end()


def test_body_after_head(pool, start):
    """What an origin sends behind the head of an answer to HEAD is no answer to the next request:
    not to a GET, nor, where it waits already, to a HEAD."""
    origin = Origin()
    proxy, size = start(pool, origin), 9000
    paths = ["/9000/fresh/split%d" % n for n in range(20)]
    other = b'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n'
    evil = (b'HTTP/1.1 206 Partial Content\r\nETag: "v0"\r\nContent-Length: %d\r\n'
            b'Content-Range: bytes 0-%d/%d\r\n\r\n' % (size, size - 1, size) + b"E" * size)
    origin.after_head = {p: other if n % 2 else evil for n, p in enumerate(paths)}
    client = Client(proxy.port)
    wrong = []
    for path in paths:
        if client.get(path) != (200, origin.body(path, 0)):
            wrong.append(path)
        until(lambda: path not in origin.after_head)  # it waits on the connection
    check("a body to a HEAD is not taken for that of the next GET", not wrong, wrong)
    asked = origin.gets("HEAD"), origin.gets("GET")
    wrong = [path for path in paths if client.get(path) != (200, origin.body(path, 0))]
    check("a body to a HEAD: what is stored is right", not wrong and
          (origin.gets("HEAD"), origin.gets("GET")) == asked, wrong)
    client.close()
    proxy.end()


def test_version_of_response(pool, start):
    """An object changes when one request has its ETag, and not yet its version in the library. The
    bytes of a response are those of its ETag."""
    origin, flag = Origin(), pool + ".held"
    open(flag, "w").close()
    proxy = start(pool, origin, {"HELD": flag}, program=held_program)
    path, first, second = "/30000/stale/version", Client(proxy.port), []
    first.socket.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
    until(lambda: origin.gets("HEAD", path) == 1)
    time.sleep(0.3)  # the answer is there
    origin.change(path)
    other = threading.Thread(target=lambda: second.append(proxy.get(path)))
    other.start()
    until(lambda: second, 3)  # it may have to wait for the first one
    os.remove(flag)
    other.join()
    status, body = first.answer()
    version = origin.body(path, 1 if first.etag == '"v1"' else 0)
    check("an object changes while a request begins: a response has the bytes of its ETag",
          status is None or first.etag is None or body == version,
          "ETag %s, bytes %s" % (first.etag, body[:8]))
    check("an object changes while a request begins: others get the new version",
          second == [(200, origin.body(path, 1))] and not wrong_ones(proxy, origin, [path]))
    first.close()
    proxy.end()


def test_time_ends_inside(pool, start):
    """max-age is over in the middle of a response. It goes on through the cache, and of what is
    stored nothing is sent again. All the same, new requests ask, and get what is new."""
    origin = Origin()
    proxy, size = start(pool, origin), 8000000
    path = "/%d/second/inside" % size
    for what in "cold", "warm":
        slow, before = SlowClient(proxy, path), origin.sent.get(path, 0)
        time.sleep(2.1)
        check("max-age ends inside a response (%s): it is whole" % what, slow.rest() > size)
        sent = origin.sent[path] - (before if what == "warm" else 0)
        check("max-age ends inside a response (%s): what the origin sends" % what,
              sent < size * 5 // 4 if what == "cold" else sent == 0, "%d bytes" % sent)
    slow, heads = SlowClient(proxy, path), origin.gets("HEAD", path)
    time.sleep(2.1)
    slow.socket.recv(1 << 20)
    time.sleep(0.2)  # so it reads on
    wrong = wrong_ones(proxy, origin, [path])
    check("max-age ends inside a response: another request asks",
          not wrong and origin.gets("HEAD", path) > heads)
    origin.change(path)
    time.sleep(2.1)
    check("max-age ends inside a response: a change is seen",
          not wrong_ones(proxy, origin, [path]))
    slow.socket.close()
    path, results = "/9000/second/read", []
    origin.hangs["GET", path] = threading.Event()
    reader = threading.Thread(target=lambda: results.append(proxy.get(path)))
    reader.start()
    until(lambda: origin.gets("GET", path) == 1)
    time.sleep(2.1)
    origin.hangs.pop(("GET", path)).set()
    reader.join()
    check("max-age ends inside a read of the origin: that is stored",
          results == [(200, origin.body(path, 0))] and not wrong_ones(proxy, origin, [path]) and
          origin.gets("GET", path) == 1, "%d GETs" % origin.gets("GET", path))
    proxy.end()


def test_late_body_after_head(pool, start):
    """The same, when the HEAD of another object has been asked meanwhile."""
    origin = Origin()
    proxy = start(pool, origin)
    victim, evil, results = "/9000/stale/victim", "/9000/stale/evil", []
    client = Client(proxy.port)
    client.get(victim)
    origin.change(victim)
    origin.after_head[evil] = (b'HTTP/1.1 200 OK\r\nETag: "v0"\r\nCache-Control: max-age=99999\r\n'
                               b'Content-Length: 9000\r\n\r\n')
    origin.late[evil] = threading.Event()
    client.get(evil)
    thread = threading.Thread(target=lambda: results.append(client.get(victim)))
    thread.start()
    until(lambda: results, 1)
    origin.late[evil].set()
    thread.join()
    check("a late body to a HEAD is not taken for the answer to that of another object",
          results == [(200, origin.body(victim, 1))], [(s, b[:8]) for s, b in results])
    check("a late body to a HEAD: the next request is right, too",
          client.get(victim) == (200, origin.body(victim, 1)))
    asked = origin.connections
    check("HEADs of one object go through one connection",
          client.get(victim)[0] == 200 and origin.connections == asked, origin.connections - asked)
    client.close()
    proxy.end()


# ---- What the log says ---------------------------------------------------------------------------

def test_log(pool, start):
    """What fails at the origin is said, with the path."""
    for what, path, prepare, words in (
            ("503 to HEAD", "/9000/fresh/a", lambda o, p: o.down.update({p: 503}), "status 503"),
            ("500 in the middle", "/3000000/fresh/b",
             lambda o, p: o.fails_from.update({p: 2000000}), "status 500"),
            ("another ETag", "/9000/fresh,twoetags/c", lambda o, p: None, "another ETag"),
            ("a wrong part", "/9000/fresh,other/d", lambda o, p: None, "another part"),
            ("another length", "/9000/fresh,norange/e", lambda o, p: o.told.update({p: 99}),
             "another length"),
            ("404 to GET", "/9000/fresh,get404/f", lambda o, p: None, "status 404"),
            ("503 to GET", "/9000/nostore,get503/g", lambda o, p: None, "status 503")):
        origin, log = Origin(), Log(pool)
        proxy = start(pool, origin, None, log.file)
        prepare(origin, path)
        proxy.get(path + "?secret" if "?" in path else path)
        proxy.end()
        said = [line for line in log.lines() if path in line and words in line]
        check("the log tells of %s" % what, len(said) == 1, log.lines())


def test_no_room(pool, start):
    """The directory for temporary files has no room. The origin is asked once, and the log has one
    line, with the path and the directory."""
    directory = os.path.dirname(pool)
    for what, env, limit, words in (
            ("has no room", {"TMPDIR": directory}, 1 << 20, "File too large"),
            ("is not there", {"TMPDIR": directory + "/none"}, None, "No such file")):
        origin, log = Origin(), Log(pool)
        proxy = start(pool + "-none" if limit else pool, origin, env, log.file)
        if limit:
            resource.prlimit(proxy.process.pid, resource.RLIMIT_FSIZE, (limit, limit))
        path = "/2000000/%s,norange/room" % ("nostore" if limit else "fresh")
        origin.delay = 0.3
        results = at_once(proxy, path, 1 if limit else 4)  # without a pool each has its own read
        check("the directory %s: 502" % what, {r[0] for r in results} == {502}, results)
        check("the directory %s: the origin is asked once" % what,
              origin.gets("GET", path) == 1, origin.gets("GET", path))
        proxy.end()
        said = [line for line in log.lines() if "temporary" in line or path in line]
        check("the directory %s: one line says which, and why" % what,
              len(said) == 1 and path in said[0] and env["TMPDIR"] in said[0] and words in said[0],
              said)


# ---- Clients that are silent ---------------------------------------------------------------------

class Patience:
    """What takes longer than a client may be silent. It goes on beside the other tests."""

    def __init__(self, pool, start):
        subprocess.run([tool, "create", pool, "--size", "64M", "-q"], check=True)
        self.origin = Origin()
        self.proxy, self.other = start(pool, self.origin), start(pool + "-none", self.origin)
        self.results = {}
        # libmicrohttpd 1.0.1 ends those that say nothing after ten minutes only.
        library = ctypes.CDLL("libmicrohttpd.so.12")
        library.MHD_get_version.restype = ctypes.c_char_p
        self.version = library.MHD_get_version().decode()
        self.ended = () if self.version == "1.0.1" else (
            (self.silent, (True, 200, True)), (self.answered_before, ([200, 200], True)))
        self.threads = [threading.Thread(target=self.run, args=(f,)) for f in (
            *(f for f, _ in self.ended), self.pause, self.drip, self.drip_whole)]
        for t in self.threads:
            t.start()

    def run(self, function):
        try:
            self.results[function] = function()
        except OSError as e:
            self.results[function] = repr(e)

    @staticmethod
    def end_of(socket, seconds=120):
        """Did the proxy end it?"""
        socket.settimeout(seconds)
        return socket.recv(1) == b""

    def silent(self):
        """More clients than there may be say nothing. How many threads the proxy has, what another
        client gets then, and are they ended?"""
        silent = [socket.create_connection(("127.0.0.1", self.other.port)) for _ in range(260)]
        most = 0
        for _ in range(50):
            most = max(most, len(os.listdir("/proc/%d/task" % self.other.process.pid)))
            time.sleep(0.1)
        answer = self.other.get("/1000/fresh/x")
        return most <= 252, answer[0], all(self.end_of(s) for s in silent)

    def answered_before(self):
        client = Client(self.proxy.port)
        answers = [client.get("/1000/fresh/%d" % n)[0] for n in range(2)]
        return answers, self.end_of(client.socket)

    def pause(self):
        """A client that takes nothing for a while gets all the same."""
        client = SlowClient(self.proxy, "/20000000/fresh/pause")
        time.sleep(40)
        return client.rest() > 20000000

    def drip(self, how="fresh,drip"):
        """The origin is slow, and alive."""
        path = "/18000/%s/x" % how
        return self.proxy.get(path) == (200, self.origin.body(path, 0))

    def drip_whole(self):
        return self.drip("nostore,drip")

    def end(self):
        for t in self.threads:
            t.join()
        if not self.ended:
            skip("patience: silent", "libmicrohttpd %s takes no times" % self.version)
        for function, right in (*self.ended, (self.pause, True), (self.drip, True),
                                (self.drip_whole, True)):
            got = self.results[function]
            check("patience: " + function.__name__.replace("_", " "), got == right, got)
        self.proxy.end()
        self.other.end()


def test_all(pool, start):
    patience = Patience(pool + "-patience", start)
    test_no_ranges(pool, start)
    test_old_clients(pool, start)
    test_sizes(pool, start)
    test_body_after_head(pool, start)
    test_late_body_after_head(pool, start)
    test_version_of_response(pool, start)
    test_time_ends_inside(pool, start)
    test_private(pool, start)
    test_clients_leave(pool, start)
    test_one_leaves(pool, start)
    test_waiters_leave(pool, start)
    test_log(pool, start)
    test_no_room(pool, start)
    test_few_files(pool, start)
    test_hang(pool, start)
    test_slow(pool, start)
    test_slow_once(pool, start)
    test_others_hang(pool, start)
    test_slow_names(pool, start)
    patience.end()


sys.exit(run(test_all))
