# SPDX-License-Identifier: BSD-2-Clause
"""rows_grow.py - the rows of mutants.py about a pool that grows while it is open."""
from rows import _m, FORGET, PUBLISH, SUPER

GROW, REINDEX, FORMAT = 'api/grow.c', 'protocol/reindex.c', 'media/format.c'
MEMO, RING, CACHE = 'media/memo.c', 'policy/ring.c', 'api/cache.c'

GROWTH = [
    _m('grow, fence', 'the new index is fenced before it counts', 'crash grow warm grow-pool',
       REINDEX, '    cm_media_fence(&c->media); /* before the superblocks say that it counts */\n',
       ''),
    _m('grow, sync', 'the new index is synced before it counts',
       'crash grow checkpoint full pool-checkpoint,grow-pool', GROW,
       'return c->file.handle != -1 ? cm_settle_part(c, start, end - start) : 0;',
       '(void)start;\n    return 0;'),
    _m('grow, superblock', 'the superblocks say that the pool has grown', 'unit grow four_times',
       GROW, 'e = cm_super_add_part(&c->super, z->to.parts - 1, z->word);', 'e = 0;'),
    _m('grow, use early', 'the session uses the new index after both superblocks say so',
       'crash grow fill-a,grow-pool!50,write-adopt', GROW,
       '''    if (e == 0) {
        e = cm_super_add_part''', '''    if (e == 0)
        use(z);
    if (e == 0) {
        e = cm_super_add_part'''),
    _m('grow, longer first', 'the superblocks first say how long the file may be',
       'unit grow killed', GROW,
       '    e = cm_super_growing(&c->super, size);\n    if (e == 0)\n        e = lengthen(z);',
       '    e = lengthen(z);'),
    _m('grow, empty cells', 'all of the new index is stored, whatever was there',
       'unit grow memory', REINDEX, 'const uint64_t some = n - b < each ? n - b : each;',
       'const uint64_t some = n - b < each ? n - b : each;\n'
       '        if (cm_index_empty(z->buckets[b].cell) == 0)\n            continue;',
       GROW, 'for (; at < end && e == 0; at += CM_BLOCK_SIZE)',
       'for (at = at + z->to.stripes * z->to.stripe_buckets * 64; at < end && e == 0;'
       ' at += CM_BLOCK_SIZE)'),
    _m('grow, zeros', 'headers of the new slots are zero', 'unit grow memory', GROW,
       'for (; at < end && e == 0; at += CM_BLOCK_SIZE)', 'for (; at < end && e > 0;)'),
    _m('grow, drain', 'the copy waits for whoever publishes', 'unit grow drain', REINDEX,
       '    drain(c);\n', '    (void)drain;\n'),
    _m('grow, stores', 'nothing is published while the index is copied', 'unit grow late_fill',
       PUBLISH, ' || at_load_acquire(&c->growing) ||', ' ||'),
    _m('grow, old key', 'nothing is published by a key of the old index', 'unit grow late_fill',
       PUBLISH, ''' ||
        !cm_key_is_current(&c->media, &n->key))''', ')'),
    _m('grow, bracket', 'a bracket looks in the index that is in use', 'unit grow late_bracket',
       FORGET, 'if (home->home.index != cm_media_index(&c->media))', 'if (!c)'),
    _m('grow, refuses', 'fills are refused early while the index is copied', 'unit grow beside',
       'protocol/fill.c', ' ||\n        at_load_relaxed(&c->growing)) {', ') {'),
    _m('grow, one', 'one growth at a time', 'unit grow beside', GROW,
       'e = at_cas_acq_rel(&c->grows, &none, 1) ? grow(&z, size) : CM_EBUSY;',
       '(void)none;\n    e = grow(&z, size);'),
    _m('grow, left over', 'the file gets its old length back', 'unit grow left_over', GROW,
       '(c->file.size != size && cm_plat_file_cut(&c->file, size))', '(false)'),
    _m('grow, over', 'the superblocks say that the growth is over', 'unit grow left_over', GROW,
       '        return;\n    (void)cm_super_growing(&c->super, 0);', '        return;'),
    _m('grow, taken back', 'a growth that fails is taken back', 'unit grow no_room', GROW,
       '            deny(z);\n        cm_grow_take_back(c);\n', '            deny(z);\n'),
    _m('grow, older libraries', 'they can use a pool that did not grow', 'unit grow no_room', SUPER,
       '    else\n        sb->incompat &= ~CM_INCOMPAT_GROWN; /* older libraries can use it */\n',
       ''),
    _m('grow, bit', 'older libraries refuse a pool that grew', 'unit grow four_times', SUPER,
       '        sb->incompat |= CM_INCOMPAT_GROWN;\n', '        (void)0;\n'),
    _m('grow, longer', 'a file may be as long as the superblock says', 'unit grow left_over',
       FORMAT, 'bytes <= sb->growing;', 'bytes <= UINT64_MAX;'),
    _m('grow, memo', 'what the policy kept is loaded before its place changes', 'unit grow memo',
       GROW, '    cm_memo_load_all(&c->memo); /* the next memo is elsewhere */\n', ''),
    _m('grow, ring', 'the new slots are used', 'unit grow four_times', GROW,
       '    cm_ring_grow(&c->policy.ring, z->to.slots);\n', ''),
    _m('grow, overflow', 'a block without a place in the new index is forgotten',
       'unit grow overflow', REINDEX, '    return drop(z, &k, slot, &h);\n',
       '    (void)drop;\n    return 0;\n'),
    _m('grow, flush two parts', 'headers of two parts are not flushed at once',
       'unit grow flushed', 'media/slot.c',
       'if (!cm_format_in_one(&m->geo, first, (unsigned)(last - first + 1)))', 'if (first > last)'),
]
