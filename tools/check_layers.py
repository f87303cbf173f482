#!/usr/bin/env python3
"""Checks what the compiler cannot: who may include whom, and that the core reaches the machine through its seam only.

Rules, for every file of include/leat/<layer> and src/<layer>:
  1. It includes only its own layer and layers printed earlier in the table of ARCHITECTURE.md.
  2. It includes external headers only of the packages that its layer, or one that it rests on, has in `external` below.
  3. A public header includes none of `never_public`, and no private header.
  4. base, task, sync, channel and runtime use no std:: or system original of what leat/base/env.hpp stands for.
  5. No stand-alone fence anywhere: the thread sanitizer cannot see it.

Usage: check_layers.py [ROOT]     prints one line a violation, exits 1 when there is one
       check_layers.py --self-test
"""
import pathlib
import re
import sys
import tempfile

# The external headers that a layer brings in, by prefix. Layers above may use them too.
external = {
    "base": ["fmt/", "explore/env.hpp"],  # the seam's other side, in tests/support
    "task": ["boost/context/"],
    "io": ["boost/asio", "boost/system/"],
    "process": ["boost/pfr/"],
    "flow": ["sqlite3.h", "toml++/", "re2/", "zstd.h", "xxhash.h", "boost/json"],
    "cluster": ["nats/", "openssl/"],
    "cli": ["CLI/"],
}
never_public = ["nats/", "boost/asio", "boost/json", "toml++/", "leat/io/asio.hpp"]
for_asio_users = "include/leat/io/asio.hpp"  # the one public header that may, for those who ask for it

# Headers of the standard library and of the system: <vector>, <sys/wait.h>, <unistd.h>.
system = re.compile(r"[a-z_0-9]+$|(sys|linux|arpa|net|netinet|asm)/|[a-z_0-9]+\.h$")

seamed_layers = {"base", "task", "sync", "channel", "runtime"}
the_seam = re.compile(r"(include/leat|src)/base/env[^/]*\.[ch]pp$")
originals = re.compile(
    r"#\s*include\s*<(atomic|mutex|shared_mutex|thread|condition_variable|semaphore|latch|barrier|future"
    r"|pthread\.h|linux/futex\.h)>"
    r"|std::(atomic|mutex|recursive_mutex|shared_mutex|thread|jthread|this_thread|condition_variable|counting_semaphore"
    r"|binary_semaphore|latch|barrier|future|promise|async|random_device|memory_order|lock_guard|unique_lock"
    r"|scoped_lock)\b"
    r"|\b(steady_clock|system_clock|high_resolution_clock)::now\b"
    r"|\bclock::now\b|\bSYS_futex\b|\bpthread_\w+|\bclock_gettime\b|\b(nano|u)sleep\b|\bgetrandom\b"
)
fences = re.compile(r"\batomic_(thread|signal)_fence\b|\b__sync_synchronize\b")
include = re.compile(r'#\s*include\s*([<"])([^>"]+)[>"]')


def layer_table(root):
    """The names in the first column of the table of layers, in printed order."""
    text = (root / "ARCHITECTURE.md").read_text()
    start = re.search(r"^\| layer \| what is in it \| rests on \|\n\|[ \-|]+\|\n", text, re.M)
    if not start:
        sys.exit("ARCHITECTURE.md: no table with the header '| layer | what is in it | rests on |'")
    rows = text[start.end() :].split("\n\n")[0].splitlines()
    return [match[1] for row in rows if (match := re.match(r"\| `(\w+)` \|", row))]


def code_lines(path):
    """(number, line) without comments and without the text of strings, as far as one line tells."""
    text = path.read_text(errors="replace")
    text = re.sub(r"/\*.*?\*/", lambda comment: "\n" * comment[0].count("\n"), text, flags=re.S)
    for number, line in enumerate(text.splitlines(), 1):
        if not include.search(line):
            line = re.sub(r'"(\\.|[^"\\])*"', '""', line)
        yield number, re.sub(r"//.*", "", line)


def wrong_include(quote, header, path, root, layer, layers, public):
    """What is wrong with this include, or None."""
    below = layers[: layers.index(layer) + 1]
    where = f"a public header of {layer}" if public else f"layer {layer}"
    private = (path.parent / header).resolve() if quote == '"' else root / "src" / header
    if private.is_relative_to(root / "src") and private.relative_to(root / "src").parts[0] in layers:
        other = private.relative_to(root / "src").parts[0]
        return None if other == layer and not public else f"{where} includes a private header of {other}: {header}"
    if public and header.startswith(tuple(never_public)) and path != root / for_asio_users:
        return f"a public header includes <{header}>"
    if header.startswith("leat/"):
        other = "runtime" if header == "leat/leat.hpp" else header.split("/")[1]  # the former gathers the core
        return None if other in below else f"layer {layer} includes <{header}>, and {other} is not an earlier layer"
    if header.startswith(tuple(prefix for name in below for prefix in external.get(name, []))):
        return None
    of_a_package = header.startswith(tuple(prefix for prefixes in external.values() for prefix in prefixes))
    if of_a_package or not system.match(header):
        return f"layer {layer} includes <{header}>, which its row does not allow"
    return None


def violations(root):
    """Each violation below `root`, as file:line: text."""
    layers = layer_table(root)
    trees = [root / tree for tree in ("include", "src", "tests", "bench", "examples")]
    for path in sorted(path for tree in trees for path in tree.rglob("*.[ch]pp")):
        name = path.relative_to(root).as_posix()
        layer = (re.match(r"(?:include/leat|src)/(\w+)/", name) or [None, None])[1]
        if layer and layer not in layers:
            yield f"{name}:1: {layer} is not a layer of ARCHITECTURE.md"
            continue
        for number, line in code_lines(path):
            found = []
            if match := fences.search(line):
                found.append(f"uses a stand-alone fence, {match[0]}")
            if layer and (match := include.search(line)):
                found.append(wrong_include(match[1], match[2], path, root, layer, layers, name.startswith("include/")))
            if layer in seamed_layers and not the_seam.search(name) and (match := originals.search(line)):
                found.append(f"uses {match[0].strip()} instead of its name in leat/base/env.hpp")
            yield from (f"{name}:{number}: {what}" for what in found if what)


# What the self-test plants: a file, its text, and a part of the message that must come (None: must pass).
planted = [
    ("include/leat/base/a.hpp", "#include <leat/task/task.hpp>", "task is not an earlier layer"),
    ("include/leat/io/b.hpp", "#include <boost/asio.hpp>", "a public header includes <boost/asio.hpp>"),
    ("include/leat/flow/b.hpp", "#include <leat/io/asio.hpp>", "a public header includes <leat/io/asio.hpp>"),
    (for_asio_users, "#include <boost/asio/io_context.hpp>", None),
    ("include/leat/task/c.hpp", "#include <leat/nowhere/x.hpp>", "nowhere is not an earlier layer"),
    ("src/task/c.cpp", "#include <leat/leat.hpp>", "runtime is not an earlier layer"),
    ("src/sync/d.cpp", "#include <re2/re2.h>", "which its row does not allow"),
    ("src/io/e.cpp", "#include <sqlite3.h>", "which its row does not allow"),
    ("src/flow/f.cpp", "#include <openssl/ssl.h>", "which its row does not allow"),
    ("src/io/g.cpp", '#include "../flow/h.hpp"', "a private header of flow"),
    ("src/sync/g.cpp", "#include <task/h.hpp>", "a private header of task"),
    ("include/leat/flow/g.hpp", "#include <flow/h.hpp>", "a private header of flow"),
    ("src/nonsense/i.cpp", "", "nonsense is not a layer"),
    ("src/task/j.cpp", "#include <atomic>", "instead of its name"),
    ("src/task/k.cpp", "std::mutex lock;", "uses std::mutex"),
    ("src/channel/l.cpp", "auto t = std::chrono::steady_clock::now();", "uses steady_clock::now"),
    ("src/runtime/m.cpp", "syscall(SYS_futex, &word);", "uses SYS_futex"),
    ("src/base/n.cpp", "std::this_thread::yield();", "uses std::this_thread"),
    ("src/base/o.cpp", "std::random_device d;", "uses std::random_device"),
    ("src/flow/p.cpp", "std::atomic_thread_fence(order);", "stand-alone fence"),
    ("tests/flow/q.cpp", "std::atomic_thread_fence(order);", "stand-alone fence"),
    ("src/base/env.cpp", "#include <atomic>\nstd::random_device d;", None),
    ("src/task/r.cpp", '// std::mutex\n/* <atomic>\n std::thread */ log("std::thread");', None),
    ("src/io/s.cpp", "#include <boost/asio.hpp>\n#include <mutex>\n#include <sys/wait.h>", None),
    ("src/flow/kinds/u.cpp", '#include "../v.hpp"\n#include <flow/w.hpp>\n#include <sqlite3.h>', None),
    ("src/flow/v.cpp", "#include <vector>\n#include <fmt/core.h>\n#include <leat/leat.hpp>", None),
    ("tests/base/w.cpp", "#include <atomic>\n#include <leat/flow/x.hpp>", None),
]


def self_test():
    table = "| layer | what is in it | rests on |\n| --- | --- | --- |\n"
    names = ["base", "task", "sync", "channel", "runtime", "io", "process", "flow", "cluster", "cli"]
    failed = 0
    for file, text, expected in planted:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder).resolve()
            (root / file).parent.mkdir(parents=True)
            (root / file).write_text(text)
            (root / "ARCHITECTURE.md").write_text(table + "".join(f"| `{name}` | x | y |\n" for name in names))
            found = list(violations(root))
        if (found != []) if expected is None else (len(found) != 1 or expected not in found[0]):
            print(f"planted {text!r} in {file}: expected {expected or 'nothing'!r}, found {found}")
            failed += 1
    print(f"{len(planted) - failed} planted files judged rightly, {failed} wrongly")
    return failed != 0


def main(arguments):
    if arguments == ["--self-test"]:
        return self_test()
    root = pathlib.Path(arguments[0] if arguments else pathlib.Path(__file__).parent.parent).resolve()
    found = list(violations(root))
    print("\n".join(found) or "layers: clean")
    return found != []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
