/* SPDX-License-Identifier: BSD-2-Clause
 *
 * trace.h - a block trace in memory, its blocks numbered in the order of their first use.
 */
#ifndef TRACE_H
#define TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define TRACE_WRITE 1u /* the lowest bit of an access; the others are the block's number */

#define TRACE_BLOCK_BITS 44u /* of a key; the rest is the number of the file */

struct trace {
    uint32_t *access;
    uint64_t *key; /* by the block's number: trace_file, trace_block */
    size_t accesses, reads, writes;
    uint32_t blocks;      /* distinct ones */
    uint32_t read_blocks; /* distinct ones that are read */
};

/* Reads a file in format LCTRACE1 (traces/README.md) to its end. Without `writes` what is written
 * is left out. NULL, or what is wrong with it; then there is nothing to free. */
const char *trace_read(struct trace *t, FILE *in, bool writes);
void trace_free(struct trace *t);

#endif
