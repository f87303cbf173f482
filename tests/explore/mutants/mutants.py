#!/usr/bin/env python3
"""Plants the mistakes of mutants.toml in a copy of the core, and tells which of them the scenarios of tests/explore find.

    mutants.py files                 the sources that get mistakes, a path a line
    mutants.py plant FOLDER          writes those sources there, with all mistakes in them, each behind a switch
    mutants.py run PROGRAM [WORD]    runs each mutant (those whose description contains WORD); prints a table

All mistakes are compiled at once, so that a mutant costs a run and not a build (mutant schemata: Untch, Offutt and Harrold,
ISSTA 1993). A statement S with the mistake M becomes `if (planted == 7) { M } else { S }`, an expression `(planted == 7 ?
M : S)`, a lock that is left out an optional one. Lines keep their numbers.
"""

import os
import re
import subprocess
import sys
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
LIMIT_S = 120  # of one mutant; only turns a hang into a survivor
GOAL = 0.95

table = tomllib.loads((HERE / "mutants.toml").read_text())
mutants = [dict(each, number=i + 1) for i, each in enumerate(table["mutant"])]
files = sorted({each["file"] for each in mutants})


def find(mutant, text):
    """Where the text to be replaced begins; an error text when the source does not have it exactly once."""
    frame = mutant.get("in", mutant["was"])
    if text.count(frame) != 1:
        return f"{text.count(frame)} times in {mutant['file']}: {frame}"
    if frame.count(mutant["was"]) != 1:
        return f"{frame.count(mutant['was'])} times in its frame: {mutant['was']}"
    return text.index(frame) + frame.index(mutant["was"])


def splice(text, first, last, places):
    """text[first:last] with each of these (first, last, new text) in it replaced."""
    out = ""
    for begin, end, new in sorted(places):
        out += text[first:begin] + new
        first = end
    return out + text[first:last]


def switch(plain, was, planted):
    """`was`, or with one of these mutants planted what it has instead. `plain` is `was` without the mistakes inside."""
    lock = re.fullmatch(r"env::lock_guard (\w+)\((.+)\);", plain)
    statement = plain.endswith((";", "}"))
    for each in planted:
        on = f"::leat::mutants::planted == {each['number']}"
        now = each["now"]
        if lock and not now:
            held = lock[1]
            assert len(planted) == 1
            return f"std::optional<env::lock_guard<env::mutex>> {held}; if (!({on})) {held}.emplace({lock[2]});"
        if statement:
            was = f"{{ if ({on}) {{ {now} }} else {{ {was} }} }}"
        else:
            was = f"({on} ? ({now}) : ({was}))"
    return was


def plant(path):
    text = (ROOT / path).read_text()
    places = {}
    for mutant in mutants:
        if mutant["file"] != path:
            continue
        at = find(mutant, text)
        if isinstance(at, str):
            print(f"mutants.toml: \"{mutant['wrong']}\" cannot be planted: {at}", file=sys.stderr)
            continue
        places.setdefault((at, at + len(mutant["was"])), []).append(mutant)
    # From the innermost place outwards: one place may lie inside another.
    done = []
    for (first, last), here in sorted(places.items(), key=lambda each: each[0][1] - each[0][0]):
        inner = [each for each in done if first <= each[0] and each[1] <= last]
        if any(each not in inner and each[0] < last and first < each[1] for each in done):
            sys.exit(f"mutants.toml: two places overlap in {path}, one is: {text[first:last]}")
        done = [each for each in done if each not in inner]
        done.append((first, last, switch(text[first:last], splice(text, first, last, inner), here)))
    return f'#line 1 "{ROOT / path}"\n' + splice(text, 0, len(text), done)


def run(program, mutant):
    """What became of the mutant: 'found' or 'SURVIVED', and how."""
    scenarios = mutant.get("by", table["scenarios"][mutant["file"]])
    began = time.monotonic()
    try:
        done = subprocess.run(
            [program, str(mutant["number"]), "--gtest_fail_fast", f"--gtest_filter={scenarios}"],
            capture_output=True, text=True, errors="replace", timeout=LIMIT_S)
        text, code = done.stdout + done.stderr, done.returncode
    except subprocess.TimeoutExpired as late:
        text, code = str(late.stdout), None
    mutant["seconds"] = time.monotonic() - began
    tests = re.findall(r"\[ RUN      \] (\S+)", text)
    if not tests:
        return "SURVIVED", f"no scenario is called {scenarios}"
    if code == 0:
        return "SURVIVED", f"all of {scenarios}, {len(tests)} scenarios"
    failed = re.findall(r"\[  FAILED  \] ([^ ,]+)", text)
    where = re.sub(r"^(capacity|explore)/", "", failed[0] if failed else tests[-1])
    symptom = re.search(r"^  failure:  (.*?)( \(/.*\))?$", text, re.M)
    schedule = re.search(r"^  schedule: (\d+)$", text, re.M)
    if symptom and schedule:
        return "found", f"{where}, schedule {schedule[1]}: {shorten(symptom[1])}"
    if code is None:
        return "SURVIVED", f"{where} did not end in {LIMIT_S} s"
    if "leat::explore: in the schedule" in text:
        return "found", f"{where}: crashed, and the schedule was told"
    return "SURVIVED", f"{where} failed without a schedule: {text[-300:]!r}"


def shorten(symptom):
    symptom = re.sub(r"\S*/(\w+\.\w+:\d+)", r"\1", symptom)
    return symptom if len(symptom) <= 110 else symptom[:107] + "..."


def run_all(program, word):
    chosen = [each for each in mutants if word in each["wrong"] or word in each["file"]]
    unplanted = [each["wrong"] for each in mutants if isinstance(find(each, (ROOT / each["file"]).read_text()), str)]
    for each in unplanted:
        print(f"not planted, its text has changed: {each}")
    clean = subprocess.run([program, "0", "--gtest_brief=1"], capture_output=True, text=True)
    if clean.returncode != 0:
        print(clean.stdout + clean.stderr)
        return "without a mistake planted, a scenario fails"
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        ends = list(pool.map(lambda each: run(program, each), chosen))
    missed, found, equivalent = [], 0, 0
    for each, (state, how) in zip(chosen, ends):
        if "equivalent" in each:
            equivalent += 1
            if state == "found":
                missed.append(f"{each['wrong']}: listed as equivalent, but it is found")
            how = "equivalent: " + each["equivalent"]
            state = "-"
        elif state == "found":
            found += 1
        else:
            missed.append(each["wrong"])
        print(f"{state:<9} {each['file']}: {each['wrong']}\n          {how}  [{each['seconds']:.1f} s]")
    looked_for = len(chosen) - equivalent
    print(f"{found} of {looked_for} mutants found, {equivalent} equivalent ones besides")
    for each in missed:
        print(f"missed: {each}")
    if unplanted:
        return "some were not planted"
    if any("listed as equivalent" in each for each in missed):
        return "the table is wrong"
    return 0 if found >= GOAL * looked_for else f"fewer than {GOAL:.0%} were found"


match sys.argv[1:]:
    case ["files"]:
        print("\n".join(files))
    case ["plant", folder]:
        for old in Path(folder).rglob("*.[ch]pp"):  # else a file that no mistake is in any more hides the real one
            if str(old.relative_to(folder)) not in files:
                old.unlink()
        for path in files:
            to = Path(folder) / path
            text = plant(path)
            if not to.exists() or to.read_text() != text:
                to.parent.mkdir(parents=True, exist_ok=True)
                to.write_text(text)
    case ["run", program, *word]:
        sys.exit(run_all(program, " ".join(word)))
    case _:
        sys.exit(__doc__)
