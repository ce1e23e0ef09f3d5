/* SPDX-License-Identifier: BSD-2-Clause
 *
 * seen_files.h - the files that have the most in a pool, whoever has it open.
 */
#ifndef CM_TOOL_SEEN_FILES_H
#define CM_TOOL_SEEN_FILES_H

#include "tool/tool.h"

#define SEEN_FILES 20u
#ifndef SEEN_RECORDS /* a test has less */
#define SEEN_RECORDS (UINT64_C(1) << 20)
#endif

struct seen_file {
    uint64_t incarnation, place; /* of its record */
    uint64_t looked;             /* at so many records since it had none */
    bool searched;               /* at all of them: it has none, or got it since */
    uint64_t cached;             /* bytes */
    bool recorded;               /* the rest is known: */
    cm_file_id id;
    uint64_t size; /* or CM_SIZE_UNKNOWN */
    uint64_t hits; /* noted when it was closed last; 0: not known */
    char name[CM_FILE_NAME_MAX + 1];
};
struct seen_files {
    struct seen_file file[SEEN_FILES]; /* most cached first */
    size_t n;
    uint64_t blocks; /* of all files */
    uint64_t one_in; /* headers: 1: all were read; else `cached` is an estimate */
    uint64_t next;   /* the place of the file table where the next look goes on */
    bool more;       /* a record may be in a part of it where none has looked yet */
};
/* Looks anew; `l` is zeroed before the first look, and has the result of the last one. Takes no
 * lock and changes nothing. Reads about a million headers at most, and SEEN_RECORDS of the file
 * table, if it needs any: further looks go on there. 0 or an error of the library. */
int seen_files_look(const char *pool, struct seen_files *l);

#endif
