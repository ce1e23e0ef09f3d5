/* SPDX-License-Identifier: BSD-2-Clause
 *
 * keep_common.h - what test_keep.c and test_keep_records.c share.
 */
#ifndef CM_KEEP_COMMON_H
#define CM_KEEP_COMMON_H

#include "fixture.h"

extern const struct harness_test keep_records_tests[];

#endif
