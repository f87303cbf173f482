"""Reads a paragraph a line, answers a JSON object a line: which common licence it comes from, and how sure that is.

A paragraph is compared with each paragraph of the texts in /usr/share/common-licenses: first by the runs of four words they
share, then, for the closest, word by word.
"""
import difflib
import glob
import json
import os
import re
import sys


def words_of(text):
    return re.findall(r"[a-z0-9]+", text.lower())


def runs_of(words):
    return {tuple(words[i:i + 4]) for i in range(max(1, len(words) - 3))}


def known_paragraphs():
    for path in sorted(glob.glob("/usr/share/common-licenses/*")):
        if os.path.islink(path):
            continue  # GPL -> GPL-3
        with open(path, encoding="utf-8", errors="replace") as file:
            for paragraph in re.split(r"\n\s*\n", file.read()):
                words = words_of(paragraph)
                if len(words) > 8:
                    yield os.path.basename(path), words, runs_of(words)


KNOWN = list(known_paragraphs())


def classify(paragraph):
    words = words_of(paragraph)
    runs = runs_of(words)
    closest = sorted(KNOWN, key=lambda known: len(runs & known[2]), reverse=True)[:8]
    best, sure = "none", 0.0
    for licence, known_words, known_runs in closest:
        if not runs & known_runs:
            break
        ratio = difflib.SequenceMatcher(None, words[:300], known_words[:300], autojunk=False).ratio()
        if ratio > sure:
            best, sure = licence, ratio
    if sure < 0.5:
        best = "none"
    return {"licence": best, "sure": round(sure, 3), "words": len(words), "text": paragraph[:120]}


for line in sys.stdin.buffer:
    answer = classify(line.decode("utf-8", errors="replace").rstrip("\n"))
    print(json.dumps(answer, ensure_ascii=False), flush=True)
