# SPDX-License-Identifier: BSD-2-Clause
"""rows_histories.py - the rows of mutants.py that the versions of an origin do not show, and the
histories of tests/model/histories.c do."""
from rows import _m, FILL

HISTORY_ROWS = [
    _m('told, stored', 'a fill that was refused as stale does not say "stored"',
       'histories 1 20000', FILL,
       'first = first || (present && o->warm) ? first : in[i].result;',
       '''first = first || (present && o->warm) || in[i].result == CM_NOT_STORED_STALE
                    ? first
                    : in[i].result;'''),
    _m('told, present', 'a fill of a block that is there does not say "stored"',
       'histories 1 20000', FILL,
       'first = first || (present && o->warm) ? first : in[i].result;',
       'first = first || present ? first : in[i].result;'),
    _m('many, one version', 'blocks that are read at once are of one version',
       'histories 1 20000', 'api/read_many.c',
       'if (now == before && (now != 0 ||', 'if (before == before && (now != 0 ||'),
]
