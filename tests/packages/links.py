#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""links.py DIR - the relative links of the documents below DIR that lead nowhere, one a line.

Exit status 1: there are such links, or no document has any.
"""
import os
import re
import sys

CODE = re.compile(r'^ *```.*?^ *```|`[^`\n]*`', re.S | re.M)
LINK = re.compile(r'\]\(([^)#\s]+)(?:#[^)\s]*)?\)')


def links_of(path):
    with open(path, encoding='utf-8') as f:
        return [link for link in LINK.findall(CODE.sub('', f.read()))
                if not re.match(r'[a-z]+:', link)]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    documents = [os.path.join(folder, name) for folder, _, names in os.walk(sys.argv[1])
                 for name in names if name.endswith('.md')]
    links = [(path, link) for path in sorted(documents) for link in links_of(path)]
    dead = ['%s: %s' % link for link in links
            if not os.path.exists(os.path.join(os.path.dirname(link[0]), link[1]))]
    print('\n'.join(dead if links else ['no document with links']))
    sys.exit(bool(dead) or not links)


if __name__ == '__main__':
    main()
