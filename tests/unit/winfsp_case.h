/* SPDX-License-Identifier: BSD-2-Clause
 *
 * winfsp_case.h - a folder, a pool and the operations of cachemax-winfsp, for its tests.
 */
#ifndef TEST_WINFSP_CASE_H
#define TEST_WINFSP_CASE_H

#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#ifdef _WIN32
#include <windows.h>
#endif

#include "../os.h"
#include "../../examples/winfsp/cache.h"
#include "../../examples/winfsp/ops.h"

#define SIZE 20000
#define BLOCK 4096
#define LAST (4 * BLOCK) /* who begins at 0 gets more read than was asked for */

extern char base[512], folder[600], pool[600];
extern bool everyone; /* for begin_test() */
extern char wrote[SIZE];

void begin_test(void);
void end_test(void);
uint64_t hits(void); /* blocks */
uint64_t open_it(const char *path, int flags);
void close_it(uint64_t fh);
void write_at(uint64_t fh, int off, int len);
/* At most a block. Any thread. */
void is_right_at(uint64_t fh, int off, int len);
/* All of the file is what was written. */
void is_right(uint64_t fh, int size);
void make_it(const char *path, int size);

#endif
