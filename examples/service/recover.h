/* SPDX-License-Identifier: BSD-2-Clause
 *
 * recover.h - folders that a killed cachemax-winfsp has left under another name.
 */
#ifndef CACHEMAX_RECOVER_H
#define CACHEMAX_RECOVER_H

#include "config.h"
#include "server.h"

/* The folders of the configuration get their names back. */
void recover_folders(const struct config *c, void (*log)(enum log_weight w, const char *text));

#endif
