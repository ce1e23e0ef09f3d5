# SPDX-License-Identifier: BSD-2-Clause
"""cuts.py - what cut-test.py and dax-test.py share: an image whose blocks tell their version,
clients that write it, notes of what was written and flushed when, and what follows from them for an
image and a pool that a power cut left."""
import hashlib
import random
import re
import threading
import time

from serve import BLOCK, Failed, nbd, want

REGION = 256  # blocks: 1 MiB, for an image of this size
SETTLED = range(10 * REGION, 12 * REGION)  # written and flushed before the work begins
HOT = range(12 * REGION, 19 * REGION)  # written by the work, in whole blocks
PARTS = range(19 * REGION, 20 * REGION)  # written by the work, in parts of blocks
# Read last of all, so that none of the others waits in the probation buffer: a cut loses it.
BALLAST = range(20 * REGION, 22 * REGION)
BLOCKS = BALLAST.stop  # nobody writes the first ten regions
WARM = range(BALLAST.start)
POOL = 64 << 20  # nothing is evicted, and the buffer is smaller than the ballast
STEP = 16  # blocks of a read
SEED = [0]


def text_of(block, version):
    """What a block holds: no two are alike."""
    head = b'%d %d %d\n' % (SEED[0], block, version)
    return head + hashlib.shake_128(head).digest(BLOCK - len(head))


def version_of(block, data):
    """Of the data of a block, or None if they are no version of it."""
    head = re.match(rb'\d+ \d+ (\d+)\n', data)
    version = int(head.group(1)) if head else 0
    return version if head and data == text_of(block, version) else None


def write_image(path):
    with open(path, 'wb') as f:
        for b in range(BLOCKS):
            f.write(text_of(b, 1))


# ---- What was written when -----------------------------------------------------------------------
class Notes:
    """Each note has a place, which place() tells. Before a write: [place, 'write', block, version].
    After a flush: [place, 'flush', {block: version}], with what had been written when it began.
    Words of a test: [place, word]."""

    def __init__(self, place):
        self.all, self.place, self.lock = [], place, threading.Lock()
        self.versions = [1] * BLOCKS
        self.written = {}  # and not flushed

    def write_begins(self, block):
        with self.lock:
            self.versions[block] += 1
            self.all.append([self.place(), 'write', block, self.versions[block]])
            return self.versions[block]

    def write_ended(self, block, version):
        with self.lock:
            self.written[block] = version

    def flush_begins(self):
        with self.lock:
            return dict(self.written)

    def flush_ended(self, known):
        with self.lock:
            self.all.append([self.place(), 'flush', known])
            for b, version in known.items():
                if self.written.get(b) == version:
                    del self.written[b]

    def mark(self, word):
        with self.lock:
            self.all.append([self.place(), word])


def region_of(block):
    first = block // REGION * REGION
    return range(first, first + REGION)


def state_at(notes, place, dax):
    """Of each block the versions that it may have, and the set of blocks that must be warm. On DAX
    all that is flushed is. Else a region is warm as of the last 'sure' and as long as nobody writes
    it. What the work wrote may wait in the probation buffer."""
    first, last = [1] * BLOCKS, [1] * BLOCKS
    written, warm = set(), set()

    def all_warm():
        return {b for b in WARM if b in SETTLED or b not in written}
    for at, what, *words in notes:
        if at > place:
            break
        if what == 'write':
            block, last[block] = words
            written.add(block)
            warm -= set(region_of(block))
        elif what == 'flush':
            for block, version in words[0].items():
                first[int(block)] = max(first[int(block)], version)
        elif what == 'sure':
            warm = all_warm()
    if dax:
        warm = all_warm()
        for b in WARM:
            if first[b] != last[b]:
                warm -= set(region_of(b))
    return first, last, warm


# ---- The work ------------------------------------------------------------------------------------
def flush(h, notes):
    known = notes.flush_begins()
    h.flush()
    notes.flush_ended(known)


def write(h, notes, block, fua=0):
    version = notes.write_begins(block)
    h.pwrite(text_of(block, version), block * BLOCK, fua)
    if fua:  # the write itself; that it flushes others, too, is not promised
        notes.flush_ended({block: version})
    else:
        notes.write_ended(block, version)
    return version


def read_blocks(h, blocks):
    """Reads runs of blocks, STEP at a time. All of them together."""
    return b''.join(bytes(h.pread(STEP * BLOCK, b * BLOCK)) for b in blocks[::STEP])


def make_warm(h, notes):
    """All of the image gets cached, and then leaves the probation buffer."""
    h.flush()  # an image that is new counts as not flushed
    for block in SETTLED:
        write(h, notes, block)
    flush(h, notes)
    read_blocks(h, WARM)
    read_blocks(h, BALLAST)


class Client(threading.Thread):
    """Writes the hot blocks whose number modulo `of` is its own, more and more regions of them, and
    reads anything. `lazy`: it flushes no more. `late`: it writes the first region only."""

    def __init__(self, h, notes, number, of):
        super().__init__()
        self.h, self.notes = h, notes
        self.lazy, self.late, self.over = (threading.Event() for _ in range(3))
        self.random = random.Random('%d %d' % (SEED[0], number))
        self.mine = [b for b in HOT if b % of == number]
        self.known = {b: notes.versions[b] for b in self.mine}
        self.first = REGION // of
        self.parts = number == 0
        self.wrong, self.done = None, 0

    def write_part(self):
        block = self.random.choice(PARTS[:-1])
        for b in (block, block + 1):
            self.notes.write_begins(b)
        self.h.pwrite(self.random.randbytes(self.random.randrange(1, BLOCK)),
                      block * BLOCK + self.random.randrange(BLOCK))

    def change(self, what, block):
        if what < 6:
            self.known[block] = write(self.h, self.notes, block)
        elif not self.lazy.is_set():
            if what == 6:
                self.known[block] = write(self.h, self.notes, block, nbd.CMD_FLAG_FUA)
            else:
                flush(self.h, self.notes)

    def step(self):
        what = self.random.randrange(20)
        most = self.first if self.late.is_set() else min(len(self.mine), 40 + self.done)
        block = self.mine[self.random.randrange(most)]
        if what < 8:
            self.change(what, block)
        elif what == 8 and self.parts and not self.late.is_set():
            self.write_part()
        elif what < 12:
            if self.h.pread(BLOCK, block * BLOCK) != text_of(block, self.known[block]):
                self.wrong = 'block %d: not what was written' % block
        else:
            self.h.pread(STEP * BLOCK, self.random.randrange(BLOCKS - STEP) * BLOCK)

    def run(self):
        try:
            while not self.wrong and not self.over.is_set():
                self.step()
                self.done += 1
                time.sleep(0.002)  # others want the processor, too, and logs need not be long
        except nbd.Error as e:
            if not self.over.is_set():
                self.wrong = str(e)


# ---- What a cut leaves ---------------------------------------------------------------------------
def is_torn(block, data, first, last):
    """Is each byte that of a version from `first` on? A write to DAX is a copy that a power cut
    stops anywhere. Else the kernel writes a page while a client copies the next version into it."""
    texts = [text_of(block, version) for version in range(first, last + 1)]
    return all(byte in column for byte, *column in zip(data, *texts))


def judge_image(image, first, last):
    """Its blocks have versions that they may have. That is the work of the file system and of
    nbdkit; without it the rest proves nothing."""
    want(len(image) == BLOCKS * BLOCK, 'the image has %d bytes' % len(image))
    for b in range(BLOCKS):
        if b in PARTS:
            continue
        data = bytes(image[b * BLOCK:(b + 1) * BLOCK])
        version = version_of(b, data)
        known = version is not None and first[b] <= version <= last[b]
        want(known or (first[b] < last[b] and is_torn(b, data, first[b], last[b])),
             'block %d of the image has version %s of %d to %d: this is not the cache'
             % (b, version, first[b], last[b]))


def judge_served(h, image):
    served = read_blocks(h, range(BLOCKS))
    if served != image:
        wrong = [b for b in range(BLOCKS)
                 if served[b * BLOCK:(b + 1) * BLOCK] != image[b * BLOCK:(b + 1) * BLOCK]]
        raise Failed('other bytes are served than the image has, in %d blocks: %s'
                     % (len(wrong), wrong[:5]))


def judge_warm(warm, cold):
    lost = sorted(warm & cold)
    want(not lost, '%d of %d blocks that must be warm are cold: %s'
         % (len(lost), len(warm), lost[:5]))
    busy = [b for b in WARM if b in HOT or b in PARTS]
    return len(warm), len(WARM), len(set(WARM) - cold), len(busy), len(set(busy) - cold)


def summary(rows):
    """Of what judge_warm returned of each cut."""
    warm, every, hits, busy, busy_hits = (sum(column) for column in zip(*rows))
    want(warm * 2 >= every, 'too few blocks must be warm: %d of %d' % (warm, every))
    return ('%d cuts: all of the %d blocks that must be warm (%d %%) hit; %.1f %% of all blocks; '
            '%.1f %% of the regions that were written at any time'
            % (len(rows), warm, 100 * warm // every, 100 * hits / every, 100 * busy_hits / busy))
