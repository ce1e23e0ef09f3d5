/* SPDX-License-Identifier: BSD-2-Clause
 *
 * seal.c - what the callbacks of a seal are asked, and when their answer is right.
 *
 * Owns: the bytes that a tag covers, and the tweak. No state.
 *
 * How: in a sealed pool a tag stands where an unsealed one has an XXH3 of 64 bits: of a slot, of
 * the body of a record, of its size. The superblock has one, too. A tag covers a head of eight
 * words: what kind of thing it is, the pool, its epoch (by its check key), the place, and what the
 * thing says of itself. So a tag is right for one thing in one place. All other checks stay as they
 * are: what can be had by forging them, an older content of a block, can also be had by putting
 * older bytes back (docs/decisions/sealing.md).
 *
 * A block is hashed in plain, and its tag is a part of the tweak that it is encrypted with. So a
 * tweak comes again only with the same content in the same slot, whatever somebody did to the pool.
 *
 * Who: api/, media/.
 */
#include "media/seal.h"

#include <string.h>

#include "platform/callback.h"

#define HEAD_WORDS (CM_SEAL_HEAD / sizeof(uint64_t))

/* The first word of a head. */
enum kind { OF_KEY = 1, OF_SUPER = 2, OF_SLOT = 3, OF_RECORD = 4, OF_SIZE = 5 };

const struct cm_sealing cm_seal_unknown;

static int failed(const struct cm_sealing *s)
{
    if (s->failures)
        at_add_relaxed(s->failures, 1);
    return CM_ESEAL;
}

static int ask(const struct cm_sealing *s, const uint64_t head[HEAD_WORDS], const void *data,
               size_t len, uint64_t *tag)
{
    struct cm_callback frame;
    uint8_t bytes[CM_SEAL_TAG] = { 0 };
    static_assert(sizeof(bytes) == sizeof(*tag), "a tag is a word");
    if (!s->hooks.mac)
        return CM_ESEAL;
    cm_callback_begin(s->cache, &frame);
    const int cancel = cm_plat_cancel_off();
    const int e = s->hooks.mac(s->hooks.ctx, (const uint8_t *)head, data, len, bytes);
    cm_plat_cancel_back(cancel);
    cm_callback_end(&frame);
    memcpy(tag, bytes, sizeof(*tag));
    return e ? failed(s) : 0;
}

static void begin_head(uint64_t head[HEAD_WORDS], enum kind kind, const uint8_t uuid[16],
                       uint64_t key, uint64_t place)
{
    memset(head, 0, CM_SEAL_HEAD);
    head[0] = kind;
    memcpy(&head[1], uuid, 16);
    head[3] = key;
    head[4] = place;
}

int cm_seal_slot(const struct cm_media *m, uint64_t slot, uint64_t incarnation,
                 uint64_t block_valid, const void *data, uint64_t *tag)
{
    uint64_t head[HEAD_WORDS];
    begin_head(head, OF_SLOT, m->seal->uuid, cm_media_key(m), slot);
    head[5] = incarnation;
    head[6] = block_valid;
    return ask(m->seal, head, data, block_valid & ((1u << CM_VALID_BITS) - 1), tag);
}

int cm_seal_record(const struct cm_media *m, uint64_t key, uint64_t place,
                   const struct cm_record *r, uint64_t *tag)
{
    uint64_t head[HEAD_WORDS];
    begin_head(head, OF_RECORD, m->seal->uuid, key, place);
    return ask(m->seal, head, r, offsetof(struct cm_record, xxh3), tag);
}

int cm_seal_size(const struct cm_media *m, uint64_t key, uint64_t place, const struct cm_record *r,
                 uint64_t *tag)
{
    uint64_t head[HEAD_WORDS];
    begin_head(head, OF_SIZE, m->seal->uuid, key, place);
    head[5] = r->size;
    head[6] = r->xxh3; /* the tag of the body that it belongs to */
    return ask(m->seal, head, NULL, 0, tag);
}

/* ---- Encryption ------------------------------------------------------------------------------ */

static int change_block(const struct cm_media *m, bool encrypt, uint64_t slot, uint64_t tag,
                        void *block)
{
    const struct cm_sealing *s = m->seal;
    const uint64_t words[2] = { tag, slot };
    struct cm_callback frame;
    uint8_t tweak[16];
    if (!s->hooks.encrypt)
        return 0;
    memcpy(tweak, words, sizeof(tweak));
    cm_callback_begin(s->cache, &frame);
    const int cancel = cm_plat_cancel_off();
    const int e = (encrypt ? s->hooks.encrypt : s->hooks.decrypt)(s->hooks.ctx, tweak, block);
    cm_plat_cancel_back(cancel);
    cm_callback_end(&frame);
    return e ? failed(s) : 0;
}

int cm_seal_encrypt(const struct cm_media *m, uint64_t slot, uint64_t tag, void *block)
{
    return change_block(m, true, slot, tag, block);
}

int cm_seal_decrypt(const struct cm_media *m, uint64_t slot, uint64_t tag, void *block)
{
    return change_block(m, false, slot, tag, block);
}

/* ---- Superblocks ----------------------------------------------------------------------------- */

/* Shows whether a key is the right one, and nothing else. */
static int key_check(const struct cm_sealing *s, const struct cm_super *sb, uint64_t *tag)
{
    uint64_t head[HEAD_WORDS];
    begin_head(head, OF_KEY, sb->uuid, 0, 0);
    return ask(s, head, NULL, 0, tag);
}

static int super_tag(const struct cm_sealing *s, const struct cm_super *sb, uint64_t *tag)
{
    struct cm_super bare = *sb;
    uint64_t head[HEAD_WORDS];
    bare.tag = 0;
    begin_head(head, OF_SUPER, sb->uuid, 0, 0);
    return ask(s, head, &bare, offsetof(struct cm_super, xxh3), tag);
}

int cm_seal_super(const struct cm_sealing *s, struct cm_super *sb)
{
    const int e = key_check(s, sb, &sb->key_check);
    return e ? e : super_tag(s, sb, &sb->tag);
}

int cm_seal_judge(const struct cm_sealing *s, const struct cm_super *sb)
{
    const uint64_t both = CM_INCOMPAT_SEALED | CM_INCOMPAT_ENCRYPTED;
    uint64_t right = 0;
    if ((sb->incompat & both) != cm_seal_incompat(&s->hooks))
        return CM_EKEY;
    if (!s->hooks.mac)
        return 0;
    int e = key_check(s, sb, &right);
    if (e || sb->key_check != right)
        return e ? e : CM_EKEY;
    e = super_tag(s, sb, &right);
    return e ? e : sb->tag == right ? 0 : CM_EDAMAGED;
}

uint64_t cm_seal_incompat(const cm_seal *hooks)
{
    if (!hooks || !hooks->mac)
        return 0;
    return CM_INCOMPAT_SEALED | (hooks->encrypt ? CM_INCOMPAT_ENCRYPTED : 0);
}
