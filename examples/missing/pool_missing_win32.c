/* SPDX-License-Identifier: BSD-2-Clause
 *
 * pool_missing_win32.c - pool_missing.h on Windows, where nothing is looked at. Owns nothing.
 */
#include "pool_missing.h"

enum pool_missing pool_missing(const char *path, char text[POOL_MISSING_TEXT])
{
    (void)path;
    text[0] = '\0';
    return POOL_NOT_MISSING;
}
