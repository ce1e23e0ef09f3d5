/* SPDX-License-Identifier: BSD-2-Clause
 *
 * config.h - the configuration file of the service.
 */
#ifndef CACHEMAX_CONFIG_H
#define CACHEMAX_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "folders.h"

#define CONFIG_TEXT 32768u

struct config {
    char pool[1024];     /* the pool file; it must exist */
    char socket[1024];   /* where clients come */
    char key_file[1024]; /* of a sealed pool; or "" */
    char port[1024];     /* Windows: where the driver is; or "" */
    uint32_t clients;    /* at a time */
    uint32_t files;      /* open at a time, by all clients */
    struct folders folders;
    char text[CONFIG_TEXT]; /* of the folders and patterns */
    uint32_t text_used;
};

#define CONFIG_WHY_ROOM 512
/* Reads the file. False: `why` says what is wrong, with file and line. The folders point into *c:
 * it must stay where it is. */
bool config_read(struct config *c, const char *path, char why[CONFIG_WHY_ROOM]);
/* Has it this folder, by this name? */
bool config_has_folder(const struct config *c, const char *folder);
/* Takes the lines of a folder out of the file. All others stay as they are. False: nothing has
 * changed, and `why` says why; or it says where the new content is. */
bool config_remove_folder(const char *path, const char *folder, char why[CONFIG_WHY_ROOM]);

#endif
