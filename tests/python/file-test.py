# SPDX-License-Identifier: BSD-2-Clause
"""file-test.py DIR - more of cachemax.File. python-test.sh runs it."""
import copy
import errno
import pickle
import random

import cachemax
from checks import BLOCK, Skip, check, end, new_file, new_pool, raises

MIB = 1 << 20


class Recorder:
    """An origin that notes what is read."""

    def __init__(self, size=4 * MIB):
        self.content, self.reads = random.randbytes(size), []

    def __call__(self, offset, length):
        self.reads.append((offset, length))
        return self.content[offset:offset + length]


@check
def advice():
    with new_pool(64 * MIB) as cache:
        read = Recorder()
        file = cache.object("advice", read, size=len(read.content))

        def at(offset):
            """How much of the origin a read of one block takes there, and how much is stored."""
            del read.reads[:]
            assert file.pread(offset, BLOCK) == read.content[offset:offset + BLOCK]
            return sum(length for _, length in read.reads), file.cached(offset, MIB // 2)
        assert at(MIB // 4) == (BLOCK, BLOCK)
        file.advise(cachemax.ADVISE_SEQUENTIAL)
        much, stored = at(MIB)
        assert much == stored == MIB // 4, (much, stored)
        file.advise(cachemax.ADVISE_NOREUSE)
        assert at(2 * MIB) == (BLOCK, 0) and at(2 * MIB) == (BLOCK, 0)
        assert at(MIB)[0] == 0  # hits are served
        for advice, place in (cachemax.ADVISE_KEEP, 5), (cachemax.ADVISE_NORMAL, 6):
            file.advise(advice)
            assert at(place * MIB // 2) == (BLOCK, BLOCK)
        raises(cachemax.Error, lambda: file.advise(99), "CM_EINVAL")
        raises(TypeError, lambda: file.advise("sequential"))
        file.close()
        raises(ValueError, lambda: file.advise(cachemax.ADVISE_NORMAL))


@check
def positions_as_of_a_file_of_the_system():
    path, content = new_file(10000)
    read = Recorder(10000)
    with new_pool() as cache, open(path, "rb", buffering=0) as plain:
        known = cache.object("known", read, size=10000)
        unknown = cache.object("unknown", read)
        for file in cache.file(path), known, unknown:
            for offset in 0, 5, 10000, 20000, True, type("I", (), {"__index__": lambda i: 77})():
                assert file.seek(offset) == plain.seek(offset) == file.tell()
            for offset, kind in (("a", TypeError), (1.5, TypeError), (None, TypeError),
                                 (1 << 63, OverflowError), (1 << 64, OverflowError),
                                 (-1 << 63, OSError), (-(1 << 63) - 1, OverflowError),
                                 (-1, OSError)):
                for one in file, plain:
                    assert type(raises(kind, lambda: one.seek(offset))) is kind, offset
            for one in file, plain:
                one.seek(77)
                assert raises(OSError, lambda: one.seek(-78, 1)).errno == errno.EINVAL
                raises(OSError, lambda: one.seek((1 << 63) - 1, 1))
                assert one.tell() == 77
        # At or behind a known size there is nothing, wherever.
        for file in cache.file(path), known:
            for offset in 10000, 10001, 1 << 40, (1 << 63) - 4, (1 << 63) - 1:
                file.seek(offset)
                assert file.read(10) == file.read() == file.pread(offset, 10) == b""
                assert file.readinto(bytearray(7)) == 0 and file.tell() == offset
            raises(OverflowError, lambda: file.pread(1 << 63, 10))  # as os.pread()
            file.seek(-5, 2)
            assert file.read(10) == (content if file is not known else read.content)[-5:]
        raises(cachemax.Error, lambda: unknown.pread((1 << 63) - 4, 10), "CM_ERANGE")


@check
def copies_are_refused():
    """The death of a copy would close the handle of the original, and end its bracket."""
    path, content = new_file(3 * BLOCK)
    with new_pool() as cache:
        file = cache.object("copied", lambda at, n: content[at:at + n], size=len(content))
        with file.bracket(0, 5) as bracket, cache.file(path) as other:
            for thing in cache, file, other, bracket, file.sync_bracket():
                calls = [copy.copy, copy.deepcopy] + [
                    lambda thing, p=p: pickle.dumps(thing, p)
                    for p in range(pickle.HIGHEST_PROTOCOL + 1)]
                for call in calls:
                    e = raises(TypeError, lambda: call(thing))
                    assert str(e).startswith("a %s cannot be copied or pickled: it is " %
                                             type(thing).__name__), e
            assert file.info()["brackets"] == 1 and other.read() == content
        assert file.info()["brackets"] == 0 and file.read() == content and not cache.closed


@check
def a_bracket_that_a_signal_handler_leaves():
    """It raises when the library has begun the bracket: nobody else could end it."""
    path, content = new_file(3 * BLOCK)
    with new_pool() as cache, cache.file(path, sole_writer=True) as file:
        bracket, call = file.bracket(0, 5), file._call

        def interrupted(*arguments):
            call(*arguments)
            assert bracket._open.id, "it has not begun: this tests nothing"
            raise KeyboardInterrupt
        file._call = interrupted
        raises(KeyboardInterrupt, bracket.__enter__)
        del file._call
        assert file.info()["brackets"] == 0 and file.read() == content
        with bracket:
            assert file.info()["brackets"] == 1


@check
def what_is_kept_ends_with_a_bracket():
    """A sole writer keeps the version. So what a File has beside the library is told by the bracket
    as long as it is open, and by a mark from then on."""
    content = random.randbytes(3 * BLOCK)
    with new_pool() as cache, cache.object(
            "kept", lambda at, n: content[at:at + n], proof=lambda: "1", size=len(content),
            sole_writer=True) as file:
        assert file.read() == content

        def seen():
            return file._info().incarnation, file._pool.told[file._place()]
        before = seen()
        assert before[0] and file._may_keep(*before)
        with file.bracket(0, 5):
            during = seen()
            assert during[0] == before[0], "another version: this tests nothing"
            assert not file._may_keep(*before) and not file._may_keep(*during)
        assert seen()[0] == before[0], "another version: this tests nothing"
        assert not file._may_keep(*before) and not file._may_keep(*during)
        assert file._may_keep(*seen())


class Number:
    def __index__(self):
        return 5


@check
def numbers_as_keys():
    def ids(*keys):
        return [(id.hi, id.lo) for id in map(cachemax._id_of_key, keys)]
    five, other, name = ids(5, 1 << 64 | 5, b"5")
    assert five == (0, 5) and other == (1, 5) and name not in (five, other)
    assert ids(Number(), True, "5", bytearray(b"5"), memoryview(b"5")) == [
        five, (0, 1), name, name, name]
    for wrong in 5.0, None, ["5"], object():
        assert repr(wrong) in str(raises(TypeError, lambda: cachemax._id_of_key(wrong)))
    for wrong in 0, -1, 1 << 128:
        raises(ValueError, lambda: cachemax._id_of_key(wrong))


@check
def numbers_of_numpy():
    """They show their memory as bytes do, and their sums may overflow or be floats."""
    try:
        import numpy
    except ImportError as e:
        raise Skip(e)
    path, content = new_file(300)
    five = cachemax._id_of_key(5)
    for kind in numpy.int8, numpy.uint8, numpy.int64, numpy.uint64:
        id = cachemax._id_of_key(kind(5))
        assert (id.hi, id.lo) == (five.hi, five.lo), kind
        with new_pool() as cache, cache.file(path) as file:
            assert file.pread(kind(100), kind(120)) == content[100:220], kind
            assert file.seek(kind(120)) == 120 and file.read(kind(9)) == content[120:129], kind
    for wrong in numpy.float64(5), numpy.array([5, 6]):
        raises(TypeError, lambda: cachemax._id_of_key(wrong))


end()
