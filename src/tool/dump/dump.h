/* SPDX-License-Identifier: BSD-2-Clause
 *
 * dump.h - looking into a pool: one structure, decoded, and what the library would conclude of it.
 *
 * For "cachemax dump", and for tests that say what a block looked like when it was wrong. Nothing
 * is written to the pool and no lock is taken, so it may be open elsewhere: then each structure is
 * read once and judged as it was at that moment. Any bytes are safe to look at.
 */
#ifndef CM_TOOL_DUMP_H
#define CM_TOOL_DUMP_H

#include "tool/tool.h"
#include "media/file_table.h"
#include "media/index.h"
#include "media/slot.h"
#include "media/superblock.h"

/* ---- Output (output.c) --------------------------------------------------------------------- */

/* The same calls make lines to read, or JSON. Keys are snake_case; in lines they have blanks. */
struct dump_out {
    FILE *file;
    bool as_json;
    struct tool_json json;
    int depth; /* of lines */
};
void dump_begin(struct dump_out *o, FILE *file, bool as_json);
void dump_end(struct dump_out *o);
/* An object. `title` stands in lines instead of the key; a key of NULL: of an array. */
void dump_open(struct dump_out *o, const char *key, const char *title, ...) TOOL_PRINTF(3, 4);
void dump_close(struct dump_out *o);
void dump_open_array(struct dump_out *o, const char *key);
void dump_close_array(struct dump_out *o);
void dump_number(struct dump_out *o, const char *key, uint64_t value);
/* The number of a structure: in lines its title has it. */
void dump_name(struct dump_out *o, const char *key, uint64_t value);
void dump_numbers(struct dump_out *o, const char *key, const uint64_t *values, size_t n);
void dump_bool(struct dump_out *o, const char *key, bool value); /* "yes" and "no" in lines */
void dump_hex(struct dump_out *o, const char *key, uint64_t value, int digits);
void dump_bytes(struct dump_out *o, const char *key, const uint8_t *bytes, size_t n);
void dump_text(struct dump_out *o, const char *key, const char *format, ...) TOOL_PRINTF(3, 4);
#define DUMP_WHY 200
/* What a structure is, and why it is that. */
struct dump_verdict {
    char verdict[32], why[DUMP_WHY];
};
void dump_conclude(struct dump_verdict *v, const char *verdict, const char *why, ...)
    TOOL_PRINTF(3, 4);
void dump_put_verdict(struct dump_out *o, const struct dump_verdict *v);
/* Where a structure lies in the pool. */
void dump_where(struct dump_out *o, uint64_t offset, uint64_t bytes);
void dump_id(struct dump_out *o, const char *key, const cm_file_id *id);

/* ---- The pool (pool.c) --------------------------------------------------------------------- */

struct dump_pool {
    struct cm_plat_file file; /* handle -1: memory */
    struct cm_media media;    /* all but base only if laid_out */
    uint64_t bytes;           /* that are there */
    struct cm_super copy[CM_SUPER_COPIES];
    /* Of each: as cm_format_super_check(), CM_EIO (unreadable) or CM_ETRUNCATED (not there). */
    int judged[CM_SUPER_COPIES];
    int counts;            /* which of them, or why none does */
    struct cm_super super; /* the one that counts */
    bool laid_out;         /* the superblock says where everything is */
    int error;             /* 0, or what an open says instead */
    bool owned;            /* another process has it open */
};

/* Looks at a pool file. Only a file that cannot be read at all is an error. */
int dump_pool_open(struct dump_pool *p, const char *path);
/* The same for a pool in memory. */
void dump_pool_memory(struct dump_pool *p, uint8_t *base, uint64_t bytes);
void dump_pool_close(struct dump_pool *p);
/* Does the volume of a pool file keep what is synced, so that checkpoints help? */
bool dump_volume_keeps_syncs(const char *path);
/* Are [offset, offset + n) there? */
bool dump_inside(const struct dump_pool *p, uint64_t offset, uint64_t n);
/* The earlier epoch that a header or a record is right in; 0: none of those that are tried. */
uint64_t dump_header_epoch(const struct dump_pool *p, uint64_t slot, const struct cm_header *h);
uint64_t dump_record_epoch(const struct dump_pool *p, uint64_t place, const struct cm_record *r);
/* The whole record that has an incarnation. */
struct dump_owner {
    uint64_t incarnation;
    uint64_t place; /* CM_NO_PLACE: none that was looked at has it */
    bool all;       /* all were looked at */
    cm_file_id id;
};
/* Fills in the others of each, in one walk through the file table: 2 GiB of it at most. */
void dump_owners(const struct dump_pool *p, struct dump_owner *owner, size_t n);

/* ---- Structures ---------------------------------------------------------------------------- */

/* superblock.c: both copies, which one counts, and where everything is. */
void dump_superblock(const struct dump_pool *p, struct dump_out *o);

/* slots.c, cells.c. `slot` and `bucket` exist. */
void dump_slot(const struct dump_pool *p, uint64_t slot, struct dump_out *o);
void dump_bucket(const struct dump_pool *p, uint64_t bucket, struct dump_out *o);

/* What is found at a slot. */
struct dump_slot {
    uint64_t slot;
    struct dump_verdict found;
    bool read;           /* the header was */
    bool valid;          /* and is */
    const char *payload; /* what its checksum says; NULL: not asked */
    struct cm_header h;
    unsigned led; /* so many cells lead here: these */
    uint64_t bucket[CM_PLACE_CELLS];
    unsigned cell[CM_PLACE_CELLS];
};
void dump_slot_look(const struct dump_pool *p, uint64_t slot, struct dump_slot *s);
/* A slot that is valid belongs to a record, or is dead. */
void dump_slot_settle(struct dump_slot *s, const struct dump_owner *owner);
void dump_slot_print(const struct dump_pool *p, const struct dump_slot *s,
                     const struct dump_owner *owner, struct dump_out *o);

/* records.c. `place` exists. */
void dump_record(const struct dump_pool *p, uint64_t place, struct dump_out *o);

/* What is found at a place of the file table. */
struct dump_record {
    uint64_t place;
    struct dump_verdict found;
    bool read, whole;
    bool keeps;            /* an attach with the same validator keeps what is cached */
    char attach[DUMP_WHY]; /* what it does */
    struct cm_record r;
};
void dump_record_look(const struct dump_pool *p, uint64_t place, struct dump_record *d);
void dump_record_print(const struct dump_pool *p, const struct dump_record *d, struct dump_out *o);

/* A file, by its id. `now`: its validator as it is, or NULL. */
struct dump_file {
    cm_file_id id;
    const cm_validator *now;
};
/* find.c: the record of a file; the way of a lookup to one of its blocks. */
void dump_file(const struct dump_pool *p, const struct dump_file *f, struct dump_out *o);
void dump_find(const struct dump_pool *p, const struct dump_file *f, uint64_t block,
               struct dump_out *o);
/* For a test that found a block wrong: the latter as lines, or the superblocks if `id` is NULL or
 * zero, or nobody can tell where anything is. */
void dump_wrong_block(const struct dump_pool *p, const cm_file_id *id, uint64_t block, FILE *file);

#endif
