# SPDX-License-Identifier: BSD-2-Clause
#
# python-test.py DIR - each call of examples/python/cachemax.py; ends with an AssertionError if one
# does something else.
import os
import sys
import threading

import cachemax

SECOND = 10**9
pool = os.path.join(sys.argv[1], "calls")
content = bytearray(os.urandom(300000))
reads = []


def origin(offset, length):
    reads.append((offset, length))
    return bytes(content[offset:offset + length])


def proof(version):
    return cachemax.validator_of(version, cachemax.now())


def raises(kind, call):
    try:
        call()
    except kind as e:
        return e
    raise AssertionError("%s did not come" % kind)


cachemax.create(pool, 16 << 20)
assert raises(cachemax.Error, lambda: cachemax.create(pool, 16 << 20)).name == "CM_EEXIST"
object_id = cachemax.FileId(1, 2)
with cachemax.Cache(pool, read_size_max=2 << 20, log=print) as cache:
    assert raises(cachemax.Error, lambda: cachemax.Cache(pool)).name == "CM_EOWNED"
    assert raises(cachemax.Error, lambda: cache.lookup(object_id)).name == "CM_EABSENT"
    with cache.open(object_id, proof(b"one")) as file:
        assert not file.ignored
        assert raises(KeyError, lambda: file.read(0, 10, lambda at, n: {}[at])).args == (0,)
        raises(ValueError, lambda: file.read(0, 10, lambda at, n: bytes(n + 1)))
        assert file.read(0, 400000, origin) == content
        assert file.info().size == len(content)  # the short read told it
        before = len(reads)
        results = []
        threads = [threading.Thread(target=lambda: results.append(file.read(5, 200000, origin)))
                   for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert results == [content[5:200005]] * 8 and len(reads) == before
        with file.bracket(4096, 10):
            content[4096:4106] = b"0123456789"
        assert file.read(0, 400000, origin) == content and len(reads) > before
        with file.bracket(0, 1) as bracket:
            content[0] ^= 1
            bracket.after = proof(b"two")
        raises(ZeroDivisionError, lambda: exec("with file.bracket(0, 1): 1 / 0", {"file": file}))
        assert file.info().brackets == 0
        assert file.read(0, 400000, origin) == content
        assert file.revalidate(proof(b"three")) == 0
        assert file.read(0, 400000, origin) == content
        file.set_ttl(1000 * SECOND)
    assert cache.stats()["hit_blocks"] > 0 and cache.stats()["brackets"] == 3
    closed = file
raises(cachemax.Error, closed.info)
with cachemax.Cache(pool) as cache:
    validator, info = cache.lookup(object_id)
    assert bytes(validator.proof[:5]) == b"three" and info.size == validator.size == len(content)
    assert info.expires_ns > 0
    validator.taken_at, validator.changed_ns = cachemax.now(), cachemax.LONG_AGO
    before = len(reads)
    with cache.open(object_id, validator) as file:
        assert file.info().kept and file.read(0, 400000, origin) == content
    assert len(reads) == before
