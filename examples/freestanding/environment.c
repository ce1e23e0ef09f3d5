/* SPDX-License-Identifier: BSD-2-Clause
 *
 * environment.c - all that the engine wants from a C library, and the way into and out of a program
 * that has none.
 *
 * Seven functions: four on memory and strings, two that format "%s", "%u" and "%llu" for messages,
 * one for failed assertions (none with NDEBUG). tests/tree/check-tree.sh holds the engine to this
 * list.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "environment.h"

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memset(void *to, int value, size_t n);
int memcmp(const void *a, const void *b, size_t n);
int strcmp(const char *a, const char *b);
int vsnprintf(char *restrict to, size_t size, const char *restrict format, va_list ap);
int snprintf(char *restrict to, size_t size, const char *restrict format, ...);
_Noreturn void __assert_fail(const char *what, const char *file, unsigned line, const char *where);

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ((uint8_t *)to)[i] = ((const uint8_t *)from)[i];
    }
    return to;
}

void *memset(void *to, int value, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ((uint8_t *)to)[i] = (uint8_t)value;
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const uint8_t *x = a, *y = b;

    for (size_t i = 0; i < n; i++) {
        if (x[i] != y[i]) {
            return x[i] < y[i] ? -1 : 1;
        }
    }
    return 0;
}

int strcmp(const char *a, const char *b)
{
    for (; *a != 0 && *a == *b; a++, b++) {
    }
    return (unsigned char)*a - (unsigned char)*b;
}

/* ---- Formatting ---------------------------------------------------------------------------- */

struct text {
    char *to;
    size_t size, n;
};

static void put(struct text *t, char c)
{
    if (t->n + 1 < t->size) {
        t->to[t->n] = c;
    }
    t->n++;
}

static void put_number(struct text *t, uint64_t v)
{
    char digits[20];
    size_t n = 0;

    do {
        digits[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    while (n > 0) {
        put(t, digits[--n]);
    }
}

int vsnprintf(char *restrict to, size_t size, const char *restrict format, va_list ap)
{
    struct text t = { .to = to, .size = size };

    for (const char *f = format; *f != 0; f++) {
        if (f[0] == '%' && f[1] == 's') {
            for (const char *s = va_arg(ap, const char *); *s != 0; s++) {
                put(&t, *s);
            }
            f++;
        } else if (f[0] == '%' && f[1] == 'u') {
            put_number(&t, va_arg(ap, unsigned));
            f++;
        } else if (f[0] == '%' && f[1] == 'l' && f[2] == 'l' && f[3] == 'u') {
            put_number(&t, va_arg(ap, unsigned long long));
            f += 3;
        } else {
            put(&t, *f);
        }
    }
    if (size > 0) {
        to[t.n < size ? t.n : size - 1] = 0;
    }
    return (int)t.n;
}

int snprintf(char *restrict to, size_t size, const char *restrict format, ...)
{
    va_list ap;
    int n;

    va_start(ap, format);
    n = vsnprintf(to, size, format, ap);
    va_end(ap);
    return n;
}

/* ---- In and out: the only calls of a kernel ------------------------------------------------ */

#if defined(__x86_64__)
#define SYS_write 1
#define SYS_exit 231
static long kernel(long number, long a, long b, long c)
{
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"(number), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
    return result;
}
__asm__(".globl _start\n_start: xorl %ebp, %ebp\n andq $-16, %rsp\n call program\n");
#else
#define SYS_write 64
#define SYS_exit 94
static long kernel(long number, long a, long b, long c)
{
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b, x2 __asm__("x2") = c;

    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
}
__asm__(".globl _start\n_start: mov x29, #0\n bl program\n");
#endif

void print(const char *format, ...)
{
    char line[256];
    va_list ap;
    int n;

    va_start(ap, format);
    n = vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    (void)kernel(SYS_write, 1, (long)line, n < (int)sizeof line ? n : (int)sizeof line - 1);
}

void end(int status)
{
    for (;;) {
        (void)kernel(SYS_exit, status, 0, 0);
    }
}

void __assert_fail(const char *what, const char *file, unsigned line, const char *where)
{
    print("FAIL %s:%u: %s: assertion failed: %s\n", file, line, where, what);
    end(1);
}
