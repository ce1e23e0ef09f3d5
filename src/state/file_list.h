/* SPDX-License-Identifier: BSD-2-Clause
 *
 * file_list.h - which files the pool knows, at one moment.
 */
#ifndef CM_FILE_LIST_H
#define CM_FILE_LIST_H

#include "media/file_table.h"
#include "state/cache_state.h"

struct cm_listed {
    cm_file_id id;
    uint64_t incarnation; /* 0: nothing can be cached */
    uint64_t place;       /* of its record, or CM_NO_PLACE */
    bool raised;          /* a region has a "since" that is not 0 */
    uint64_t bytes;       /* cached, as far as they were counted */
};

/* Begins as zeros but for `cache`. One thread at a time uses it. */
struct cm_file_list {
    struct cm_cache *cache;
    struct cm_listed *file;
    uint32_t *cell;      /* a hash table of numbers of files, plus one; 0: empty */
    uint64_t n, room;    /* files; those that `file` has room for */
    uint64_t cells;      /* a power of two, at least twice `room` */
    uint64_t looked;     /* how many records and chains were looked at */
    bool by_incarnation; /* the table leads from incarnations to files, and not from ids */
    int error; /* CM_ESEAL: a block's record could not be judged: its file was not found */
};

/* What cm_files_begin() gives out. */
struct cm_file_iter {
    struct cm_file_list list;
    struct cm_record_set records; /* those that a look at a file reads */
    uint64_t next;
    uint64_t slot; /* the next one to count */
    bool counted;
    bool whole; /* all is read */
};

/* Adds all files that have a record or are attached, each once. Looks at `most` records and chains
 * of files at most, and the next call goes on; CM_EBUSY: not all were looked at. Takes the files
 * lock, for one chain of files or one record at a time. A cache that does not own the pool may miss
 * a file whose record the owner changes just now. CM_ENOMEM, CM_ESEAL: the next call tries the same
 * one again. */
int cm_file_list_collect(struct cm_file_list *l, uint64_t most);
/* The file that has an incarnation, or NULL. The first call ends the time in which files are
 * added. */
struct cm_listed *cm_file_list_find(struct cm_file_list *l, uint64_t incarnation);
/* The file that a block belongs to which was stored under `incarnation` (of a header), or NULL. */
struct cm_listed *cm_file_list_find_block(struct cm_file_list *l, uint64_t incarnation,
                                          uint64_t block);
/* Nothing was counted, and there was no error. */
void cm_file_list_uncount(struct cm_file_list *l);
void cm_file_list_free(struct cm_file_list *l);

#endif
