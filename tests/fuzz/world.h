/* SPDX-License-Identifier: BSD-2-Clause
 *
 * world.h - a small pool, its files, and what they hold: shared by the targets pool and open_pool.
 *
 * The model knows the content of every block of every file. A block that is served must have it. If
 * the input was allowed to compute checks (`forged`), a served block must at least be in the pool:
 * never bytes of the process; and in a sealed pool it must be what that block is or was.
 */
#ifndef CM_FUZZ_WORLD_H
#define CM_FUZZ_WORLD_H

#include "fuzz.h"

#include "media/format.h"
#include "policy/ring.h"

#define BLK ((uint64_t)CM_BLOCK_SIZE)
#define WORLD_FILES 4u
#define WORLD_BLOCKS 48u /* of a file that are ever read */
#define WORLD_BRACKETS 3u
#define WORLD_READ_MAX (16 * CM_BLOCK_SIZE)

enum world_image {
    WORLD_CLEAN,   /* closed */
    WORLD_KILLED,  /* the owner was killed */
    WORLD_WRITING, /* ... in the middle of a write, in a pool with names */
    WORLD_FULL,    /* closed, every slot is used */
    WORLD_SEALED,  /* as WORLD_WRITING, sealed and encrypted */
    WORLD_TAGGED,  /* as WORLD_WRITING, sealed only */
    WORLD_IMAGES
};

struct world_file {
    cm_file *f; /* NULL: not attached */
    uint64_t size, stride;
    uint64_t tag; /* of its validator */
    uint32_t version[WORLD_BLOCKS];
    cm_bracket bracket[WORLD_BRACKETS];
    bool is_open[WORLD_BRACKETS];
    cm_miss miss; /* an old one */
};
struct world {
    uint8_t *base; /* of the pool; what lies before and behind it faults */
    uint64_t bytes;
    struct cm_geometry geo; /* as it was made */
    cm_cache *c;            /* NULL: closed */
    cm_options o;
    bool forged;         /* checks were computed: blocks need not be right */
    const cm_seal *seal; /* NULL, or nobody has its key: also after forging, what is served is of
                          * the block */
    bool any;            /* the library is not asked to notice damage: as forged */
    bool remembers;      /* of this step: world_remember() */
    struct world_file file[WORLD_FILES];
};

/* The image that the input names. */
enum world_image world_choose(struct fuzz_input *in);
/* An image as production code leaves it; the pool is closed. */
void world_begin(struct world *w, enum world_image image);
/* The options of the next open, as the input says. `flags`: that may be among them. */
void world_options(struct world *w, struct fuzz_input *in, uint32_t flags);
/* May fail, with a damaged pool. */
bool world_open(struct world *w);
/* Ends all brackets, closes all files and the pool. */
void world_close(struct world *w);
/* The owner is killed: the pool is as it was in this moment. */
void world_kill(struct world *w);

/* Before a call that reads and fills: what it serves of a block may be gone when it ends, because
 * it has filled the block's slot with another one. */
void world_remember(struct world *w);

cm_file_id world_id(uint64_t file);
/* What the origin says of a file now. */
cm_validator world_validator(const struct world *w, uint64_t file);
void world_attach(struct world *w, uint64_t file, uint32_t flags);
/* Reads, checks what it got, and fills what is missing. `flags`: 1: does not fill, 2: CM_FILL_WARM.
 */
void world_read(struct world *w, uint64_t file, uint64_t off, size_t len, uint32_t flags);
/* Somebody writes the origin. */
void world_change(struct world_file *f, uint64_t off, uint64_t len);
/* Ends the process if bytes that were served are wrong. */
void world_check(const struct world *w, uint64_t file, uint64_t off, const uint8_t *got,
                 uint64_t len);
/* The end of WORLD_READ_MAX bytes for readers; what lies behind it faults. */
extern uint8_t *world_buffer_end;
/* As cm_origin_read_fn; ctx is a struct world_place. */
struct world_place {
    const struct world *w;
    uint64_t file;
};
int64_t world_origin(void *ctx, uint64_t off, void *buf, size_t len);

/* steps.c: one call of the library, as the input says. The pool is open. */
void world_step(struct world *w, struct fuzz_input *in);

/* A part of the pool: `n` structures of one kind. Where there are no names, NAMES is RECORDS. */
enum world_areas {
    WORLD_SUPERS,
    WORLD_STATS,
    WORLD_SHARDS,
    WORLD_RECORDS,
    WORLD_NAMES,
    WORLD_CELLS,
    WORLD_HEADERS,
    WORLD_MEMO,
    WORLD_PAYLOAD,
    WORLD_AREAS
};
struct world_area {
    uint64_t at, item, n;
};
struct world_area world_area_of(const struct world *w, enum world_areas which);

/* damage.c: changes bytes of the pool as the input says, and computes checks anew if it is to. */
void world_damage(struct world *w, struct fuzz_input *in, unsigned most);

#endif
