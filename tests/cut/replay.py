#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""replay.py - what a power cut leaves of a disk.

  replay.py IMAGE LOG FROM TO CUTS SEED OUT -- COMMAND...

IMAGE is the disk as it was before the LOG began, which is in the format of qemu's blklogwrites (and
of dm-log-writes). Cuts the power at CUTS places of the log between the positions FROM and TO. What
was written before the last flush is there. Of what was written since, each piece of 4096 bytes is
there or not, and where two pieces overlap the older one may be the last. Makes such a disk in OUT,
and runs COMMAND with two arguments more: the name of OUT and the position. Ends with the status of
the first command that fails. If CUTS is "end", there is one cut, after the last entry between FROM
and TO."""
import os
import random
import shutil
import struct
import subprocess
import sys

PIECE = 4096
FLUSH, FUA, DISCARD = 1, 2, 4


def entries(log):
    """(end, flags, offset on the disk, offset in the log, bytes)"""
    log.seek(0)
    magic, _, _, sector = struct.unpack('<QQQI', log.read(28))
    if magic != 0x6a736677736872:
        sys.exit('replay.py: this is no log of writes')
    at, end = sector, os.fstat(log.fileno()).st_size
    while at + sector <= end:
        log.seek(at)
        where, length, flags, _ = struct.unpack('<QQQQ', log.read(32))
        data = 0 if flags & DISCARD else length * sector
        if at + sector + data > end:
            return
        yield at + sector + data, flags, where * sector, at + sector, length * sector
        at += sector + data


def write(disk, log, entry):
    _, flags, where, data, size = entry
    if size == 0 or flags & DISCARD:  # a discard need not do anything
        return
    log.seek(data)
    os.pwrite(disk, log.read(size), where)


def pieces(entry):
    end, flags, where, data, size = entry
    if flags & DISCARD:
        return
    for at in range(0, size, PIECE):
        yield end, flags, where + at, data + at, min(PIECE, size - at)


def main():
    split = sys.argv.index('--')
    image, log_name, first, last, cuts, seed, out = sys.argv[1:split]
    command = sys.argv[split + 1:]
    rng = random.Random(int(seed))
    with open(log_name, 'rb') as log:
        every = list(entries(log))
        places = [i for i, e in enumerate(every) if int(first) <= e[0] <= int(last)]
        if cuts == 'end':
            places = places[-1:]
        else:
            places = sorted(rng.sample(places, min(int(cuts), len(places))))
        sure = os.open(image, os.O_RDWR)
        done = 0  # entries that are in `sure`
        for place in places:
            flushes = [i for i in range(done, place + 1) if every[i][1] & FLUSH]
            safe = flushes[-1] if flushes else done
            for i in range(done, safe):
                write(sure, log, every[i])
            done = max(done, safe)
            subprocess.run(['cp', '--sparse=always', image, out], check=True)
            disk = os.open(out, os.O_RDWR)
            keep = rng.choice((0.1, 0.5, 0.9))
            some = [p for e in every[done:place + 1] for p in pieces(e)
                    if p[1] & FUA or rng.random() < keep]
            if rng.random() < 0.5:
                rng.shuffle(some)
            for piece in some:
                write(disk, log, piece)
            os.close(disk)
            r = subprocess.run(command + [out, str(every[place][0])])
            if r.returncode != 0:
                print('replay.py: cut after position %d, seed %s' % (every[place][0], seed))
                sys.exit(r.returncode)
        os.close(sure)
    print('replay.py: %d cuts in %d writes and flushes' % (len(places), len(every)))


if __name__ == '__main__':
    main()
