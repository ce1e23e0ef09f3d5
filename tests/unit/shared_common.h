/* SPDX-License-Identifier: BSD-2-Clause
 *
 * shared_common.h - shared by the tests of readers of a pool that another cache owns.
 */
#ifndef CM_SHARED_COMMON_H
#define CM_SHARED_COMMON_H

#include "fixture.h"

#include "state/shared.h"

/* The tests of the other files. */
extern const struct harness_test shared_file_tests[];

#endif
