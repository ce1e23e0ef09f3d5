/* SPDX-License-Identifier: BSD-2-Clause
 *
 * names.c - see names.h.
 *
 * Owns the symbols of the program's own file. dladdr() knows only those that are exported, so the
 * whole table is read (ELF, section .symtab).
 */
#include "names.h"

#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct name {
    uintptr_t from, to;
    const char *text;
};

static struct {
    char *file;
    struct name *name;
    size_t n;
} names;

static _Noreturn void no_names(const char *why)
{
    fprintf(stderr, "crash-trace: its functions have no names: %s\n", why);
    exit(2);
}

static void read_program(void)
{
    FILE *f = fopen("/proc/self/exe", "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0)
        no_names("/proc/self/exe cannot be read");
    long size = ftell(f);
    rewind(f);
    names.file = size > 0 ? malloc((size_t)size) : NULL;
    if (!names.file || fread(names.file, (size_t)size, 1, f) != 1)
        no_names("/proc/self/exe cannot be read");
    fclose(f);
}

static int by_address(const void *a, const void *b)
{
    const struct name *x = a, *y = b;
    return x->from < y->from ? -1 : x->from > y->from;
}

/* The program may be loaded anywhere. So the addresses in the file are moved by as much as the
 * address of this file's own function. */
static void add_names(const ElfW(Sym) * symbol, size_t n, const char *text)
{
    uintptr_t moved = 0;
    names.name = malloc(n * sizeof(*names.name));
    if (!names.name)
        no_names("no memory");
    for (size_t i = 0; i < n; i++) {
        if ((symbol[i].st_info & 15) != STT_FUNC || symbol[i].st_shndx == SHN_UNDEF)
            continue;
        const char *name = text + symbol[i].st_name;
        if (strcmp(name, "names_load") == 0)
            moved = (uintptr_t)names_load - symbol[i].st_value;
        names.name[names.n++] =
            (struct name){ symbol[i].st_value, symbol[i].st_value + symbol[i].st_size, name };
    }
    for (size_t i = 0; i < names.n; i++) {
        names.name[i].from += moved;
        names.name[i].to += moved;
    }
    qsort(names.name, names.n, sizeof(*names.name), by_address);
}

void names_load(void)
{
    read_program();
    const char *file = names.file;
    const ElfW(Ehdr) *head = (const void *)file;
    const ElfW(Shdr) *section = (const void *)(file + head->e_shoff);
    for (unsigned i = 0; i < head->e_shnum; i++)
        if (section[i].sh_type == SHT_SYMTAB)
            add_names((const void *)(file + section[i].sh_offset),
                      section[i].sh_size / sizeof(ElfW(Sym)),
                      file + section[section[i].sh_link].sh_offset);
    if (names.n == 0)
        no_names("it was stripped");
}

static int compare(const void *key, const void *element)
{
    uintptr_t at = *(const uintptr_t *)key;
    const struct name *name = element;
    return at < name->from ? -1 : at >= name->to;
}

const char *name_of(const void *return_address)
{
    /* Inside the call: it may be the last instruction of the function. */
    uintptr_t at = (uintptr_t)return_address - 1;
    const struct name *found = bsearch(&at, names.name, names.n, sizeof(*names.name), compare);
    return found ? found->text : NULL;
}
