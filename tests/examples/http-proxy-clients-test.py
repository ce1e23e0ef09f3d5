#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
#
# http-proxy-clients-test.py BUILD - see http-proxy-test.sh. What clients may ask for, and what a
# response tells them.
import sys
import threading
import time

from http_origin import Origin
from http_proxy import Client, SlowClient, check, held_program, run

LONG = '"%040d"'  # the ETag of a version, with "long"

WRONG = (  # heads, without their ends
    ("no Host", b"GET /9/fresh/a HTTP/1.1"),
    ("two Hosts", b"GET /9/fresh/a HTTP/1.1\r\nHost: x\r\nHost: y"),
    ("a # in the target", b"GET /9/fresh/a#b HTTP/1.1\r\nHost: x"),
    ("a NUL in the target", b"GET /9/fresh/a\0b HTTP/1.1\r\nHost: x"),
    ("a NUL at the end of the target", b"GET /9/fresh/a\0 HTTP/1.1\r\nHost: x"),
    ("a NUL in the query", b"GET /9/fresh/a?b\0c HTTP/1.1\r\nHost: x"),
    ("a blank in the target", b"GET /9/fresh/a b HTTP/1.1\r\nHost: x"),
    ("a tab in the target", b"GET /9/fresh/a\tb HTTP/1.1\r\nHost: x"),
    ("a CR in the target", b"GET /9/fresh/a\rb HTTP/1.1\r\nHost: x"),
    ("a length and chunks", b"GET /9/fresh/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
     b"Transfer-Encoding: chunked"),
    ("chunks and a length", b"POST /9/fresh/a HTTP/1.1\r\nHost: x\r\ntransfer-encoding: Chunked\r\n"
     b"content-length: 5"),
    ("two lengths", b"GET /9/fresh/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
     b"Content-Length: 4"),
    ("an unknown coding", b"GET /9/fresh/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked"))


def test_wrong(pool, start):
    """What is no request is refused, and no other one is taken from what follows."""
    origin = Origin()
    proxy = start(pool, origin)
    for what, head in WRONG:
        client = Client(proxy.port)
        client.socket.sendall(head + b"\r\n\r\n0\r\n\r\nGET /9/fresh/b HTTP/1.1\r\nHost: x\r\n\r\n")
        status = client.answer()[0]
        try:
            after = client.file.read()
        except OSError:  # the connection ends, though not all was read
            after = b""
        # Newer versions of libmicrohttpd end the connection of a NUL without an answer.
        refused = status == 400 or ("NUL" in what and status is None)
        check("a request with %s: 400, and the end" % what, refused and (after, origin.asked) == (
            b"", {}), "%s, %s, %s" % (status, after[:30], origin.asked))
        client.close()
    proxy.end()


def test_right(pool, start):
    """What is a request, though it may be unusual."""
    origin = Origin()
    proxy = start(pool, origin)
    client = Client(proxy.port)
    for what, path, more in (
            ("a usual one", "/9/fresh/a", b"User-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n"),
            ("a body", "/9/fresh/b", b"Content-Length: 3\r\n\r\nabc"),
            ("an empty body", "/9/fresh/c", b"Content-Length: 0\r\n\r\n"),
            ("a body in chunks", "/9/fresh/d", b"Transfer-Encoding: chunked\r\n\r\n"
             b"3\r\nabc\r\n0\r\n\r\n"),
            ("an empty line behind it", "/9/fresh/e", b"\r\n\r\n"),
            ("an encoded NUL and #", "/9/fresh/f%00g%23?h=%00", b"\r\n"),
            ("bytes that are no ASCII", "/9/fresh/\u00e4", b"Cookie: a#b\r\n\r\n")):
        client.socket.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n%s" % (path.encode(), more))
        result = client.answer()
        check("a request with %s: served" % what, result == (200, origin.body(path, 0)), result)
        check("a request with %s: as the origin has it" % what, origin.gets("HEAD", path) == 1)
    client.close()
    for fields in b"", b"Connection: keep-alive\r\n":
        client = Client(proxy.port)
        client.socket.sendall(b"GET /9/fresh/a HTTP/1.0\r\n%s\r\n" % fields)
        result = client.answer()
        check("HTTP/1.0 without a Host (%s): served" % fields.decode().rstrip(),
              result == (200, origin.body("/9/fresh/a", 0)), result)
        client.close()
    proxy.end()


def test_conditions(pool, start):
    origin = Origin()
    proxy = start(pool, origin)
    path, none, match = "/3000/fresh/conditions", "If-None-Match: ", "If-Match: "
    cases = [(304, none + etags) for etags in (
        '"v0"', 'W/"v0"', '"a", "v0"', '"a,b" ,W/"c",, W/"v0", "d"', "*")]
    cases += [(200, none + etags) for etags in (
        '"v1"', '"V0"', '"v0', "v0", '""', 'w/"v0"', '"v00"', '"' + "x" * 3000 + '"')]
    cases += [(200, match + etags) for etags in ('"v0"', '"a", "v0"', "*")]
    cases += [(412, match + etags) for etags in ('"v1"', 'W/"v0"', '"v0', '""')]
    cases += [(412, match + '"v1"\r\n' + none + '"v0"'), (304, match + '"v0"\r\n' + none + '"v0"'),
              (304, none + '"a"\r\n' + none + '"v0"'), (200, none + '"a"\r\n' + match + '"v0"')]
    client = Client(proxy.port)  # so what follows a 304 would be seen
    for right, fields in cases:
        for method in "GET", "HEAD":
            got = client.get(path, method, fields=[fields])
            body = origin.body(path, 0) if (right, method) == (200, "GET") else b""
            said = fields[:60].replace("\r\n", ", ")
            check("%s with %s: %d" % (method, said, right), got == (right, body), got[0])
            check("%s with %s: what it tells" % (method, said), client.etag == '"v0"' and
                  client.fields.get("content-length") == ("0" if right == 412 else "3000"),
                  client.fields)
        if fields == cases[0][1]:
            check("a client has the ETag of a new object: nothing of it is read",
                  origin.gets("GET", path) == 0)
    check("after conditions: right", client.get(path) == (200, origin.body(path, 0)))
    client.close()
    star = [none + "*"]
    for how, right in ("chunked,fresh", 304), ("nostore", 304), ("nostore,get404", 404), \
            ("fresh,head404,get404", 404):
        path = "/3000/%s/conditions" % how
        got = proxy.get(path, fields=star)
        check("If-None-Match: * for another object (%s): %d" % (how, right),
              got == (right, b""), got)
        check("If-None-Match: * for another object (%s): its ETag" % how,
              proxy.etag == ('"v0"' if right == 304 else None), proxy.etag)
    path = "/3000/nostore/conditions"
    got = [proxy.get(path, fields=[f])[0] for f in (none + '"v0"', none + '"v1"', match + '"v0"',
                                                    match + '"v1"')]
    check("conditions for an object that is not stored", got == [304, 200, 200, 412], got)
    path = "/3000/fresh,long/conditions"
    proxy.get(path)
    proxy.end()
    proxy = start(pool, origin)
    got = [proxy.get(path, fields=[f])[0] for f in (none + LONG % 0, none + LONG % 1,
                                                    match + LONG % 0, match + LONG % 1)]
    check("conditions for a long ETag, of which only the hash is known", got == [
        304, 200, 200, 412] and origin.gets("HEAD", path) == 1, got)
    proxy.end()


def test_head(pool, start):
    """A HEAD is answered from the origin's HEAD: nothing is read, stored or not."""
    origin = Origin()
    for kind in "with a pool", "without a pool":
        proxy = start(pool if kind == "with a pool" else pool + "-none", origin)
        for how, length, coding in (
                ("nostore", "900000", None), ("nostore,gzip", "900000", "gzip"),
                ("nostore,chunked", None, None), ("nostore,open", None, None),
                ("fresh", "900000", None), ("nostore,head404", None, None),
                ("fresh,head401", None, None), ("fresh,head410", None, None)):
            path = "/900000/%s/head-%s" % (how, kind.split()[0])
            right = int(how[-3:]) if "head" in how else 200
            got = proxy.get(path, method="HEAD")
            check("HEAD %s (%s): %d" % (kind, how, right), got[0] == right, got[0])
            check("HEAD %s (%s): what it tells" % (kind, how), proxy.coding == coding and (
                right != 200 or proxy.fields.get("content-length") == length), proxy.fields)
            asked = origin.gets("HEAD", path), origin.gets("GET", path)
            check("HEAD %s (%s): one HEAD of the origin" % (kind, how), asked == (1, 0), asked)
        for status in 400, 403, 405, 501, 503:
            path = "/9000/nostore,head%d/head-%s" % (status, kind.split()[0])
            got = proxy.get(path, method="HEAD")
            check("HEAD %s, which the origin answers with %d: the GET decides" % (kind, status),
                  got[0] == 200 and proxy.fields.get("content-length") == "9000" and
                  origin.gets("HEAD", path) == 1, got[0])
        path = "/9000/nostore,head503,get503/head-" + kind.split()[0]
        got = proxy.get(path, method="HEAD")
        check("HEAD %s: an origin in trouble" % kind, got[0] == 503, got[0])
        path = "/9000/nostore/told0-" + kind.split()[0]
        origin.told[path] = 0
        got = proxy.get(path, method="HEAD")
        check("HEAD %s: a length of 0 is none" % kind, got[0] == 200 and
              "content-length" not in proxy.fields, proxy.fields)
        path = "/900000/fresh/head-" + kind.split()[0]
        got = proxy.get(path)
        check("after a HEAD %s: GET is right" % kind, got == (200, origin.body(path, 0)), got[0])
        proxy.end()


def test_late_body_after_head(pool, start):
    """A late body to the HEAD of one object is not taken for the answer to that of another one,
    without a pool, too."""
    origin = Origin()
    proxy = start(pool + "-none", origin)
    victim, evil, client = "/9000/stale/victim", "/9000/stale/evil", Client(proxy.port)
    origin.after_head[evil] = b"HTTP/1.1 200 OK\r\nContent-Length: 666\r\n\r\n"
    origin.late[evil] = threading.Event()
    client.get(evil, method="HEAD")
    thread = threading.Thread(target=lambda: client.get(victim, method="HEAD"))
    thread.start()
    thread.join(1)
    origin.late[evil].set()
    thread.join()
    check("a late body to a HEAD, without a pool: the next answer is right",
          client.fields.get("content-length") == "9000", client.fields)
    client.close()
    proxy.end()


def test_fields(pool, start):
    """A status comes with the field without which it says too little, and with no other one."""
    origin = Origin()
    cases = [(status, "Location", value) for status, value in (
        (301, "/9/fresh/there"), (302, "http://example.org:81/a?b=c&d=%20#e"), (303, "there"),
        (307, "//example.org/"), (308, "/" + "x" * 5000))]
    cases += [(401, "WWW-Authenticate", 'Basic realm="x", charset="UTF-8"'), (405, "Allow", "POST"),
              (429, "Retry-After", "7"), (503, "Retry-After", "Fri, 31 Dec 2027 23:59:59 GMT")]
    for kind in "with", "without":
        proxy = start(pool if kind == "with" else pool + "-none", origin)
        for status, name, value in cases:
            path = "/9/fresh,head%d,get%d/fields-%s" % (status, status, kind)
            origin.field[path] = "%s: %s\r\nX-Other: y" % (name, value)
            for method in "GET", "HEAD":
                got = proxy.get(path, method=method)[0]
                check("%s, %d, %s a pool: %s" % (method, status, kind, name),
                      (got, proxy.fields.get(name.lower())) == (status, value),
                      "%s, %s" % (got, proxy.fields))
                check("%s, %d, %s a pool: no other field" % (method, status, kind),
                      "x-other" not in proxy.fields, proxy.fields)
        for how, status in ("fresh", 200), ("nostore", 200), ("fresh,head404,get404", 404):
            path = "/9/%s/fields-%s" % (how, kind)
            origin.field[path] = "Location: /x\r\nRetry-After: 7\r\nAllow: GET"
            got = proxy.get(path)[0]
            check("%d (%s), %s a pool: no other field" % (status, how, kind), got == status and not
                  proxy.fields.keys() & {"location", "retry-after", "allow"}, proxy.fields)
        path = "/9/fresh,head401,get401/two-" + kind
        origin.field[path] = "WWW-Authenticate: Basic\r\nWWW-Authenticate: Bearer"
        proxy.get(path)
        check("401, %s a pool: both fields" % kind,
              proxy.fields.get("www-authenticate") == "Basic, Bearer", proxy.fields)
        for status, name in (401, "WWW-Authenticate"), (405, "Allow"), (429, "Retry-After"):
            path = "/9/fresh,head%d,get%d/many-fields-%s" % (status, status, kind)
            origin.field[path] = "\r\n".join(["%s: %s" % (name, "x" * 5000)] * 20)
            got = proxy.get(path)[0]
            check("%d, %s a pool: many that are too long together are left out" % (status, kind),
                  got == status and name.lower() not in proxy.fields, got)
        path = "/9/fresh,head302,get302/long-" + kind
        origin.field[path] = "Location: /" + "x" * 10000
        got = proxy.get(path)[0]
        check("302, %s a pool: one that is too long is left out" % kind,
              got == 302 and "location" not in proxy.fields, got)
        for method in "DELETE", "OPTIONS":
            got = proxy.get("/9/fresh/x", method=method)[0]
            check("%s, %s a pool: 405, and what is allowed" % (method, kind), (
                got, proxy.fields.get("allow")) == (405, "GET, HEAD"), proxy.fields)
        path, results = "/9/fresh,head302,get302/many-" + kind, []
        origin.field[path] = "Location: /there"

        def get():
            client = Client(proxy.port)
            results.append((client.get(path)[0], client.fields.get("location")))
            client.close()

        threads = [threading.Thread(target=get) for _ in range(4)]
        origin.delay = 0.3  # so most of them wait for the answer to one
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        origin.delay = 0
        check("302 for 4 clients at once, %s a pool: all have the Location" % kind,
              results == [(302, "/there")] * 4, results)
        proxy.end()


def test_long_etag(pool, start):
    """Of a long ETag the pool has a hash only. All responses tell it, not only the first one, and
    all GETs have it. After a restart it is there as soon as the origin was asked again."""
    origin = Origin()
    proxy, path = start(pool, origin), "/12000000/fresh,long/etag"
    SlowClient(proxy, path).socket.close()  # so the next response reads the rest
    etags = []
    for _ in range(2):
        result = proxy.get(path)
        etags.append(proxy.etag)
    check("a long ETag: all responses have it", etags == [LONG % 0] * 2, etags)
    check("a long ETag: the object is right", result == (200, origin.body(path, 0)))
    sent = origin.if_match[path]
    check("a long ETag: all GETs have an If-Match",
          set(sent) == {LONG % 0} and len(sent) > 1, sent)
    path = "/3000/stale,long/etag"
    etags = [proxy.get(path) and proxy.etag]
    origin.change(path)
    etags.append(proxy.get(path) and proxy.etag)
    check("a long ETag that changes", etags == [LONG % 0, LONG % 1], etags)
    for n in 300, 4000:
        path = "/3000/fresh,etag%d/etag" % n
        results = [proxy.get(path) for _ in range(2)]
        check("an ETag of %d bytes: the object is right" % n,
              results == [(200, origin.body(path, 0))] * 2, [status for status, _ in results])
        check("an ETag of %d bytes: the object is not stored" % n, origin.gets("GET", path) == 2,
              "%d GETs" % origin.gets("GET", path))
    path = "/3000/stale,long/restart"
    origin.control[path] = "max-age=1"
    proxy.get(path)
    proxy.end()
    proxy = start(pool, origin)
    time.sleep(1.1)
    origin.control[path] = "max-age=600"
    heads = origin.gets("HEAD", path)
    etags = [proxy.get(path) and proxy.etag for _ in range(2)]
    check("a long ETag, after a restart: all responses have it when the origin was asked",
          etags == [LONG % 0] * 2 and origin.gets("HEAD", path) == heads + 1, etags)
    proxy.end()
    proxy = start(pool, origin, program=held_program)  # all objects have a lock, with few ETags
    paths = ["/9/fresh,long/%d" % n for n in range(20)]
    origin.versions.update((path, n + 1) for n, path in enumerate(paths))
    etags = [proxy.get(path) and proxy.etag for path in paths * 2]
    right = [LONG % (n + 1) for n in range(20)]
    check("long ETags of many objects: none is another object's", etags[:20] == right and all(
        etag in (None, its) for etag, its in zip(etags[20:], right)), etags)
    proxy.end()


def test_all(pool, start):
    test_wrong(pool, start)
    test_right(pool, start)
    test_conditions(pool, start)
    test_head(pool, start)
    test_late_body_after_head(pool, start)
    test_fields(pool, start)
    test_long_etag(pool, start)


sys.exit(run(test_all))
