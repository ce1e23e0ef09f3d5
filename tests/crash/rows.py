# SPDX-License-Identifier: BSD-2-Clause
"""rows.py - what the rows of mutants.py need: the files that they change, edits that several rows
make, and the rows that no test can notice."""
import collections

from mutation import edits_of

Mutant = collections.namedtuple('Mutant', 'name what by edits')


def _m(name, what, by, *words):
    return Mutant(name, what, by, edits_of(words))


SLOT, RECORD, SUPER = 'media/slot.c', 'media/file_table.c', 'media/superblock.c'
BOOTS = 'media/super_boots.c'
VOLUME, TRUST = 'platform/posix_volume.c', 'platform/posix_trust.c'
FILE, PROBATION = 'state/file.c', 'state/probation_buffer.c'
FILL, HOLD, MISS = 'protocol/fill.c', 'protocol/fill_buffered.c', 'protocol/fill_ticket.c'
EVICT, FORGET, LOOKUP = 'protocol/evict.c', 'protocol/forget.c', 'protocol/lookup.c'
PUBLISH, STEPS = 'protocol/publish.c', 'protocol/steps.c'

_UNIQUE = (PUBLISH, '''    if (!cm_index_match(&c->media, &n->key, cell))
        return 0;
''', '''    if (cell || !cell)
        return 0;
''')
_FIRST = (FORGET, 'left; left &= left - 1) { /* every match */',
          'left && dead->cell == 0; left = 0) {')
_HELP = (FORGET, '''    if (v != CM_SLOT_HIT)
        return 1;
''', '''    if (v != CM_SLOT_HIT)
        return 0;
''')
_EARLY_UNLOCK = (FORGET, '''     * must not trust the absence before it is durable. */
    cm_media_fence(&c->media);''', '''     * must not trust the absence before it is durable. */
    cm_lock_release(&cm_stripe_at(c, k->stripe)->lock);
    cm_media_fence(&c->media);
    cm_lock_acquire(&cm_stripe_at(c, k->stripe)->lock);''')
_EARLY_CELLS = (FORGET, '''    /* Fence 4: forgotten durably.''',
                '''    for (unsigned i = 0; i < n; i++)
        clear_cells(c, &k[i], dead[i].cell);
    /* Fence 4: forgotten durably.''')
_HOLDS = 'protocol/fill_ticket.h'
_FILE_TICKET = (_HOLDS,
                '''           at_load_seq_cst(&f->ticket) == miss->opaque[CM_MISS_FILE_TICKET] &&
''', '')
_INCARNATION = (_HOLDS, '           at_load_acquire(&f->incarnation) == miss->incarnation &&\n',
                '')
_STALE_MISS = (MISS, 'if (!good || at_load_seq_cst(&f->stale) != 0)', 'if (!good)')
_STALE_FILL = (_HOLDS, ''' &&
           at_load_seq_cst(&f->stale) == 0;
}''', ''';
}''')
_INTENT_MISS = ('state/stripe.h', 'return at_load_acquire(&s->intents) == 0;', 'return true;')
_INTENT_FILL = ('state/stripe.h',
                'at_load_acquire(&s->ticket) == ticket && at_load_acquire(&s->intents) == 0',
                'at_load_acquire(&s->ticket) == ticket')
_NOFILL = ('protocol/fill.c', '(miss->flags & CM_MISS_NOFILL) || !cm_file_serves(f)) { /*',
           '!cm_file_serves(f)) { /*')
_SEQ_KEPT = ('media/slot.h', 'w0, w0 & CM_W0_SEQ_MASK);', 'w0, 0);')
REGION = 'state/region.c'
_INTENT = (REGION, 'need = mask & ~g->durable;', 'need = mask & ~g->intents;')
_SETTLE = ('state/attach.c', ' && cm_record_settle(&c->media, f->place) == 0)', ')')
_VICTIMS = (EVICT, '''     * durable. */
    cm_media_fence(&c->media);
    at_fence_seq_cst(); /* as''', '''     * durable. */
    at_fence_seq_cst(); /* as''')
_DAMAGED = ('state/file_record.c',
            '        if (b->unreadable[i] || (!b->whole[i] && !b->unproved[i] && '
            'b->record[i].xxh3 != 0 &&\n'
            '                                 (b->record[i].flags & CM_RECORD_SYNC_FAILED))) {\n',
            '        if (b->unreadable[i]) {\n')

# In this table the third column is not a test, but the reason why there can be none.
BENIGN = [
    _m('words, w0 first', 'the first of four words is loaded before its pair',
       'a CPU with AVX loads an aligned pair at one moment; older ones need not (reader.pml shows '
       'with KEY_FIRST what may come of that)', 'persist/guard_x86.S',
       '        movsd   %xmm2, %xmm0\n', ''),
    _m('held, checkpoint, room ends', 'a checkpoint looks at the room once more',
       'another thread has to take the last slots between two loads; then a few blocks without '
       'hits take the place of others', HOLD,
       '(it->start != CM_START_MEMBER && it->start != CM_START_KNOWN) || !finds', '!finds'),
    _m('mark not moved', 'a range of incarnations of its own for every session',
       'the first incarnation that is asked for then writes a range of its own; only a mark below '
       'what was used is harmful ("mark below what was used")',
       SUPER, '    sb->inc_mark += CM_INCARNATION_RANGE;\n    if (e == 0)', '    if (e == 0)'),
    _m('owner of a stale cell', 'ownership test before a dead cell is used',
       'the cell is used only after its header was flushed and fenced by the one who uses it '
       '("settle stale"); the test saves that for headers whose owner is about to do it', PUBLISH,
       'if (!live && !unreadable && !owned && settle_stale(c, slot))',
       'if (!live && !unreadable && settle_stale(c, slot))'),
    _m('ticket at the begin', 'a bracket\'s begin moves the ticket',
       'until the end the intents refuse, and the end moves the ticket', 'state/stripe.h',
       'at_store_release(&s->intents, s->intents + 1);\n'
       '    at_store_release(&s->ticket, s->ticket + 1);',
       'at_store_release(&s->intents, s->intents + 1);'),
    _m('tail rewritten', 'a tail that ended too soon is not joined with what is read after it',
       'a piece is copied out from its first byte on, which is that of the block; the move of the '
       'position lets the block be read in place', 'api/request.c',
       'to = miss->offset > q->r->offset ? miss->offset : q->r->offset;', '(void)0;'),
    _m('intent trusted', 'own fence of an intent that is found set',
       'attaching settles the record with the intent in it; both removed: "intent trusted, record '
       'not settled"',
       *_INTENT),
    _m('unlock before fence 4', 'lock held over the fence of forgetting',
       'the cells stay until the fence is done, so a second bracket finds the invalid header and '
       'flushes it itself; both removed: "unlock before fence 4, cells too"',
       *_EARLY_UNLOCK),
    _m('incarnation at publishing', 'comparison of the incarnation',
       'the file ticket moves with every new incarnation; both removed: "file ticket, incarnation"',
       *_INCARNATION),
    _m('NOFILL', 'a miss that says NOFILL is refused by its flag',
       'what it refuses, the intents and the tickets refuse under the lock; with the end\'s '
       'ticket: "ticket at the end, NOFILL"',
       *_NOFILL),
    _m('verify, open bracket', 'a ticket that was taken beside a bracket is void',
       'its end moves the tickets, and until then its intent is there: the look under '
       'the lock finds one or the other', 'api/warm_verify.c',
       '    if (v->miss.flags & CM_MISS_NOFILL)\n', '    if (0)\n'),
    _m('fence before the pins', 'barrier between w0 and the pins',
       'the compare-and-swap of w0 before it is a full barrier (persist.h); the fence states what '
       'the code needs where that is far away',
       STEPS, '    at_fence_seq_cst();\n    return !cm_pin_doom', '    return !cm_pin_doom'),
    _m('fence after raising the limit', 'barrier after raising the limit',
       'on x86 the compare-and-swap is the barrier already, and where it is skipped the limit was '
       'there; on arm64 it is needed', FILL, "        ;\n    at_fence_seq_cst();\n", "        ;\n"),
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
    _m('fence of a repair', 'fence after repairing',
       'as above: what comes back is found damaged again',
       'api/check.c', '        cm_media_fence(&c->media); /* what was dropped stays dropped */\n',
       '        (void)0;\n'),
    _m('fence at the close', 'fence before closing',
       'every operation fenced what it flushed; and writing CLEAN fences twice',
       'api/close.c',
       '    cm_media_fence(&c->media); /* all flushes of this thread; other threads fenced their '
       'own */\n',
       ''),
    _m('memo, fence', 'fence after writing the memo',
       'writing CLEAN fences as well, and what is missing of a page fails its sum; the fence is '
       'for the sync that may follow', 'media/memo.c',
       '    cm_media_fence(m); /* before CLEAN says that they count */\n', ''),
    _m('other owner\'s victim', 'ownership test when a cell\'s block is chosen to be displaced',
       'displacing takes ownership by compare-and-swap and gives up; the test saves the attempt',
       PUBLISH, 'if (live && !owned && worth < lowest &&', 'if (live && worth < lowest &&'),
]
