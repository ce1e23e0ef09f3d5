# SPDX-License-Identifier: BSD-2-Clause
"""rows_uring.py - the mutants of requests by io_uring."""
from rows import DIRECT, PLACE, STEER, URING, WIRE, _m

OF_URING = [
    _m('uring, agreed', 'what the kernel offers is not seen', 'uring', '^requests come by io_uring',
       URING, '(init->flags2 & ABI_OVER_IO_URING)', '(init->flags2 & 0)'),
    _m('uring, told', 'the status does not tell it', 'uring', '^requests come by io_uring',
       STEER, 'uring_queues() ? "io_uring"', '0 ? "io_uring"'),
    _m('uring, off', 'io_uring=off does nothing', 'uring', '^io_uring=off',
       WIRE, '!agreed.offers_ring || !mnt.opt.ring', '!agreed.offers_ring'),
    _m('uring, errors', 'errors are not passed on', 'uring', '^files through io_uring',
       URING, '{ .error = out->error, .unique = out->unique }', '{ .unique = out->unique }'),
    _m('uring, long requests', 'the part of a request that follows its head is misplaced', 'uring',
       '^files through io_uring',
       URING, 'request = w->room - op - head;', 'request = w->room - op - head - 8;'),
    _m('uring, one for a queue', 'a queue has one thread', 'uring', '^requests that wait hold up',
       URING, 'listed(online, q) ? pool.depth : DEPTH_AWAY', 'listed(online, q) ? 1 : DEPTH_AWAY'),
    _m('uring, killed', 'the helper does not end the connection', 'uring',
       '^killed beside direct writes',
       DIRECT, 'write(helper.abort, "1", 1) < 0', '0'),
    _m('uring, while it dies', 'a mount that dies during a call is not detached', 'uring',
       '^started at once after a kill',
       PLACE, ' || err == ECANCELED', ''),
]
