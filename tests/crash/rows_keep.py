# SPDX-License-Identifier: BSD-2-Clause
"""rows_keep.py - rows of mutants.py about kept files: what stays, for how long, and how much."""
from rows import _m

KEEP_C, EVICT, ATTACH = 'state/keep.c', 'protocol/evict.c', 'state/attach.c'

KEEP = [
    _m('keep, evict', 'a victim of a kept file is left', 'unit keep storm', EVICT,
       'cm_keep_spares(c, v[count].slot, v[count].key.incarnation, v[count].w0)', 'false'),
    _m('keep, marks end', 'marks of a file that is kept no more are cleared', 'unit keep storm',
       KEEP_C, '    cm_ring_unkeep_all(&c->policy.ring);\n', ''),
    _m('keep, forgotten', 'the mark of a forgotten block is cleared', 'unit keep changes',
       'protocol/forget.c', '        cm_policy_forgotten(&c->policy, slot);\n',
       '        (void)0;\n'),
    _m('keep, record', 'the record says that the file is kept', 'unit keep later',
       'state/file_record.c', '? CM_RECORD_KEEP : 0', '? 0 : 0'),
    _m('keep, superblock', 'the superblock says that records may say so', 'unit keep later',
       'state/file.c', 'e = cm_super_compat(&c->super, CM_COMPAT_KEEP, true);', 'e = 0;'),
    _m('keep, load', 'records of earlier sessions are looked at', 'unit keep later', KEEP_C,
       '        load_bucket(c, k->left - 1);\n', ''),
    _m('keep, not loaded', 'old blocks stay until all records were looked at', 'unit keep unknown',
       KEEP_C, 'return unknown && !has;', 'return false;'),
    _m('keep, anew', 'a file that begins anew is kept', 'unit keep versions', ATTACH,
       'f->keep = e == 0 && r && (r->flags & CM_RECORD_KEEP);', 'f->keep = 0;'),
    _m('keep, version', 'another version is kept, too', 'unit keep versions', 'state/file.c',
       '    if (at_load_relaxed(&f->keep))\n        cm_keep_move(f->cache, f->incarnation, '
       'incarnation, f->validator.size);\n', ''),
    _m('keep, place', 'the record of a kept file is not given away', 'unit keep record', ATTACH,
       '        if (b->whole[i] && (b->record[i].flags & CM_RECORD_KEEP))\n'
       '            continue;\n', ''),
    _m('keep, forget', 'a file that is forgotten is kept no more', 'unit keep forget', ATTACH,
       '    cm_keep_move(c, r->incarnation, 0, 0);\n', ''),
    _m('keep, share', 'kept files have half of the slots', 'unit keep share', KEEP_C,
       '> cm_keep_most(c))\n        e = CM_EKEEP;', '> UINT64_MAX / 2)\n        e = CM_EKEEP;'),
    _m('keep, grows', 'what a kept file counts follows an adopted size', 'unit keep follows',
       'state/file.c', '    keep_size(f);\n    /* A file without', '    /* A file without'),
    _m('keep, learned', '... and one that becomes known', 'unit keep learned', 'state/file.c',
       '    keep_size(f);\n    (void)cm_file_write_size(f);\n',
       '    (void)cm_file_write_size(f);\n'),
    _m('keep, again', 'a file that is kept again counts what it counted', 'unit keep unsized',
       KEEP_C, 'if (cm_incarnations_find(&k->table, incarnation))\n        e = 0;',
       'if (false)\n        e = 0;'),
    _m('keep, unsized', 'a file of unknown size counts what it counted', 'unit keep unsized',
       KEEP_C, 'size == CM_SIZE_UNKNOWN && at ? at->value : ', ''),
    _m('keep, unsized record', '... also if its record tells none', 'unit keep unsized', KEEP_C,
       'cm_keep_move(c, r.incarnation, r.incarnation,', 'cm_keep_move(c, 0, r.incarnation,'),
    _m('keep, most', 'no more than half of the slots are marked', 'unit keep too_much', KEEP_C,
       'cm_ring_keep(r, slot, cm_keep_most(c))', 'cm_ring_keep(r, slot, UINT64_MAX)'),
    _m('keep, hand', 'a kept slot is no victim of the hand', 'unit ring kept_slots',
       'policy/ring.c', ' || cm_ring_is_kept(r, slot))\n            continue;',
       ')\n            continue;'),
    _m('keep, advice', 'a kept file is stored whatever the advice is', 'unit keep advice',
       'protocol/fill.c', 'advice == CM_ADVISE_NOREUSE && !keep', 'advice == CM_ADVISE_NOREUSE'),
]
