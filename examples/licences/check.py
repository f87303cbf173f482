"""Checks the output of the flow against a second, simple-minded computation, and prints what was found.

usage: check.py OUTPUT REPORT
"""
import collections
import glob
import json
import re
import sys


def expected_paragraphs():
    """Every distinct paragraph, in the order in which the flow meets it first."""
    seen = {}
    for path in sorted(glob.glob("/usr/share/doc/*/copyright"), key=lambda p: p.encode().split(b"/")):
        with open(path, "rb") as file:
            text = file.read()
        for paragraph in re.split(rb"(?:\r?\n){2,}", text.strip(b"\r\n")):
            paragraph = re.sub(rb"[\t\n\f\r ]+", b" ", paragraph)
            if paragraph:
                seen.setdefault(paragraph, path)
    return list(seen)


def main():
    output, report_path = sys.argv[1:]
    with open(report_path, encoding="utf-8") as file:
        report = json.load(file)
    accounted = sum(report[key] for key in ("out", "skipped", "dead", "failed", "unfinished"))
    assert report["in"] == accounted, f"the report does not add up: {report['in']} in, {accounted} accounted for"
    assert report["in"] == len(glob.glob("/usr/share/doc/*/copyright")), "a file is missing"
    assert report["dead"] == report["failed"] == report["unfinished"] == 0, "not everything was done"
    unique = next(stage for stage in report["stages"] if stage["name"] == "unique")
    assert unique["skipped"] > 0, "no duplicate was found"

    expected = expected_paragraphs()
    licences = collections.Counter()
    with open(output, encoding="utf-8") as file:
        answers = [json.loads(line) for line in file]
    assert len(answers) == len(expected), f"{len(answers)} answers for {len(expected)} distinct paragraphs"
    for number, (answer, paragraph) in enumerate(zip(answers, expected), 1):
        text = paragraph.decode("utf-8", errors="replace")[:120]
        assert answer["text"] == text, f"answer {number} is out of order: {answer['text']!r}, expected {text!r}"
        licences[answer["licence"]] += 1

    print(f"checked: {len(answers)} answers, one for each distinct paragraph, in order; "
          f"{unique['skipped']} duplicates left out")
    print("paragraphs by licence: " + ", ".join(f"{name} {count}" for name, count in licences.most_common()))


main()
