# SPDX-License-Identifier: BSD-2-Clause
"""requests-test.py DIR - how many requests of the origin reads through cachemax.filesystem make.
python-test.sh runs it."""
import io
import random

import cachemax
from checks import DIR, Skip, check, end, new_pool, raises
from serve import Server

try:
    import aiohttp  # noqa: F401: fsspec needs the two for http
    import fsspec
    import requests  # noqa: F401
    MISSING = ""
except ImportError as e:
    MISSING = str(e)
MIB = 1 << 20
TEXT = b"".join(b"%015d\n" % i for i in range(MIB // 16))


class Case:
    """A server, a pool, and the file system `fs` over both."""

    def __init__(self, size=64 << 20, **options):
        if MISSING:
            raise Skip(MISSING)
        self.server, self.cache = Server(), new_pool(size, **options)

    def __enter__(self):
        self.server.__enter__()
        self.fs = fsspec.filesystem("cachemax", pool=self.cache, target_protocol="http",
                                    skip_instance_cache=True)
        return self

    def __exit__(self, *exception):
        self.cache.close()
        self.server.__exit__()

    def file(self, name, content=TEXT):
        self.server.files["/" + name] = content, '"%s"' % name
        return self.server.url + "/" + name

    def asked(self, function):
        """(GETs, HEADs, bytes that were sent) meanwhile."""
        server = self.server
        before = server.gets, server.heads, server.sent
        function()
        return tuple(b - a for a, b in zip(before, (server.gets, server.heads, server.sent)))


def lines(file):
    with file:
        return b"".join(line.encode() if isinstance(line, str) else line for line in file)


@check
def text_is_read_in_pieces_of_the_buffer():
    with Case() as case:
        ways = {"text": lambda url: case.fs.open(url, "r", newline=""),
                "bytes": lambda url: case.fs.open(url),
                "a reader of text of its own": lambda url: io.TextIOWrapper(
                    case.fs.open(url), "ascii", newline="")}
        for way, opened in ways.items():
            url = case.file(way.replace(" ", "-"))

            def read():
                assert lines(opened(url)) == TEXT
            gets, _, sent = case.asked(read)
            assert gets <= 4 and sent == MIB, (way, gets, sent)
            assert case.asked(read)[0] == 0


@check
def read1_gives_what_is_there():
    with Case() as case:
        for block_size in None, 5000, MIB:
            with case.fs.open(case.file("read1-%s" % block_size), block_size=block_size) as file:
                pick, done = random.Random(1), []
                assert file.read1(0) == b""
                while True:
                    piece = file.read1(pick.choice([-1, 1, 7, 8192, 100000]))
                    if not piece:
                        break
                    done.append(piece)
                    if pick.random() < 0.5:
                        done.append(file.read(pick.randrange(3000)))
                assert b"".join(done) == TEXT and file.read1() == b""


def pieces(file, size, count=-1):
    """Reads so many pieces one after the other, or all."""
    done = []
    while count and (not done or done[-1]):
        done.append(file.read(size))
        count -= 1
    return b"".join(done)


@check
def reads_in_a_row_grow():
    content = random.randbytes(8 * MIB)
    for size in 8192, 65536, 100000:
        # Also if nothing can be stored, what is read ahead is read once.
        for advice in cachemax.ADVISE_NORMAL, cachemax.ADVISE_NOREUSE:
            with Case(read_size_max=4 * MIB) as case:
                url = case.file("row", content)

                def read():
                    with case.fs.open(url) as file:
                        file.raw.advise(advice)
                        assert pieces(file, size) == content
                gets, _, sent = case.asked(read)
                assert gets <= 8 and sent == len(content), (size, advice, gets, sent)
                # To the pool, what was read ahead has been read once.
                assert case.cache.stats()["hit_blocks"] == 0
    # A pool of the process has such requests, too, and reads that are one large one.
    fs = fsspec.filesystem("cachemax", pool=DIR + "/row", create_size=64 * MIB,
                           target_protocol="http", skip_instance_cache=True)
    with Case() as case:
        for function, most in ((lambda: pieces(fs.open(url), 65536), 8),
                               (lambda: fs.cat_file(url), 2)):
            url = case.file("large%d" % most, content)
            gets, _, sent = case.asked(function)
            assert gets <= most and sent == len(content), (gets, most)
    fs.cache.close()


@check
def reads_here_and_there_read_nothing_ahead():
    content = random.randbytes(64 * MIB)
    with Case(256 * MIB) as case:
        # (a block_size, bytes in a row at each place, the most that is read of the target)
        for block_size, length, most in ((4096, 4096, 4096), (None, 4096, 65536),
                                         (None, 100000, 131072), (None, 4 * 65536, 6 * 65536),
                                         (None, 9 * 65536, 3 * 9 * 65536)):
            url = case.file("random-%s-%d" % (block_size, length), content)

            def read():
                with case.fs.open(url, block_size=block_size) as file:
                    for at in range(0, len(content), 8 * MIB):
                        assert file.seek(at + 5 * MIB) == at + 5 * MIB
                        piece = min(length, 65536) if length % 65536 == 0 else length
                        assert pieces(file, piece, length // piece) == content[
                            at + 5 * MIB:at + 5 * MIB + length]
            sent = case.asked(read)[2]
            assert sent <= 8 * most, (block_size, length, sent / 8)


@check
def what_is_read_ahead_is_of_the_version_that_is_read():
    first, second = b"A" * (8 * MIB), b"B" * (8 * MIB)
    with Case() as case:
        url = case.file("version", first)
        for change in "revalidate", "invalidate", "close":
            case.server.files["/version"] = first, '"1"'
            with case.fs.open(url) as file:
                assert pieces(file.raw, 65536, 4) == first[:4 * 65536]
                assert case.asked(lambda: file.raw.read(65536))[0] == 0  # it was read ahead
                case.server.files["/version"] = second, '"2"'
                if change == "revalidate":
                    file.raw.revalidate()
                    assert pieces(file.raw, 65536, 10) == second[:10 * 65536]
                elif change == "invalidate":
                    file.raw.invalidate()
                    raises(Exception, lambda: file.raw.read(65536))  # no bytes of another version
                else:
                    file.raw.close()
                    raises(ValueError, lambda: file.raw.read(65536))


@check
def reading_ahead_that_fails_fails_no_read():
    with Case() as case:
        url = case.file("fails")
        case.server.odd = lambda handler, content, etag, first, last: (
            (500, {}, b"") if last >= 10 * 65536 else None)
        with case.fs.open(url) as file:
            assert pieces(file, 65536, 10) == TEXT[:10 * 65536]
            raises(Exception, lambda: file.read(65536))

end()
