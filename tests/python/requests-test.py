# SPDX-License-Identifier: BSD-2-Clause
"""requests-test.py DIR - how many requests of the origin reads through cachemax.filesystem make.
python-test.sh runs it."""
import io
import random

from checks import Skip, check, end, new_pool
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
        self.server, self.cache = Server(), new_pool(size)
        self.options = {"target_protocol": "http", **options}

    def __enter__(self):
        self.server.__enter__()
        self.fs = fsspec.filesystem("cachemax", pool=self.cache, skip_instance_cache=True,
                                    **self.options)
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
            assert gets <= 16 and sent == MIB, (way, gets, sent)
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

end()
