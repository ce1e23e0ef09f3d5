/* SPDX-License-Identifier: BSD-2-Clause
 *
 * format.h - the pool's bytes: structures, offsets, and the pure functions that encode, check and
 * place. No access to a pool happens here. docs/format.md is the normative table.
 *
 * All fields are little-endian and of fixed width. A big-endian build refuses pools instead of
 * swapping (no user has asked).
 */
#ifndef CM_FORMAT_H
#define CM_FORMAT_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cachemax.h"
#include "policy/ghost.h"

#define CM_FORMAT_VERSION 10u
#define CM_BYTE_ORDER_MARK 0x01020304u

/* Bits of cm_super.compat. */
#define CM_COMPAT_KEEP UINT64_C(1)  /* a record may say that its file is kept */
#define CM_COMPAT_GROUP UINT64_C(2) /* a record may have a group */
/* Bits of cm_super.incompat. */
#define CM_INCOMPAT_NAMES UINT64_C(1)     /* there is a table of names */
#define CM_INCOMPAT_GROWN UINT64_C(2)     /* it has parts, or a growth began (grow.c) */
#define CM_INCOMPAT_SEALED UINT64_C(4)    /* tags stand in place of some sums (seal.h) */
#define CM_INCOMPAT_ENCRYPTED UINT64_C(8) /* and the slots are encrypted */
#define CM_INCOMPAT_KNOWN                                                                          \
    (CM_INCOMPAT_NAMES | CM_INCOMPAT_GROWN | CM_INCOMPAT_SEALED | CM_INCOMPAT_ENCRYPTED)

#define CM_SLOTS_MIN 64u
#define CM_POOL_SIZE_MAX (UINT64_C(1) << 46) /* 64 TiB: less than 2^34 slots, as in a cell */

/* ---- Superblock: two copies, at 0 and at CM_SUPER_STRIDE ------------------------------------- */

#define CM_SUPER_STRIDE 4096u
#define CM_SUPER_COPIES 2u

enum cm_super_state { CM_SUPER_CLEAN = 1, CM_SUPER_OPEN = 2 };

/* A pool that grew has parts. Each has slots, their headers, and an index and a memo of all slots
 * up to its end; those of earlier parts are not used any more. Its word says where it ends and how
 * many pages its tables have, which come first. */
#define CM_PARTS 4u /* growths of a pool */
#define CM_PART_TABLE_BITS 28u
static inline uint64_t cm_part_end(uint64_t part) /* bytes from the pool's start */
{
    return part >> CM_PART_TABLE_BITS << 12;
}
static inline uint64_t cm_part_tables(uint64_t part) /* bytes */
{
    return (part & ((UINT64_C(1) << CM_PART_TABLE_BITS) - 1)) << 12;
}

/* What a clean close leaves for the policy of the next session. All zero: it left nothing. */
struct cm_super_memo {
    uint64_t generation; /* memo pages count from this one on */
    uint64_t hand;       /* of the ring, a slot */
    uint64_t departures; /* the ghost's clock */
};

struct cm_super {
    uint8_t magic[8];        /*   0 "CACHEMAX" */
    uint32_t byte_order;     /*   8 CM_BYTE_ORDER_MARK */
    uint32_t version;        /*  12 */
    uint64_t compat;         /*  16 features an old library may ignore */
    uint64_t incompat;       /*  24 features an old library must refuse */
    uint8_t uuid[16];        /*  32 new at every format */
    uint64_t pool_size;      /*  48 without its parts; so are slots and stripe_buckets */
    uint64_t slots;          /*  56 */
    uint64_t record_buckets; /* 64 */
    uint64_t stripes;        /*  72 */
    uint64_t stripe_buckets; /* 80 index buckets in a stripe */
    uint64_t data_align;     /*  88 */
    uint64_t hash_seed;      /*  96 */
    uint64_t created_ns;     /* 104 wall clock */
    /* What changes while a pool is in use. */
    uint64_t seq;         /* 112 of this superblock write; the higher of two good copies counts */
    uint64_t epoch;       /* 120 seeds every check in the pool */
    uint64_t inc_mark;    /* 128 no incarnation >= this was ever handed out */
    uint64_t frontier;    /* 136 hint: slots >= this were never used in this epoch */
    uint32_t state;       /* 144 enum cm_super_state */
    uint32_t durability;  /* 148 enum cm_durability of the owner */
    uint32_t boot_number; /* 152 counts the boots this pool saw; stamps what is stored */
    uint32_t owner_pid;   /* 156 */
    uint8_t boot_id[16];  /* 160 */
    uint8_t mount_id[16]; /* 176 */
    struct cm_super_memo memo;  /* 192 */
    uint32_t failed_boot;       /* 216 boot of the last fsync of an origin file that failed */
    uint32_t unnamed_boot;      /* 220 the same, of a file that no record names */
    uint8_t failed_boot_id[16]; /* 224 boot_id of failed_boot, which may be an earlier boot */
    uint64_t torn_epoch;        /* 240 epoch in which a crash may have torn what was stored */
    uint32_t boot_first;        /* 248 the system has not booted since this boot_number */
    uint16_t boot_before[2];    /* 252 sums of the boots that had the pool before boot_id's */
    /* The next two count with CM_INCOMPAT_SEALED only. */
    uint64_t key_check; /* 256 the same in all superblocks of a pool and a key */
    uint64_t tag;       /* 264 of bytes 0..311, with zero in place of this word */
    /* The next two count with CM_INCOMPAT_GROWN only. */
    uint64_t growing;        /* 272 0, or how long the file may be: a growth began */
    uint64_t part[CM_PARTS]; /* 280 0: there is none, nor a later one */
    uint64_t xxh3;           /* 312 XXH3-64 of bytes 0..311, seed 0 */
};

/* ---- Session: tells readers of other processes (CM_OPEN_SHARED) whose word counts ------------ */

/* A word in the page of the first copy, behind it. Odd: nothing of the pool may be served, because
 * an owner changes what all of it depends on, or has failed to. It has another value after that.
 * Not a part of the superblock, and of no use after a crash of the system. */
#define CM_SESSION_OFFSET 512u

/* ---- Stats page: counters any process may map and watch; never durable, never trusted -------- */

#define CM_STATS_OFFSET 8192u
#define CM_STATS_SHARDS 32u
/* Threads below this number, which begins at 1, have a shard each; the others share the rest. */
#define CM_STATS_OWN_SHARDS 24u

#define CM_STATS_LAYOUT 1u /* of head and shards; a page with another layout is not read */
#define CM_STATS_COUNTERS_MAX 64u

struct cm_stats_head {
    uint64_t form; /*  0 CM_STATS_LAYOUT | number of counters << 32; 0: never opened */
    uint64_t lifetime_pool_bytes; /*  8 of all earlier sessions */
    uint64_t opened_at_ns;        /* 16 wall clock */
    uint64_t closed_at_ns;        /* 24 wall clock; 0: open, or crashed */
    uint64_t owner_pid;           /* 32 */
    /* What the pool would serve if it had another size (policy_sample.c). */
    uint64_t curve_reads;                 /* 40 */
    uint64_t curve_skipped;               /* 48 */
    uint64_t curve_hits[CM_CURVE_POINTS]; /* 56 parts per million + 1; 0: not known */
    uint64_t folding; /* 112 not 0 while an open begins: what lifetime_pool_bytes becomes */
    uint64_t reserved[504 - CM_CURVE_POINTS];
};
/* Words of a shard: the first word of each histogram and of the counters. More counters may be
 * added. */
#define CM_STATS_HIT_LATENCY 0u
#define CM_STATS_ORIGIN_LATENCY 32u
#define CM_STATS_COUNTERS 64u
#define CM_STATS_SHARD_WORDS (CM_STATS_COUNTERS + CM_STATS_COUNTERS_MAX)
struct cm_stats_shard {
    uint64_t word[CM_STATS_SHARD_WORDS]; /* counters in the order of CM_STAT_MAP */
};
enum cm_stat {
#define CM_X(name, text) CM_STAT_##name,
    CM_STAT_MAP(CM_X)
#undef CM_X
        CM_STAT_COUNT
};
#define CM_STATS_BYTES                                                                             \
    (sizeof(struct cm_stats_head) + CM_STATS_SHARDS * sizeof(struct cm_stats_shard))

/* ---- File table: buckets of CM_RECORD_WAYS records ------------------------------------------- */

#define CM_RECORD_WAYS 16u
#define CM_RECORD_CHOICES 2u /* buckets that may hold a file's record */
#define CM_RECORD_RACY 1u
#define CM_RECORD_SYNC_FAILED 2u /* an fsync failed in the boot of the state word */

/* A file consists of so many regions; region.h says how blocks belong to them. */
#define CM_REGIONS 64u
#define CM_INTENTS 32u /* in a word */
#define CM_SINCES 6u   /* in a word */
#define CM_SINCE_WORDS ((CM_REGIONS + CM_SINCES - 1) / CM_SINCES)
/* An incarnation is given up after so many boots: their numbers in cells, headers and "since" words
 * repeat. */
#define CM_BOOTS 256u

struct cm_record {
    /* The body: written and checked as a whole. */
    cm_file_id id;                 /*   0 zero: empty */
    uint64_t incarnation;          /*  16 its number */
    uint8_t proof[CM_PROOF_BYTES]; /*  24 of the validator */
    uint64_t flags;                /*  56 CM_RECORD_RACY ... */
    uint32_t birth;                /*  64 boot from which on "since" counts */
    uint32_t region_shift;         /*  68 region of a block: (block >> this) modulo CM_REGIONS */
    uint64_t reserved;             /*  72 zero */
    uint64_t xxh3;                 /*  80 of bytes 0..79, seed: check key and place; or a tag */
    /* Words that change alone, each with its own check. */
    uint64_t intents[CM_REGIONS / CM_INTENTS]; /*  88 */
    uint64_t since[CM_SINCE_WORDS];            /* 104 */
    uint64_t state;                            /* 192 boot in which it was written last, DIRTY */
    uint64_t size;                             /* 200 of the file, if size_sum is right */
    uint64_t size_sum; /* 208 of size, seed: the body's sum, check key and place; or a tag */
    uint64_t expires;  /* 216 end of life: a time word; 0: none */
    uint64_t words[4]; /* 224 CM_RECORD_USED ... */
};
/* Three of the words are hints, and written without a flush. */
/* Bits 63..32: when it was used last, seconds since 1970; 31..0 check. */
#define CM_RECORD_USED 0u
#define CM_RECORD_HITS 1u /* blocks that were served, if that check is right */
#define CM_RECORD_NAME 2u /* sum of the name in the table of names; 0: it has none */
/* Attributes that the program gave the file: bits 63..32 its group, bit 31 keep, bits 30..0 check.
 * Zero, or with a wrong check: nothing. */
#define CM_RECORD_ATTR 3u
#define CM_ATTR_KEEP (UINT64_C(1) << 31)
#define CM_RECORD_BODY_BYTES 88u
static_assert(offsetof(struct cm_record, state) / 64 == offsetof(struct cm_record, size_sum) / 64,
              "one flush covers the state word and the size");

/* The same, decoded. It belongs to the file, not to one of its incarnations. */
struct cm_record_attr {
    bool keep;      /* its blocks are not evicted, and its record is not given away */
    uint32_t group; /* whose quota counts its blocks; 0: none */
};

/* An entry of the table of names. It belongs to the record in the same place. */
#define CM_NAME_BYTES (CM_FILE_NAME_MAX + 1)
struct cm_name {
    char text[CM_NAME_BYTES]; /* the rest is zero, the last byte at least */
};

/* Intent word: bits 31..0 an intent for each of 32 regions, bits 63..32 check. If the check is
 * wrong, all of them are set. */
/* "Since" word: bits 47..0 a byte for each of 6 regions, bits 63..48 check. If the check is wrong,
 * nothing that was cached of these regions counts. */
/* State word: bit 63 DIRTY, bits 62..32 boot number, bits 31..0 check. If the check is wrong, it is
 * DIRTY, of another boot. */
#define CM_STATE_DIRTY (UINT64_C(1) << 63)

/* ---- Index: buckets of CM_BUCKET_CELLS cells ------------------------------------------------- */

#define CM_BUCKET_CELLS 8u
/* Cell: bits 63..42 tag, bits 41..34 boot in which it was stored, bits 33..0 slot + 1; zero: empty.
 * A hint, never the truth. */
#define CM_CELL_SLOT_BITS 34u
#define CM_CELL_TAG_SHIFT 42u
#define CM_STRIPE_BUCKETS 512u

struct cm_bucket {
    uint64_t cell[CM_BUCKET_CELLS];
};

/* ---- Slot headers ---------------------------------------------------------------------------- */

/* w0: bits 22..0 sequence, bits 30..23 boot in which it was stored, bit 31 VALID, bits 63..32
 * check. An invalid header has only the sequence. The check covers the other bits, the slot and the
 * other three words. It is seeded by the check key. So a flipped bit, or bytes of another pool or
 * epoch, cannot make a slot valid. */
#define CM_W0_SEQ_MASK UINT64_C(0x7fffff)
#define CM_W0_BOOT_SHIFT 23u
#define CM_W0_LIFE_MASK UINT64_C(0x7fffffff) /* sequence and boot */
#define CM_W0_VALID (UINT64_C(1) << 31)

struct cm_header {
    uint64_t w0;          /*  0 */
    uint64_t incarnation; /*  8 its number; bits 63..56: since (docs/format.md) */
    uint64_t block_valid; /* 16 block << 13 | valid bytes (1..4096) */
    uint64_t xxh3;        /* 24 of the valid bytes, seed: check key, key and slot; or their tag */
};
#define CM_VALID_BITS 13u
#define CM_BLOCK_MAX ((UINT64_C(1) << 51) - 1)

/* ---- Memo: what the policy knew at a clean close; a hint ------------------------------------- */

/* Pages of the ring come first, then those of the ghost, as many as there is room for. */
struct cm_memo_page {
    uint64_t xxh3;        /*  0 of bytes 8..4095, seed: check key */
    uint64_t generation;  /*  8 the page counts if this is not below the superblock's */
    uint64_t number;      /* 16 of this page */
    uint64_t reserved[5]; /* 24 zero */
    uint8_t body[4032];   /* 64 */
};
/* The body of a ring page has four bits for each slot, the lower half of a byte first: the slot's
 * count and CM_REF_KNOWN as in ring.h. The body of a ghost page has buckets as in ghost.c: each is
 * CM_GHOST_WAYS cells of u32. */
#define CM_MEMO_SLOTS 8064u
#define CM_MEMO_BUCKETS 126u
#define CM_MEMO_PAGES_MAX (UINT64_C(1) << 17) /* 512 MiB, so that a close takes no longer */

/* ---- Frozen sizes and offsets (golden bytes: tests/unit/test_format.c) ----------------------- */

static_assert(sizeof(struct cm_super) == 320, "superblock size");
static_assert(offsetof(struct cm_super, byte_order) == 8, "superblock");
static_assert(offsetof(struct cm_super, incompat) == 24, "superblock");
static_assert(offsetof(struct cm_super, uuid) == 32, "superblock");
static_assert(offsetof(struct cm_super, seq) == 112, "superblock");
static_assert(offsetof(struct cm_super, state) == 144, "superblock");
static_assert(offsetof(struct cm_super, boot_id) == 160, "superblock");
static_assert(offsetof(struct cm_super, memo) == 192, "superblock");
static_assert(offsetof(struct cm_super, failed_boot) == 216, "superblock");
static_assert(offsetof(struct cm_super, torn_epoch) == 240, "superblock");
static_assert(offsetof(struct cm_super, boot_before) == 252, "superblock");
static_assert(offsetof(struct cm_super, key_check) == 256, "superblock");
static_assert(offsetof(struct cm_super, growing) == 272, "superblock");
static_assert(offsetof(struct cm_super, part) == 280, "superblock");
static_assert(offsetof(struct cm_super, xxh3) == 312, "superblock");
static_assert(sizeof(struct cm_stats_head) == 4096, "stats head size");
static_assert(offsetof(struct cm_stats_head, curve_hits) == 56, "stats head");
static_assert(offsetof(struct cm_stats_head, folding) == 112, "stats head");
static_assert(sizeof(struct cm_stats_shard) == 1024, "stats shard size");
static_assert(CM_STATS_ORIGIN_LATENCY - CM_STATS_HIT_LATENCY == CM_LATENCY_BUCKETS, "histograms");
static_assert(CM_STATS_COUNTERS - CM_STATS_ORIGIN_LATENCY == CM_LATENCY_BUCKETS, "histograms");
static_assert(CM_STAT_COUNT <= CM_STATS_COUNTERS_MAX, "a shard holds every counter");
static_assert(sizeof(struct cm_record) == 256, "record size");
static_assert(CM_RECORD_WAYS * sizeof(struct cm_record) == CM_BLOCK_SIZE, "a bucket is a page");
static_assert(offsetof(struct cm_record, incarnation) == 16, "record");
static_assert(offsetof(struct cm_record, proof) == 24, "record");
static_assert(offsetof(struct cm_record, flags) == 56, "record");
static_assert(offsetof(struct cm_record, birth) == 64, "record");
static_assert(offsetof(struct cm_record, reserved) == 72, "record");
static_assert(offsetof(struct cm_record, xxh3) == 80, "record");
static_assert(offsetof(struct cm_record, intents) == CM_RECORD_BODY_BYTES, "record");
static_assert(offsetof(struct cm_record, since) == 104, "record");
static_assert(offsetof(struct cm_record, state) == 192, "record");
static_assert(offsetof(struct cm_record, size_sum) == 208, "record");
static_assert(offsetof(struct cm_record, words) + 8 * CM_RECORD_NAME == 240, "record");
static_assert(offsetof(struct cm_record, words) + 8 * CM_RECORD_ATTR == 248, "record");
static_assert(sizeof(struct cm_name) == 256, "name size");
static_assert(sizeof(struct cm_bucket) == 64, "bucket size");
static_assert(sizeof(struct cm_header) == 32, "header size");
static_assert(offsetof(struct cm_header, xxh3) == 24, "header");
static_assert(sizeof(struct cm_memo_page) == CM_BLOCK_SIZE, "memo page size");
static_assert(offsetof(struct cm_memo_page, body) == 64, "memo page");
static_assert(CM_MEMO_SLOTS / 2 == CM_BLOCK_SIZE - 64, "memo page");
static_assert(CM_MEMO_BUCKETS * CM_GHOST_WAYS * 4 == CM_BLOCK_SIZE - 64, "memo page");
static_assert(sizeof(cm_file_id) == 16, "file id size");

/* ---- Geometry -------------------------------------------------------------------------------- */

/* Where everything is. It is derived from the superblock alone, and checked before it is used. */
struct cm_geometry {
    /* header_offset and slot_offset are those of the first `plain` slots. Bucket 0 of the index is
     * at index_offset. */
    uint64_t stripes, index_offset, header_offset, slot_offset, plain;
    uint64_t pool_size, slots;
    uint64_t record_buckets, stripe_buckets;
    uint64_t data_align;
    uint64_t incompat;                    /* CM_INCOMPAT_* */
    uint64_t record_offset, memo_offset;  /* of the memo that is in use */
    uint64_t name_offset;                 /* 0: there is no table of names */
    uint64_t memo_ring_pages, memo_pages; /* pages of the ring; all memo pages */
    uint64_t index_first; /* the index that is in use has the buckets from this one on */
    unsigned parts;
    struct cm_pool_part {
        uint64_t first; /* its first slot; atomic; UINT64_MAX: the part does not exist */
        uint64_t start; /* of its tables, which reach to its first slot */
        /* Where slot 0 would be, if the part began with it. May be less than zero, modulo 2^64. */
        uint64_t header_offset, slot_offset;
    } part[CM_PARTS];
};

/* Which index a block is looked for in: its first bucket and the number of buckets of a stripe, in
 * one word, so that both change at once when the pool grows. */
#define CM_INDEX_BITS 20u
#define CM_INDEX_GROWTH 60u /* so often the pool had grown: above the first bucket */
static inline uint64_t cm_place_index(const struct cm_geometry *g)
{
    assert(g->stripe_buckets < UINT64_C(1) << CM_INDEX_BITS);
    return (uint64_t)g->parts << CM_INDEX_GROWTH | g->index_first << CM_INDEX_BITS |
           g->stripe_buckets;
}
static inline uint64_t cm_index_stripe_buckets(uint64_t index)
{
    return index & ((UINT64_C(1) << CM_INDEX_BITS) - 1);
}
static inline uint64_t cm_index_first(uint64_t index)
{
    return index << (64 - CM_INDEX_GROWTH) >> (64 - CM_INDEX_GROWTH + CM_INDEX_BITS);
}

/* Plans a pool of `size` bytes in which `max_files` files find a record (0: one file for each 16
 * slots), with the tables of some CM_INCOMPAT_*. CM_EPOOLSIZE when size is no multiple of 4096,
 * below 64 slots or above the limit; CM_EINVAL when max_files leaves no room. */
int cm_format_plan(uint64_t size, uint64_t max_files, uint64_t incompat, struct cm_geometry *g);
/* Size of the smallest pool with these tables. */
uint64_t cm_format_size_min(uint64_t incompat);
/* Geometry of a superblock whose checksum is right. CM_EDAMAGED when it contradicts itself. */
int cm_format_geometry(const struct cm_super *sb, struct cm_geometry *g);

/* Plans the growth of a pool to `size` bytes by one more part. *word: for the superblock; 0: the
 * pool has all parts that it may have (CM_ENOTSUP), or CM_EPOOLSIZE: not a size, or too little
 * more. */
int cm_format_grow(const struct cm_geometry *g, uint64_t size, struct cm_geometry *to,
                   uint64_t *word);
/* The least size to which it may grow; 0: none. */
uint64_t cm_format_grow_least(const struct cm_geometry *g);
/* The size of a pool with its parts. */
uint64_t cm_format_size(const struct cm_super *sb);
/* May a file of `bytes` bytes be the pool, whose size is `size`? 0, CM_ETRUNCATED, CM_EOVERSIZE. */
int cm_format_size_is(const struct cm_super *sb, uint64_t size, uint64_t bytes);
/* Where the tables of part `number` begin, and where its slots do. */
uint64_t cm_format_tables(const struct cm_geometry *g, unsigned number, uint64_t *end);

/* Judges one copy of a superblock without trusting it: 0, CM_ENOTPOOL (no magic), CM_EBYTEORDER,
 * CM_EVERSION, CM_EINCOMPAT, CM_EDAMAGED (checksum). */
int cm_format_super_check(const struct cm_super *sb);
uint64_t cm_format_super_sum(const struct cm_super *sb);

/* ---- Checks and keys ------------------------------------------------------------------------- */

/* Seed of every check below: changes with the pool and with each epoch. */
uint64_t cm_format_check_key(const uint8_t uuid[16], uint64_t epoch);
/* By what a superblock knows a boot again. Never 0. CM_BOOT_UNKNOWN for an unknown one only. */
#define CM_BOOT_UNKNOWN UINT16_C(0xffff)
uint16_t cm_format_boot_sum(const uint8_t boot_id[16]);

/* life: sequence and boot at their bits. */
uint64_t cm_format_w0(uint64_t key, uint64_t slot, const struct cm_header *h, uint32_t life);
/* Sets xxh3 and w0 of a header whose other words are set, for the payload `data`. */
void cm_format_header_sums(uint64_t key, uint64_t slot, struct cm_header *h, uint32_t life,
                           const void *data);
/* Is h a header that w0 vouches for: VALID, check right, lengths in bounds? */
bool cm_format_header_ok(uint64_t key, uint64_t slot, const struct cm_header *h);
uint64_t cm_format_payload_sum(uint64_t key, uint64_t slot, uint64_t incarnation, uint64_t block,
                               const void *data, size_t valid);
/* The same of a payload that was summed before (checksum.h). */
uint64_t cm_format_payload_bind(uint64_t key, uint64_t slot, uint64_t incarnation, uint64_t block,
                                uint64_t sum);

uint64_t cm_format_record_sum(uint64_t key, uint64_t place, const struct cm_record *r);
/* The sum beside a recorded size. It belongs to one body: beside another it is wrong, so the size
 * is not known. */
uint64_t cm_format_size_sum(uint64_t key, uint64_t place, const struct cm_record *r);
/* How many blocks have a part of the first `bytes` bytes of a file? */
static inline uint64_t cm_blocks_of(uint64_t bytes)
{
    return bytes / CM_BLOCK_SIZE + (bytes % CM_BLOCK_SIZE != 0);
}
/* The region of a block. */
static inline unsigned cm_format_region(uint32_t shift, uint64_t block)
{
    return shift < 64 ? (unsigned)(block >> shift) % CM_REGIONS : 0; /* it may be damaged */
}
/* Words of the record of an incarnation; see CM_STATE_DIRTY. */
uint64_t cm_format_state_word(uint64_t key, uint64_t place, uint64_t incarnation, bool dirty,
                              uint32_t boot_number);
/* Decodes r->state; false when its check is wrong. */
bool cm_format_state_read(uint64_t key, uint64_t place, const struct cm_record *r, bool *dirty,
                          uint32_t *boot_number);
uint64_t cm_format_intent_word(uint64_t key, uint64_t place, uint64_t incarnation, unsigned number,
                               uint32_t intents);
/* The intents as r->intents says, a bit each. */
uint64_t cm_format_intents(uint64_t key, uint64_t place, const struct cm_record *r);
/* `since`: of all regions. */
uint64_t cm_format_since_word(uint64_t key, uint64_t place, uint64_t incarnation, unsigned number,
                              const uint8_t since[CM_REGIONS]);
/* Sets all of `since`, as r->since says. Returns the regions of which it is not known, a bit
 * each. */
uint64_t cm_format_since(uint64_t key, uint64_t place, const struct cm_record *r,
                         uint8_t since[CM_REGIONS]);

/* Time word: bits 63..32 seconds since 1970 (at most 2^32 - 1), bits 31..0 a check that belongs to
 * one place and one incarnation. So another version of the file does not inherit it, but another
 * validator of the same version does. 0 stands for 0. cm_format_time_read: 0 if the check is wrong.
 */
uint64_t cm_format_time_word(uint64_t key, uint64_t place, const struct cm_record *r,
                             int64_t wall_ns);
int64_t cm_format_time_read(uint64_t key, uint64_t place, const struct cm_record *r, uint64_t word);

/* The word that says when a file was used last. Its check covers the hits, too, and the id: the
 * next file in this place does not inherit them. */
uint64_t cm_format_used_word(uint64_t key, uint64_t place, const cm_file_id *id, uint32_t seconds,
                             uint64_t hits);

/* The word that has the attributes of a file. Its check covers the id and the place. So it outlives
 * each incarnation of the file, and the next file in this place does not inherit it. */
uint64_t cm_format_attr_word(uint64_t key, uint64_t place, const cm_file_id *id,
                             struct cm_record_attr attr);
/* Decodes such a word. There are none if its check is wrong. */
struct cm_record_attr cm_format_attr(uint64_t key, uint64_t place, const cm_file_id *id,
                                     uint64_t word);

/* The sum of a name: a word of the record in the same place. Its file's id is in it: the next file
 * in this place does not inherit the name. */
uint64_t cm_format_name_sum(uint64_t key, uint64_t place, const cm_file_id *id,
                            const struct cm_name *name);

/* Proofs of containers of objects begin so (objects/). What such a file has, no origin brings back:
 * its record is given to another file last (attach.c). */
#define CM_PROOF_OBJECTS "cmobj"
/* A proof that stands for any bytes; see cm_validator_set_proof(). */
void cm_format_proof(uint8_t proof[CM_PROOF_BYTES], const void *bytes, size_t len);
/* The id of a key; see cm_file_id_set_key(). */
void cm_format_key_id(cm_file_id *id, const void *key, size_t len);
/* How many bytes a proof stands for, which are its first; 0: they are not stored as they are. */
size_t cm_format_proof_length(const uint8_t proof[CM_PROOF_BYTES]);

uint64_t cm_format_memo_sum(uint64_t key, const struct cm_memo_page *p);

/* The place of a slot's header, and of its payload, in the pool. Nearly all slots are in no part.
 */
uint64_t cm_format_part_header(const struct cm_geometry *g, uint64_t slot);
uint64_t cm_format_part_payload(const struct cm_geometry *g, uint64_t slot);
static inline uint64_t cm_format_header_at(const struct cm_geometry *g, uint64_t slot)
{
    return __builtin_expect(slot < g->plain, 1) ? g->header_offset + slot * sizeof(struct cm_header)
                                                : cm_format_part_header(g, slot);
}
static inline uint64_t cm_format_payload_at(const struct cm_geometry *g, uint64_t slot)
{
    return __builtin_expect(slot < g->plain, 1) ? g->slot_offset + slot * CM_BLOCK_SIZE
                                                : cm_format_part_payload(g, slot);
}
/* Do n slots from `slot` on lie in one piece? */
static inline bool cm_format_in_one(const struct cm_geometry *g, uint64_t slot, unsigned n)
{
    return __builtin_expect(slot + n <= g->plain, 1) ||
           cm_format_payload_at(g, slot + n - 1) - cm_format_payload_at(g, slot) ==
               (n - 1) * (uint64_t)CM_BLOCK_SIZE;
}

static inline uint64_t cm_header_block(const struct cm_header *h)
{
    return h->block_valid >> CM_VALID_BITS;
}
static inline uint32_t cm_header_valid(const struct cm_header *h)
{
    return (uint32_t)(h->block_valid & ((1u << CM_VALID_BITS) - 1));
}

/* Maps a hash evenly to [0, n) by its high bits (Lemire 2016, "A fast alternative to the modulo
 * reduction"), n < 2^32. */
static inline uint64_t cm_format_reduce(uint32_t hash, uint64_t n)
{
    return (uint64_t)hash * n >> 32;
}
/* The two buckets of the file table where the record of `id` may live. They are the same one if the
 * table has only one. */
void cm_format_record_buckets(const struct cm_geometry *g, uint64_t seed, const cm_file_id *id,
                              uint64_t bucket[CM_RECORD_CHOICES]);
/* Number of files for which the table is planned: one record of nine stays unused. */
static inline uint64_t cm_format_max_files(const struct cm_geometry *g)
{
    return g->record_buckets * CM_RECORD_WAYS / 9 * 8;
}

/* An incarnation with the "since" of a region of its file names the region's blocks. */
#define CM_SINCE_SHIFT 56u
#define CM_INCARNATION_END (UINT64_C(1) << CM_SINCE_SHIFT)
/* The highest mark of incarnations that a superblock may have. No owner writes a higher one. A pool
 * in use never gets there: from CM_GAP_END on that takes 2^34 ranges. */
#define CM_INCARNATION_MARK_MAX (CM_INCARNATION_END / 2)
static inline uint64_t cm_incarnation_number(uint64_t incarnation)
{
    return incarnation & (CM_INCARNATION_END - 1);
}

/* A cell leads to a header of its own boot only. After a crash of the system the media may have a
 * new cell beside an older header, without DAX. */
static inline uint8_t cm_header_boot(const struct cm_header *h)
{
    return (uint8_t)(h->w0 >> CM_W0_BOOT_SHIFT);
}
static inline uint64_t cm_cell_make(uint64_t tag, uint8_t boot, uint64_t slot)
{
    return tag | (uint64_t)boot << CM_CELL_SLOT_BITS | (slot + 1);
}
static inline uint64_t cm_cell_tag(uint64_t cell)
{
    return cell & ~((UINT64_C(1) << CM_CELL_TAG_SHIFT) - 1);
}
static inline uint8_t cm_cell_boot(uint64_t cell)
{
    return (uint8_t)(cell >> CM_CELL_SLOT_BITS);
}
/* Slot number of a nonempty cell; UINT64_MAX (never a slot) when its slot field is zero. */
static inline uint64_t cm_cell_slot(uint64_t cell)
{
    return (cell & ((UINT64_C(1) << CM_CELL_SLOT_BITS) - 1)) - 1;
}

#endif
