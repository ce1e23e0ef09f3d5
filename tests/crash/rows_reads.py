# SPDX-License-Identifier: BSD-2-Clause
"""rows_reads.py - the rows of mutants.py about reads and pins of blocks that were judged before:
copies of neighbours, windows, the short ways, and the routines of the guard."""
from rows import _m, LOOKUP, SLOT

GUARD, RING, RUNS = 'persist/guard_x86.S', 'policy/ring.c', 'api/read_blocks.c'

READS = [
    _m('neighbours, whole', 'only whole blocks are copied with their neighbours',
       'unit block run_parts', RUNS, 'p[i].want != CM_BLOCK_SIZE || ', ''),
    _m('neighbours, bound', 'bound of the neighbours in one copy', 'unit block run_parts',
       RUNS, 'i < n && i < CM_SLOT_NEIGHBOURS;', 'i < n;'),
    _m('neighbours, one by one', 'each neighbour has its own verdict',
       'unit block flipped_known_neighbours', RUNS, 'i++, right >>= 1)', 'i++)'),
    _m('neighbours, region', 'each neighbour has the "since" of its own region',
       'unit file region_border', RUNS,
       'incarnation[i] = p[i].fast.incarnation;', 'incarnation[i] = p->fast.incarnation;'),
    _m('neighbours, hits', 'neighbours that are served are hits to the policy',
       'unit block run_counts', RUNS,
       '    cm_lookup_note(r->f->cache, g->incarnation, g->block, g->hash, g->slot);\n',
       '    (void)g;\n'),
    _m('neighbours, hits served', 'neighbours that are not served are no hits',
       'unit block run_counts', RUNS,
       '''            memset(to + i * CM_BLOCK_SIZE, 0, CM_BLOCK_SIZE); /* may be another file's */
''', '''            memset(to + i * CM_BLOCK_SIZE, 0, CM_BLOCK_SIZE);
        else
            cm_lookup_note(c, incarnation[i], p[i].fast.block, p[i].fast.hash, p[i].fast.slot);
'''),
    _m('neighbours, unreadable', 'neighbours of which one cannot be read are read one by one',
       'unit block unreadable_neighbour', SLOT,
       '''    if (cm_guard_load_words(at, &h[0].w0, words) ||
        cm_guard_copy(dst, cm_slot_payload(m, slot), n * (size_t)CM_BLOCK_SIZE))
        return 0;''', '''    (void)cm_guard_load_words(at, &h[0].w0, words);
    (void)cm_guard_copy(dst, cm_slot_payload(m, slot), n * (size_t)CM_BLOCK_SIZE);'''),
    _m('window, second half', 'the second half of a window is read', 'unit block run_parts',
       RUNS, 'read_pieces(r, p[now] + first, n - first, buf)',
       'read_pieces(r, p[now], n - first, buf)'),
    _m('window, next', 'the next window is another one', 'unit block run_parts', RUNS,
       '        now = !now;\n', ''),
    _m('run, end', 'the last piece of a run ends where the run does', 'unit block run_parts',
       RUNS, '''    if (p->want > r->end - pos)
        p->want = (uint32_t)(r->end - pos);
''', ''),
    _m('run, hits', 'blocks of a run are counted', 'unit block run_parts', RUNS,
       '    r->hits += got > 0;\n', ''),
    _m('known, wipe', 'wiping of what a known slot gave in vain', 'unit pin refilled_while_read',
       'protocol/lookup.h',
       "        memset(part->dst, 0, part->len); /* may be another file's */\n", ''),
    _m('fast, region', 'a single block has the "since" of its region', 'unit file region_border',
       'api/read_fast.h', 'g->incarnation = cm_region_incarnation(f, incarnation, block);',
       'g->incarnation = incarnation;'),
    _m('fast, size', 'a single block is not served from behind the end of the file',
       'unit file size_learned', 'api/read_fast.h',
       '           offset + len <= at_load_acquire(&f->size) && cm', '           cm'),
    _m('fast, slot', 'a cell whose slot does not exist', 'unit block same_tag_cells',
       'api/read_fast.h', 'found > 0 && cm_index_leads(m, tag, cell)', 'found > 0'),
    _m('known pin, key', 'only a slot that holds the block is pinned by the short way',
       'unit pin other_key', LOOKUP,
       '!cm_slot_holds_known(m, *slot, k->incarnation, k->block, &w0) ||',
       'cm_guard_load64(&cm_slot_at(m, *slot)->w0, &w0) ||'),
    _m('known pin, hit', 'a pin by the short way is a hit to the policy', 'unit pin counts',
       LOOKUP, 'again == w0) {\n        count_hit(c, k, *slot);\n', 'again == w0) {\n'),
    _m('known pin, let go', 'a pin that came too late is given back',
       'unit pin refilled_before_the_pin', LOOKUP,
       '        return true;\n    }\n    cm_lookup_unpin(c, *slot);\n',
       '        return true;\n    }\n'),
    _m('free slots, once', 'of slots that are given, each is free or disowned, once',
       'unit ring free_together', RING, 'slot[n - 1 - kept];', 'slot[kept];'),
    _m('free slots, order', 'free slots come out as they were given', 'unit ring free_together',
       RING, 'slot[n - 1 - kept];', 'slot[kept];', RING,
       'for (unsigned i = 0; i < n - kept; i++) {\n        cm_ring_disown',
       'for (unsigned i = kept; i < n; i++) {\n        cm_ring_disown'),
    _m('find, first', 'the first of the cells that carry a tag', 'unit persist find', GUARD,
       'bsfl    %eax', 'bsrl    %eax'),
    _m('find, last pair', 'all cells of a line are looked at', 'unit persist find', GUARD,
       'movdqu  48(A0), %xmm3\n        pshufd', 'movdqu  32(A0), %xmm3\n        pshufd'),
    _m('take, VALID', 'VALID of a header whose data is copied with it', 'unit persist take', GUARD,
       '        jns     9f; \\\n', ''),
    _m('take, block', 'block and length of such a header', 'unit persist take', GUARD,
       '        xorq    16(A0), %r9; \\\n', '        xorq    %r9, %r9; \\\n'),
    _m('take, second look', 'second look at such a header', 'unit persist take_race', GUARD,
       'cmpq    %r10, (header);', 'cmpq    %r10, %r10;'),
    _m('many, version', 'a block of many says its version', 'unit block read_many_known',
       'api/read_range.c', '            r->incarnation = incarnation;\n', ''),
    _m('many, bytes', 'bytes of many blocks are counted', 'unit block read_many_known',
       'api/read_range.c', '            bytes += r->len;\n', ''),
    _m('fast, nothing', 'a read of nothing is no hit', 'unit block read_many_known',
       'api/read_fast.h', ' && len > 0 &&\n', ' &&\n'),
]
