# SPDX-License-Identifier: BSD-2-Clause
"""oracle.py - writers and readers on several nodes, and what a reader may see.

Each block of each file has versions 0, 1, 2... Its bytes say file, block and version, and have a
checksum. A writer makes version v, syncs and closes the file, and only then publishes v. A reader
notes the published version, opens the file, reads, and wants that version or a later one that was
begun. A version may also be `absent` (the file was cut before the block) or `zero` (a hole).

Blocks are locked by their writer, so the versions of a block have an order. A write that fails
(a server was killed) may have happened, or may happen later. The next write of the file then puts a
new file under its name. A reader may see a version that failed, but only if a node without a cache
sees it, too.
"""
import collections
import contextlib
import itertools
import mmap
import multiprocessing
import os
import random
import struct
import threading
import time
import traceback
import zlib

BLOCK = 4096
BLOCKS = 8  # of a file at most
DATA, ABSENT, ZERO, TORN = 'data', 'absent', 'zero', 'torn'
HEADER = struct.Struct('<IIQ')
REPEATS = BLOCK // HEADER.size - 1


def make(file, block, version):
    body = HEADER.pack(file, block, version) * REPEATS
    return body + struct.pack('<I', zlib.crc32(body)) + b'fleet test..'


def parse(data, file, block):
    """The version, or what it is instead of one. Bytes of another file or block are an error."""
    if not data:
        return ABSENT, None
    if not any(data):
        return ZERO, None
    if len(data) < BLOCK:
        return TORN, None
    of_file, of_block, version = HEADER.unpack(data[:HEADER.size])
    if data != make(of_file, of_block, version):
        return TORN, None
    if (of_file, of_block) != (file, block):
        return 'block %d of file %d' % (of_block, of_file), None
    return DATA, version


def name_of(node):
    return os.path.basename(os.path.dirname(node.rstrip('/')))


@contextlib.contextmanager
def opened(node, name, flags):
    fd = os.open(os.path.join(node, name), flags)
    try:
        yield fd
    finally:
        os.close(fd)


def store(mapped, data, offset):
    """As a program stores in a mapping. If the file cannot be reached this is an OSError; a store
    of the process itself would end it (SIGBUS)."""
    fd = os.memfd_create('store')
    try:
        os.write(fd, data)
        if os.preadv(fd, [memoryview(mapped)[offset:offset + len(data)]], 0) != len(data):
            raise OSError('the mapping cannot be written')
    finally:
        os.close(fd)


class File:
    """What is known of one file."""

    def __init__(self, number):
        self.number = number
        self.name = 'f%03d' % number
        self.locks = [threading.Lock() for _ in range(BLOCKS)]
        self.kinds = [[ABSENT] for _ in range(BLOCKS)]  # of each version
        self.complete = [0] * BLOCKS
        self.possible = [set() for _ in range(BLOCKS)]
        self.last = ('', '', 0.0)  # change, by which node, and when it was complete
        self.doubtful = False  # a write failed; only a new file under its name makes it known

    def begun(self, block):
        return len(self.kinds[block]) - 1


class Oracle:
    """Counts what happened. wrong: what must not."""

    def __init__(self, nodes, bare, files, seed):
        self.nodes, self.bare = nodes, bare
        self.files = [File(k) for k in range(files)]
        self.random = random.Random(seed)
        self.count = collections.Counter()
        self.lock = threading.Lock()
        self.wrong = []
        self.stopped = threading.Event()
        # Shared with the process that kills: outages begun and ended; operations that were done.
        self.outages = multiprocessing.Value('Q', 0)
        self.progress = multiprocessing.Value('Q', 0)
        self.wanted = 0
        self.names = itertools.count()  # of new files: a late rename moves no other one

    # ---- writes ----

    def change(self, node, file, first, last, plan):
        """Blocks first to last are this writer's. plan() says what each of them becomes, None: it
        stays, and gives a function that does it. None: there is nothing to do."""
        own = range(first, last + 1)
        for b in own:
            file.locks[b].acquire()
        try:
            planned = plan()
            if not planned:
                return
            kinds, write = planned
            versions = {}
            for b, kind in zip(own, kinds):
                if kind:
                    versions[b] = len(file.kinds[b])
                    file.kinds[b].append(kind)
            try:
                write(versions)
            except OSError:
                file.doubtful = True
                for b, v in versions.items():
                    file.possible[b].add(v)
                raise
            file.last = (write.__qualname__.split('.')[1], name_of(node), time.monotonic())
            for b, v in versions.items():
                file.complete[b] = v
        finally:
            for b in own:
                file.locks[b].release()

    def write_part(self, r, node, file):
        """Some blocks inside the file, by write or by a mapping."""
        first = r.randrange(BLOCKS)
        last = min(BLOCKS - 1, first + r.randrange(3))
        mapped = r.randrange(5) == 0

        def write(versions):
            data = b''.join(make(file.number, b, v) for b, v in versions.items())
            with opened(node, file.name, os.O_RDWR) as fd:
                if mapped:
                    with mmap.mmap(fd, (last + 1) * BLOCK) as m:
                        store(m, data, first * BLOCK)
                        m.flush()
                else:
                    os.pwrite(fd, data, first * BLOCK)
                os.fsync(fd)

        def plan():
            if file.doubtful or file.kinds[last][-1] == ABSENT:
                return None
            self.count['mapped writes' if mapped else 'writes'] += 1
            return [DATA] * (last + 1 - first), write
        self.change(node, file, first, last, plan)

    def write_last(self, _r, node, file):
        """What is missing before the last block becomes a hole."""
        last = BLOCKS - 1

        def write(versions):
            with opened(node, file.name, os.O_RDWR) as fd:
                os.pwrite(fd, make(file.number, last, versions[last]), last * BLOCK)
                os.fsync(fd)

        def plan():
            if file.doubtful:
                return None
            self.count['extensions'] += 1
            return [ZERO if k[-1] == ABSENT else None for k in file.kinds[:last]] + [DATA], write
        self.change(node, file, 0, last, plan)

    def cut(self, r, node, file):
        length = r.randint(1, BLOCKS - 1)

        def write(_versions):
            with opened(node, file.name, os.O_RDWR) as fd:
                os.ftruncate(fd, length * BLOCK)
                os.fsync(fd)

        def plan():
            if file.doubtful or file.kinds[length][-1] == ABSENT:
                return None
            self.count['truncations'] += 1
            return [ABSENT if b >= length and k[-1] != ABSENT else None
                    for b, k in enumerate(file.kinds)], write
        self.change(node, file, 0, BLOCKS - 1, plan)

    def replace(self, _r, node, file):
        """A new file under the old name."""
        new = '%s.%d' % (file.name, next(self.names))

        def write(versions):
            with opened(node, new, os.O_RDWR | os.O_CREAT | os.O_EXCL) as fd:
                os.write(fd, b''.join(make(file.number, b, v) for b, v in versions.items()))
                os.fsync(fd)
            os.rename(os.path.join(node, new), os.path.join(node, file.name))
            file.doubtful = False

        def plan():
            self.count['renames over'] += 1
            return [DATA] * BLOCKS, write
        self.change(node, file, 0, BLOCKS - 1, plan)

    def set_back(self, _r, node, file):
        """Gives the content the time of an older one, as rsync and tar do."""
        self.count['times set'] += 1
        os.utime(os.path.join(node, file.name), ns=(10**18, 10**18))

    def write(self, r, node, file):
        kinds = [(self.write_part, 12), (self.write_last, 2), (self.cut, 1), (self.replace, 2),
                 (self.set_back, 1)]
        which = r.choices([w for w, _ in kinds], [n for _, n in kinds])[0]
        (self.replace if file.doubtful else which)(r, node, file)

    # ---- reads ----

    def _allowed(self, file, block, low, high, kind, version):
        if kind == DATA:
            return low <= version <= high and file.kinds[block][version] == DATA
        return any(k == kind for k in file.kinds[block][low:high + 1])

    def _bare(self, file, block):
        """What a client without a cache of ours sees."""
        end = time.monotonic() + 60
        while True:
            try:
                with opened(self.bare, file.name, os.O_RDONLY) as fd:
                    return parse(os.pread(fd, BLOCK, block * BLOCK), file.number, block)
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def read(self, r, node, file):
        first = r.randrange(BLOCKS)
        blocks = range(first, min(BLOCKS, first + r.choice((1, 1, 2, BLOCKS))))
        low = [file.complete[b] for b in range(BLOCKS)]
        # The kernel's pages answer most of the others, and nobody asks the pool.
        direct = r.random() < 0.5 and os.O_DIRECT
        with opened(node, file.name, os.O_RDONLY | direct) as fd:
            with mmap.mmap(-1, BLOCKS * BLOCK) as m:
                n = os.preadv(fd, [memoryview(m)[:len(blocks) * BLOCK]], first * BLOCK)
                data = m[:n]
        self.count['direct reads' if direct else 'reads'] += 1
        for n, b in enumerate(blocks):
            high = file.begun(b)
            kind, version = parse(data[n * BLOCK:(n + 1) * BLOCK], file.number, b)
            self.count['blocks read'] += 1
            if self._allowed(file, b, low[b], high, kind, version):
                continue
            if kind in (ABSENT, ZERO, TORN) and high > low[b]:
                self.count['blocks read in the middle of a write'] += 1
                continue
            self.judge(node, file, b, (low[b], high), (kind, version))

    def judge(self, node, file, block, bounds, seen):
        """It is old or wrong, unless a failed write happened late."""
        bare = self._bare(file, block)
        if seen == bare and (seen[1] in file.possible[block] or seen[0] != DATA and any(
                file.kinds[block][v] == seen[0] for v in file.possible[block])):
            self.count['blocks that a failed write changed late'] += 1
            return
        kind = 'the server itself has it' if seen == bare else 'the server has %s %s' % bare
        again = []
        for _ in range(3):
            with opened(node, file.name, os.O_RDONLY) as fd:
                st = os.fstat(fd)
                data = os.pread(fd, BLOCK, block * BLOCK)
                again.append('%s %s' % parse(data, file.number, block))
            time.sleep(0.5)
        bare_st = os.stat(os.path.join(self.bare, file.name))
        with self.lock:
            self.wrong.append('%s block %d of %s: %s %s instead of version %d to %d; %s; last '
                              'change: %s by %s, %.3f s before; later opens: %s; inode %d, '
                              'ctime %.6f; bare: inode %d, ctime %.6f' % (
                                  name_of(node), block, file.name, *seen, *bounds, kind,
                                  *file.last[:2], time.monotonic() - 1.5 - file.last[2],
                                  ', '.join(again), st.st_ino, st.st_ctime, bare_st.st_ino,
                                  bare_st.st_ctime))
            self.stopped.set()

    # ---- workers ----

    def step(self, r, node):
        """A third of the files changes all the time, the others are left alone for long."""
        part = 1 if r.random() < 0.1 else r.random() ** 3 / 3
        some = self.files[int(len(self.files) * part * r.random())]
        if r.random() < 0.15:
            self.write(r, node, some)
        else:
            self.read(r, node, some if r.random() < 0.3 else r.choice(self.files))

    def worker(self, node, seed):
        r = random.Random(seed)
        while not self.stopped.is_set():
            with self.lock:
                if self.progress.value >= self.wanted:
                    return
                self.progress.value += 1
            before = self.outages.value
            try:
                self.step(r, node)
            except OSError as e:
                if before % 2 == 0 and before == self.outages.value:
                    with self.lock:
                        where = traceback.extract_tb(e.__traceback__)
                        self.wrong.append('%s, with nothing killed: %s' % (
                            e, ', '.join('%s %s' % (f.name, f.line) for f in where[1:])))
                        self.stopped.set()
                with self.lock:
                    self.progress.value -= 1
                    self.count['calls that failed in an outage'] += 1
                time.sleep(0.05)
            except Exception as e:  # pylint: disable=broad-except
                with self.lock:
                    self.wrong.append('the test itself: %r' % e)
                    self.stopped.set()

    def fill(self):
        for k, f in enumerate(self.files):
            self.replace(self.random, self.nodes[k % len(self.nodes)], f)

    def work(self, operations, workers, pause, results):
        """In a process of its own: a child of a process with open files closes them before it
        becomes another program, and waits for their server."""
        try:
            self.fill()
            time.sleep(pause)
            self.wanted = operations
            threads = [threading.Thread(target=self.worker, args=(n, self.random.random()))
                       for n in self.nodes for _ in range(workers)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
        except OSError as e:
            self.wrong.append('the first files: %s' % e)
        results.send((self.count, self.wrong))

    def begin(self, operations, workers, pause):
        """The process, and a connection that has the counts and what was wrong at its end."""
        connection, results = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.Process(target=self.work,
                                          args=(operations, workers, pause, results))
        process.start()
        results.close()
        return process, connection
