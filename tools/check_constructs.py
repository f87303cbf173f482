#!/usr/bin/env python3
"""docs/constructs.md and examples/constructs/ name each other: each row of the tables leads to a function in the source that
it links to, or says "no" or "not yet"; each of these functions has a row, and a line in the expected output of its program;
and what a row says is in leat are names that its public headers have. Prints what is not so, exits 1."""
import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parent.parent
page = root / "docs/constructs.md"
missing = re.compile(r"(no|not yet)$")

functions = {}  # name -> source
problems = []
for source in sorted(root.glob("examples/constructs/*/*.cpp")):
    names = re.findall(r"^leat::task<std::string> (\w+)\(\) \{", source.read_text(), re.MULTILINE)
    shown = re.findall(r"^(\w+): ", (source.parent / "expected.txt").read_text(), re.MULTILINE)
    problems += [f"{source.name}: {name} is not in expected.txt" for name in names if name not in shown]
    problems += [f"{source.name}: {name} stands for two examples" for name in names if name in functions]
    functions.update(dict.fromkeys(names, source))

headers = "\n".join(header.read_text() for header in root.glob("include/leat/**/*.hpp"))
known = set(re.findall(r"\w+", headers))
named = set()
rows = 0
for number, line in enumerate(page.read_text().splitlines(), 1):
    if not line.startswith("| ") or line.startswith(("| construct |", "| --- |")):
        continue
    rows += 1

    def complain(what):
        problems.append(f"{page.name}:{number}: {what}")

    cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
    if len(cells) != 4:
        complain(f"has {len(cells)} columns instead of 4")
        continue
    construct, here, example, remark = cells
    link = re.fullmatch(r"\[(\w+)\]\(([\w./-]+)\)", example)
    if missing.match(here):
        if example:
            complain(f"{construct}: is not there, and has an example")
        continue
    if not link:
        complain(f"{construct}: leads to no example")
        continue
    name, target = link.groups()
    named.add(name)
    if functions.get(name) != (page.parent / target).resolve():
        complain(f"{construct}: {target} has no example {name}")
    for code in re.findall(r"`([^`]*)`", here):
        for word in re.findall(r"[A-Za-z_]\w*", code):
            if word not in known:
                complain(f"{construct}: no public header has {word}")

problems += [f"{functions[name].name}: {name} has no row in {page.name}" for name in functions if name not in named]
if rows == 0 or not functions:
    problems.append("there are no rows, or no examples")
for problem in problems:
    print(problem)
sys.exit(1 if problems else 0)
