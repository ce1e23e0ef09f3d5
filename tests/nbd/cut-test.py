#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""cut-test.py - power cuts under nbdkit with the filter: pool and image lie on one disk.

Usage: cut-test.py [--cuts N] [--rounds N] [--seed N] [--fs ext4|xfs] BUILD_DIR [FILTER]

The disk is a loop device on a FUSE export of qemu-storage-daemon, which logs each write and each
flush. An image with an id is made warm. Some of its regions are written, flushed and left alone
then. When a checkpoint of the filter has passed, three clients write other regions, more and more
of them, and read. First they flush now and then, later nobody does. At last they write one region
only, until another checkpoint has passed: it saves blocks that no flush has made safe. ROUNDS (1)
of this. Then the log is replayed up to N (10) places, half of them while there were flushes, with a
part of what was not flushed, in any order (tests/cut/replay.py). Each such disk is mounted. Then:

- each block of the image has one of the versions that it may have: that of the last flush, or a
  later one. That is the work of the file system and of nbdkit; without it the rest proves nothing.
- each block that the filter serves is that of the image, twice
- each block that must be warm is: it was cached when the checkpoint began, its region was flushed
  then, and no write to its region has begun since. The plugin's own log tells what did not come
  from the pool.
- the pool closes, and cachemax check finds no damage

Both file systems are tested at once, unless --fs names one. Needs root, loop devices and
qemu-storage-daemon; skips without. More of it: --cuts 200 --rounds 5.
"""
import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
REPLAY = os.path.join(os.path.dirname(HERE), 'cut', 'replay.py')


def arguments():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument('--cuts', type=int, default=10)
    p.add_argument('--rounds', type=int, default=1)
    p.add_argument('--seed', type=int, default=random.randrange(1 << 31))
    p.add_argument('--fs', choices=('ext4', 'xfs'))
    p.add_argument('--judge', nargs=3, metavar=('DIR', 'DISK', 'POSITION'), help=argparse.SUPPRESS)
    p.add_argument('build')
    p.add_argument('filter', nargs='?')
    args = p.parse_args()
    sys.argv[1:] = [args.build] + ([args.filter] if args.filter else [])  # for serve.py
    return args


ARGS = arguments()
import cuts  # noqa: E402
from serve import (  # noqa: E402
    FILTER, TOOL, Failed, Server, blocks, calls, counter, eventually, get, leave, make, run,
    sanitized, want, works)
cuts.SEED[0] = ARGS.seed

DISK_MIB = 512
STEPS = 500  # of each client with flushes, and without them, at least


# ---- The disk ------------------------------------------------------------------------------------
class Disk:
    """A loop device, whose writes go to the file `writes`."""

    def __init__(self):
        self.loop, self.mounted = None, False
        for name in ('blank', 'writes', 'exported'):
            with open(name, 'wb') as f:
                f.truncate(DISK_MIB << 20 if name == 'blank' else 0)
        shutil.copy('blank', 'base')
        self.daemon = subprocess.Popen(
            ['qemu-storage-daemon', '--blockdev', 'driver=file,filename=blank,node-name=disk',
             '--blockdev', 'driver=file,filename=writes,node-name=log',
             '--blockdev', 'driver=blklogwrites,file=disk,log=log,node-name=logged', '--export',
             'fuse,id=e,node-name=logged,mountpoint=%s,writable=on' % os.path.abspath('exported')],
            stdout=subprocess.DEVNULL, stderr=open('daemon', 'wb'))

    def begin(self):
        """Returns why there is none, or None."""
        eventually(lambda: os.path.getsize('exported') or self.daemon.poll() is not None,
                   'qemu-storage-daemon exports nothing')
        status, text = run('losetup', '-f', '--show', 'exported')
        if status or self.daemon.poll() is not None:
            return 'no loop device on a FUSE file here (%s %s)' % (
                text.strip(), get('daemon').decode(errors='replace').strip())
        self.loop = text.strip()
        return None

    def mount(self, kind):
        works('mkfs.' + kind, '-q', self.loop)
        works('mount', self.loop, 'mnt')
        self.mounted = True

    def end(self):
        if self.mounted:
            works('umount', 'mnt')
        if self.loop:
            works('losetup', '-d', self.loop)
            backing = '/sys/block/%s/loop/backing_file' % os.path.basename(self.loop)
            for _ in range(100):  # it lets go of the file a moment later
                if not os.path.exists(backing):
                    break
                time.sleep(0.05)
        self.loop, self.mounted = None, False
        self.daemon.terminate()
        try:
            self.daemon.wait(10)
        except subprocess.TimeoutExpired:  # it has nothing left to write, and was seen to hang
            self.daemon.kill()
            self.daemon.wait()
            run('umount', '-l', 'exported')


def serve():
    return Server('file', 'mnt/disk', 'cachemax-id=vm', 'logfile=calls', below=('log',),
                  pool='mnt/pool')


# ---- The work ------------------------------------------------------------------------------------
def wait_for_checkpoints(number):
    since = counter('checkpoints', 'mnt/pool')
    eventually(lambda: counter('checkpoints', 'mnt/pool') >= since + number, 'no checkpoints')


def steps_of(clients, number):
    """Waits until each of them has made so many steps."""
    eventually(lambda: all(c.done >= number or c.wrong for c in clients), 'the clients are slow')
    for c in clients:
        want(not c.wrong, str(c.wrong))


def one_round(server, notes):
    notes.mark('sure')
    clients = [cuts.Client(server.connect(), notes, n, 3) for n in range(3)]
    for c in clients:
        c.start()
    try:
        steps_of(clients, STEPS)
        notes.mark('lazy')
        for c in clients:
            c.lazy.set()
        steps_of(clients, 2 * STEPS)
        for c in clients:
            c.late.set()
        wait_for_checkpoints(1)
        notes.mark('end')
    finally:
        for c in clients:
            c.over.set()
            c.join()
    steps_of(clients, 0)
    return clients


def work(kind):
    """Returns how many steps the clients have made. Leaves the files base, writes and notes."""
    notes = cuts.Notes(lambda: os.path.getsize('writes'))
    cuts.write_image('mnt/disk')
    make('mnt/pool', str(cuts.POOL))
    works('sync', '-f', 'mnt/pool')
    server = serve()
    h = server.connect()
    cuts.make_warm(h, notes)
    h.shutdown()
    server.end()
    server = serve()
    h = server.connect()
    cuts.read_blocks(h, cuts.WARM)
    want(not blocks(calls('Read')) & set(cuts.WARM), 'the image is not warm')
    wait_for_checkpoints(1)
    done = 0
    for left in reversed(range(ARGS.rounds)):
        clients = one_round(server, notes)
        done += sum(c.done for c in clients)
        if left:
            cuts.flush(h, notes)
            wait_for_checkpoints(2)  # the second one has begun since the flush
    server.end(signal.SIGKILL)
    with open('notes', 'w', encoding='ascii') as f:
        json.dump(notes.all, f)
    return '%s, %d steps' % (kind, done)


# ---- What a cut leaves ---------------------------------------------------------------------------
def judge_mounted(place):
    with open('notes', encoding='ascii') as f:
        notes = json.load(f)
    first, last, warm = cuts.state_at(notes, place, dax=False)
    image = get('mnt/disk')
    cuts.judge_image(image, first, last)
    server = serve()
    h = server.connect()
    for _ in range(2):
        cuts.judge_served(h, bytes(image))
    cold = blocks(calls('Read'))
    h.shutdown()
    server.end()
    row = cuts.judge_warm(warm, cold)
    want(get('mnt/disk') == image, 'the image has changed')
    works(TOOL, 'check', 'mnt/pool')
    with open('judged', 'a', encoding='ascii') as f:
        f.write('%d %d %d %d %d\n' % row)


def judge():
    """Called by replay.py."""
    directory, disk, place = ARGS.judge
    os.chdir(directory)
    works('mount', '-o', 'loop', disk, 'mnt')
    try:
        judge_mounted(int(place))
    except Failed as e:
        print('FAIL a cut at %s of the log: %s' % (place, e), flush=True)
        sys.exit(1)
    finally:
        for s in list(Server.live):
            s.process.kill()
            s.process.wait()
        works('umount', 'mnt')


def summary():
    with open('judged', encoding='ascii') as f:
        rows = [[int(n) for n in line.split()] for line in f]
    return cuts.summary(rows)


def replay(first, last, number, seed):
    status, text = run(
        sys.executable, REPLAY, 'base', 'writes', str(first), str(last), str(number),
        str(ARGS.seed + seed), 'cut', '--', sys.executable, os.path.abspath(__file__), ARGS.build,
        FILTER, '--seed', str(ARGS.seed), '--judge', os.getcwd(), limit=3600)
    want(status == 0, text[-600:])


# ---- Running it ----------------------------------------------------------------------------------
def cut_power(kind):
    os.mkdir('mnt')
    disk = Disk()
    try:
        why = disk.begin()
        if why:
            leave(why)
        disk.mount(kind)
        said = work(kind)
    finally:
        for s in list(Server.live):
            s.process.kill()
            s.process.wait()
        disk.end()
    with open('notes', encoding='ascii') as f:
        notes = json.load(f)
    sure, lazy, end = ([at for at, what, *_ in notes if what == w] for w in ('sure', 'lazy', 'end'))
    for n in range(ARGS.rounds):  # with flushes; without; when a checkpoint has ended without
        each = ARGS.cuts // ARGS.rounds
        replay(sure[n], lazy[n], each // 2, n)
        replay(lazy[n], end[n], each - each // 2 - 1, n)
        replay(lazy[n], end[n], 'end', n)
    return said + '; ' + summary()


def one_kind(kind):
    if not shutil.which('mkfs.' + kind):
        leave('there is no mkfs.' + kind)
    top = tempfile.mkdtemp(prefix='cachemax-nbd-cut.')
    os.chdir(top)
    try:
        print('ok power cuts, %s' % cut_power(kind))
        passed = True
    except Failed as e:
        print('FAIL power cuts on %s, seed %d: %s' % (kind, ARGS.seed, e))
        passed = False
    finally:
        os.chdir('/')
        shutil.rmtree(top, ignore_errors=True)
    print('%d passed, %d failed, 0 skipped' % (passed, not passed))
    sys.exit(not passed)


def both():
    """Each in a process of its own: they mostly wait for checkpoints."""
    running = [subprocess.Popen([sys.executable, *sys.orig_argv[1:], '--fs', kind, '--seed',
                                 str(ARGS.seed)],
                                stdout=subprocess.PIPE) for kind in ('ext4', 'xfs')]
    counts = [0, 0, 0]
    for p in running:
        lines = p.communicate()[0].decode().strip().split('\n')
        print('\n'.join(lines[:-1]), flush=True)
        found = re.match(r'(\d+) passed, (\d+) failed, (\d+) skipped', lines[-1])
        counts = [c + int(n) for c, n in zip(counts, found.groups() if found else (0, 1, 0))]
    print('%d passed, %d failed, %d skipped' % tuple(counts))
    sys.exit(counts[1] > 0)


def main():
    sanitized()
    if os.geteuid():
        leave('power cuts need root')
    if not shutil.which('qemu-storage-daemon'):
        leave('there is no qemu-storage-daemon (Debian: qemu-system-common)')
    if ARGS.judge:
        judge()
    elif 'CM_CUT_ALONE' not in os.environ and run('unshare', '-m', 'true')[0] == 0:
        # A mount namespace of its own: one that another program makes would keep copies of the
        # mounts here, and xfs mounts no second disk with the same UUID.
        os.environ['CM_CUT_ALONE'] = '1'
        os.execvp('unshare', ['unshare', '-m', sys.executable, *sys.orig_argv[1:]])
    elif ARGS.fs:
        one_kind(ARGS.fs)
    else:
        print('seed %d' % ARGS.seed, flush=True)
        both()


main()
