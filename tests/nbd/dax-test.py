#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""dax-test.py - power cuts under nbdkit with the filter, whose pool is on real DAX.

Usage: dax-test.py [--cuts N] [--seed N] BUILD_DIR [FILTER]

nbdkit runs in a guest (tests/guest/guest.sh) with an emulated NVDIMM, which holds the pool and an
image with an id. A client here writes, flushes and reads through a serial port of the guest. N (8)
times the guest is stopped at an instant, in the middle of any instruction stream, and its NVDIMM is
copied: that is what a power cut would leave. A second guest then finds all copies, mounts each with
DAX, and serves its image without the filter and with it. Every block has a version that it may
have, and the filter serves the same. Every block that must be warm comes from the pool: all but
those of regions with writes that were not flushed, those that the client wrote (it may not have
read them again), and those that were read last. Before one more cut, blocks are read again and
again that nobody has read before: a checkpoint stores them.

qemu's NVDIMM has no CPU caches: README.md of tests/guest says what that does not show. The last
line is "N passed, N failed, N skipped"; exit status 1 when something failed, 77 if nothing can be
run here.
"""
import argparse
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
GUEST = os.path.join(os.path.dirname(HERE), 'guest', 'guest.sh')
MIB = 128  # of the NVDIMM
STEPS = 100  # of the client between two cuts, at most
GUEST_LIMIT = 300  # seconds for one boot: for a hang, not for a slow machine


def arguments():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument('--cuts', type=int, default=8)
    p.add_argument('--seed', type=int, default=random.randrange(1 << 31))
    p.add_argument('build')
    p.add_argument('filter', nargs='?')
    args = p.parse_args()
    sys.argv[1:] = [args.build] + ([args.filter] if args.filter else [])  # for serve.py
    return args


ARGS = arguments()
import cuts  # noqa: E402
from serve import (  # noqa: E402
    FILTER, TOOL, Failed, blocks, eventually, get, leave, nbd, want, works)
cuts.SEED[0] = ARGS.seed
LAST = range(cuts.BLOCKS, cuts.BLOCKS + cuts.STEP)  # behind what the client reads


class Guest:
    def __init__(self, image, also, *program):
        plugins, filters = nbdkit_directories()
        words = ['--image', image, '--size', str(MIB), '--files', 'files', '--port', 'port',
                 '--qmp', 'qmp', '--timeout', str(GUEST_LIMIT)]
        for f in also:
            words += ['--also', f]
        for f in (shutil.which('nbdkit'), FILTER, TOOL, plugins + '/nbdkit-file-plugin.so',
                  filters + '/nbdkit-log-filter.so'):
            words += ['--add', f]
        self.process = subprocess.Popen(
            ['bash', GUEST, *words, '--', os.path.join(HERE, 'dax-guest.sh'), *program],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=open('guest.err', 'wb'))
        self.said = []

    def wait(self, word):
        """For a line that begins with `word`. Returns those before it."""
        before = []
        for line in self.process.stdout:
            text = line.decode(errors='replace').strip()
            if text.startswith(word):
                return before
            if text.startswith('FAIL'):
                raise Failed('the guest: ' + text)
            before.append(text)
        if self.process.wait() == 77:
            leave((before or ['?'])[-1].replace('skip: ', ''))
        raise Failed('the guest does not say "%s": %s %s' % (
            word, before[-3:], get('guest.err').decode(errors='replace')[-600:]))

    def connect(self):
        h = nbd.NBD()
        h.set_strict_mode(0)
        h.connect_unix(os.path.abspath('port'))
        return h

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


class Monitor:
    """Of qemu."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect('qmp')
        self.file = self.socket.makefile('rw')
        self.file.readline()
        self.command('qmp_capabilities')

    def command(self, name):
        self.file.write('{"execute": "%s"}\n' % name)
        self.file.flush()
        while True:
            answer = json.loads(self.file.readline())
            want('error' not in answer, 'qemu: %s' % answer)
            if 'return' in answer:
                return

    def close(self):
        self.file.close()
        self.socket.close()


def nbdkit_directories():
    text = works('nbdkit', '--dump-config')
    return tuple(re.search('^%s=(.*)' % w, text, re.M).group(1) for w in ('plugindir', 'filterdir'))


# ---- The work ------------------------------------------------------------------------------------
def cut_power(monitor, notes, client):
    """Copies of the NVDIMM at some instants. Returns where in the notes each of them is."""
    source, places = random.Random(ARGS.seed), []
    for n in range(ARGS.cuts):
        steps = client.done + source.randrange(STEPS // 4, STEPS)
        eventually(lambda steps=steps: client.done >= steps or client.wrong, 'the client is slow')
        want(not client.wrong, str(client.wrong))
        if n % 2 == 0:  # not always between two requests
            time.sleep(source.random() / 50)
        monitor.command('stop')
        with notes.lock:  # a note comes before its write
            places.append(len(notes.all))
        works('cp', '--sparse=always', 'nvdimm', 'cut%d' % n)
        monitor.command('cont')
    return places


def read_last(h):
    """Until the blocks that wait in the probation buffer are in the pool: they are twice in the
    NVDIMM then."""
    def are_stored(blocks):
        want(bytes(h.pread(len(blocks) * cuts.BLOCK, blocks.start * cuts.BLOCK)) ==
             b''.join(cuts.text_of(b, 1) for b in blocks), 'other bytes')
        content = get('nvdimm')
        return all(content.count(cuts.text_of(b, 1)) == 2 for b in blocks)
    third = cuts.STEP // 3
    # Five seconds are between the two checkpoints that store a block. But they are seconds of the
    # guest, and one that was stopped catches up.
    want(not all(are_stored(LAST[n:n + third]) for n in (0, third, 2 * third)),
         'what is read for the first time does not wait in the buffer')
    eventually(lambda: are_stored(LAST), 'no checkpoint stores what is read again and again')


def work():
    """Returns the notes and the places of the cuts."""
    guest = Guest('nvdimm', (), 'work', str(cuts.POOL))
    try:
        guest.wait('ready')
        monitor = Monitor()
        notes = cuts.Notes(lambda: len(notes.all))
        h = guest.connect()
        cuts.make_warm(h, notes)
        client = cuts.Client(h, notes, 0, 1)
        client.start()
        try:
            places = cut_power(monitor, notes, client)
            client.over.set()
            client.join()
            want(not client.wrong, str(client.wrong))
            read_last(h)
            monitor.command('stop')
            places.append(len(notes.all))
            works('cp', '--sparse=always', 'nvdimm', 'cut%d' % ARGS.cuts)
        finally:
            client.over.set()
            client.join()
            monitor.close()
        return notes.all, places
    finally:
        guest.end()


# ---- What a cut leaves ---------------------------------------------------------------------------
def read_bare(h):
    image = cuts.read_blocks(h, range(cuts.BLOCKS))
    h.shutdown()
    return image


def judge_one(guest, n, notes, place):
    first, last, warm = cuts.state_at(notes, place - 1, dax=True)
    guest.wait('bare %d' % n)
    image = read_bare(guest.connect())
    cuts.judge_image(image, first, last)
    guest.wait('cached %d' % n)
    h = guest.connect()
    cuts.judge_served(h, image)
    cuts.read_blocks(h, LAST)
    h.shutdown()
    cold = set()
    for line in guest.wait('judged %d' % n):
        _, at, length = line.split()
        cold |= blocks([(int(at, 16), int(length, 16))])
    want(n <= ARGS.cuts or not cold & set(LAST), 'what the checkpoint stored is cold')
    return cuts.judge_warm(warm, cold)


def judge(notes, places):
    copies = ['cut%d' % n for n in range(len(places))]
    rows = []
    guest = Guest('empty', copies, 'judge', str(len(places)))
    try:
        for n in range(len(places)):
            try:
                rows.append(judge_one(guest, n + 1, notes, places[n]))
            except Failed as e:
                raise Failed('cut %d: %s' % (n + 1, e)) from e
    finally:
        guest.end()
    return cuts.summary(rows)


def main():
    print('seed %d' % ARGS.seed, flush=True)
    top = tempfile.mkdtemp(prefix='cachemax-nbd-dax.')
    os.chdir(top)
    passed = False
    try:
        os.mkdir('files')
        cuts.write_image('files/disk')
        with open('files/disk', 'ab') as f:
            for b in LAST:
                f.write(cuts.text_of(b, 1))
        notes, places = work()
        print('ok power cuts on DAX: ' + judge(notes, places))
        passed = True
    except (Failed, nbd.Error) as e:
        print('FAIL power cuts on DAX, seed %d: %s' % (ARGS.seed, e))
    finally:
        os.chdir('/')
        shutil.rmtree(top, ignore_errors=True)
    print('%d passed, %d failed, 0 skipped' % (passed, not passed))
    sys.exit(not passed)


main()
