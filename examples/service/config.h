/* SPDX-License-Identifier: BSD-2-Clause
 *
 * config.h - the configuration file of the service.
 */
#ifndef CACHEMAX_CONFIG_H
#define CACHEMAX_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

struct config {
    char pool[1024];   /* the pool file; it must exist */
    char socket[1024]; /* where clients come */
    uint32_t clients;  /* at a time */
    uint32_t files;    /* open at a time, by all clients */
};

/* Reads the file. False: `why` says what is wrong, with file and line. */
bool config_read(struct config *c, const char *path, char why[512]);

#endif
