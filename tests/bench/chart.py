#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""chart.py JSON... SVG - draws what "cachemax bench --json" says of reads by footprint.

One panel for each JSON file, named by its CPU. Both axes are logarithmic: how many bytes are read
in random order, and the nanoseconds of a read of 4 KiB by a hit, memcpy, pread and LMDB.
"""
import json
import math
import sys

LINES = (('hit_ns', 'hit', '#1f6f43'), ('memcpy_ns', 'memcpy', '#777777'),
         ('pread_ns', 'pread', '#b35a00'), ('lmdb_ns', 'LMDB', '#6a3d9a'))
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 360, 260, 46, 34, 40
LABEL = 32  # least distance of two labels below the axis


def size_of(n):
    for unit, name in ((1 << 30, 'G'), (1 << 20, 'M'), (1 << 10, 'K')):
        if n >= unit:
            return '%s%s' % (('%.3g' if n < 1000 * unit else '%.0f') % (n / unit), name)
    return str(n)


def text(x, y, words, **more):
    attributes = ''.join(' %s="%s"' % (k.replace('_', '-'), v) for k, v in more.items())
    words = words.replace('&', '&amp;').replace('<', '&lt;')
    return '<text x="%.1f" y="%.1f"%s>%s</text>' % (x, y, attributes, words)


def panel(bench, left, low, high):
    """The parts of one panel; low and high: of the axis of times."""
    rows = sorted((int(k), v) for k, v in bench['footprints'].items())
    right, bottom = WIDTH - 74, HEIGHT - BOTTOM
    first, last = math.log(rows[0][0]), math.log(rows[-1][0])

    def x_of(n):
        return left + LEFT + (math.log(n) - first) / (last - first) * (right - LEFT)

    def y_of(ns):
        return bottom - (math.log(ns) - math.log(low)) / (math.log(high) - math.log(low)) * (
            bottom - TOP)

    out = [text(left + LEFT, 16, bench['machine']['cpu'] or 'processor unknown',
                font_weight='bold')]
    step = low
    while step <= high:
        y = y_of(step)
        out.append('<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" stroke="#dddddd"/>' % (
            left + LEFT, left + right, y, y))
        out.append(text(left + LEFT - 5, y + 4, '%d' % step, text_anchor='end'))
        step *= 2
    labelled = []
    for n, _ in reversed(rows):  # the last one is the whole pool: it has a label in any case
        if not labelled or labelled[-1] - x_of(n) >= LABEL:
            labelled.append(x_of(n))
            out.append(text(x_of(n), bottom + 15, size_of(n), text_anchor='middle'))
    out.append(text(left + (LEFT + right) / 2, bottom + 32, 'bytes read in random order',
                    text_anchor='middle'))
    used = []
    for key, name, colour in LINES:
        points = [(x_of(n), y_of(v[key])) for n, v in rows if v.get(key)]
        if not points:
            continue
        out.append('<polyline fill="none" stroke="%s" stroke-width="2" points="%s"/>' % (
            colour, ' '.join('%.1f,%.1f' % p for p in points)))
        y = points[-1][1] + 4
        while any(abs(y - other) < 12 for other in used):
            y += 1
        used.append(y)
        out.append(text(left + right + 6, y, name, fill=colour))
    return out


def main(arguments):
    if len(arguments) < 3:
        print('usage: chart.py JSON... SVG', file=sys.stderr)
        return 2
    benches = []
    for name in arguments[1:-1]:
        with open(name, encoding='utf-8') as f:
            benches.append(json.load(f))
    times = [v[key] for b in benches for v in b['footprints'].values() for key, _, _ in LINES
             if v.get(key)]
    low = 2.0 ** math.floor(math.log2(min(times)))
    high = 2.0 ** math.ceil(math.log2(max(times)))
    parts = []
    for i, bench in enumerate(benches):
        parts += panel(bench, i * WIDTH, low, high)
    svg = ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" '
           'font-size="11">\n<title>Nanoseconds of a random read of 4 KiB, by footprint</title>\n'
           '<rect width="100%%" height="100%%" fill="white"/>\n%s\n</svg>\n' % (
               WIDTH * len(benches), HEIGHT, '\n'.join(parts)))
    with open(arguments[-1], 'w', encoding='utf-8') as f:
        f.write(svg)
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv))
