# SPDX-License-Identifier: BSD-2-Clause
"""rows_seal.py - the rows of mutants.py about sealed pools."""
from rows import _m, RECORD, SLOT, SUPER

SEAL, CACHE = 'media/seal.c', 'api/cache.c'

SEALED = [
    _m('seal, slot', 'a block counts only with its tag', 'unit seal planted', SLOT,
       'return tag == h->xxh3 ? CM_SLOT_HIT : CM_SLOT_BAD_SUM;', 'return CM_SLOT_HIT;'),
    _m('seal, every hit', 'every hit is verified, also of a block that was seen before',
       'unit seal planted', CACHE, '        c->opts.verify = CM_VERIFY_ALWAYS;\n',
       '        (void)0;\n'),
    _m('seal, own copy', 'the tag is that of the copy, not of the pool', 'unit seal hits', SLOT,
       'h->block_valid, block, &tag))',
       'h->block_valid, cm_slot_payload(m, slot), &tag))'),
    _m('seal, changed', 'a slot that changed meanwhile is no damage', 'unit seal changing', SLOT,
       '''    if (!copy_while_unchanged(m, slot, h->w0, block, 0, stored, &e))
        return e ? CM_SLOT_UNREADABLE : CM_SLOT_CHANGED;
''', '''    (void)copy_while_unchanged(m, slot, h->w0, block, 0, stored, &e);
'''),
    _m('seal, incarnation', 'a tag belongs to a version of a file', 'unit seal renamed', SEAL,
       '    head[5] = incarnation;\n', ''),
    _m('seal, block', '... to a block of it, and to its length', 'unit seal renamed', SEAL,
       '    head[6] = block_valid;\n', ''),
    _m('seal, epoch', '... and to an epoch', 'unit seal old_epoch', SEAL,
       '    head[3] = key;\n', ''),
    _m('seal, place', 'the tag of a record belongs to its place', 'unit seal moved_record', SEAL,
       '    head[4] = place;\n', ''),
    _m('seal, record', 'a record counts only with its tag', 'unit seal planted_record', RECORD,
       '''    if (cm_seal_known(m))
        return cm_seal_record(m, key, place, r, sum);
''', ''),
    _m('seal, size', 'a size counts only with its tag', 'unit seal planted_size', RECORD,
       '''    if (cm_seal_known(m))
        return cm_seal_size(m, cm_media_key(m), place, r, sum);
''', ''),
    _m('seal, tail', 'nothing is left of what a tag does not cover', 'unit seal nothing_left', SLOT,
       '    if (*got < part->len) /* it may hold what was not proved */\n', '    if (0)\n'),
    _m('seal, encrypts', 'what is stored is encrypted', 'unit seal hits', SLOT,
       '''    if (e == 0)
        e = cm_seal_encrypt(m, slot, h->xxh3, block);
''', ''),
    _m('seal, tweak', 'the tweak depends on the content', 'unit seal tweak', SEAL,
       'const uint64_t words[2] = { tag, slot };', 'const uint64_t words[2] = { 0 * tag, slot };'),
    _m('seal, tweak and slot', '... and on the slot', 'unit seal tweak', SEAL,
       'const uint64_t words[2] = { tag, slot };', 'const uint64_t words[2] = { tag, 0 * slot };'),
    _m('seal, key', 'another key is refused as such', 'unit seal keys', SEAL,
       'return e ? e : CM_EKEY;', 'return e ? e : CM_EDAMAGED;'),
    _m('seal, key check', 'a superblock names its key', 'unit seal keys', SEAL,
       '    if (e || sb->key_check != right)\n', '    if (e)\n'),
    _m('seal, superblock', 'a superblock counts only with its tag', 'unit seal planted_super',
       SEAL, 'return e ? e : sb->tag == right ? 0 : CM_EDAMAGED;', 'return e;'),
    _m('seal, none', 'a pool without a seal is refused to who has one', 'unit seal keys', SEAL,
       '''    if ((sb->incompat & both) != cm_seal_incompat(&s->hooks))
        return CM_EKEY;
''', '''    if (!(sb->incompat & both))
        return 0;
'''),
    _m('seal, one copy', 'one copy is enough to refuse who has no key', 'unit seal planted_super',
       SUPER, '(e[i] == CM_EKEY && !s->hooks.mac) || ', ''),
    _m('seal, callback of an open', 'an open is refused if a callback fails', 'unit seal failing',
       SUPER, ' || e[i] == CM_EIO)', ')'),
    _m('seal, reader', 'a reader of another process tests superblocks, too',
       'unit seal shared_super', 'state/shared.c',
       'cm_super_read_sealed(c->media.base, &c->sealing, sb, &damaged)',
       'cm_super_read(c->media.base, sb, &damaged)'),
    _m('seal, pins', 'nothing is pinned', 'unit seal pins', 'api/read_range.c',
       '    if (f->cache->media.seal)\n        return CM_ENOTSUP;',
       '    if (0)\n        return 0;'),
    _m('seal, failing fill', 'a callback that fails costs no slot', 'unit seal failing',
       'protocol/publish.c', 'n->spoiled = e != CM_EKEY;', 'n->spoiled = true;'),
    _m('seal, failing read', '... and no block', 'unit seal failing', SLOT,
       'return CM_SLOT_CHANGED; /* a callback failed',
       'return CM_SLOT_BAD_SUM; /* a callback failed'),
    _m('seal, call back', 'a callback cannot call the library', 'unit seal callback', SEAL,
       '    cm_callback_begin(s->cache, &frame);\n    const int cancel = cm_plat_cancel_off();\n'
       '    const int e = s->hooks.mac(',
       '    cm_callback_begin(NULL, &frame);\n    const int cancel = cm_plat_cancel_off();\n'
       '    const int e = s->hooks.mac('),
    _m('seal, options', 'a seal without a hash is refused', 'unit seal options', 'api/structs.c',
       '    else if (from && !to->mac)\n        why = "mac is NULL";\n', ''),
    _m('seal, halves', '... and one that only encrypts', 'unit seal options', 'api/structs.c',
       '    else if (!to->encrypt != !to->decrypt)\n'
       '        why = "encrypt and decrypt must be set together";\n', ''),
    _m('seal, resize', 'a resized pool is sealed', 'unit seal resize', 'api/resize.c',
       'z->to.seal = z->old->media.seal ? &z->sealing : NULL;', 'z->to.seal = NULL;'),
    _m('seal, objects', 'objects do without pins', 'unit seal objects', 'objects/values.c',
       '        if (got == CM_ENOTSUP)\n            got = look_sealed(st->file, offset, &miss);\n',
       ''),
    _m('seal, check', 'a check knows records of earlier epochs', 'unit seal check', 'api/check.c',
       'cm_record_sum(&k->c->media, k->old_key[i], place, r, &sum) == 0', '0'),
]
