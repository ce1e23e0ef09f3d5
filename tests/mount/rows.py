# SPDX-License-Identifier: BSD-2-Clause
"""rows.py - what the rows of mutants.py need: their form, and the files that they change. A row
is in the rows_*.py of its subject."""
import collections

from mutation import edits_of

Mutant = collections.namedtuple('Mutant', 'name what script checks edits')


def _m(name, what, script, checks, *words):
    return Mutant(name, what, script, checks, edits_of(words))


NUMBER, PLACE, CACHE, INODE = 'mount/number.c', 'mount/place.c', 'mount/cache.c', 'mount/inode.c'
CREDS, DIRECT, FLUSH, PROOF = 'mount/creds.c', 'mount/direct.c', 'mount/flush.c', 'mount/proof.c'
KEEPER, LOOP, MAIN = 'mount/keeper.c', 'mount/loop.c', 'mount/main.c'
THREADS = 'mount/threads.c'
URING, WIRE = 'mount/uring.c', 'mount/wire.c'
POOL, SERVICE = 'mount/backing_pool.c', 'mount/backing_service.c'
OPEN, READ, WRITE = 'mount/ops_open.c', 'mount/ops_read.c', 'mount/ops_write.c'
ATTR, NAME, RAW = 'mount/ops_attr.c', 'mount/ops_name.c', 'mount/ops_raw.c'
COVER, DIR = 'mount/cover.c', 'mount/ops_dir.c'
IOCTL, COHERENCE = 'mount/ops_ioctl.c', 'mount/coherence.c'
PARANOID, TIMES, WATCH = 'mount/paranoid.c', 'mount/times.c', 'mount/watch.c'
CONTROL, STEER, RECORD = 'mount/control.c', 'mount/control_ops.c', 'mount/record.c'
ZEROS = 'mount/zeros.c'
RELIEF, FSTAB = 'mount/relief.c', 'mount/fstab.c'
GATE, RESIZE = 'mount/gate.c', 'mount/resize.c'
SAY = 'service/say_log.c'
QUICK = 'quickstart.sh'
# The second needs what the mount needs for the difference.
ROOM = r'^reserved room(: user(\+sys_resource)?)?$'
