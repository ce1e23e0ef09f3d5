#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""docs.py DIR - copies the documentation to DIR, where everything lies as in the source.

DIR gets README.md, docs/, examples/ and each file that a document links to, so that no link leads
nowhere. It is what packages install. Nothing there can be run as a program.
"""
import os
import re
import shutil
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FIRST = ['README.md', 'docs', 'examples']
LINK = re.compile(r'\]\(([^)#\s:]+)(?:#[^)\s]*)?\)')
MADE = re.compile(r'(^|/)(build|__pycache__)$|\.(egg-info|o|pyc|so)$')


def inside(name):
    """The files of a directory, or the file itself, but nothing that a build has made."""
    path = os.path.join(TOP, name)
    if MADE.search(name) or not os.path.exists(path):
        return []
    if not os.path.isdir(path):
        return [name]
    return [file for entry in os.listdir(path) for file in inside(os.path.join(name, entry))]


def links_of(name):
    with open(os.path.join(TOP, name), encoding='utf-8') as f:
        return [os.path.normpath(os.path.join(os.path.dirname(name), link))
                for link in LINK.findall(f.read())]


def documentation():
    names, new = set(), FIRST
    while new:
        found = {file for name in new for file in inside(name)} - names
        names |= found
        new = [link for name in found if name.endswith('.md') for link in links_of(name)]
    return sorted(names)


def main():
    if sys.argv[1:] in (['-h'], ['--help']):
        print(__doc__, end='')
        return
    if len(sys.argv) != 2 or sys.argv[1].startswith('-'):
        print('usage: docs.py DIR; --help says more', file=sys.stderr)
        sys.exit(2)
    for name in documentation():
        to = os.path.join(sys.argv[1], name)
        os.makedirs(os.path.dirname(to), exist_ok=True)
        shutil.copyfile(os.path.join(TOP, name), to)
        os.chmod(to, 0o644)


if __name__ == '__main__':
    main()
