#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""record.py OUT.svg COMMAND [ARG...] - runs a command, and draws what it prints as a picture.

Each line appears when the command printed it; a wait of more than two seconds is shown as two. A
viewer that shows no animation shows all lines. The picture ends when the command does. Its exit
status is that of the command. README.md has the picture of the quickstart.
"""
import html
import subprocess
import sys
import time

LONGEST_WAIT = 2.0
COLUMN, ROW, MARGIN, TOP = 8.0, 18, 14, 40


def record(command):
    """(seconds, line) of all that it prints, and its status."""
    lines, at, last = [(0.0, '$ ' + ' '.join(command))], 0.0, time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          encoding='utf-8', errors='replace') as p:
        for line in p.stdout:
            now = time.monotonic()
            at += min(now - last, LONGEST_WAIT)
            last = now
            print(line, end='', flush=True)
            lines.append((at, line.rstrip('\n').expandtabs()))
    return lines, p.returncode


def draw(lines):
    columns = max(len(text) for _, text in lines)
    width = round(columns * COLUMN + 2 * MARGIN)
    height = TOP + len(lines) * ROW + MARGIN
    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" role="img">'
           % (width, height, width),
           '<title>%s, recorded</title>' % html.escape(lines[0][1]),
           '<style>',
           'text { font: 13.3px "DejaVu Sans Mono", "Liberation Mono", Consolas, monospace;'
           ' fill: #d8dee9; white-space: pre }',
           '.c { fill: #8fbcbb; font-weight: bold }',
           '@keyframes show { from { opacity: 0 } to { opacity: 1 } }',
           'text { animation: show 0.05s both }',
           '</style>',
           '<rect width="%d" height="%d" rx="8" fill="#20242c"/>' % (width, height)]
    out += ['<circle cx="%d" cy="17" r="6" fill="%s"/>' % (20 + 20 * n, color)
            for n, color in enumerate(('#bf616a', '#ebcb8b', '#a3be8c'))]
    for n, (at, text) in enumerate(lines):
        if text:
            out.append('<text x="%d" y="%d" textLength="%d" style="animation-delay: %.2fs"%s'
                       ' xml:space="preserve">%s</text>'
                       % (MARGIN, TOP + n * ROW + 12, round(len(text) * COLUMN), at,
                          ' class="c"' if n == 0 else '', html.escape(text, quote=False)))
    return '\n'.join(out + ['</svg>']) + '\n'


def main():
    if sys.argv[1:] in (['-h'], ['--help']):
        print(__doc__, end='')
        return 0
    if len(sys.argv) < 3 or sys.argv[1].startswith('-'):
        print('usage: record.py OUT.svg COMMAND [ARG...]; --help says more', file=sys.stderr)
        return 2
    lines, status = record(sys.argv[2:])
    with open(sys.argv[1], 'w', encoding='utf-8') as f:
        f.write(draw(lines))
    return status


if __name__ == '__main__':
    sys.exit(main())
