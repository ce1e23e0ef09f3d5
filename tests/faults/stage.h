/* SPDX-License-Identifier: BSD-2-Clause
 *
 * stage.h - a pool, two origin files, and a judge of what the calls return and read.
 */
#ifndef FAULTS_STAGE_H
#define FAULTS_STAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "cachemax.h"
#include "cachemax_objects.h"
#include "inject.h"

#define BLK ((uint64_t)CM_BLOCK_SIZE)
#define BLOCKS 24u /* of a file at most */
#define FILES 2u
#define SMALL (UINT64_C(96) * BLK + (UINT64_C(64) << 10)) /* bytes of a pool */
#define ORIGIN_FAILED (-2000)

/* An origin file. Its content is a function of its number, the block and the block's tag, which
 * grows with each change. */
struct origin {
    unsigned number;
    uint64_t size, version, tag[BLOCKS];
};

struct stage {
    char dir[200], pool[256], other[256];
    cm_cache *cache, *reader;
    cm_objects *objects;
    cm_file *file[FILES];
    struct origin origin[FILES];
    unsigned warned; /* lines of the log that are warnings or errors */
    unsigned told;   /* the others */
    unsigned boot;   /* another number is another boot of the system */
};
extern struct stage stage;

struct scene {
    const char *name;
    void (*before)(void); /* makes the pool, in a process of its own; nothing fails */
    void (*run)(void);
    int64_t keeps; /* pages that the process keeps: of volumes that were identified */
};
extern const struct scene scenes[];

/* Ends the process: something was not as documented. */
_Noreturn void wrong(const char *what, const char *call, int64_t result);

/* The call has returned this. It must be a code that its comment in the header names, or a number
 * of bytes or pieces. Returns it. CM_EINVAL is wrong: the scenes make no mistakes. */
int64_t did(const char *call, int64_t result);
#define DO(call, ...) did(#call, call(__VA_ARGS__))

/* The pool's options in all scenes. */
cm_options usual(void);
bool make_pool(const char *path, uint64_t size, uint32_t flags);
bool open_pool(const cm_options *o);
void attach(unsigned i, uint32_t flags);
void close_file(unsigned i);
void close_pool(void);

cm_validator validator_of(const struct origin *o);
int64_t read_origin(void *ctx, uint64_t off, void *buf, size_t len);
/* Are these the origin's bytes? */
void judge(const char *call, const struct origin *o, uint64_t offset, const void *buf, int64_t n);

/* As a program does: reads, and fills what is missing. */
void read_and_fill(unsigned i, uint64_t offset, uint64_t len);
void read_through(unsigned i, uint64_t offset, uint64_t len);
/* Looks only. Returns how many bytes hit. */
int64_t look(cm_file *f, const struct origin *o, uint64_t offset, uint64_t len);
void change(struct origin *o, uint64_t offset, uint64_t len);
void resize_origin(struct origin *o, uint64_t size);
/* In a bracket. If it does not begin, nothing is written. */
void write_origin(unsigned i, uint64_t offset, uint64_t len);

/* Nothing fails any more: what is open works, or has said why not; it closes, and so does the pool
 * after it. */
void aftermath(void);

#endif
