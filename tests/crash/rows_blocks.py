# SPDX-License-Identifier: BSD-2-Clause
"""rows_blocks.py - the rows of mutants.py about blocks: fences, publishing, forgetting, slots,
readers, and errors that only a turn of another thread shows."""
from rows import (_m, _UNIQUE, _FIRST, _HELP, _EARLY_UNLOCK, _EARLY_CELLS, _FILE_TICKET,
                  _INCARNATION, _STALE_MISS, _STALE_FILL, _INTENT_MISS, _INTENT_FILL, _NOFILL,
                  _SEQ_KEPT, _SETTLE, SLOT, FILE, SUPER, EVICT, FILL, FORGET, HOLD, LOOKUP,
                  PROBATION, PUBLISH, STEPS)

BLOCKS = [
    # Fences and flushes of blocks.
    _m('fence 1, evict', 'fence after invalidating victims', 'crash full fill-z', EVICT,
       '''     * durable. */
    cm_media_fence(&c->media);
    at_fence_seq_cst(); /* as''', '''     * durable. */
    at_fence_seq_cst(); /* as'''),
    _m('fence 1, range', 'the same fence, when a range is dropped',
       'crash fill-a,drop-range,thread,write-sync',
       EVICT, '''     * durable. */
    cm_media_fence(&c->media);
    at_fence_seq_cst(); /* as''', '''     * durable. */
    at_fence_seq_cst(); /* as'''),
    _m('own before dropping', 'ownership of the slot of a dropped block', 'unit files drop_owned',
       EVICT, 'if (!cm_ring_own(&c->policy.ring, b->slot))', 'if (0)'),
    _m('dropped from the buffer', 'dropping a block that waits in the buffer', 'unit files drop',
       'api/ranges.c', '    cm_probation_kill(&c->probation, k);\n', ''),
    _m('flush, evict', 'flush of victims\' headers', 'crash full fill-z', EVICT,
       'uint32_t failed = cm_slot_flush_all(&c->media, slots, count);', 'uint32_t failed = 0;'),
    _m('flush, evict empty', 'flush of a victim that was invalid before',
       'crash full write-plain@f2,fill-z', EVICT, '        slots[count] = v[i].slot;',
       '        slots[count] = v[i].keyed ? v[i].slot : (v[i].slot + 8) % c->policy.ring.slots;'),
    _m('flush, neighbours', 'flush of all but the first of headers beside one another',
       'unit block neighbours_flushed', SLOT,
       '(size_t)(high - low + 1) * sizeof(struct cm_header)', 'sizeof(struct cm_header)'),
    _m('cells before fence 1', 'evict drops the cells before its fence',
       'crash full beside-1,write-sync,fill-z', EVICT,
       '''    int r = cm_slot_invalidate(&c->media, v->slot, v->w0);
    if (r == 1)
        cm_policy_evicted''', '''    int r = cm_slot_invalidate(&c->media, v->slot, v->w0);
    cm_step_drop_cells(c, &v->key, v->slot);
    if (r == 1)
        cm_policy_evicted'''),
    _m('fence 1, displace', 'fence before a cell is overwritten',
       'crash fill-a0,crowd,fill-z@f3,write-sync', PUBLISH,
       '''    /* Durable before its cell is overwritten (the invariant). */
    cm_media_fence(&c->media);
''', ''),
    _m('flush, displace', 'flush before a cell is overwritten',
       'crash fill-a0,crowd,beside-3,write-sync,fill-z', PUBLISH,
       '''        r = cm_slot_flush(&c->media, slot) ? CM_EIO : 1;
    /* Durable before its cell''', '''        r = 1;
    /* Durable before its cell'''),
    _m('fence 1, drop', 'fence of cm_step_drop',
       'crash fill-b1,fill-b-tail,fill-a0,drop,thread,write-sync', STEPS,
       '        cm_media_fence(&c->media); /* durable before the cells go (the invariant) */\n',
       ''),
    _m('flush, drop', 'flush of cm_step_drop',
       'crash fill-b1,fill-b-tail,fill-a0,drop,thread,write-sync', STEPS,
       'r = cm_slot_flush(&c->media, slot) ? CM_EIO : 1;\n        cm_media_fence',
       'cm_media_fence'),
    _m('settle stale', 'settling of a cell that leads nowhere before it is used again',
       'crash fill-b1,fill-b-tail,fill-a0,crowd,write-plain@f2,fill-z@f3,write-sync', PUBLISH,
       '!owned && settle_stale(c, slot)', '!owned'),
    _m('settle stale, flush', 'its flush',
       'crash fill-b1,fill-b-tail,fill-a0,crowd,write-plain@f2,fill-z@f4,write-sync',
       PUBLISH, '    int e = cm_slot_flush(&c->media, slot);\n    cm_media_fence(&c->media);\n'
                '    return e == 0;',
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
       'if (victim >= 0 && displace(c, n, cm_cell_slot(cells->cell[victim]), &victim_header))',
       'if (victim >= 0)'),
    _m('fence 2', 'fence between payload and VALID', 'crash full fill-z', PUBLISH,
       '''before any VALID is. */
    cm_media_fence(&c->media);
''', '''before any VALID is. */
'''),
    _m('flush, key words', 'flush of a header before VALID', 'crash full fill-z', PUBLISH,
       'uint32_t failed = flush_headers(c, n, got);', 'uint32_t failed = 0;'),
    _m('payload stored plainly', 'non-temporal copy: plain stores, no flush', 'crash full fill-z',
       SLOT, '? cm_media_copy(m, cm_slot_payload(m, slot), data, CM_BLOCK_SIZE)',
       '? cm_media_write(m, cm_slot_payload(m, slot), data, CM_BLOCK_SIZE)'),
    _m('fence 3', 'fence between VALID and "stored"', 'crash full fill-z', PUBLISH,
       '''     * slot is disowned only after that. */
    cm_media_fence(&c->media);
''', '''     * slot is disowned only after that. */
'''),
    _m('flush, VALID', 'flush of a published header', 'crash full fill-z', PUBLISH,
       'uint32_t failed = flush_headers(c, n, count);', 'uint32_t failed = 0;'),
    _m('flush, cell', 'flush of a published cell', 'crash full fill-z', PUBLISH,
       '(cm_index_flush(&c->media, &n[i].key, n[i].cell) || failed >> i & 1)', '(failed >> i & 1)'),
    _m('header before its cell', 'the cell is stored before its header is valid',
       'crash fill-b1,fill-a0,write-sync,fill-a0@10,write-sync', PUBLISH,
       '''        if (cm_index_store(&c->media, &n->key, n->cell, cell) ||
            (n->spoiled = cm_slot_publish(&c->media, n->slot, &n->header) != 0))
            r = CM_NOT_STORED_MEDIA; /* at worst a cell that leads to an invalid header */''',
       '''        n->spoiled = cm_slot_publish(&c->media, n->slot, &n->header) != 0 ||
                     cm_index_store(&c->media, &n->key, n->cell, cell) != 0;'''),
    _m('fence 4', 'fence of forgetting', 'crash full beside-1,write-sync,write-plain', FORGET,
       '''     * must not trust the absence before it is durable. */
    cm_media_fence(&c->media);
''', '''     * must not trust the absence before it is durable. */
'''),
    _m('flush, forget', 'flush of what is forgotten', 'crash full beside-1,write-sync,fill-z',
       FORGET,
       'if (!cm_index_match(&c->media, k, cell) || cm_slot_flush(&c->media, cm_cell_slot(cell)))',
       'if (0)'),
    _m('cells that change', 'a bracket flushes the headers that it made invalid',
       'unit block cell_changes_in_bracket', FORGET,
       'return sum == dead->sum ? e : CM_EIO;', 'return e;'),
    _m('cells that change, match', 'a cell that changed names a slot that is there',
       'unit block cell_changes_in_bracket', FORGET,
       'if (!cm_index_match(&c->media, k, cell) || cm_slot_flush(&c->media, cm_cell_slot(cell)))',
       'if (cm_slot_flush(&c->media, cm_cell_slot(cell)))'),
    _m('helping', 'flush of a header that somebody else invalidated',
       'crash full beside-1,write-sync,fill-z', *_HELP),
    _m('unlock before fence 4, cells too',
       'lock held over the fence of forgetting, and cells kept until then',
       'crash full write-sync@f2,write-sync',
       *(_EARLY_CELLS + _EARLY_UNLOCK)),
    _m('cells before fence 4', 'forgetting drops the cells before its fence',
       'crash full write-sync@f2,write-sync', *_EARLY_CELLS),
    # Checks of publishing and forgetting.
    _m('settle record', 'settling of a record that is kept', 'unit file record_order', *_SETTLE),
    _m('every match', 'forgetting stops at the first match', 'unit block forget_all_matches',
       *_FIRST),
    _m('present', 'publishing does not look for a block that is there', 'unit block tails',
       *_UNIQUE),
    _m('stale at the miss', 'stale at the miss', 'unit block large_bracket', *_STALE_MISS),
    _m('stale at publishing', 'stale at publishing', 'unit block large_bracket', *_STALE_FILL),
    _m('intents at the miss', 'intents at the miss', 'unit block fill_during_write', *_INTENT_MISS),
    _m('intents at publishing', 'intents at publishing', 'unit block fill_during_write',
       *_INTENT_FILL),
    _m('ticket at the end', 'a bracket\'s end moves the ticket', 'unit block fill_during_write',
       'state/stripe.h',
       'at_store_release(&s->intents, s->intents - 1);\n'
       '    at_store_release(&s->ticket, s->ticket + 1);',
       'at_store_release(&s->intents, s->intents - 1);'),
    _m('every match, present',
       'forgetting stops at the first match, and publishing does not look for one',
       'unit block forget_all_matches',
       *(_UNIQUE + _FIRST)),
    _m('ticket', 'ticket check of the stripe', 'unit block fill_after_write', 'state/stripe.h',
       'at_load_acquire(&s->ticket) == ticket && at_load_acquire(&s->intents) == 0',
       '(void)ticket, at_load_acquire(&s->intents) == 0'),
    _m('ticket at the end, NOFILL', 'a bracket\'s end moves the ticket, and a miss says NOFILL',
       'unit block fill_during_write', 'state/stripe.h',
       'at_store_release(&s->intents, s->intents - 1);\n'
       '    at_store_release(&s->ticket, s->ticket + 1);',
       'at_store_release(&s->intents, s->intents - 1);',
       *_NOFILL),
    _m('intents', 'intents at the miss and at publishing', 'unit block fill_during_write',
       *(_INTENT_MISS + _INTENT_FILL)),
    _m('lock of another stripe', 'of a run of blocks only the first one\'s stripe is locked',
       'unit block stores_locked', 'state/stripe.h',
       '    if (*held == s)\n', '    if (*held && s)\n'),
    _m('publish unchecked', 'second look at the tickets, under the lock',
       'crash fill-b1,beside-1,write-sync,fill-a0', PUBLISH,
       'if (!cm_publish_may(g, cm_stripe_at(c, n->key.stripe), n))\n'
       '        r = CM_NOT_STORED_STALE;\n    else\n        r = choose_cell(c, n, &at);',
       '(void)g;\n    r = choose_cell(c, n, &at);'),
    _m('file ticket, incarnation', 'file ticket and incarnation at publishing',
       'unit block every_change', *(_FILE_TICKET + _INCARNATION)),
    _m('file ticket', 'file ticket at publishing', 'unit block every_change', *_FILE_TICKET),
    _m('stale', 'stale at the miss and at publishing', 'unit block large_bracket',
       *(_STALE_MISS + _STALE_FILL)),
    _m('stale not set', 'open brackets counted as stale when the incarnation changes',
       'unit block large_bracket', FILE,
       'b->stale = true;\n    at_store_seq_cst(&f->stale, f->open_brackets);',
       'b->stale = false;\n    at_store_seq_cst(&f->stale, 0);'),
    _m('limit not raised', 'raising of the limit before publishing', 'unit file truncate',
       FILL, '    raise_limit(o->grant.f, o->miss->offset + o->len);\n',
       '    (void)raise_limit;\n'),
    _m('limit of a kept file', 'limit of an attached file that was kept', 'unit file truncate_kept',
       'state/attach.c', '    f->limit = f->size; /*', '    /*'),
    _m('truncate range', 'the block that a truncation cuts through', 'unit file truncate',
       'protocol/bracket.c',
       'struct plan p = { OPEN_END, new_size / CM_BLOCK_SIZE, UINT64_MAX, 0 };',
       'struct plan p = { OPEN_END, blocks_end(new_size), UINT64_MAX, 0 };'),
    _m('large bracket', 'new incarnation for a range over 64 MiB', 'unit block every_change',
       'protocol/bracket.c',
       'b->end = b->first; /* no stripes: everything goes at once */\n    return cm_file_renew(f);',
       'b->end = b->first;\n    return 0;'),
    _m('size under a bracket', 'size unknown while it may change', 'unit file size',
       'protocol/bracket.c',
       "        e = cm_file_forget_size(f);\n    if (e)", "        e = 0;\n    if (e)"),
    _m('unreadable copies', 'a new incarnation when a copy cannot be reached',
       'unit file escalate_to_file', 'protocol/bracket.c',
       '        e = cm_file_renew(f);\n    }\n    b->raised = true;',
       '        e = 0;\n    }\n    b->raised = true;'),
    # Slots and readers.
    _m('sequence', 'next sequence at publishing', 'unit block sequence',
       SLOT, '(uint32_t)((h->w0 + 1) & CM_W0_SEQ_MASK)', '(uint32_t)(h->w0 & CM_W0_SEQ_MASK)'),
    _m('sequence kept', 'sequence kept when invalid', 'unit block sequence', *_SEQ_KEPT),
    _m('check kept', 'check cleared when invalid: only VALID is', 'unit block flipped_dead_header',
       SLOT, 'w0, w0 & CM_W0_SEQ_MASK);', 'w0, w0 & ~(uint64_t)CM_W0_VALID);'),
    _m('w0 after the copy', 'second look at w0 after the copy', 'crash full read-torn',
       SLOT, 'return *error == 0 && again == w0;', '(void)w0;\n    return *error == 0;'),
    _m('key in read', 'comparison of the key', 'unit block other_key',
       SLOT, ' || !cm_slot_is(&h, k))\n        v = CM_SLOT_OTHER;',
       ')\n        v = CM_SLOT_OTHER;'),
    _m('wipe', 'wiping of what was copied in vain', 'unit block nothing_leaks', SLOT,
       '    if (*got < len)\n        memset', '    if (*got > len)\n        memset'),
    _m('known, w0 after the copy', 'second look at w0 after the copy from a known slot',
       'crash full read-a,read-torn', 'media/slot.h', '&again) == 0 && again == h.w0 &&',
       '&again) == 0 &&'),
    _m('known, VALID', 'VALID of a known slot', 'unit block flipped_known_header',
       'media/slot.h', ' && (h.w0 & CM_W0_VALID) &&', ' &&'),
    _m('known, incarnation', 'incarnation of a known slot', 'unit block flipped_known_header',
       'media/slot.h', 'h.incarnation == k->incarnation &&\n           h.block', 'h.block'),
    _m('known, block', 'block and length of a known slot', 'unit block flipped_known_header',
       'media/slot.h',
       ' &&\n           h.block_valid == (k->block << CM_VALID_BITS | CM_BLOCK_SIZE);', ';'),
    _m('known, judged', 'test that a slot was judged since open', 'unit block flipped_header',
       'protocol/lookup.h', 'return cm_ring_is_verified(&c->policy.ring, slot) && c->',
       'return c->'),
    _m('known, epoch', 'judged slots are judged anew after a new epoch',
       'unit block epoch_outdates_judged',
       'protocol/lookup.h', ' &&\n           cm_media_key(&c->media) == c->judged_key;', ';'),
    _m('held, forget', 'forgetting of what waits in DRAM', 'unit probation write_forgets',
       FORGET, '        cm_probation_kill(&c->probation, &k[i]);\n', ''),
    _m('held, ticket', 'ticket of a block on its way from DRAM to the pool',
       'unit probation promotion_beside_write',
       PUBLISH, ': cm_stripe_good(s, n->ticket);', ': true;'),
    _m('held, pins', 'look at the pins of an emptied entry', 'unit probation promotion_beside_pin',
       HOLD, 'if (!cm_probation_is_pinned(&c->probation, e))', 'if (e < UINT32_MAX)'),
    _m('held, present', 'publishing to DRAM does not look for a block that is there',
       'unit probation tails',
       HOLD, 'else if (there == CM_FOUND_HIT || cm_step_buffered(c, &n->key) >= n->valid)',
       'else if (there == CM_FOUND_HIT)',
       HOLD, 'return cm_step_buffered(c, &n->key) >= n->valid ? CM_NOT_STORED_PRESENT : 0;',
       'return 0;'),
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
    _m('memo, generation', 'generation of a page of the memo', 'unit memo page_checks',
       'media/memo.c',
       '           generation >= o->generation;', '           generation <= UINT64_MAX;'),
    _m('memo, emptied page', 'what was forgotten since is overwritten', 'unit memo clean',
       'media/memo.c', 'return !is_zero(p) || is_of_us(o, number);', 'return !is_zero(p);'),
    _m('memo, number', 'number of a page of the memo', 'unit memo page_checks', 'media/memo.c',
       'p->number == number && ', ''),
    _m('memo, sum', 'checksum of a page of the memo', 'unit memo page_checks', 'media/memo.c',
       ' && p->xxh3 == cm_format_memo_sum(cm_media_key(o->media), p);', ';'),
    _m('memo, named while open', 'a session takes the name of what was kept away',
       'unit memo crash', SUPER, '    memset(&sb->memo, 0, sizeof(sb->memo)); /*', '    /*'),
    _m('memo, OPEN', 'an open superblock names nothing', 'unit memo open_names_nothing',
       'api/cache.c', 'last.state == CM_SUPER_CLEAN ? &last.memo : NULL', '&last.memo'),
    _m('memo, not written', 'what could not be written is not named', 'unit memo unreadable',
       'api/cache.c', '        memset(&memo, 0, sizeof(memo));\n', '        (void)0;\n'),
    _m('header check', 'check word of a header', 'unit block flipped_header',
       'media/format.c',
       'return h->w0 == cm_format_w0(key, slot, h, (uint32_t)(h->w0 & CM_W0_SEQ_MASK));',
       '(void)key, (void)slot;\n    return true;'),
    _m('payload check', 'checksum of a payload', 'unit block flipped_payload',
       SLOT, 'return h->xxh3 ==\n', 'return h->xxh3 + 1 !=\n'),
    _m('tail length', 'valid length of a tail', 'unit block tails',
       SLOT, '*got = valid <= from ? 0 : valid - from < len ? valid - from : len;',
       '*got = len;\n    (void)valid;'),
    _m('pin looks again', 'second look at w0 after pinning', 'unit pin refilled_before_the_pin',
       LOOKUP, '== CM_SLOT_HIT && again.w0 == h.w0) {', '<= CM_SLOT_OTHER && again.w0 + 1 != 0) {'),
    _m('doom', 'pins looked at before a slot is overwritten', 'unit pin unchanged_by_churn',
       EVICT, 'if (!cm_pin_doom(&c->pins[v[i].slot]))', 'if (true)'),
    _m('pins, displace', 'a displaced block that is pinned is not overwritten',
       'unit pin displaced_while_pinned', PUBLISH,
       '    if (cm_step_settle_pins(c, slot))\n        n->freed = slot;', '    n->freed = slot;'),
    _m('pins, drop', 'a dropped block that is pinned is not overwritten',
       'unit pin dropped_while_pinned', STEPS,
       '    if (r == 1)\n        free_owned(c, slot);',
       '    if (r == 1)\n        cm_ring_give_free(&c->policy.ring, &slot, 1);'),
    _m('lock over publishing', 'lock held from the look at the tickets to VALID',
       'crash fill-b1,beside-2,write-sync,fill-a0', PUBLISH,
       '    if (r == 0) {\n        /* Cell, then header',
       '    if (r == 0) {\n        struct cm_stripe *s = cm_stripe_at(c, n->key.stripe);\n        '
       'cm_lock_release(&s->lock);\n        cm_media_fence(&c->media);\n        '
       'cm_lock_acquire(&s->lock);\n        /* Cell, then header'),
    _m('line, ended', 'slots that have left the line in this batch, but not the count',
       'unit ring victims_by_turns',
       'policy/ring.c', 'at_load_relaxed(&r->on_probation) - ended;',
       'at_load_relaxed(&r->on_probation) - 0 * ended;'),
    _m('line, until not full', 'look before each victim whether the line is still full',
       'unit ring victims_by_turns',
       'policy/ring.c', 'while (got < n && line_is_full(r, taken + got, ended) &&',
       'while (got < n &&'),
    _m('line, counted', 'slots counted as on probation that are not there yet',
       'unit ring spared_together',
       'policy/ring.c', 'at_load_relaxed(&r->on_probation) - counted > most',
       'at_load_relaxed(&r->on_probation) - 1 > most'),
    _m('line, given back', 'counts of slots that did not go on probation',
       'unit ring spared_together',
       'policy/ring.c', '    if (counted > 0)\n', '    if (counted > 32)\n'),
    _m('own before evicting', 'ownership taken by an atomic test', 'unit ring victims_at_once',
       'policy/ring.h', 'return !(at_or_acq_rel(&r->owned[slot / 64], bit) & bit);',
       'at_or_acq_rel(&r->owned[slot / 64], bit);\n    return true;'),
    # Errors that only the other thread's turn shows (turns.c).
    _m('held, pinned and then looked at',
       'second look at an entry of the probation buffer that was pinned',
       'turns leaving: pin, push', PROBATION,
       'if (at_load_seq_cst(&p->entry[*e].version) == version) {', 'if (version & 1) {'),
    _m('held, ticket and then looked at',
       'second look at an entry that leaves the buffer, after its ticket',
       'turns leaving: push, write', HOLD,
       'return cm_probation_peek(&c->probation, e, &again) && again.version == h.version;',
       'again = h;\n    return again.version == h.version;'),
    _m('stale, and then the incarnation',
       'brackets are counted as stale before the new incarnation is seen',
       'turns absent open: forget, fill', FILE,
       '''    at_store_seq_cst(&f->stale, f->open_brackets);
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
    _m('read-ahead, pool', 'read-ahead is a small share of the pool', 'unit flight ahead_bound',
       'api/request.c',
       'uint64_t most = f->cache->media.geo.slots / 32,',
       'uint64_t most = f->cache->media.geo.slots / 2,'),
    _m('read-ahead, buffer', 'read-ahead is half of the probation buffer at most',
       'unit flight ahead_bound', 'api/request.c',
       'if (waiting > 0 && most > waiting / 2)', 'if (0)'),
    _m('read-ahead, reach', 'read-ahead keeps to its bound', 'unit flight ahead_bound',
       'api/request.c',
       'reach = window < most ? window : most;', 'reach = most ? window : most;'),
    _m('miss, reach', 'a miss is looked for no further than tickets reach', 'turns bounded',
       'api/read_range.c', '    if (end > reach)\n        end = reach;\n', ''),
    # Found by random-mutants.py.
    _m('unreadable bucket', 'a block is not stored where it may be already, unseen',
       'unit block unreadable_first_bucket', PUBLISH,
       '    struct cm_cells cells;\n    if (cm_step_cells(c, &n->key, &cells))',
       '    struct cm_cells cells;\n    memset(&cells, 0xff, sizeof(cells));\n'
       '    if (cm_step_cells(c, &n->key, &cells) && 0)'),
    _m('displace, unwritable', 'a block whose header cannot be written does not make room',
       'unit block displace_unwritable', PUBLISH, '''h->w0);
    if (r == 1)
        r = cm_slot_flush''', '''h->w0);
    if (r == 1 || 1)
        r = cm_slot_flush'''),
    _m('quarantine, owned', 'what another owns is not taken out of use',
       'unit block owned_is_left_alone', STEPS,
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
    _m('attach, locked', 'two threads that attach a file get one object',
       'turns absent: attach, attach', 'state/attach.c',
       '''        e = attach_new(c, id, v, flags, file);
        cm_lock_release(&c->files_lock);''', '''        cm_lock_release(&c->files_lock);
        e = attach_new(c, id, v, flags, file);'''),
    _m('forget, locked', 'forgetting an open file holds its lock', 'turns absent: forget, begin',
       'state/attach.c',
       '''        e = e == 0 ? cm_file_renew(f) : cm_file_stop(f, e);
        cm_lock_release(&f->lock);
    } else if''', '''        cm_lock_release(&f->lock);
        e = e == 0 ? cm_file_renew(f) : cm_file_stop(f, e);
    } else if'''),
    _m('attach, broken', 'no file is attached while the pool cannot forget',
       'unit file cannot_forget_yet', 'state/attach.c',
       '''    int e = cm_file_can_forget(c);
    if (e == 0)
        e = cm_file_load_records''', '''    int e = 0;
    if (e == 0)
        e = cm_file_load_records'''),
    _m('own record, damaged', 'a record that this session wrote counts, damaged or not',
       'unit file own_record_damaged', FILE, '        f->recorded = true;\n    } else {',
       '    } else {'),
    _m('files freed', 'the list of objects is not read in freed memory', 'unit file hooks_unlocked',
       'state/object.c',
       '''        c->slabs = s->next;
        cm_cache_free(c, s, sizeof(*s));''', '''        cm_cache_free(c, s, sizeof(*s));
        c->slabs = s->next;'''),
    _m('many, all of them', 'each of many blocks read at once is served',
       'unit block read_many_known', 'api/read_range.c',
       '            r->result = (int64_t)r->len;\n',
       '            if (i == 0)\n                r->result = (int64_t)r->len;\n'),
]
