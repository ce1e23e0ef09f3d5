#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
#
# http-proxy-clients-test.py BUILD - see http-proxy-test.sh. What clients may ask for, and what a
# response tells them.
import sys
import time

from http_origin import Origin
from http_proxy import SlowClient, check, held_program, run

LONG = '"%040d"'  # the ETag of a version, with "long"


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
    test_long_etag(pool, start)


sys.exit(run(test_all))
