# SPDX-License-Identifier: BSD-2-Clause
"""rows_random.py - the mutants that random operations have to notice."""
from rows import SERVICE, WRITE, _m

# As a rule each of these changes the origin and leaves what is cached as it was.
OF_RANDOM = [
    _m('random: write', 'a write has no bracket', 'random', '^cached, ',
       WRITE, 'CHANGE_RANGE, at_end ? CM_APPEND : (uint64_t)off, size);', 'CHANGE_RANGE, 0, 0);'),
    _m('random: end of a write', 'the bracket of a write has half of its range', 'random',
       '^cached, ', WRITE, 'at_end ? CM_APPEND : (uint64_t)off, size);',
       'at_end ? CM_APPEND : (uint64_t)off, size / 2);'),
    _m('random: truncate', 'a truncation has no bracket', 'random', '^cached, ',
       WRITE, 'CHANGE_SIZE, (uint64_t)size, 0);', 'CHANGE_ATTR, 0, 0);'),
    _m('random: fallocate', 'punching a hole has no bracket', 'random', '^cached, ',
       WRITE, 'CHANGE_RANGE, (uint64_t)off, (uint64_t)len);', 'CHANGE_RANGE, 0, 0);'),
    _m('random: copy', 'a copied range has no bracket', 'random', '^cached, ',
       WRITE, 'CHANGE_RANGE, (uint64_t)off_out, len);', 'CHANGE_RANGE, 0, 0);'),
    _m('random: paranoid', 'a copied range has no bracket, and all is compared', 'random',
       '^paranoid, ',
       WRITE, 'CHANGE_RANGE, (uint64_t)off_out, len);', 'CHANGE_RANGE, 0, 0);'),
    _m('random: modes', 'a write beside a mode that changes has no bracket', 'random', '^modes ',
       WRITE, 'CHANGE_RANGE, at_end ? CM_APPEND : (uint64_t)off, size);', 'CHANGE_RANGE, 0, 0);'),
    _m('random: holes', 'what is stored in a mapping is a hole', 'random', '^cached, ',
       WRITE, 'if (flush_may_hold(h->inode, true) && fstat', 'if (0 && fstat'),
    _m('random: service', 'the service is told of no write', 'random --service', '^service, ',
       SERVICE, 'begun(i, b, rc, cmc_write_begin(i->remote->file, off, len, &b->told))',
       'begun(i, b, rc, (b->told = (cmc_bracket){ .claim = -1 }, 0))'),
]
