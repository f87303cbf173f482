#!/usr/bin/env python3
"""Every C++ block of README.md stands, line for line, in a program of examples/. Prints what does not, exits 1."""
import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parent.parent


def lines_of(text):
    return [line.strip() for line in text.splitlines() if line.strip()]


def contains(lines, block):
    return any(lines[at:at + len(block)] == block for at in range(len(lines) - len(block) + 1))


programs = [lines_of(path.read_text()) for path in sorted(root.glob("examples/**/*.cpp"))]
blocks = re.findall(r"```cpp\n(.*?)```", (root / "README.md").read_text(), re.DOTALL)
strangers = [block for block in blocks if not any(contains(program, lines_of(block)) for program in programs)]
for block in strangers:
    print("README.md has code that stands in no example:\n" + block)
if not blocks:
    print("README.md has no C++ at all")
sys.exit(1 if strangers or not blocks else 0)
