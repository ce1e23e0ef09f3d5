#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""mutants.py - are the tests worth their name? Takes fences, flushes and checks out of the library,
one at a time, and wants each loss to be noticed.

  mutants.py [--quick] [--only NAME] [--benign] [--jobs N] [--markdown] [--survey] [--source DIR]

For every row of the table below: a private copy of src/, the change made in it (text that is not
there exactly once fails the row, so the table stays in step with the code), what depends on the
file compiled anew, the test programs linked with it, and then the test that the row names. Without
--quick the other tests follow, cheapest first, if that one notices nothing. First of all every
test that a row names must pass on the unchanged code.

Rows that no test can notice stand in a table of their own, BENIGN, each with the reason; where the
reason is that two lines do the same work, MUTANTS has both removed together. --benign runs all
tests on these; there, passed means: not noticed.

The last line is "N passed, N failed, N skipped"; passed: noticed.
"""
import argparse
import collections
import concurrent.futures
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.dirname(HERE))
sys.dont_write_bytecode = True
from mutation import Failure, edit, edits_of, end_all, run  # noqa: E402
WRAP = ['-Wl,--wrap=cm_persist_choose', '-Wl,--wrap=cm_plat_boot_id', '-Wl,--wrap=cm_plat_boot_wall_ns',
        '-Wl,--wrap=cm_plat_random', '-Wl,--wrap=cm_plat_mount_id', '-Wl,--wrap=cm_plat_file_map',
        '-Wl,--wrap=cm_plat_file_sync', '-Wl,--wrap=cm_plat_file_close', '-Wl,--wrap=cm_guard_copy',
        '-Wl,--wrap=cm_guard_load64', '-Wl,--wrap=cm_guard_load_words', '-Wl,--wrap=cm_guard_take_choose',
        '-Wl,--wrap=cm_stats_begin', '-Wl,--wrap=cm_sample_read', '-Wl,--wrap=cm_plat_wall_ns', '-Wl,--wrap=cm_plat_pid']
CRASH, MODEL, RACE, TURNS = 'crash', 'model', 'race', 'turns'
WRAPS = {CRASH: WRAP, 'platform': ['-Wl,--wrap=' + c for c in (
    'munmap', 'open', 'open64', 'fsync', 'ftruncate', 'ftruncate64', 'fallocate', 'fallocate64', 'linkat', 'renameat2',
    'unlink', 'clock_gettime', 'fstatfs', 'fstatfs64', 'name_to_handle_at', 'ioctl')], 'pin': ['-Wl,--wrap=cm_guard_load_words']}  # by program, as in the meson.build files
QUICKLY = '-O0'  # what is compiled for one mutant; the rest is with -O1
LIMIT = 300  # seconds for one test, of which none takes ten: for a hang, not for a slow machine

# What is tried on a mutant that its own test does not notice, cheapest first.
SEQUENCES = [
    'full fill-z', 'full beside-1,write-sync,fill-z', 'full fill-z@f1,write-sync', 'full write-plain@f2,fill-z',
    'fill-a0,crowd,fill-z', 'fill-a0,crowd,fill-z@f3,write-sync', 'fill-a0,crowd,beside-3,write-sync,fill-z',
    'fill-b1,fill-b-tail,fill-a0,crowd,write-plain@f2,fill-z@f3,write-sync',
    'fill-b1,fill-b-tail,fill-a0,crowd,write-plain@f2,fill-z@f4,write-sync',
    'fill-b1,fill-b-tail,fill-a0,drop,thread,write-sync',
    'full write-sync@f2,write-sync', 'full beside-1,write-sync,write-plain', 'full write-sync', 'fill-a0,write-sync',
    'fill-b1,beside-1,write-sync,fill-a0', 'fill-b1,beside-2,write-sync,fill-a0', 'fill-b1,beside-3,write-sync,fill-a0',
    'fill-b1,forget-b', 'fill-b1,thread,forget-closed', 'full large,thread,sync', 'full large', 'full begin,write-open',
    'full sync-beside', 'full shrink', 'full grow,sync,shrink,sync,grow,sync', 'full append', 'full offline',
    'full many-files', 'full sync-failed', 'full write-plain,sync-failed', 'full close', 'full abort', 'full repair,check',
    'format', 'full format', 'full damage-repair', 'many-files,damage-repair', 'full close@f3', 'process-crash@f1', 'process-crash@f3', 'process-crash@71,process-crash',
    'fill-b1,fill-a0,write-sync,fill-a0@10,write-sync', 'fill-b1,fill-a0,write-sync,fill-a0@11,write-sync',
    'fill-a0,write-plain,fill-a0', 'write-plain@f1,write-plain,fill-a0', 'write-plain@f1,thread,write-plain,fill-a0', 'fill-a0,sync-beside,fill-a0',
    'begin,sync,write-open,end-plain,fill-a', 'fill-b1,forget-b@f1,rewrite-b', 'fill-b1,rewrite-b',
    'revalidate-b,fill-b1', 'offline@f1,fill-b1', 'offline@f2,fill-b1', 'offline@f3,fill-b1',
    'power-cut,fill-a0,write-plain,fill-a0', 'fill-b1,forget-closed@f1', 'full fill-b1,evict-b~f688', 'full evict-a',
    'fill-b1,forget-b!1', 'fill-b1,forget-closed!2', 'pagecache full close', 'pagecache fill-a,close!1,close',
    'pagecache fill-a,process-crash!2',
    'full read-torn', 'pagecache fill-a0,close-unsynced', 'pagecache fill-a0,close', 'pagecache fill-a0', 'pagecache fill-a0,process-crash', 'eadr full fill-z', 'eadr full write-sync',
]
OTHERS = (['crash ' + s for s in SEQUENCES] +
          ['unit ' + u for u in ('block', 'probation', 'record', 'super', 'file', 'ring', 'format', 'index')] +
          ['model 96 1', 'model 64 2', 'model 300 3'] +
          ['unit ' + u for u in ('pin', 'flight', 'check', 'api')] +
          ['turns victim', 'turns leaving', 'turns absent', 'race 2', 'crash --states 60000 --length 1 --seed 6'])

Mutant = collections.namedtuple('Mutant', 'name what by edits')

def _m(name, what, by, *words):
    return Mutant(name, what, by, edits_of(words))


SLOT, FILE, RECORD, SUPER = 'media/slot.c', 'state/file.c', 'media/file_table.c', 'media/superblock.c'
VOLUME, TRUST = 'platform/posix_volume.c', 'platform/posix_trust.c'
EVICT, FILL, FORGET, HOLD, LOOKUP, MISS = 'protocol/evict.c', 'protocol/fill.c', 'protocol/forget.c', 'protocol/fill_buffered.c', 'protocol/lookup.c', 'protocol/fill_ticket.c'
PROBATION, PUBLISH, STEPS = 'state/probation_buffer.c', 'protocol/publish.c', 'protocol/steps.c'

_UNIQUE = (PUBLISH, '''    if (!cm_index_match(&c->media, &n->key, cell))
        return 0;
''', '''    if (cell || !cell)
        return 0;
''')
_FIRST = (FORGET, '''        *killed += r == 1;
''', '''        *killed += r == 1;
        if (r == 1)
            break;
''')
_HELP = (FORGET, '*dead |= (uint16_t)(1u << i);', '*dead |= (uint16_t)((r == 1) << i);')
_EARLY_UNLOCK = (FORGET, '''     * must not trust the absence before it is durable. */
    cm_media_fence(&c->media);''', '''     * must not trust the absence before it is durable. */
    cm_lock_release(&cm_stripe_at(c, k->stripe)->lock);
    cm_media_fence(&c->media);
    cm_lock_acquire(&cm_stripe_at(c, k->stripe)->lock);''')
_EARLY_CELLS = (FORGET, '''    cm_count(c, CM_STAT_forgotten, killed); /* while they are on their way */
''', '''    cm_count(c, CM_STAT_forgotten, killed);
    for (unsigned i = 0; i < n; i++)
        clear_cells(c, &k[i], dead[i]);
''')
_FILE_TICKET = (MISS, '''           at_load_seq_cst(&f->ticket) == miss->opaque[CM_MISS_FILE_TICKET] &&
''', '')
_INCARNATION = (MISS, '''           at_load_acquire(&f->incarnation) == miss->opaque[CM_MISS_INCARNATION] &&
''', '')
_STALE_MISS = (MISS, '    good &= at_load_seq_cst(&f->stale) == 0;\n', '')
_STALE_FILL = (MISS, ''' &&
           at_load_seq_cst(&f->stale) == 0;
}''', ''';
}''')
_INTENT_MISS = ('state/stripe.h', 'return at_load_acquire(&s->intents) == 0;', 'return true;')
_INTENT_FILL = ('state/stripe.h', 'at_load_acquire(&s->ticket) == ticket && at_load_acquire(&s->intents) == 0',
                'at_load_acquire(&s->ticket) == ticket')
_NOFILL = ('protocol/fill.c', 'if (miss->flags & CM_MISS_NOFILL) {', 'if (0) {')
_SEQ_KEPT = (SLOT, 'w0, w0 & CM_W0_SEQ_MASK);', 'w0, 0);')
_MARK = ('state/file_record.c', 'if (f->mark_fenced || f->place == CM_NO_PLACE) {',
         'if (f->mark_fenced || f->dirty || f->place == CM_NO_PLACE) {')
_SETTLE = ('state/attach.c', 'may_keep(f, r, v) && cm_record_settle(&c->media, f->place) == 0', 'may_keep(f, r, v)')

MUTANTS = [
    # Fences and flushes of blocks.
    _m('fence 1, evict', 'fence after invalidating victims', 'crash full fill-z', EVICT, '''     * durable. */
    cm_media_fence(&c->media);
    at_fence_seq_cst(); /* as''', '''     * durable. */
    at_fence_seq_cst(); /* as'''),
    _m('flush, evict', 'flush of victims\' headers', 'crash full fill-z', EVICT,
       'uint32_t failed = cm_slot_flush_all(&c->media, slots, count);', 'uint32_t failed = 0;'),
    _m('flush, evict empty', 'flush of a victim that was invalid before', 'crash full write-plain@f2,fill-z', EVICT,
       '        slots[count] = v[i].slot;',
       '        slots[count] = v[i].keyed ? v[i].slot : (v[i].slot + 8) % c->policy.ring.slots;'),
    _m('flush, neighbours', 'flush of all but the first of headers beside one another', 'unit block neighbours_flushed', SLOT,
       '(size_t)(high - low + 1) * sizeof(struct cm_header)', 'sizeof(struct cm_header)'),
    _m('cells before fence 1', 'evict drops the cells before its fence',
       'crash full beside-1,write-sync,fill-z', EVICT,
       '''    int r = cm_slot_invalidate(&c->media, v->slot, v->w0);
    if (r == 1)
        cm_policy_evicted''', '''    int r = cm_slot_invalidate(&c->media, v->slot, v->w0);
    cm_step_drop_cells(c, &v->key, v->slot);
    if (r == 1)
        cm_policy_evicted'''),
    _m('fence 1, displace', 'fence before a cell is overwritten', 'crash fill-a0,crowd,fill-z@f3,write-sync', PUBLISH,
       '''    /* Durable before its cell is overwritten (the invariant). */
    cm_media_fence(&c->media);
''', ''),
    _m('flush, displace', 'flush before a cell is overwritten',
       'crash fill-a0,crowd,beside-3,write-sync,fill-z', PUBLISH,
       '''        r = cm_slot_flush(&c->media, slot) ? CM_EIO : 1;
    /* Durable before its cell''', '''        r = 1;
    /* Durable before its cell'''),
    _m('fence 1, drop', 'fence of cm_step_drop', 'crash fill-b1,fill-b-tail,fill-a0,drop,thread,write-sync', STEPS,
       '        cm_media_fence(&c->media); /* durable before the cells go (the invariant) */\n', ''),
    _m('flush, drop', 'flush of cm_step_drop', 'crash fill-b1,fill-b-tail,fill-a0,drop,thread,write-sync', STEPS,
       'r = cm_slot_flush(&c->media, slot) ? CM_EIO : 1;\n        cm_media_fence', 'cm_media_fence'),
    _m('settle stale', 'settling of a cell that leads nowhere before it is used again',
       'crash fill-b1,fill-b-tail,fill-a0,crowd,write-plain@f2,fill-z@f3,write-sync', PUBLISH,
       '!owned && settle_stale(c, slot)', '!owned'),
    _m('settle stale, flush', 'its flush',
       'crash fill-b1,fill-b-tail,fill-a0,crowd,write-plain@f2,fill-z@f4,write-sync',
       PUBLISH, '    int e = cm_slot_flush(&c->media, slot);\n    cm_media_fence(&c->media);\n    return e == 0;',
       '    (void)slot;\n    cm_media_fence(&c->media);\n    return true;'),
    _m('settle stale, fence', 'its fence',
       'crash fill-b1,fill-b-tail,fill-a0,crowd,write-plain@f2,fill-z@f3,write-sync',
       PUBLISH, '    int e = cm_slot_flush(&c->media, slot);\n    cm_media_fence(&c->media);\n',
       '    int e = cm_slot_flush(&c->media, slot);\n'),
    _m('cell of an unreadable header', 'a cell whose header cannot be read is not used again',
       'unit block cells_of_unreadable_headers', PUBLISH,
       'if (!live && !unreadable && !owned && settle_stale(c, slot))',
       'if (!live && !owned && settle_stale(c, slot))'),
    _m('displace by overwriting', 'eviction of the block whose cell is taken',
       'crash fill-a0,crowd,fill-z@f3,write-sync', PUBLISH,
       'if (victim >= 0 && displace(c, n, cm_cell_slot(cells->cell[victim]), &victim_header))', 'if (victim >= 0)'),
    _m('fence 2', 'fence between payload and VALID', 'crash full fill-z', PUBLISH,
       '''before any VALID is. */
    cm_media_fence(&c->media);
''', '''before any VALID is. */
'''),
    _m('flush, key words', 'flush of a header before VALID', 'crash full fill-z', PUBLISH,
       'uint32_t failed = flush_headers(c, n, got);', 'uint32_t failed = 0;'),
    _m('payload stored plainly', 'non-temporal copy: plain stores, no flush', 'crash full fill-z', SLOT,
       'e = cm_media_copy(m, cm_slot_payload(m, slot), data, CM_BLOCK_SIZE);',
       'e = cm_media_write(m, cm_slot_payload(m, slot), data, CM_BLOCK_SIZE);'),
    _m('fence 3', 'fence between VALID and "stored"', 'crash full fill-z', PUBLISH, '''     * slot is disowned only after that. */
    cm_media_fence(&c->media);
''', '''     * slot is disowned only after that. */
'''),
    _m('flush, VALID', 'flush of a published header', 'crash full fill-z', PUBLISH,
       'uint32_t failed = flush_headers(c, n, count);', 'uint32_t failed = 0;'),
    _m('flush, cell', 'flush of a published cell', 'crash full fill-z', PUBLISH,
       '(cm_index_flush(&c->media, &n[i].key, n[i].cell) || failed >> i & 1)', '(failed >> i & 1)'),
    _m('header before its cell', 'the cell is stored before its header is valid',
       'crash fill-b1,fill-a0,write-sync,fill-a0@10,write-sync', PUBLISH,
       '''        if (cm_index_store(&c->media, &n->key, n->cell, cell))
            r = CM_NOT_STORED_MEDIA; /* at worst a cell that leads to an invalid header */
        else if ((n->spoiled = cm_slot_publish(&c->media, n->slot, &n->header) != 0))
            r = CM_NOT_STORED_MEDIA;''',
       '''        n->spoiled = cm_slot_publish(&c->media, n->slot, &n->header) != 0 ||
                     cm_index_store(&c->media, &n->key, n->cell, cell) != 0;'''),
    _m('fence 4', 'fence of forgetting', 'crash full beside-1,write-sync,write-plain', FORGET, '''     * must not trust the absence before it is durable. */
    cm_media_fence(&c->media);
''', '''     * must not trust the absence before it is durable. */
'''),
    _m('flush, forget', 'flush of what is forgotten', 'crash full beside-1,write-sync,fill-z', FORGET,
       'if (cm_slot_flush(&c->media, cm_cell_slot(cells.cell[at_lowest_bit(left)])))', 'if (0)'),
    _m('helping', 'flush of a header that somebody else invalidated', 'crash full beside-1,write-sync,fill-z',
       *_HELP),
    _m('unlock before fence 4, cells too', 'lock held over the fence of forgetting, and cells kept until then',
       'crash full write-sync@f2,write-sync',
       *(_EARLY_CELLS + _EARLY_UNLOCK)),
    _m('cells before fence 4', 'forgetting drops the cells before its fence', 'crash full write-sync@f2,write-sync',
       *_EARLY_CELLS),
    # Checks of publishing and forgetting.
    _m('settle record', 'settling of a record that is kept', 'unit file record_order', *_SETTLE),
    _m('every match', 'forgetting stops at the first match', 'unit block forget_all_matches', *_FIRST),
    _m('present', 'publishing does not look for a block that is there', 'unit block tails', *_UNIQUE),
    _m('stale at the miss', 'stale at the miss', 'unit block large_bracket', *_STALE_MISS),
    _m('stale at publishing', 'stale at publishing', 'unit block large_bracket', *_STALE_FILL),
    _m('intents at the miss', 'intents at the miss', 'unit block fill_during_write', *_INTENT_MISS),
    _m('intents at publishing', 'intents at publishing', 'unit block fill_during_write', *_INTENT_FILL),
    _m('ticket at the end', 'a bracket\'s end moves the ticket', 'unit block fill_during_write', 'state/stripe.h',
       'at_store_release(&s->intents, s->intents - 1);\n    at_store_release(&s->ticket, s->ticket + 1);',
       'at_store_release(&s->intents, s->intents - 1);'),
    _m('every match, present', 'forgetting stops at the first match, and publishing does not look for one',
       'unit block forget_all_matches',
       *(_UNIQUE + _FIRST)),
    _m('ticket', 'ticket check of the stripe', 'unit block fill_after_write', 'state/stripe.h',
       'at_load_acquire(&s->ticket) == ticket && at_load_acquire(&s->intents) == 0',
       '(void)ticket, at_load_acquire(&s->intents) == 0'),
    _m('ticket at the end, NOFILL', 'a bracket\'s end moves the ticket, and a miss says NOFILL',
       'unit block fill_during_write', 'state/stripe.h',
       'at_store_release(&s->intents, s->intents - 1);\n    at_store_release(&s->ticket, s->ticket + 1);',
       'at_store_release(&s->intents, s->intents - 1);',
       *_NOFILL),
    _m('intents', 'intents at the miss and at publishing', 'unit block fill_during_write',
       *(_INTENT_MISS + _INTENT_FILL)),
    _m('lock of another stripe', 'of a run of blocks only the first one\'s stripe is locked', 'unit block stores_locked', 'state/stripe.h',
       '    if (*held == s)\n', '    if (*held && s)\n'),
    _m('publish unchecked', 'second look at the tickets, under the lock',
       'crash fill-b1,beside-1,write-sync,fill-a0', PUBLISH,
       'if (!cm_publish_may(g, cm_stripe_at(c, n->key.stripe), n))\n        r = CM_NOT_STORED_STALE;\n    else\n        r = '
       'choose_cell(c, n, &at);',
       '(void)g;\n    r = choose_cell(c, n, &at);'),
    _m('file ticket, incarnation', 'file ticket and incarnation at publishing', 'unit block every_change',
       *(_FILE_TICKET + _INCARNATION)),
    _m('file ticket', 'file ticket at publishing', 'unit block every_change', *_FILE_TICKET),
    _m('stale', 'stale at the miss and at publishing', 'unit block large_bracket', *(_STALE_MISS + _STALE_FILL)),
    _m('stale not set', 'open brackets counted as stale when the incarnation changes',
       'unit block large_bracket', FILE,
       'b->stale = true;\n    at_store_seq_cst(&f->stale, f->open_brackets);',
       'b->stale = false;\n    at_store_seq_cst(&f->stale, 0);'),
    _m('limit not raised', 'raising of the limit before publishing', 'unit file truncate',
       FILL, '    raise_limit(f, miss->offset + len);\n', '    (void)raise_limit;\n'),
    _m('limit of a kept file', 'limit of an attached file that was kept', 'unit file truncate_kept',
       'state/attach.c', '    f->limit = v->size; /*', '    /*'),
    _m('truncate range', 'the block that a truncation cuts through', 'unit file truncate', 'protocol/bracket.c',
       'struct plan p = { OPEN_END, new_size / CM_BLOCK_SIZE, UINT64_MAX, 0 };',
       'struct plan p = { OPEN_END, blocks_end(new_size), UINT64_MAX, 0 };'),
    _m('large bracket', 'new incarnation for a range over 64 MiB', 'unit block every_change', 'protocol/bracket.c',
       'b->end = b->first; /* no stripes: everything goes at once */\n    return cm_file_renew(f);',
       'b->end = b->first;\n    return 0;'),
    _m('size under a bracket', 'size unknown while it may change', 'unit file size', 'protocol/bracket.c',
       "        at_store_release(&f->size, CM_SIZE_UNKNOWN);\n    if (p->kind == ATTRIBUTES", "        (void)0;\n    if (p->kind == ATTRIBUTES"),
    _m('unreadable copies', 'a new incarnation when a copy cannot be reached', 'unit file escalate_to_file',
       'protocol/bracket.c',
       '        e = cm_file_renew(f);\n    }\n    b->raised = true;', '        e = 0;\n    }\n    b->raised = true;'),
    # Slots and readers.
    _m('sequence', 'next sequence at publishing', 'unit block sequence',
       SLOT, '(uint32_t)((h->w0 + 1) & CM_W0_SEQ_MASK)', '(uint32_t)(h->w0 & CM_W0_SEQ_MASK)'),
    _m('sequence kept', 'sequence kept when invalid', 'unit block sequence', *_SEQ_KEPT),
    _m('check kept', 'check cleared when invalid: only VALID is', 'unit block flipped_dead_header',
       SLOT, 'w0, w0 & CM_W0_SEQ_MASK);', 'w0, w0 & ~(uint64_t)CM_W0_VALID);'),
    _m('w0 after the copy', 'second look at w0 after the copy', 'crash full read-torn',
       SLOT, 'return *error == 0 && again == w0;', '(void)w0;\n    return *error == 0;'),
    _m('key in read', 'comparison of the key', 'unit block other_key',
       SLOT, ' || !cm_slot_is(&h, k))\n        v = CM_SLOT_OTHER;', ')\n        v = CM_SLOT_OTHER;'),
    _m('wipe', 'wiping of what was copied in vain', 'unit block nothing_leaks', SLOT,
       '    if (*got < len)\n        memset', '    if (*got > len)\n        memset'),
    _m('known, w0 after the copy', 'second look at w0 after the copy from a known slot',
       'crash full read-a,read-torn', 'media/slot.h', '&again) == 0 && again == h.w0 &&', '&again) == 0 &&'),
    _m('known, VALID', 'VALID of a known slot', 'unit block flipped_known_header',
       'media/slot.h', ' && (h.w0 & CM_W0_VALID) &&', ' &&'),
    _m('known, incarnation', 'incarnation of a known slot', 'unit block flipped_known_header',
       'media/slot.h', 'h.incarnation == k->incarnation &&\n           h.block', 'h.block'),
    _m('known, block', 'block and length of a known slot', 'unit block flipped_known_header',
       'media/slot.h', ' &&\n           h.block_valid == (k->block << CM_VALID_BITS | CM_BLOCK_SIZE);', ';'),
    _m('known, judged', 'test that a slot was judged since open', 'unit block flipped_header',
       'protocol/lookup.h', 'return cm_ring_is_verified(&c->policy.ring, slot) && c->', 'return c->'),
    _m('known, epoch', 'judged slots are judged anew after a new epoch', 'unit block epoch_outdates_judged',
       'protocol/lookup.h', ' &&\n           cm_media_key(&c->media) == c->judged_key;', ';'),
    _m('held, forget', 'forgetting of what waits in DRAM', 'unit probation write_forgets',
       FORGET, '        cm_probation_kill(&c->probation, &k[i]);\n', ''),
    _m('held, ticket', 'ticket of a block on its way from DRAM to the pool', 'unit probation promotion_beside_write',
       PUBLISH, ': cm_stripe_good(s, n->ticket);', ': true;'),
    _m('held, pins', 'look at the pins of an emptied entry', 'unit probation promotion_beside_pin',
       HOLD, 'if (!cm_probation_is_pinned(&c->probation, e))', 'if (e < UINT32_MAX)'),
    _m('held, present', 'publishing to DRAM does not look for a block that is there', 'unit probation tails',
       HOLD, 'else if (there == CM_FOUND_HIT || cm_step_buffered(c, &n->key) >= n->valid)', 'else if (there == CM_FOUND_HIT)',
       HOLD, 'return cm_step_buffered(c, &n->key) >= n->valid ? CM_NOT_STORED_PRESENT : 0;', 'return 0;'),
    _m('held, stale', 'tickets of blocks that go to DRAM', 'unit probation write_forgets',
       HOLD, '''    enum cm_found there = cm_step_find(c, &n->key, &slot, &h);
    if (!cm_publish_may(g, s, n))
''', '''    enum cm_found there = cm_step_find(c, &n->key, &slot, &h);
    if (!g->f)
''',
       HOLD, '''    if (!cm_publish_may(g, cm_stripe_at(c, n->key.stripe), n))
        return CM_NOT_STORED_STALE;
    return cm_step_buffered''', '''    (void)g;
    return cm_step_buffered'''),
    _m('memo, generation', 'generation of a page of the memo', 'unit memo page_checks', 'media/memo.c',
       '           generation >= o->generation;', '           generation <= UINT64_MAX;'),
    _m('memo, emptied page', 'what was forgotten since is overwritten', 'unit memo clean', 'media/memo.c',
       'return !is_zero(p) || is_of_us(o, number);', 'return !is_zero(p);'),
    _m('memo, number', 'number of a page of the memo', 'unit memo page_checks', 'media/memo.c', 'p->number == number && ', ''),
    _m('memo, sum', 'checksum of a page of the memo', 'unit memo page_checks', 'media/memo.c',
       ' && p->xxh3 == cm_format_memo_sum(cm_media_key(o->media), p);', ';'),
    _m('memo, named while open', 'a session takes the name of what was kept away', 'unit memo crash', SUPER,
       '    memset(&sb->memo, 0, sizeof(sb->memo)); /*', '    /*'),
    _m('memo, OPEN', 'an open superblock names nothing', 'unit memo open_names_nothing', 'api/cache.c',
       'last.state == CM_SUPER_CLEAN ? &last.memo : NULL', '&last.memo'),
    _m('memo, not written', 'what could not be written is not named', 'unit memo unreadable', 'api/cache.c',
       '        memset(&memo, 0, sizeof(memo));\n', '        (void)0;\n'),
    _m('header check', 'check word of a header', 'unit block flipped_header',
       'media/format.c', 'return h->w0 == cm_format_w0(key, slot, h, (uint32_t)(h->w0 & CM_W0_SEQ_MASK));',
       '(void)key, (void)slot;\n    return true;'),
    _m('payload check', 'checksum of a payload', 'unit block flipped_payload',
       SLOT, 'return h->xxh3 == cm_format_payload_sum(', 'return h->xxh3 + 1 != cm_format_payload_sum('),
    _m('tail length', 'valid length of a tail', 'unit block tails',
       SLOT, '*got = valid <= from ? 0 : valid - from < len ? valid - from : len;', '*got = len;\n    (void)valid;'),
    _m('pin looks again', 'second look at w0 after pinning', 'unit pin refilled_before_the_pin',
       LOOKUP, '== CM_SLOT_HIT && again.w0 == h.w0) {', '<= CM_SLOT_OTHER && again.w0 + 1 != 0) {'),
    _m('doom', 'pins looked at before a slot is overwritten', 'unit pin unchanged_by_churn',
       EVICT, 'if (!cm_pin_doom(&c->pins[v[i].slot]))', 'if (true)'),
    _m('pins, displace', 'a displaced block that is pinned is not overwritten', 'unit pin displaced_while_pinned',
       PUBLISH,
       '    if (cm_step_settle_pins(c, slot))\n        n->freed = slot;', '    n->freed = slot;'),
    _m('pins, drop', 'a dropped block that is pinned is not overwritten', 'unit pin dropped_while_pinned', STEPS,
       '    if (r == 1)\n        free_owned(c, slot);', '    if (r == 1)\n        cm_ring_give_free(&c->policy.ring, &slot, 1);'),
    _m('tail rewritten', 'a tail that ended too soon is not joined with what is read after it',
       'unit flight tail_rewritten', 'api/read_through.c',
       'q->done = miss->offset > q->offset ? (size_t)(miss->offset - q->offset) : 0;', '(void)0;'),
    _m('lock over publishing', 'lock held from the look at the tickets to VALID',
       'crash fill-b1,beside-2,write-sync,fill-a0', PUBLISH,
       '    if (r == 0) {\n        /* Cell, then header',
       '    if (r == 0) {\n        struct cm_stripe *s = cm_stripe_at(c, n->key.stripe);\n        '
       'cm_lock_release(&s->lock);\n        cm_media_fence(&c->media);\n        '
       'cm_lock_acquire(&s->lock);\n        /* Cell, then header'),
    _m('line, ended', 'slots that have left the line in this batch, but not the count', 'unit ring victims_by_turns',
       'policy/ring.c', 'at_load_relaxed(&r->on_probation) - ended;', 'at_load_relaxed(&r->on_probation) - 0 * ended;'),
    _m('line, until not full', 'look before each victim whether the line is still full', 'unit ring victims_by_turns',
       'policy/ring.c', 'while (got < n && line_is_full(r, taken + got, ended) &&', 'while (got < n &&'),
    _m('line, counted', 'slots counted as on probation that are not there yet', 'unit ring spared_together',
       'policy/ring.c', 'at_load_relaxed(&r->on_probation) - counted > most', 'at_load_relaxed(&r->on_probation) - 1 > most'),
    _m('line, given back', 'counts of slots that did not go on probation', 'unit ring spared_together',
       'policy/ring.c', '    if (counted > 0)\n', '    if (counted > 32)\n'),
    _m('own before evicting', 'ownership taken by an atomic test', 'unit ring victims_at_once',
       'policy/ring.h', 'return !(at_or_acq_rel(&r->owned[slot / 64], bit) & bit);',
       'at_or_acq_rel(&r->owned[slot / 64], bit);\n    return true;'),
    # What only the other thread's turn shows (turns.c).
    _m('held, pinned and then looked at', 'second look at an entry of the probation buffer that was pinned',
       'turns leaving: pin, push', PROBATION, 'if (at_load_seq_cst(&p->entry[*e].version) == version) {',
       'if (version & 1) {'),
    _m('held, ticket and then looked at', 'second look at an entry that leaves the buffer, after its ticket',
       'turns leaving: push, write', HOLD,
       'return cm_probation_peek(&c->probation, e, &again) && again.version == h.version;',
       'again = h;\n    return again.version == h.version;'),
    _m('stale, and then the incarnation', 'brackets are counted as stale before the new incarnation is seen',
       'turns absent open: forget, fill', FILE, '''    at_store_seq_cst(&f->stale, f->open_brackets);
    at_add_seq_cst(&f->ticket, 1);
    at_store_seq_cst(&f->limit, 0);
    at_store_release(&f->incarnation, incarnation);''', '''    at_add_seq_cst(&f->ticket, 1);
    at_store_seq_cst(&f->limit, 0);
    at_store_release(&f->incarnation, incarnation);
    at_store_seq_cst(&f->stale, f->open_brackets);'''),
    _m('acquire fence', 'fence between the copy and the second look at w0', 'turns order', SLOT,
       '    at_fence_acquire();\n', ''),
    _m('known, acquire fence', 'the same for a known slot', 'turns order', 'media/slot.h',
       '    at_fence_acquire(); /* THE DELIBERATE RACE: slot.c */\n', ''),
    _m('VALID in an owned slot', 'a slot that shows VALID is not overwritten, whoever owns it',
       'unit block valid_in_owned_slot', SLOT, 'if (e == 0 && (h->w0 & CM_W0_VALID))', 'if (0)'),
    _m('read-ahead, pool', 'read-ahead is a small share of the pool', 'unit flight ahead_bound', 'api/read_through.c',
       'uint64_t most = f->cache->media.geo.slots / 32,', 'uint64_t most = f->cache->media.geo.slots / 2,'),
    _m('read-ahead, buffer', 'read-ahead is half of the probation buffer at most', 'unit flight ahead_bound', 'api/read_through.c',
       'if (waiting > 0 && most > waiting / 2)', 'if (0)'),
    _m('read-ahead, reach', 'read-ahead keeps to its bound', 'unit flight ahead_bound', 'api/read_through.c',
       'reach = window < most ? window : most;', 'reach = most ? window : most;'),
    _m('miss, reach', 'a miss is looked for no further than tickets reach', 'turns bounded', 'api/read_range.c',
       '    if (end > reach)\n        end = reach;\n', ''),
    # Found by random-mutants.py.
    _m('unreadable bucket', 'a block is not stored where it may be already, unseen',
       'unit block unreadable_first_bucket', PUBLISH, 'if (cm_step_cells(c, &n->key, &cells))',
       'if (cm_step_cells(c, &n->key, &cells) && 0)'),
    _m('displace, unwritable', 'a block whose header cannot be written does not make room',
       'unit block displace_unwritable', PUBLISH, '''h->w0);
    if (r == 1)
        r = cm_slot_flush''', '''h->w0);
    if (r == 1 || 1)
        r = cm_slot_flush'''),
    _m('quarantine, owned', 'what another owns is not taken out of use', 'unit block owned_is_left_alone', STEPS,
       '''        return; /* its owner will find out by itself */''', '''        (void)0;'''),
    _m('drop, owned', 'what another owns is not dropped', 'unit block owned_is_left_alone', STEPS,
       '''uint64_t w0)
{
    if (!cm_ring_own(&c->policy.ring, slot))
        return;
    int r = cm_step''', '''uint64_t w0)
{
    (void)cm_ring_own(&c->policy.ring, slot);
    int r = cm_step'''),
    _m('attach, locked', 'two threads that attach a file get one object', 'turns absent: attach, attach', 'state/attach.c',
       '''        e = attach_new(c, id, v, flags, file);
        cm_lock_release(&c->files_lock);''', '''        cm_lock_release(&c->files_lock);
        e = attach_new(c, id, v, flags, file);'''),
    _m('forget, locked', 'forgetting an open file holds its lock', 'turns absent: forget, begin', 'state/attach.c',
       '''        e = e == 0 ? cm_file_renew(f) : cm_file_stop(f, e);
        cm_lock_release(&f->lock);
    } else if''', '''        cm_lock_release(&f->lock);
        e = e == 0 ? cm_file_renew(f) : cm_file_stop(f, e);
    } else if'''),
    _m('attach, broken', 'no file is attached while the pool cannot forget', 'unit file cannot_forget_yet', 'state/attach.c',
       '''    if (e == 0)
        e = find_record(f, &b, &r);''', '''    if (e == 0 || 1)
        e = find_record(f, &b, &r);'''),
    _m('own record, damaged', 'a record that this session wrote counts, damaged or not',
       'unit file own_record_damaged', FILE, '        f->recorded = true;\n    } else {', '    } else {'),
    _m('files freed', 'the list of objects is not read in freed memory', 'unit file hooks_unlocked', 'state/object.c',
       '''        c->slabs = s->next;
        cm_cache_free(c, s, sizeof(*s));''', '''        cm_cache_free(c, s, sizeof(*s));
        c->slabs = s->next;'''),
    _m('many, all of them', 'each of many blocks read at once is served', 'unit block read_many_known', 'api/read_range.c',
       '            v[i].result = (int64_t)v[i].len;\n', '            if (i == 0)\n                v[i].result = (int64_t)v[i].len;\n'),
    # Records, marks, validators.
    _m('fence 6', 'fence after writing a record', 'crash fill-b1,forget-b', RECORD, '''must not bring the old one back. */
    cm_media_fence(m);
''', '''must not bring the old one back. */
'''),
    _m('flush, record', 'flush of a record', 'crash full write-sync',
       RECORD, '        e = cm_media_flush(m, at, CM_RECORD_BODY_BYTES);\n', '        e = 0;\n'),
    _m('fence 5', 'fence after a mark', 'crash full write-sync', RECORD, '''     * made durable earlier. */
    cm_media_fence(m);
''', '''     * made durable earlier. */
'''),
    _m('flush, mark', 'flush of a mark', 'crash fill-a0,write-plain,fill-a0',
       RECORD, '        e = cm_media_flush(m, &at->state, sizeof(at->state));\n', '        e = 0;\n'),
    _m('fence, record drop', 'fence after dropping a record', 'crash fill-b1,forget-b!1',
       RECORD, '    cm_media_fence(m); /* dropped when this returns, whatever crashes next */\n', ''),
    _m('flush, record drop', 'flush of a dropped record', 'crash fill-b1,thread,forget-closed',
       RECORD, '        e = cm_media_flush(m, &at->xxh3, sizeof(at->xxh3));\n', '        e = 0;\n'),
    _m('mark trusted, record not flushed', 'own fence of a mark that is found set, and flush of its record',
       'crash write-plain@f1,write-plain,fill-a0',
       RECORD, 'int e = cm_media_flush(m, record_at(m, place), sizeof(struct cm_record));',
       'int e = 0;\n    (void)place;',
       *_MARK),
    _m('mark trusted, record not fenced', 'own fence of a mark that is found set, and fence of its record', 'crash write-plain@f1,thread,write-plain,fill-a0', RECORD, '''must not bring back an older incarnation. */
    cm_media_fence(m);
''', '''must not bring back an older incarnation. */
''', *_MARK),
    _m('settle bucket', 'settling of the other records before a new one', 'unit file record_order',
       'state/attach.c', '        cm_record_settle_set(&c->media, b);\n', ''),
    _m('leader ends', 'a flight whose leader ends in the origin\'s call lands', 'unit flight leader_', 'api/read_through.c',
       '    if (q->flight)\n        land(c, q->flight);\n    if (q->staging)', '    if (q->staging)'),
    _m('leader ends, live', 'a read that ended so is not live any more', 'unit flight leader_', 'api/read_through.c',
       '    at_sub_acq_rel(&c->live, 1); /* the last', '    at_sub_acq_rel(&c->live, 0); /* the last'),
    _m('cancelled in a sync', 'a thread is not cancelled in a sync of the pool', 'unit flight cancelled_elsewhere',
       'platform/posix.h', '        cm_plat_cancel_off()', '        PTHREAD_CANCEL_ENABLE'),
    _m('blocked signals', 'SIGBUS of a thread is unblocked when it first calls', 'unit platform blocked_signals',
       'platform/posix_run.c', '    if (ready == THREAD_GUARDED) {\n        cm_posix_guard_unblock();\n    }\n', ''),
    _m('blocked signals, old thread', '... also of one that called before there was a guard',
       'unit platform blocked_signals', 'platform/posix_guard.c',
       '    at_store_release(&cm_plat_ready, THREAD_GUARDED); /* every thread passes cm_plat_thread_begin */\n', ''),
    _m('blocked signals, order', 'a thread is made ready before it looks at the pool', 'unit platform blocked_signals',
       'api/calls.c', '    r->fast = cm_fast_begin(f, offset, len);\n', '',
       'api/calls.c', '    struct cm_plat_thread *t = cm_plat_thread(); /* first',
       '    r->fast = cm_fast_begin(f, offset, len);\n    struct cm_plat_thread *t = cm_plat_thread(); /* first'),
    _m('dead file', 'what a killed cm_create left is removed by the next', 'unit platform create_killed',
       'platform/posix_create.c', '            rc = remove_dead(name);', '            rc = CM_EEXIST;'),
    _m('name at the end', 'a pool file has its name when it is done', 'unit platform create_killed', 'api/create.c',
       '    e = cm_plat_file_map(&f, g.data_align, &d);\n    if (e == 0)\n        e = format_at',
       '    e = cm_plat_file_link(&f, path);\n    if (e == 0)\n        e = cm_plat_file_map(&f, g.data_align, &d);\n'
       '    if (e == 0)\n        e = format_at',
       'api/create.c', '        e = cm_plat_file_link(&f, path); /* last', '        e = 0; /* last'),
    _m('live file', 'what a live cm_create makes is not removed', 'unit platform create_beside', 'platform/posix_create.c',
       '    if (rc == 0 && leads_to(name, file_fd(&f)) && unlink(name) != 0) {', '    if (unlink(name) != 0) {'),
    _m('name taken', 'a name that was taken meanwhile is not replaced', 'unit platform create_taken',
       'platform/posix_create.c', 'renameat2(AT_FDCWD, name, AT_FDCWD, path, RENAME_NOREPLACE)',
       'renameat2(AT_FDCWD, name, AT_FDCWD, path, 0)'),
    _m('failed map', 'a mapping at the wrong address is taken back', 'unit platform', 'platform/posix_file.c',
       '    if (raw == MAP_FAILED || munmap(raw, size + slack) != 0) {', '    if (raw == MAP_FAILED) {'),
    _m('settle both buckets', 'settling of the other bucket before a new record', 'unit file record_order', RECORD,
       'i < s->n; i++)\n        if (!cm_record_is_unused', 'i < CM_RECORD_WAYS; i++)\n        if (!cm_record_is_unused'),
    _m('torn is not unused', 'a record that is not whole is settled, too', 'unit file record_order', RECORD,
       'return !s->unreadable[i] && memcmp(&s->record[i], zero, sizeof(zero)) == 0;',
       '(void)zero;\n    return !s->unreadable[i] && !s->whole[i];'),
    _m('second bucket', 'the record of a file is looked for in both its buckets', 'unit record half_full', 'state/attach.c',
       'i < b->n; i++)\n        if (cm_record_names(b, i, &f->id)) {',
       'i < CM_RECORD_WAYS; i++)\n        if (cm_record_names(b, i, &f->id)) {'),
    _m('second bucket, two records', 'both of two records are dropped, in different buckets too',
       'unit record two_records', 'state/attach.c', 'for (unsigned i = 0; i < b->n; i++) {\n        if (!cm_record_names(b, i, &f->id))',
       'for (unsigned i = CM_RECORD_WAYS; i < b->n; i++) {\n        if (!cm_record_names(b, i, &f->id))'),
    _m('second bucket, forget', 'a file that is not attached is forgotten in both its buckets',
       'unit record forget_closed', 'state/attach.c', 'i < b.n && e == 0; i++', 'i < CM_RECORD_WAYS && e == 0; i++'),
    _m('second bucket, unreadable', 'records that cannot be read are voided in both buckets',
       'unit file unreadable_record', 'state/file_record.c', 'i < b->n; i++) {\n        uint64_t place = cm_record_place(b, i);\n        if (!b->unr',
       'i < CM_RECORD_WAYS; i++) {\n        uint64_t place = cm_record_place(b, i);\n        if (!b->unr'),
    _m('emptier bucket', 'a new record goes to the emptier of two buckets', 'unit record emptier_bucket', 'state/attach.c',
       'return free[0] >= free[1] ?', 'return free[0] > 0 ?'),
    _m('unrecorded', 'files without a record are counted', 'unit record buckets_full', 'state/attach.c',
       '    else\n        cm_count(c, CM_STAT_unrecorded, 1);\n', ''),
    _m('no mark', 'dirty mark before a write', 'crash fill-a0,write-plain,fill-a0',
       'protocol/bracket.c', 'e = cm_file_mark_dirty(f);', 'e = 0;'),
    _m('mark trusted, record not settled', 'own fence of a mark that is found set, and settling of its record',
       'crash write-plain@f1,write-plain,fill-a0',
       *(_MARK + _SETTLE)),
    _m('DIRTY of another boot', 'DIRTY of another boot makes a file new', 'crash fill-a0,write-plain,fill-a0',
       RECORD, 'return dirty && boot != boot_number;', '(void)boot_number;\n    return false;'),
    _m('damaged mark', 'a damaged mark counts as DIRTY', 'unit record marks',
       RECORD, '&dirty, &boot))\n        return true;', '&dirty, &boot))\n        return false;'),
    _m('born dirty', 'DIRTY of a file changed in this boot', 'unit file born_dirty',
       'state/attach.c', 'bool dirty = cm_file_born_dirty(c, f->has_validator ? v : NULL);', 'bool dirty = false;'),
    _m('born dirty at revalidation', 'the same for a file that changed while open', 'crash revalidate-b,fill-b1',
       FILE, 'int e = cm_file_born_dirty(f->cache, f->has_validator ? v : NULL) ? cm_file_mark_dirty(f) : 0;', 'int e = 0;'),
    _m('mark after the record at revalidation', 'such a file is marked before its new record',
       'crash revalidate-b@f1,fill-b1', FILE,
       '    int e = cm_file_born_dirty(f->cache, f->has_validator ? v : NULL) ? cm_file_mark_dirty(f) : 0;\n'
       '    e = e == 0 ? cm_file_renew(f) : cm_file_stop(f, e);\n    if',
       '    int e = cm_file_renew(f);\n    if (e == 0 && cm_file_born_dirty(f->cache, f->has_validator ? v : NULL))\n'
       '        e = cm_file_mark_dirty(f);\n    if'),
    _m('mark after the record', 'a file born dirty is marked before its record', 'crash offline@f2,fill-b1', 'state/attach.c',
       '''    if (e == 0 && dirty)
        e = cm_file_mark_dirty(f);
    if (e == 0)
        e = cm_file_renew(f);
''', '''    if (e == 0)
        e = cm_file_renew(f);
    if (e == 0 && dirty)
        e = cm_file_mark_dirty(f);
'''),
    _m('clean before the record', 'a clean file\'s mark is cleared after its record', 'unit file record_order', 'state/attach.c',
       '''        e = cm_file_renew(f);
    if (e == 0 && !dirty)
        cm_file_mark_clean(f);
''', '''        if (!dirty)
            cm_file_mark_clean(f);
    if (e == 0)
        e = cm_file_renew(f);
'''),
    _m('mark over an old record', 'the old record goes before a mark that is not its own',
       'unit file record_order', 'state/attach.c',
       '        cm_record_drop(&c->media, f->place))\n        e = cm_file_abandon_record(f);\n    if (e == 0 && dirty)',
       '        0)\n        e = cm_file_abandon_record(f);\n    if (e == 0 && dirty)'),
    _m('racy record', 'a racy record matches nothing', 'unit file racy', 'state/attach.c', '        (r->flags & CM_RECORD_RACY) || !same', '        !same'),
    _m('racy not recorded', 'racy flag of a record', 'unit file racy',
       'state/file_record.c', 'f->validator.racy ? CM_RECORD_RACY : 0;', '0 ? CM_RECORD_RACY : 0;'),
    _m('racy validator', 'a racy validator matches nothing at attach', 'unit file racy',
       'state/attach.c', ' || v->racy ||', ' ||'),
    _m('racy revalidation', 'a racy validator proves nothing at revalidation', 'unit file racy_settles',
       FILE, '(sole || (!f->validator.racy && !v->racy))) {', '(sole || !v->racy)) {'),
    _m('racy when presented', 'nor does one that is racy now, and was not', 'unit file racy_later',
       FILE, '(sole || (!f->validator.racy && !v->racy))) {', '(sole || !f->validator.racy)) {'),
    _m('validator compared', 'comparison of the validator at attach', 'crash full offline',
       'state/attach.c', ' || !same_validator(v, r))', ')'),
    _m('adoption beside a bracket', 'no validator counts while a bracket is open', 'unit file taken_too_early',
       FILE, 'return f->open_brackets == 0 && v->taken_at >= f->floor_ns;', 'return v->taken_at >= f->floor_ns;'),
    _m('adoption from before', 'no validator counts that was taken while a bracket was open',
       'unit file taken_too_early',
       FILE, 'return f->open_brackets == 0 && v->taken_at >= f->floor_ns;',
       '(void)v;\n    return f->open_brackets == 0;'),
    _m('adoption of others\' writes', 'only a sole writer adopts at the end of a bracket', 'unit file not_sole',
       'protocol/bracket.c', 'after && cm_file_may_adopt(f) && cm_file_proves(f, after)', 'after && cm_file_proves(f, after)'),
    _m('floor of a closed file', 'the time of a closed file\'s last bracket is kept',
       'unit file older_than_a_write', 'state/attach.c', '        cm_object_leave_floor(c, &f->id, f->floor_ns);\n', ''),
    _m('floor of the session', 'no validator counts that was taken before the pool was opened',
       'unit file older_than_the_open', 'state/object.c', 'return left > c->opened_ns ? left : c->opened_ns;', 'return left;'),
    _m('floor of a validator', 'of two validators the one taken later counts',
       'unit file older_than_the_last', FILE,
       '    f->want = false;\n    if (f->floor_ns < v->taken_at)\n        f->floor_ns = v->taken_at;\n}',
       '    f->want = false;\n}'),
    _m('floor of an unchanged one', 'also when it says that nothing changed',
       'unit file older_than_the_last', FILE,
       '        f->want = false;\n        if (f->floor_ns < v->taken_at)\n            f->floor_ns = v->taken_at;\n',
       '        f->want = false;\n'),
    _m('floor of a bracket', 'no validator counts that was taken before a bracket ended',
       'unit file open_bracket_ignores', 'protocol/bracket.c', '        f->want = true;\n        cm_file_moved(f);\n',
       '        f->want = true;\n'),
    _m('floor of forgetting', 'no validator counts that was taken before the file was forgotten',
       'unit file older_than_forgetting', 'state/attach.c',
       '        cm_file_moved(f);\n        e = e == 0 ?', '        e = e == 0 ?'),
    _m('floor of forgetting, closed', 'the same for a file that nobody has open',
       'unit file older_than_forgetting', 'state/attach.c', '        cm_object_leave_floor(c, id, cm_plat_now_ns() + 1);\n', ''),
    _m('forgotten size', 'forgetting an attached file forgets its size',
       'unit file older_than_forgetting', 'state/attach.c', '        cm_file_drop_validator(f); /*', '        /*'),
    _m('taken in the future', 'a validator of another clock is refused', 'unit file taken_in_the_future', 'api/calls.c',
       ' &&\n           v->taken_at <= cm_plat_now_ns();', ';'),
    _m('version without a size', 'a second open without a size compares the rest',
       'unit file second_open_without_size', 'api/calls.c', 'if (validator && says_nothing(validator))',
       'if (validator && validator->size == CM_SIZE_UNKNOWN)'),
    _m('one version', 'a read-through of two versions is read again', 'unit flight one_version', 'api/read_through.c',
       'if (r < 0 || q.parts < 2 || at_load_acquire(&f->incarnation) == incarnation)', 'if (r <= 0 || incarnation)'),
    _m('size of another version', 'second load of the incarnation after the size (the window between them is widened)',
       'race 4', 'api/read_range.c',
       '    w->size = at_load_acquire(&f->size);\n    if (at_load_acquire(&f->incarnation) != w->incarnation)',
       '    for (int i = 0; i < 20000; i++)\n        at_pause();\n    w->size = at_load_acquire(&f->size);\n    if (0)'),
    _m('size before the version', 'no size is known while the incarnation changes', 'unit file size_of_a_version', FILE,
       '    at_store_relaxed(&f->size, CM_SIZE_UNKNOWN);\n    int e = cm_file_born', '    at_store_relaxed(&f->size, v->size);\n    int e = cm_file_born'),
    _m('tick that stands still', 'times of the present tick prove nothing', 'unit platform identify_tick',
       'platform/posix_identity.c', 'm->tick < m->wall - granule ? m->tick : m->wall - granule', 'm->wall - granule'),
    _m('writers unseen', 'a validator is racy while somebody may be writing', 'unit platform identify_writer',
       'platform/posix_identity.c', '*racy = lease < 0 ? CM_RACY_WRITER : 0;', '*racy = 0;'),
    _m('numbers of a layer', 'a layer of an overlay numbers its files', 'unit volume overlay_layers',
       'platform/posix_identity.c', 'get_handle(fd, &u) && layer_numbers_files(&u) ? 0 : CM_ECLONE', '0'),
    _m('a layer without a UUID', 'a layer of an overlay is an image that says who it is', 'unit volume overlay_layers',
       'platform/posix_identity.c', ' &&\n           memcmp(of + UUID, no_uuid, sizeof no_uuid) != 0;', ';'),
    _m('boot of a container', 'a boot_id that is mounted over the system\'s is none', 'unit volume boot_of_container',
       'platform/posix_identity.c', '    if (mounted_over("/proc/sys/kernel/random", "boot_id") ||\n        cm_posix',
       '    if ((void)mounted_over, cm_posix'),
    _m('clock of a container', 'a clock of the container\'s own does not tell the boot', 'unit volume own_clock',
       'platform/posix_run.c', ' || has_own_clock()) {', ' || (has_own_clock() && 0)) {'),
    _m('files made up when read', 'binfmt_misc and the like are no origin', 'unit platform identify_one_id',
       'platform/posix_identity.c', '        0x42494e4d /* binfmt_misc */,\n', ''),
    _m('writers on overlayfs', 'a lease on overlayfs proves nothing', 'unit volume overlay_writer',
       'platform/posix_identity.c', '        0xef53 /* ext2, 3, 4 */,', '        0x794c7630, 0xef53,'),
    _m('sync failed at the open', 'a pool whose first sync fails is emptied', 'unit super open_not_synced', SUPER,
       '*emptied = lost || cm_super_must_empty(sb, owner);', '*emptied = cm_super_must_empty(sb, owner);'),
    _m('sync failed at the open, later', 'also when a later sync of the open fails', 'unit super open_not_synced', SUPER,
       '        *emptied = true;\n        next_epoch(sb);\n        e = write_both(s);', '        e = write_both(s);'),
    _m('void pool', 'a pool that cannot be synced at all is void', 'unit super open_not_synced', SUPER,
       '    else if (s->sync)\n        cm_super_void(s);\n', ''),
    _m('handle of another', 'each attachment has a generation of its own', 'unit api closed_long_ago', 'state/object.c',
       '    f->generation = generation + 1u;\n', '    f->generation = generation;\n'),
    _m('generations used up', 'no generation comes twice', 'unit api last_generation', 'state/object.c',
       '    if (f->generation == UINT16_MAX)\n        return;\n', ''),
    _m('high memory', 'memory whose address leaves no room for a generation is given back', 'unit api high_memory', 'state/object.c',
       '>> CM_ADDRESS_BITS) {', '>> CM_ADDRESS_BITS && false) {'),
    _m('stop, invalidate', 'what could not be forgotten is not used after the pool forgets again',
       'unit file forgets_after_healing', 'protocol/bracket.c', '(void)cm_file_stop(f, e); /* the', '(void)e; /* the'),
    _m('stop, renew', 'the same for a new version, an abort', 'unit file forgets_after_healing', FILE,
       'return cm_file_stop(f, e);\n    e = cm_super', 'return e;\n    e = cm_super'),
    _m('stop, first time', 'the same where the attempt itself fails', 'unit file forgets_after_healing', FILE,
       '    release_incarnation(f, e == 0 ? incarnation : 0);', '    if (e == 0)\n        release_incarnation(f, incarnation);'),
    _m('stop, forget', 'the same for cm_forget', 'unit file forgets_after_healing', 'state/attach.c',
       'e = e == 0 ? cm_file_renew(f) : cm_file_stop(f, e);\n        cm_lock', 'e = e == 0 ? cm_file_renew(f) : e;\n        cm_lock'),
    _m('failed fsync, attach', 'the record of a file that an fsync failed for stays', 'unit file failed_sync_killed', 'state/attach.c',
       '        if (at_load_relaxed(&f->bypassed))\n            stay_out(f, v);\n        else if (may', '        if (may'),
    _m('copied pins', 'a set of pins is released once', 'unit pin unpin_copy', 'api/read_range.c',
       '        !cm_pin_set_drop(c->pin_sets, pins->reserved, (uint32_t)life))',
       '        !(cm_pin_set_drop(c->pin_sets, pins->reserved, (uint32_t)life) || 1))'),
    _m('sync, open at its begin', 'a sync proves nothing when a bracket was open',
       'crash begin,sync,write-open,end-plain,fill-a',
       'protocol/bracket.c', 'e >= 0 && (s->opaque[1] & 1) && f->data', 'e >= 0 && f->data'),
    _m('sync, begun since', 'a sync proves nothing about what began since', 'crash fill-a0,sync-beside,fill-a0',
       'protocol/bracket.c', '(s->opaque[1] & 1) && f->data_begun == s->opaque[0] && f->dirty',
       '(s->opaque[1] & 1) && f->dirty'),
    _m('sync, changed since', 'a sync proves nothing about another\'s change found since',
       'unit file sync_then_change',
       FILE, '    f->data_begun++;\n    f->disowned = false;', '    f->disowned = false;'),
    _m('failed fsync', 'new incarnation after a failed fsync', 'unit file failed_sync_reattach',
       FILE, '        e = renew(f);\n    release_incarnation(f, 0);', '        e = 0;\n    release_incarnation(f, 0);'),
    _m('failed fsync, bypass', 'bypass after a failed fsync', 'unit file failed_sync',
       FILE, '    at_store_release(&f->bypassed, 1u);\n', ''),
    _m('failed fsync, reattach', 'bypass kept over a reattach', 'unit file failed_sync_reattach',
       'state/attach.c', 'at_store_relaxed(&f->bypassed, cm_file_may_have_failed(c, &b, f->place, r));', '(void)may_have_failed;'),
    _m('failed fsync, later sync', 'a sync that succeeds ends no bypass', 'unit file failed_sync',
       'protocol/bracket.c', '    int e = ok ? 0 : cm_file_sync_failed(f);',
       '    if (ok)\n        at_store_release(&f->bypassed, 0u);\n    int e = ok ? 0 : cm_file_sync_failed(f);'),
    _m('failed fsync, older sync', 'a sync from before the failed one proves nothing',
       'unit file failed_sync_overlapped',
       FILE, '    f->data_begun++; /* a sync', '    /* a sync'),
    _m('failed fsync, mark', 'a failed fsync marks the file', 'unit file failed_sync_boots', FILE,
       '        e = cm_file_mark_dirty(f); /* also', '        e = 0; /* also'),
    _m('failed fsync, order', 'a failed fsync marks before the new record', 'unit file failed_sync_order', FILE,
       '    if (e == 0)\n        e = cm_file_mark_dirty(f); /* also stamps the failure with this boot */\n'
       '    /* Blocks read before may be newer than what the origin kept. The record says so from now on. */\n'
       '    if (e == 0 && !known)\n        e = renew(f);',
       '    e = known ? e : renew(f);\n    e = e ? e : cm_file_mark_dirty(f);'),
    _m('failed fsync, stopped', 'also of a file without an incarnation', 'unit file failed_sync_stopped', FILE,
       '    if (e == 0 && !known)\n', '    if (e == 0 && !known && f->incarnation != 0)\n'),
    _m('failed fsync, no record', 'a failed fsync of a file without a record is in the superblock',
       'unit file failed_sync_unnamed', FILE,
       '    if (f->place == CM_NO_PLACE)\n        (void)cm_super_sync_failed(&c->super, false);\n    return e;', '    return e;'),
    _m('failed fsync, in the superblock', 'every failed fsync is in the superblock',
       'unit file failed_sync_unnamed', FILE, '    (void)cm_super_sync_failed(&c->super, true);\n', ''),
    _m('failed fsync, heals first', 'a failed fsync forgets what is due before it marks', 'unit file failed_sync_bumped',
       FILE, '    int e = cm_file_can_forget(c);\n    /* Before the record', '    int e = 0;\n    /* Before the record'),
    _m('failed fsync, torn', 'a record that says that an fsync failed is not written again, and says so when it is torn',
       'unit file failed_sync_torn', FILE, 'f->incarnation != 0 && cm_file_write_record', 'cm_file_write_record', 'state/file_record.c',
       '        if (b->unreadable[i] || (!b->whole[i] && b->record[i].xxh3 != 0 &&\n'
       '                                 (b->record[i].flags & CM_RECORD_SYNC_FAILED))) {\n',
       '        if (b->unreadable[i]) {\n'),
    _m('no incarnation kept', 'a record without an incarnation is not kept', 'unit file zero_incarnation', 'state/attach.c',
       '!r || r->incarnation == 0 ||', '!r ||'),
    _m('failed fsync, unknown boot', 'a failed fsync is known where boots cannot be told apart',
       'unit super failed_sync', SUPER, '    if ((unknown && failed) || back)', '    if (back)'),
    _m('failed fsync, boot that comes back', 'a failed fsync is known when the pool was elsewhere in between',
       'unit super failed_sync', SUPER, '    if ((unknown && failed) || back)', '    if (unknown && failed)'),
    _m('failed fsync, boot by name', 'a failed fsync notes the name of its boot', 'unit super failed_sync', SUPER,
       '        memcpy(sb->failed_boot_id, sb->boot_id, sizeof(sb->failed_boot_id));\n', ''),
    _m('failed fsync, epoch', 'a bump of the epoch keeps what the records say of failed fsyncs',
       'unit file failed_sync_unnamed', 'media/superblock.c', '    sb->unnamed_boot = sb->failed_boot;\n', ''),
    _m('failed fsync, two records', 'two records that are dropped, and say that an fsync failed',
       'unit file failed_sync_unnamed', 'state/attach.c', """            (void)cm_super_sync_failed(&c->super, false);
        if (cm_record_drop""", """            (void)0;
        if (cm_record_drop"""),
    _m('failed fsync, damaged', 'a damaged record may say that an fsync failed', 'unit file failed_sync_unnamed', 'state/file_record.c',
       '        if (b->unreadable[i] || (!b->whole[i] && b->record[i].xxh3 != 0 &&\n'
       '                                 (b->record[i].flags & CM_RECORD_SYNC_FAILED))) {\n',
       '        if (b->unreadable[i]) {\n'),
    _m('failed fsync, damaged mark', 'a record whose mark is damaged may be of this boot', 'unit file failed_sync_unnamed',
       'state/file_record.c', '        return failed.any; /* a damaged', '        return failed.unnamed; /* a damaged'),
    _m('failed fsync, damaged and forgotten', 'noted before a damaged record is dropped by forgetting',
       'unit file failed_sync_unnamed', 'state/attach.c',
       '        (void)cm_file_note_lost(c, &b);\n', ''),
    _m('failed fsync, damaged and checked', 'noted before a damaged record is dropped by a check',
       'unit file failed_sync_unnamed', 'api/check.c',
       '                (void)cm_super_sync_failed(&k->c->super, false);\n', '                (void)0;\n'),
    _m('failed fsync, wrong use', 'an fsync that failed counts although the call is wrong',
       'unit file failed_sync_wrong_use', 'api/calls.c', '    if (!sound && ok)\n', '    if (!sound)\n'),
    _m('failed fsync, old token', 'an fsync that failed counts although its token is of an earlier time',
       'unit file failed_sync_wrong_use', 'protocol/bracket.c', '    if (foreign && ok)\n', '    if (foreign)\n'),
    _m('failed fsync, unreadable', 'a record that cannot be read may say that an fsync failed',
       'unit file failed_sync_unnamed', 'state/file_record.c', '        if (b->unreadable[i] || (!b', '        if ((!b'),
    _m('identify, counted numbers', 'validators where inode numbers are counted prove nothing',
       'unit platform identify_volume', 'platform/posix_identity.c', """        if (type == counted[i]) {
            return true;""", """        if (type == counted[i]) {
            return false;"""),
    _m('identify, images', 'nor do those of an image that nobody named', 'unit platform identify_volume',
       'platform/posix_identity.c', """        if (type == images[i]) {
            return true;""", """        if (type == images[i]) {
            return false;"""),
    _m('identify, O_PATH', 'what does not tell the generation is refused', 'unit platform identify_one_id',
       'platform/posix_identity.c', '(fcntl(fd, F_GETFL) & O_PATH) != 0', 'false'),
    _m('identify, generation', 'an error is not taken for no generation', 'unit platform identify_one_id',
       'platform/posix_identity.c', 'return type == FUSE_SUPER_MAGIC ? 0 : CM_EIO;', 'return type == FUSE_SUPER_MAGIC ? 0 : 0;'),
    _m('identify, no handle', 'on FUSE a file without a handle has no id', 'unit platform identify_one_id',
       'platform/posix_identity.c', '    if (!get_handle(fd, &u)) {\n        return CM_ECLONE;', '    if (!get_handle(fd, &u)) {\n        return 0;'),
    _m('trust, FUSE', 'a FUSE server of another user is not believed', 'unit trust fuse', TRUST,
       'user == 0 || user == geteuid()) {', 'true) {'),
    _m('boot, clock set', 'a clock that was set forward makes nothing older than the boot',
       'unit platform clock_set_forward', 'platform/posix_run.c',
       'timespec_ns(proc.st_ctim) < boot', 'timespec_ns(proc.st_ctim) < INT64_MIN'),
    _m('failed fsync, boot', 'a failed fsync bypasses the file in its own boot only', 'unit file failed_sync_boots', 'state/file_record.c',
       '    return boot == c->super.now.boot_number || failed.unnamed;', '    return true;'),
    _m('two records', 'two records of one id are dropped', 'unit record two_records',
       'state/attach.c', '    if (found <= 1)\n        return 0;', '    if (found)\n        return 0;'),
    _m('origin volatile', 'DIRTY of an origin that loses power alone', 'unit file origin_volatile',
       'state/attach.c', 'return !(dirty && (f->flags & CM_ORIGIN_VOLATILE));', '(void)dirty;\n    return true;'),
    _m('abort forgets', 'new incarnation after an abort', 'unit file abort',
       'protocol/bracket.c', '    int e = cm_file_renew(f);\n    cm_lock_release(&f->lock);\n    while',
       '    int e = 0;\n    cm_lock_release(&f->lock);\n    while'),
    _m('abort, older validator', 'a validator taken before an abort proves nothing',
       'unit file abort_then_older_validator', 'protocol/bracket.c',
       '    cm_file_moved(f);\n    cm_file_drop_validator(f);\n    f->dis', '    cm_file_drop_validator(f);\n    f->dis'),
    _m('abort disowns', 'no validator is adopted after an abort', 'unit file abort_disowns',
       'protocol/bracket.c', '    f->disowned = true;\n', ''),
    _m('record not written', 'escalation when a record cannot be written', 'unit file forget_unwritable',
       FILE, '        if (cm_file_write_record(f, incarnation))\n            e = cm_file_abandon_record(f);',
       '        (void)cm_file_write_record(f, incarnation);'),
    _m('write before forgetting', 'no write while something could not be forgotten',
       'unit file cannot_forget_yet', 'protocol/bracket.c',
       'int e = b->data ? cm_file_can_forget(f->cache) : 0;', 'int e = 0;'),
    _m('settle forgotten', 'settling of records that are not, or no longer, the forgotten file\'s',
       'crash fill-b1,forget-closed@f1', 'state/attach.c',
       '(!its && !b.unreadable[i] && !cm_record_is_unused(&b, i) &&\n                 cm_record_settle(&c->media, place))', '0'),
    _m('torn record first', 'a torn record is dropped before another is written in its place',
       'crash full fill-b1,evict-b~f688', 'state/attach.c', 'return b->whole[i] ? dirty : b->record[i].xxh3 != 0;',
       'return b->whole[i] && dirty;'),
    _m('early release', 'the new incarnation is released only when its record is durable',
       'unit file stored_before_the_record', FILE,
       '        if (cm_file_write_record(f, incarnation))\n            e = cm_file_abandon_record(f);',
       '        release_incarnation(f, incarnation);\n        if (cm_file_write_record(f, incarnation))\n            e = '
       'cm_file_abandon_record(f);',
       FILE, '    release_incarnation(f, e == 0 ? incarnation : 0);',
       '    if (e || incarnation == 0)\n        release_incarnation(f, 0);'),
    _m('unreadable record, attach', 'a record that cannot be read is voided before another is made',
       'unit file unreadable_record', 'state/attach.c', 'e = cm_file_void_unreadable(c, b, true);', ''),
    _m('unreadable record, forget', 'a record that cannot be read is forgotten too',
       'unit file unreadable_record', 'state/attach.c', 'e = cm_file_void_unreadable(c, &b, false);', ''),
    _m('unreadable record, DAX', 'forgetting does not trust that a lost line stays lost',
       'unit file unreadable_record', 'state/attach.c', 'cm_file_void_unreadable(c, &b, false)', 'cm_file_void_unreadable(c, &b, true)'),
    _m('failed sync evicted', 'a record of a failed fsync is not given to another file',
       'unit file failed_sync_stays', 'state/attach.c', 'if (b->whole[i] && cm_file_record_failed(c, place, &b->record[i]))', 'if (0)'),
    _m('failed sync forgotten', 'forgetting a file does not forget its failed fsync',
       'unit file failed_sync_stays', 'state/attach.c', 'return cm_file_record_failed(c, place, r) ? cm_record_settle', 'return 0 ? cm_record_settle'),
    # A pool file that is lost while it is open.
    _m('cut off, close', 'the close looks at the size of the file', 'unit api cut_off_unnoticed',
       'api/cache.c', '    if (cm_cache_whole(c))\n        return CM_ETRUNCATED; /* it stays OPEN, and empty */\n', ''),
    _m('cut off, noticed', 'an error of the media makes the library look', 'unit api cut_off_while_open',
       'protocol/lookup.c', '        cm_suspect(c);\n', ''),
    _m('cut off, emptied', 'nothing of a pool that was cut off counts', 'unit api cut_off_and_back',
       'api/cache.c', '    (void)cm_super_bump_epoch(&c->super, &c->broken);\n    cm_log', '    cm_log'),
    # Superblocks.
    _m('fence, superblock', 'fence between the two copies', 'crash process-crash@f3', SUPER, '''one of them is always whole. */
    cm_media_fence(s->media);
''', '''one of them is always whole. */
'''),
    _m('flush, superblock', 'flush of a copy', 'crash process-crash@f3',
       SUPER, 'int e = cm_media_flush(s->media, copy_at(s->media, i), sizeof(struct cm_super));', 'int e = 0;'),
    _m('settle superblock', 'the copy that was believed is made durable before the other one goes',
       'crash process-crash@f1',
       SUPER, 'int e = write_copy(s, 1 - s->first);', 'int e = 0;'),
    _m('settle superblock, sync', 'the copy that was believed is synced before the other one goes',
       'crash pagecache fill-a0,process-crash', SUPER,
       'lost = sync_copy(s, 1 - s->first) != 0;', 'lost = false;'),
    _m('lost superblock', 'the copy whose sync failed at the open is written before the other one',
       'crash pagecache fill-a,process-crash!1', SUPER,
       '    if (lost && read_copy(s->media->base, s->first, &other) == 0)', '    (void)other;\n    if (false)'),
    _m('lost superblock, torn', 'not where the other one is torn', 'crash pagecache seed=8 fill-a,write-back-failed', SUPER,
       'if (lost && read_copy(s->media->base, s->first, &other) == 0)', '(void)other;\n    if (lost)'),
    _m('number of a copy', 'of two copies one was written last', 'unit super one_damaged', SUPER,
       'int e_second = write_next(s, 1 - s->first);', 'int e_second = write_copy(s, 1 - s->first);'),
    _m('write-back failed', 'a pool whose first sync fails is emptied, though the system has dropped a part of it',
       'crash pagecache warm seed=2 write-sync,write-back-failed', SUPER,
       '*emptied = lost || cm_super_must_empty(sb, owner);', '*emptied = cm_super_must_empty(sb, owner);'),
    _m('half of a superblock pair', 'the copy whose sync failed is the first to be written the next time',
       'crash pagecache fill-a,process-crash!3', SUPER,
       '        if (e_sync) /* the first is durable, so this one is written first the next time */\n            s->first = 1 - s->first;\n', ''),
    _m('settle superblock, again', 'that copy is stored again before it is synced',
       'crash pagecache close!2', SUPER,
       'int e = write_copy(s, 1 - s->first);', 'int e = settle_copy(s, 1 - s->first);'),
    _m('superblock order', 'the copy that was believed is written last', 'crash process-crash@71,process-crash',
       'api/cache.c', 'c->super.first = 1 - (unsigned)e;', 'c->super.first = 0;'),
    _m('old superblocks killed', 'format kills the old superblocks first',
       'crash full format', 'api/create.c', '    e = cm_super_kill(&s);\n', '    e = 0;\n'),
    _m('fence, kill', 'fence after killing them', 'crash full format', SUPER, '''leaves no pool. */
    cm_media_fence(s->media);
''', '''leaves no pool. */
'''),
    _m('fence, format', 'emptiness durable before it is a pool', 'crash full format',
       'api/create.c', "    cm_media_fence(&m); /* the new pool's emptiness is durable before it is a pool */\n", ''),
    _m('frontier in both copies', 'a hint that is not synced goes into one copy', 'crash pagecache fill-a0',
       SUPER, '(void)write_next(s, s->first);',
       '(void)write_next(s, s->first);\n        (void)write_next(s, 1 - s->first);'),
    _m('second copy beside a failed sync', 'a copy that may be in flight is left alone with that',
       'unit super failing_sync', SUPER, '    if (e_sync == 0) {', '    {'),
    _m('second copy beside a failed write', 'a new epoch in one copy where the other cannot be written',
       'unit super one_copy_unwritable', SUPER,
       '        int e_second = write_next(s, 1 - s->first);\n        e = e ? e : e_second;',
       '        e = e ? e : write_next(s, 1 - s->first);'),
    _m('epoch in one copy', 'a new epoch in both copies', 'unit super epoch_bump', SUPER, '''    next_epoch(&s->now);
    int e = write_both(s);''', '''    next_epoch(&s->now);
    s->now.seq++;
    s->now.xxh3 = cm_format_super_sum(&s->now);
    int e = write_copy(s, 0);'''),
    _m('mark in one copy', 'the incarnation mark in both copies', 'unit super incarnations', SUPER, 'e = s->failed ? CM_EIO : write_both(s);', '''s->now.seq++;
        s->now.xxh3 = cm_format_super_sum(&s->now);
        e = s->failed ? CM_EIO : write_copy(s, 0);'''),
    _m('mark below what was used', 'a session begins at the mark', 'crash full large',
       SUPER, 's->next_incarnation = sb->inc_mark;\n',
       's->next_incarnation = sb->inc_mark > CM_INCARNATION_RANGE ? sb->inc_mark - CM_INCARNATION_RANGE : 1;\n'),
    _m('emptying open in one copy', 'a new epoch in both copies, synced, when a pool is emptied',
       'unit super open_not_synced', SUPER,
       '    if (e == 0)\n        e = write_both(s);\n    if (e && s->sync) {',
       '''    if (e == 0 && *emptied) {
        sb->seq++;
        sb->xxh3 = cm_format_super_sum(sb);
        e = write_copy(s, s->first);
    } else if (e == 0) {
        e = write_both(s);
    }
    if (e && s->sync) {'''),
    _m('emptying open not synced', 'sync of the copies when a pool is emptied', 'crash pagecache fill-a,power-cut', SUPER,
       '    if (e == 0)\n        e = write_both(s);\n    if (e && s->sync) {',
       '''    bool sync = s->sync;
    s->sync = sync && !*emptied;
    if (e == 0)
        e = write_both(s);
    s->sync = sync;
    if (e && s->sync) {'''),
    _m('key before the epoch', 'an epoch that was not made durable is not used', 'unit super failing_media',
       SUPER, '    if (e == 0)\n        at_store_release(&s->media->check_key, cm_format_check_key(s->now.uuid, s->now.epoch));\n    at_store_seq_cst',
       '        at_store_release(&s->media->check_key, cm_format_check_key(s->now.uuid, s->now.epoch));\n    '
       'at_store_seq_cst'),
    _m('boot number', 'a new boot counts', 'unit super boot_number',
       SUPER, 'sb->boot_number = (sb->boot_number + 1) & 0x7fffffff;', '(void)0;'),
    _m('boot number stops', 'every new boot counts, not only the first two', 'crash power-cut,fill-a0,write-plain,fill-a0',
       SUPER, 'sb->boot_number = (sb->boot_number + 1) & 0x7fffffff;',
       'sb->boot_number += sb->boot_number < 2;'),
    _m('boot id', 'same boot, or a page-cache pool is emptied', 'unit super must_empty_table',
       SUPER, 'return !same_boot(sb, owner) || is_zero(owner->mount_id) ||', 'return is_zero(owner->mount_id) ||'),
    _m('mount id', 'same mount, or a page-cache pool is emptied', 'unit super must_empty_table',
       SUPER, 'is_zero(owner->mount_id) ||\n           memcmp(sb->mount_id, owner->mount_id, 16) != 0;',
       'is_zero(owner->mount_id);'),
    _m('OPEN', 'OPEN before other stores', 'unit super crash_table', SUPER, '    sb->state = CM_SUPER_OPEN;\n', ''),
    _m('new epoch for another boot', 'emptying by a new epoch', 'unit super crash_table',
       SUPER, '    sb->epoch++;\n    sb->frontier = 0;\n', '    sb->frontier = 0;\n'),
    _m('CLEAN after a failed sync', 'an error at the close leaves OPEN', 'crash pagecache fill-a0,close-unsynced',
       'api/cache.c', '    if (e == 0)\n        return cm_super_close(&c->super, at_load_relaxed(&c->policy.ring.frontier), &memo);',
       '    if (e == 0 || e)\n        return cm_super_close(&c->super, at_load_relaxed(&c->policy.ring.frontier), &memo);'),
    _m('CLEAN after a failed superblock', 'a superblock that could not be written leaves OPEN at the close',
       'unit super failed_before_close', SUPER,
       '    int e = s->failed ? CM_EIO : 0;\n    if (e == 0) {\n        s->now.state',
       '    int e = 0;\n    if (e == 0) {\n        s->now.state'),
    _m('broken at the close', 'a new epoch at the close for what could not be forgotten',
       'unit file cannot_forget_until_close', 'api/cache.c',
       '    if (at_load_relaxed(&c->broken))\n        e = cm_super', '    if (0)\n        e = cm_super'),
    _m('epoch after a failed sync', 'a new epoch when the data could not be synced at the close',
       'unit super data_not_synced', 'api/cache.c',
       '    if (cm_super_bump_epoch(&c->super, &c->broken) && c->super.sync)\n        cm_super_void(&c->super);\n', ''),
    _m('CLEAN before the data', 'sync of the data before CLEAN', 'crash pagecache fill-a0,close',
       'api/cache.c', '        e = cm_plat_file_sync(&c->file, 0, 0);\n', '        e = 0;\n'),
    _m('superblock not synced', 'sync of each copy in the page cache', 'crash pagecache close', SUPER,
       'return s->sync && s->file ?', 'return 0 ?'),
    _m('seq decides', 'of two whole copies the newer counts', 'unit super higher_seq_wins',
       SUPER, 'c[1].seq > c[0].seq', 'c[1].seq < c[0].seq'),
    _m('older, record', 'a record with a number not given yet empties the pool',
       'unit file mark_too_old', 'state/file_record.c', 'cm_super_is_older(&c->super, b->record[i].incarnation)', 'false'),
    _m('older, victim', 'a victim with a number not given yet empties the pool',
       'unit file mark_too_old_evicted', EVICT, '    if (cm_super_is_older(&c->super, h.incarnation))\n        (void)cm_file_disbelieve(c, key);', '    if (0)\n        (void)cm_file_disbelieve(c, key);'),
    _m('older, check', 'the same where cm_check meets one',
       'unit file mark_too_old_checked', 'api/check.c', 'cm_super_is_older(&k->c->super, h.incarnation)', 'false'),
    _m('gap', "a gap before a session's first number",
       'unit file mark_too_old_unseen', SUPER, '        sb->inc_mark += owner->gap;', '        sb->inc_mark += 0;'),
    _m('trust, mode', 'a pool that others may write is refused', 'unit trust writable_by_others',
       TRUST, "!is_ours(seen) || (seen->st_mode & 022) != 0", "!is_ours(seen)"),
    _m('trust, owner', 'a pool of another user is refused', 'unit trust of_another_owner',
       TRUST, "return st->st_uid == 0 || st->st_uid == geteuid();", "return st->st_uid != (uid_t)-1;"),
    _m('trust, directory', 'a directory that others may write', 'unit trust directories',
       TRUST, "!is_ours(&st) || ((st.st_mode & 022) != 0 && (st.st_mode & S_ISVTX) == 0)", "!is_ours(&st)"),
    _m('trust, owner of a directory', 'a directory of another user', 'unit trust directories',
       TRUST, "!is_ours(&st) || ((st.st_mode", "((st.st_mode"),
    _m('trust, sticky', 'others may write a directory with the sticky bit', 'unit trust directories',
       TRUST, " && (st.st_mode & S_ISVTX) == 0", ""),
    _m('trust, link', 'a symbolic link of another user', 'unit trust links',
       TRUST, "    if (!is_ours(st)) {\n        return untrusted(w, \"the symbolic link\"", "    if (0) {\n        return untrusted(w, \"the symbolic link\""),
    _m('trust, where a path begins', 'a relative path is judged from the root', 'unit trust directories',
       TRUST, "    if (path[0] != '/') {", "    if (path[0] == '\\0') {"),
    _m('volume, disk', 'what a disk says of itself in the id of a file', 'unit volume clones_ext4',
       VOLUME, '{ system, identity, 0 }', '{ system, 0, 0 }'),
    _m('volume, partition', 'the number of the partition', 'unit volume clones_partitions',
       VOLUME, 'says = disk_says(major_no, minor_no, "partition", text);', 'says = "";'),
    _m('volume, device number', 'an f_fsid that is the device number does not count', 'unit volume clones_xfs',
       VOLUME, 'fsid_is_device ? uuid_of(fd) : k->fsid', 'k->fsid'),
    _m('volume, layers', 'the device number that overlayfs makes up for a layer', 'unit volume overlay',
       VOLUME, 'one ? 0 : sizeof k->dev', '0'),
    _m('volume, source', 'the source of a mount without f_fsid', 'unit volume source',
       VOLUME, 'return cm_posix_mix(h, "source", &l->source, sizeof l->source);', 'return cm_posix_mix(h, "source", "", 0);'),
    _m('volume, FUSE', 'the ids of a FUSE mount end with it', 'unit volume fuse',
       VOLUME, 'k->dev, fuse_instance(k->dev), 0 }', 'k->dev, 1, 0 }'),
    _m('volume, FUSE mount', 'without sysfs, the number of the mount', 'unit volume fuse_without_sysfs',
       VOLUME, '        of[2] = cm_posix_mount_number(fd, true);', '        of[2] = 1;'),
    _m('volume, FUSE inodes', 'one inode number for two files of a FUSE mount', 'unit volume fuse_inodes',
       'platform/posix_identity.c', '    *number = XXH3_64bits_withSeed(u.h.f_handle, u.h.handle_bytes, (uint64_t)st->st_ino);\n', ''),
    _m('volume, FUSE named', 'the id of a file on a named FUSE volume stays', 'unit volume fuse',
       'platform/posix_identity.c', '    if (o->volume_id != NULL) {\n        return 0;\n    }\n    if ((uint32_t)fs->f_type == OVER', '    if ((uint32_t)fs->f_type == OVER'),
    _m('volume, claim', 'no second volume with the same word', 'unit volume same_claim',
       VOLUME, '                return CM_ECLONE;', '                continue;'),
    _m('volume, claim for ever', 'the word is free when its volume is gone', 'unit volume same_claim',
       VOLUME, '    return c->major_no != 0 && disk_in_use(c);', '    return true;'),
    _m('volume, still open', 'a volume unmounted from the tree lives while a file of it is open',
       'unit volume claim_of_lazily_unmounted', VOLUME, 'c->major_no != 0 && disk_in_use(c)', 'false'),
    _m('volume, device reused', 'another disk under the same device number', 'unit volume reused_device',
       VOLUME, 'cm_posix_disk_sequence(c->major_no, c->minor_no) != c->disk', 'false'),
    _m('volume, known too long', 'what is known of a word goes with its claim', 'unit volume source',
       VOLUME, '    drop_known(claims[i].word);\n', ''),
    _m('volume, known of another', 'a word is kept under the number of the mount', 'unit volume reused_device',
       VOLUME, '    k.mount = cm_posix_mount_number(fd, true);\n', '    k.mount = 1;\n'),
]

# Here the third column is not the test but why there cannot be one.
BENIGN = [
    _m('mark not moved', 'a range of incarnations of its own for every session',
       'the first incarnation that is asked for then writes a range of its own; only a mark below what was used '
       'is harmful ("mark below what was used")',
       SUPER, '    sb->inc_mark += CM_INCARNATION_RANGE;\n    if (e == 0)', '    if (e == 0)'),
    _m('owner of a stale cell', 'ownership test before a dead cell is used',
       'the cell is used only after its header was flushed and fenced by the one who uses it ("settle stale"); '
       'the test saves that for headers whose owner is about to do it', PUBLISH,
       'if (!live && !unreadable && !owned && settle_stale(c, slot))',
       'if (!live && !unreadable && settle_stale(c, slot))'),
    _m('ticket at the begin', 'a bracket\'s begin moves the ticket',
       'until the end the intents refuse, and the end moves the ticket', 'state/stripe.h',
       'at_store_release(&s->intents, s->intents + 1);\n    at_store_release(&s->ticket, s->ticket + 1);',
       'at_store_release(&s->intents, s->intents + 1);'),
    _m('mark trusted', 'own fence of a mark that is found set',
       'attaching settles the record with the mark in it; both removed: "mark trusted, record not settled"',
       *_MARK),
    _m('unlock before fence 4', 'lock held over the fence of forgetting',
       'the cells stay until the fence is done, so a second bracket finds the invalid header and flushes it '
       'itself; both removed: "unlock before fence 4, cells too"',
       *_EARLY_UNLOCK),
    _m('incarnation at publishing', 'comparison of the incarnation',
       'the file ticket moves with every new incarnation; both removed: "file ticket, incarnation"',
       *_INCARNATION),
    _m('NOFILL', 'a miss that says NOFILL is refused by its flag',
       'what it refuses, the intents and the tickets refuse under the lock; with the end\'s ticket: "ticket at '
       'the end, NOFILL"',
       *_NOFILL),
    _m('fence before the pins', 'barrier between w0 and the pins',
       'the compare-and-swap of w0 before it is a full barrier (persist.h); the fence states what the code needs '
       'where that is far away',
       STEPS, '    at_fence_seq_cst();\n    return !cm_pin_doom', '    return !cm_pin_doom'),
    _m('fence after raising the limit', 'barrier after raising the limit',
       'on x86 the compare-and-swap is the barrier already, and where it is skipped the limit was there; on arm64 '
       'it is needed', FILL, "        ;\n    at_fence_seq_cst();\n", "        ;\n"),
    _m('limit of a new incarnation', 'limit back to zero',
       'a limit that is too high only makes truncations look at more blocks',
       FILE, '    at_store_seq_cst(&f->limit, 0);\n', ''),
    _m('ticket of a new incarnation', 'a new incarnation moves the file ticket',
       'publishing compares the incarnation as well; both removed: "file ticket, incarnation"',
       FILE, '    at_add_seq_cst(&f->ticket, 1);\n    at_store_seq_cst(&f->limit, 0);\n',
       '    at_store_seq_cst(&f->limit, 0);\n'),
    _m('flush, repaired header', 'flush of a header that repairing cleared',
       'no reader believed the header, before or after',
       'api/check.c', ' == 1 && cm_slot_flush(m, slot) == 0)', ' == 1)'),
    _m('fence of a repair', 'fence after repairing', 'as above: what comes back is found damaged again',
       'api/check.c', '        cm_media_fence(&c->media); /* what was dropped stays dropped */\n', '        (void)0;\n'),
    _m('fence at the close', 'fence before closing',
       'every operation fenced what it flushed; and writing CLEAN fences twice',
       'api/cache.c', '    cm_media_fence(&c->media); /* all flushes of this thread; other threads fenced their own */\n',
       ''),
    _m('memo, fence', 'fence after writing the memo',
       'writing CLEAN fences as well, and what is missing of a page fails its sum; the fence is for the sync that '
       'may follow', 'media/memo.c', '    cm_media_fence(m); /* before CLEAN says that they count */\n', ''),
    _m('other owner\'s victim', 'ownership test when a cell\'s block is chosen to be displaced',
       'displacing takes ownership by compare-and-swap and gives up; the test saves the attempt',
       PUBLISH, 'if (live && !owned && worth < lowest) {', 'if (live && worth < lowest) {'),
]

# ---- Building --------------------------------------------------------------------------------


def object_of(module):
    return module.replace('/', '_') + '.o'


class Builder:
    """Compiles and links in a scratch directory; objects of the unchanged code are shared."""

    def __init__(self, source, scratch):
        self.cc = os.environ.get('CC', 'cc').split()
        self.source, self.scratch = source, scratch
        flags = os.environ.get('CFLAGS', '').split()
        p = subprocess.run(['pkg-config', '--cflags', 'libxxhash'], stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL, check=False) if shutil.which('pkg-config') else None
        flags += p.stdout.decode().split() if p and p.returncode == 0 else []
        self.flags = ['-std=gnu11', '-O1', '-D_GNU_SOURCE', '-pthread'] + flags
        self.objects = os.path.join(scratch, 'objects')
        os.mkdir(self.objects)
        files = [os.path.relpath(os.path.join(d, f), source) for d, _, names in os.walk(source) for f in names]
        files = [f for f in files if not f.startswith('tool/')]  # as rows name them
        self.modules = sorted(f for f in files
                              if f.endswith(('.c', '.S')) and not f.startswith('platform/win32'))
        self.includes = {f: self.included(f) for f in files if f.endswith(('.c', '.h', '.S'))}
        with open(os.path.join(TOP, 'tests', 'model', 'meson.build'), encoding='utf-8') as f:
            names = re.search(r'foreach name : \[([^]]*)\]\n  turns_sources', f.read()).group(1)
        self.stepped = [n + '.c' for n in re.findall(r"'([\w/]+)'", names)]  # see turns.h

    def included(self, name):
        with open(os.path.join(self.source, name), encoding='utf-8') as f:
            return set(re.findall(r'^#include "([\w./]+)"', f.read(), re.M))

    def depends(self, name, header):
        seen, todo = set(), [name]
        while todo:
            f = todo.pop()
            if f == header:
                return True
            if f not in seen:
                seen.add(f)
                todo += self.includes.get(f, ())
        return False

    def compile(self, path, out, source, *flags):
        # The map: equal code is equal, wherever it was compiled.
        command = self.cc + self.flags + ['-fmacro-prefix-map=%s=.' % source, '-I' + source, *flags,
                                          '-I' + os.path.join(TOP, 'include'), '-c', path, '-o', out]
        status, text = run(command, 120)
        if status != 0:
            raise Failure('does not compile: ' + text.strip()[:300])

    def compile_stepped(self, module, directory, source, *flags):
        out = os.path.join(directory, 'stepped-' + object_of(module))
        self.compile(os.path.join(source, module), out, source, *flags, '-include',
                     os.path.join(TOP, 'tests', 'model', 'turns.h'))
        return out

    def program_sources(self, program):
        if program == CRASH:
            here = os.listdir(os.path.join(TOP, 'tests', 'crash'))
            names = ['crash/' + f for f in sorted(here) if f.endswith('.c')] + ['model/origin.c']
        elif program in (MODEL, RACE):
            names = ['model/' + program + '.c', 'model/origin.c']
        elif program == TURNS:
            names = ['model/turns.c']
        else:
            # test_PROGRAM.c and test_PROGRAM_*.c, those for the other system excepted
            names = ['unit/' + f for f in sorted(os.listdir(os.path.join(TOP, 'tests', 'unit')))
                     if re.fullmatch(r'test_%s(_.*)?\.c' % program, f) and '_win32' not in f]
            names.append('unit/harness.c')
        return [os.path.join(TOP, 'tests', f) for f in names + ['os_posix.c']]

    def prepare(self, programs, pool):
        """Objects of the unchanged library and of the test programs."""
        todo = {os.path.join(self.source, f): object_of(f) for f in self.modules}
        for program in programs:
            todo.update({s: 'test-' + os.path.basename(s) + '.o' for s in self.program_sources(program)})
        jobs = [pool.submit(self.compile, s, os.path.join(self.objects, o), self.source) for s, o in todo.items()]
        if TURNS in programs:
            jobs += [pool.submit(self.compile_stepped, f, self.objects, self.source) for f in self.stepped]
        for job in jobs:
            job.result()

    def change(self, mutant, directory):
        """The mutant's objects by name; its source is beside them."""
        source = os.path.join(directory, 'src')
        shutil.copytree(self.source, source, ignore=shutil.ignore_patterns('tool'))
        changed = edit(source, mutant.edits)
        objects = {}
        for f in self.modules:
            if any(self.depends(f, name) for name in changed):
                objects[f] = os.path.join(directory, object_of(f))
                self.compile(os.path.join(source, f), objects[f], source, QUICKLY)
        return objects

    def differs(self, name, source):
        with open(os.path.join(self.source, name), 'rb') as a, open(os.path.join(source, name), 'rb') as b:
            return a.read() != b.read()

    def link(self, program, objects, directory):
        out = os.path.join(directory, program)
        if os.path.exists(out):
            return out
        source = os.path.join(directory, 'src') if objects else self.source
        # What a header holds is part of the test programs, too.
        header = any(n not in objects and self.differs(n, source) for n in self.includes) if objects else False
        parts = []
        for s in self.program_sources(program):
            parts.append(os.path.join(directory if header else self.objects, 'test-' + os.path.basename(s) + '.o'))
            if header:
                self.compile(s, parts[-1], source, QUICKLY)
        for f in self.modules:
            if program == TURNS and f in self.stepped:
                parts.append(self.compile_stepped(f, directory, source, QUICKLY) if f in objects else
                             os.path.join(self.objects, 'stepped-' + object_of(f)))
            else:
                parts.append(objects.get(f, os.path.join(self.objects, object_of(f))))
        status, text = run(self.cc + parts + ['-o', out, '-pthread'] + WRAPS.get(program, []), 120)
        if status != 0:
            raise Failure('does not link: ' + text.strip()[:300])
        return out


# ---- Tests -----------------------------------------------------------------------------------


def program_of(test):
    words = test.split()
    return words[1] if words[0] == 'unit' else words[0]


def command_of(test, program):
    """crash [warm|full] [eadr|pagecache] [seed=N] OP,OP... | crash --OPTION... | model SLOTS SEED | race SECONDS [PROBATION] | turns [TEXT] | unit MODULE [TEST]"""
    words = test.split()
    if words[0] == 'unit':
        return [program] + words[2:]
    if words[0] == MODEL:
        return [program, '--slots', words[1], '--seed', words[2], '--ops', '200000']
    if words[0] == TURNS:
        return [program, '--only', ' '.join(words[1:])]
    if words[0] == RACE:
        return [program, '--seconds', words[1]] + (['--probation', words[2]] if len(words) > 2 else [])
    if words[1].startswith('--'):
        return [program] + words[1:]
    args = ['--' + w for w in ('warm', 'full') if w in words]
    for rules in ('eadr', 'pagecache'):
        args += ['--rules', rules] if rules in words else []
    args += [a for w in words if w.startswith('seed=') for a in ('--seed', w[5:])]
    return [program] + args + ['--sequence', words[-1]]


def complaint(text):
    for line in text.splitlines():
        m = re.match(r'VIOLATION: (.*)|FAILED.*?: (.*)|not ok \d+ - (.*)|.*(Assertion .* failed)', line)
        if m:
            return next(g for g in m.groups() if g)[:90]
    return 'died'


def notices(builder, test, objects, directory):
    """What the test says about the mutant, or None. One try: no row may need luck."""
    program = builder.link(program_of(test), objects, directory)
    status, text = run(command_of(test, program), LIMIT, cwd=directory)
    if status in (None, 0, 77):
        return None  # slow is not wrong
    return complaint(text)


Result = collections.namedtuple('Result', 'mutant by said seconds error')


def judge(builder, mutant, quick, survey):
    start = time.time()
    directory = tempfile.mkdtemp(dir=builder.scratch)
    found = []
    try:
        objects = builder.change(mutant, directory)
        tests = ([mutant.by] if mutant.by else []) + ([] if quick and not survey else
                                                      [t for t in OTHERS if t != mutant.by])
        for test in tests:
            said = notices(builder, test, objects, directory)
            if said:
                found.append((test, said))
                if not survey:
                    break
        error = None
    except Failure as e:
        error = str(e)
    finally:
        shutil.rmtree(directory)
    by = '; '.join(t for t, _ in found)
    return Result(mutant, by, found[0][1] if found else '', time.time() - start, error)


# ---- Main ------------------------------------------------------------------------------------


def sound(builder, mutants, pool):
    """The tests that the rows name, on the unchanged code: what they say, and which cannot run here."""
    directory = os.path.join(builder.scratch, 'sound')
    os.mkdir(directory)
    tests = sorted({m.by for m in mutants if m.by})
    for program in sorted({program_of(t) for t in tests}):
        builder.link(program, {}, directory)
    said = list(pool.map(lambda t: notices(builder, t, {}, directory), tests))
    # Some tests need root and what it may do: they say so by their status.
    idle = {t for t in tests if t.startswith(('unit volume', 'unit trust')) and
            run(command_of(t, builder.link(program_of(t), {}, directory)), LIMIT, cwd=directory)[0] == 77}
    return ['%s: %s' % (t, s) for t, s in zip(tests, said) if s], idle


def markdown(results):
    lines = ['| mutant | removed | noticed by |', '|---|---|---|']
    for r in results:
        lines.append('| %s | %s | %s |' % (r.mutant.name, r.mutant.what, '`%s`' % r.by if r.by else '**nothing**'))
    lines += ['', '| benign | removed | why nothing can notice |', '|---|---|---|']
    for b in BENIGN:
        lines.append('| %s | %s | %s |' % (b.name, b.what, b.by))
    return '\n'.join(lines)


def good(result, options):
    return not result.error and bool(result.by) != options.benign


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--quick', action='store_true', help='only the test that the row names')
    a.add_argument('--only', metavar='NAME', help='rows whose name begins so')
    a.add_argument('--benign', action='store_true', help='the rows that nothing can notice')
    a.add_argument('--jobs', type=int, default=(os.cpu_count() or 1) + 1, help='some tests wait')
    a.add_argument('--markdown', action='store_true', help='print the table as in docs/crash.md')
    a.add_argument('--survey', action='store_true', help='go on after the first test that notices')
    a.add_argument('--source', default=os.path.join(TOP, 'src'), help='the library (src/)')
    o = a.parse_args()
    mutants = [b._replace(by='') for b in BENIGN] if o.benign else MUTANTS
    if o.only:
        mutants = [m for m in mutants if m.name.startswith(o.only)]
    names = [m.name for m in MUTANTS + BENIGN]
    if len(set(names)) != len(names) or not mutants:
        print('two rows of one name, or none of that name')
        return 1
    tests = {m.by for m in mutants if m.by} | (set() if o.quick else set(OTHERS))
    scratch = tempfile.mkdtemp(prefix='cachemax-mutants.')
    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, lambda *_: (end_all(), shutil.rmtree(scratch, ignore_errors=True), os._exit(130)))
    try:
        with concurrent.futures.ThreadPoolExecutor(o.jobs) as pool:
            builder = Builder(os.path.abspath(o.source), scratch)
            builder.prepare(sorted({program_of(t) for t in tests}), pool)
            wrong, idle = sound(builder, mutants, pool)
            if wrong:
                print('\n'.join('FAILED on the unchanged code: ' + w for w in wrong))
                print('0 passed, %d failed, 0 skipped' % len(mutants))
                return 1
            skipped = [m for m in mutants if m.by in idle]
            mutants = [m for m in mutants if m.by not in idle]
            for m in skipped:
                print('skip %s: %s cannot run here' % (m.name, m.by))
            results = []
            for r in pool.map(lambda m: judge(builder, m, o.quick, o.survey), mutants):
                results.append(r)
                if not o.markdown:
                    print('%s%s | %s | %s | %.1f' % (
                        '' if good(r, o) else 'FAILED ', r.mutant.name, r.mutant.what,
                        '%s (%s)' % (r.by, r.said) if r.by else r.error or 'nothing noticed', r.seconds), flush=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if o.markdown:
        print(markdown(results))
    passed = sum(1 for r in results if good(r, o))
    if not o.markdown:
        print('%d passed, %d failed, %d skipped' % (passed, len(results) - passed, len(skipped)))
    return 0 if passed == len(results) else 1


if __name__ == '__main__':
    sys.exit(main())
