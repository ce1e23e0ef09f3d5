/* SPDX-License-Identifier: BSD-2-Clause
 *
 * seen_files.h - the files that have the most in a pool, whoever has it open.
 */
#ifndef CM_TOOL_SEEN_FILES_H
#define CM_TOOL_SEEN_FILES_H

#include "tool/tool.h"

#define SEEN_FILES 20u

struct seen_file {
    uint64_t incarnation, place; /* of its record */
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
};
/* Looks anew; `l` is zeroed before the first look, and has the result of the last one. Takes no
 * lock and changes nothing. Reads about a million headers at most, and of the file table what it
 * needs. 0 or an error of the library. */
int seen_files_look(const char *pool, struct seen_files *l);

#endif
