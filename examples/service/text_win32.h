/* SPDX-License-Identifier: BSD-2-Clause
 *
 * text_win32.h - texts of Windows, which are UTF-16, and ours, which are UTF-8.
 */
#ifndef CACHEMAX_TEXT_WIN32_H
#define CACHEMAX_TEXT_WIN32_H

#include <wchar.h>

/* The other form; the caller frees it. NULL: no memory. What is not UTF-8 becomes U+FFFD. */
wchar_t *text_wide(const char *utf8);
char *text_utf8(const wchar_t *wide);
/* What the system says about an error number, without a full stop. Until the next call in this
 * thread. */
const char *text_error(unsigned long error);

#endif
