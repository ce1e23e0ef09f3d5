# SPDX-License-Identifier: BSD-2-Clause
"""rows_cut.py - the rows of mutants.py about a pool whose file is cut inside a page."""
from rows import _m, LOOKUP

FAST, RANGE = 'api/read_fast.h', 'api/read_range.c'
MANY, TROUBLE = 'api/read_many.c', 'api/trouble.c'

CUTS = [
    _m('cut, hit', 'a hit looks at the end of the file', 'unit api cut_block', FAST,
       'if (!cm_media_uncut(&c->media)) {', 'if (0) {'),
    _m('cut, order', '... after it has copied, not before', 'unit api cut_before_copy',
       FAST, '''        !cm_fast_copy(c, g, at, offset, buf, len))
        return false;
    if (!cm_media_uncut(&c->media)) {
        memset(buf, 0, len);
        return false; /* the long way notes it */
    }
''', '''        !cm_media_uncut(&c->media) || !cm_fast_copy(c, g, at, offset, buf, len))
        return false;
'''),
    _m('cut, elsewhere', '... and one that read_fast.h does not find', 'unit api cut_grown',
       'api/read_elsewhere.c', 'if (!cm_media_uncut(&c->media)) {', 'if (0) {'),
    _m('cut, run', '... and a run of blocks', 'unit api cut_block', RANGE,
       'if (run->hits > run->buffered && !cm_media_uncut(&w->c->media)) {', 'if (0) {'),
    _m('cut, noted', 'a hit that was taken back makes the library look', 'unit api cut_block',
       RANGE, '        cm_suspect(w->c); /* the call will look', '        /* the call'),
    _m('cut, many', 'many places, too', 'unit api cut_block', MANY,
       'if (whole > 0 && !cm_media_uncut(&f->cache->media))', 'if (0)'),
    _m('cut, many, order', '... after the copies', 'unit api cut_before_copy', MANY,
       '''        whole = read_vecs(f, v, size, n);
        if (whole > 0 && !cm_media_uncut(&f->cache->media))
''', '''        const bool uncut = cm_media_uncut(&f->cache->media);
        whole = read_vecs(f, v, size, n);
        if (whole > 0 && !uncut)
'''),
    _m('cut, pins', 'and pins', 'unit api cut_block', RANGE,
       'if (pins->n == 0 || cm_media_uncut(&c->media))', 'if (c)'),
    _m('cut, pin', '... and a pin of one block', 'unit api cut_block', RANGE,
       'if (!cm_media_uncut(&f->cache->media)) {', 'if (0) {'),
    _m('cut, busy', '... whose blocks have as many pins as fit', 'unit api cut_busy', RANGE,
       'fillable = full = busy = false;', 'fillable = full = false;'),
    _m('cut, resident', 'a read that must not wait looks whether that page is in memory',
       'unit resident each_page', 'api/read_blocks.c',
       '           cm_media_is_resident(m, at_load_relaxed(&m->end), 1);', '           m != NULL;'),
    _m('cut, resident, once', '... for the first block in a slot, also behind one in the buffer',
       'unit resident buffered_end', 'api/read_blocks.c', 'r->hits > r->buffered ||',
       'r->hits > 0 ||'),
    _m('cut, resident, buffer', '... but not for one in the buffer',
       'unit resident buffered_end', RANGE,
       '(w.c->directly || cm_media_counters_resident(&w.c->media))',
       '(w.c->directly || (cm_media_counters_resident(&w.c->media) &&\n'
       '         cm_media_is_resident(&w.c->media, at_load_relaxed(&w.c->media.end), 1)))'),
    _m('cut, last page', 'what lies in the last page is verified in each hit',
       'unit api cut_last_page', 'state/cache_state.h',
       'if (slot < at_load_acquire(&c->known))', 'if (at_load_acquire(&c->known))'),
    _m('cut, last page, never', '... also with CM_VERIFY_NEVER', 'unit api cut_last_page',
       LOOKUP, ' || slot >= at_load_relaxed(&c->known) ||', ' ||'),
    _m('cut, grown', 'a pool that grew ends elsewhere', 'unit api cut_grown', 'api/grow.c',
       '    cm_end_grow(c, &z->to);     /* before blocks are found behind the old end */\n', ''),
    _m('cut, grown end', 'and that end is looked at', 'unit api cut_grown', TROUBLE,
       '    at_store_relaxed(&c->media.end, c->media.base + last_page(to));\n', ''),
    _m('cut, unreadable end', 'a last page that cannot be loaded is no cut',
       'unit api cut_unreadable_end', TROUBLE, '        lower_end(c);\n', ''),
    _m('cut, unreadable end, marks', 'what lies behind a lower end is verified in each hit',
       'unit api cut_unreadable_end', TROUBLE,
       '        cm_ring_clear_verified(&c->policy.ring, slot);', '        (void)slot;'),
    _m('cut, unreadable end, halves', '... and nothing else', 'unit api cut_unreadable_end',
       TROUBLE, '    while (bad - at > page) {', '    while (bad == 0) {'),
    _m('cut, end, growth', 'a growth waits for a thread that looks for an end',
       'unit api cut_end_beside', TROUBLE, '''    cm_lock_acquire(&c->end);
    at_store_relaxed(''', '''    (void)cm_lock_try(&c->end);
    at_store_relaxed('''),
    _m('cut, end, reader', '... and a second one does not look', 'unit api cut_end_beside',
       TROUBLE, '    if (!cm_lock_try(&c->end))\n', '    if (!cm_lock_try(&c->end) && !c)\n'),
    _m('cut, no guard', 'without a guard nobody looks', 'unit api cut_no_guard', TROUBLE,
       ' &&\n           c->guarded && cm_guard_available();', ';'),
]
