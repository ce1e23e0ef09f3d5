/* SPDX-License-Identifier: BSD-2-Clause
 *
 * seal.h - the keyed checks and the encryption of a sealed pool.
 */
#ifndef CM_SEALING_H
#define CM_SEALING_H

#include "media/media.h"

/* What seals a pool. hooks.mac is NULL if nobody gave a key: then the pool is only looked at, and
 * no keyed check is right. */
struct cm_sealing {
    cm_seal hooks;
    const struct cm_cache *cache; /* its callbacks must not call back into it; NULL: none yet */
    uint8_t uuid[16];             /* of the pool */
    uint32_t *failures;           /* counts callbacks that failed; relaxed. NULL: nobody counts */
};
/* Of a pool that is looked at without its key. */
extern const struct cm_sealing cm_seal_unknown;

/* Is the pool sealed, and its key known? */
static inline bool cm_seal_known(const struct cm_media *m)
{
    return m->seal && m->seal->hooks.mac;
}
static inline bool cm_seal_encrypts(const struct cm_media *m)
{
    return m->seal && m->seal->hooks.encrypt;
}

/* All of these return 0, or CM_ESEAL if the callback failed: then nothing is known of the thing. It
 * is neither damaged nor unreadable, and may be right at the next try. */

/* How many have failed so far. A call that must miss nothing compares it before and after. */
static inline uint32_t cm_seal_failures(const struct cm_sealing *s)
{
    return s->failures ? at_load_relaxed(s->failures) : 0;
}

/* The tag of a slot's header: over where the block belongs and the valid bytes of its plain
 * content. `incarnation` and `block_valid` as in the header. */
int cm_seal_slot(const struct cm_media *m, uint64_t slot, uint64_t incarnation,
                 uint64_t block_valid, const void *data, uint64_t *tag);
/* Encrypts or decrypts a whole block of a slot in place. `tag`: of its plain content. Nothing is
 * done if the pool is not encrypted. */
int cm_seal_encrypt(const struct cm_media *m, uint64_t slot, uint64_t tag, void *block);
int cm_seal_decrypt(const struct cm_media *m, uint64_t slot, uint64_t tag, void *block);
/* The tags in place of a record's sum and of the sum of its size. `key`: a check key. */
int cm_seal_record(const struct cm_media *m, uint64_t key, uint64_t place,
                   const struct cm_record *r, uint64_t *tag);
int cm_seal_size(const struct cm_media *m, uint64_t key, uint64_t place, const struct cm_record *r,
                 uint64_t *tag);

/* Completes a superblock of a sealed pool: key check and tag. Its sum comes after that. */
int cm_seal_super(const struct cm_sealing *s, struct cm_super *sb);
/* Judges a copy of a superblock whose sum is right. `s`: of the caller; hooks.mac may be NULL. 0,
 * CM_EKEY, CM_EDAMAGED (the key is right, the tag is not), CM_ESEAL. */
int cm_seal_judge(const struct cm_sealing *s, const struct cm_super *sb);

/* The bits of incompat of a pool that is sealed so. NULL: none. */
uint64_t cm_seal_incompat(const cm_seal *hooks);

#endif
