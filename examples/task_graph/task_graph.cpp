// A graph of tasks that depend on each other: what can runs at once, results go on to who waits for them, a failure costs only
// what needs it, and a node adds more of them when it knows what there is to do.
#include <leat/flow/graph.hpp>
#include <leat/leat.hpp>

#include <cstdio>
#include <map>
#include <sstream>
#include <string>

using namespace std::chrono_literals;

leat::task<std::string> load(std::string name) {
    co_await leat::sleep_for(1ms);
    if (name == "notes") throw std::runtime_error("there is no such chapter");
    co_return "the " + name + " of the mill and the leat and the wheel";
}

std::map<std::string, int> count(const std::string& text) {
    std::map<std::string, int> words;
    std::istringstream all(text);
    for (std::string word; all >> word;) ++words[word];
    return words;
}

std::size_t measure(const std::string& text) { return text.size(); }

std::string tell(const std::map<std::string, int>& words, std::size_t bytes) {
    return std::to_string(words.at("the")) + " times 'the' in " + std::to_string(bytes) + " bytes";
}

leat::task<> program() {
    leat::graph work;
    auto text = work.add("load", [] { return load("story"); });
    auto words = work.add("count", count).after(text);
    auto size = work.add("measure", measure).after(text);
    auto told = work.add("tell", tell).after(words, size);  // begins when both are done, with their results
    auto notes = work.add("notes", [] { return load("notes"); });
    work.add("print notes", [](const std::string& n) { std::printf("%s\n", n.c_str()); }).after(notes);
    leat::graph_report done = co_await work.run();
    for (const leat::graph_node_report& node : done.nodes)
        std::printf("%s: %s%s%s\n", node.name.c_str(), std::string(leat::to_string(node.end)).c_str(),
                    node.why.empty() ? "" : ", ", node.why.c_str());
    std::printf("%s\n", told.get().c_str());

    leat::graph more;
    int lines = 0;
    more.add("plan", [&] {
        for (const char* line : {"one", "two", "three"})
            more.add(line, [line, &lines] { lines += line != nullptr ? 1 : 0; });
    });
    done = co_await more.run(leat::graph_options(1));  // one at a time
    std::printf("%zu nodes, %d lines\n", done.nodes.size(), lines);
}

int main(int argc, char** argv) { return leat::main(argc, argv, program); }
