/* SPDX-License-Identifier: BSD-2-Clause
 *
 * files_common.h - shared by the tests of what is cached.
 */
#ifndef CM_FILES_COMMON_H
#define CM_FILES_COMMON_H

#include "fixture.h"

/* The tests of the other files. */
extern const struct harness_test files_ranges_tests[], files_drop_tests[], files_use_tests[];

#endif
