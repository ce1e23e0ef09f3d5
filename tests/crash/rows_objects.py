# SPDX-License-Identifier: BSD-2-Clause
"""rows_objects.py - rows of mutants.py about containers of objects: no old value, no wrong one."""
from rows import _m

CHANGE, FIND, VALUES = 'objects/change.c', 'objects/find.c', 'objects/values.c'
ENTRIES, OBJECTS_C = 'objects/entries.c', 'objects/objects.c'
CONTAINER = 'objects/container.c'
STATES = 'objects-crash --rules adr --sequences 60'

OBJECTS = [
    _m('objects, delete absent', 'a delete forgets also a bucket that is not there', STATES, CHANGE,
       '    if (whole && !c->add && !c->there)\n', '    if (!c->add && !c->there)\n'),
    _m('objects, expired', 'a delete removes what has expired', 'unit objects ttl', CHANGE,
       '    if (whole && !c->add && !c->there)\n', '    if (whole && !c->add && !c->had)\n'),
    _m('objects, same key', 'a put takes the old entry away', 'unit objects iteration', CHANGE,
       'if (same || over ||', 'if ((same && !c->add) || over ||'),
    _m('objects, not stored', 'a put that is not stored takes the old value away',
       'unit objects replace', CHANGE,
       '    int changed = change(o, &p, key, stored == 0 ? &e : NULL);\n',
       '    int changed = stored == 0 ? change(o, &p, key, &e) : stored;\n'),
    _m('objects, again', 'a fill that a neighbour has spoiled is made again',
       'unit objects again', CONTAINER, 'return tries < TRIES;',
       'return tries == 0;'),
    _m('objects, one writer', 'a bucket has one writer at a time',
       'unit objects readers_and_writers', CHANGE,
       '    cm_lock_acquire(&l->lock);\n    const int e = change_locked(&c, l);\n'
       '    cm_lock_release(&l->lock);\n',
       '    const int e = change_locked(&c, l);\n'),
    _m('objects, away', 'a reader waits for a bucket that is being changed',
       'unit objects neighbour_stays', FIND, 'e == CM_EABSENT && gone && (', 'gone && false && ('),
    _m('objects, synced', 'a put leaves no intent: a power cut costs nothing', STATES, CHANGE,
       '        cm_objects_synced(c->o->buckets_file);\n', ''),
    _m('objects, fresh file', 'each session writes values in a new incarnation',
       'unit objects many_sessions', VALUES,
       '            *e = renew(d);\n', '            *e = 0;\n'),
    _m('objects, incarnation', 'a reference leads to its own incarnation only',
       'unit objects many_sessions', VALUES,
       'n == (int64_t)len && miss.incarnation == ref->incarnation', 'n == (int64_t)len'),
    _m('objects, positions', 'no block of a data file is used twice', 'unit objects lengths',
       VALUES, 'at_add_relaxed(&o->data_next, blocks)',
       'at_add_relaxed(&o->data_next, blocks / 2)'),
    _m('objects, drop', 'a value that was replaced leaves the pool', 'unit objects replace', CHANGE,
       '        cm_values_drop(o, &gone[i]);\n', '        (void)gone[i];\n'),
    _m('objects, check', 'the check of an entry counts', 'unit objects changed_bytes', ENTRIES,
       'possible && e->check == check_of(e->raw, e->size, number)', 'possible'),
    _m('objects, reference', 'a reference may say anything', 'unit objects references', VALUES,
       ' || ref->len > o->value_max)', ')'),
    _m('objects, owner', 'a container has one handle', 'unit objects one_owner', OBJECTS_C,
       'e == 0 && info.brackets == 1', 'e == 0'),
    _m('objects, clock', 'a clock that goes back makes nothing live longer', 'unit objects ttl',
       CONTAINER, 'return now + (ahead > most ? ahead : most);', 'return now + ahead;'),
    _m('objects, buckets', 'the number of buckets is remembered', 'unit objects restart', OBJECTS_C,
       '        *buckets = proof.buckets;\n', '        (void)0;\n'),
    _m('objects, hot', 'what was read lately stays in a full bucket',
       'unit objects expired_leave', CHANGE, 'if (round == 0 && (read >>', 'if (false && (read >>'),
    _m('objects, warm', 'large values do not wait in DRAM', 'unit objects restart', VALUES,
       '&miss, data, some, CM_FILL_WARM)', '&miss, data, some, 0)'),
    _m('objects, keep', 'buckets do not wait in DRAM', 'unit objects restart', OBJECTS_C,
       'CM_ADVISE_KEEP', 'CM_ADVISE_NORMAL'),
]
