// A tree walked by a generator that nests itself, and a sequence whose elements have to be waited for.
#include <leat/leat.hpp>

#include <cstdio>
#include <string>
#include <vector>

struct folder {
    std::string name;
    std::vector<folder> inside;
};

leat::generator<std::string> paths(const folder& top, std::string above) {
    const std::string path = above + "/" + top.name;
    co_yield path;
    for (const folder& each : top.inside) co_yield leat::elements_of(paths(each, path));
}

leat::async_generator<int> sums(leat::receiver<int> in) {
    int sum = 0;
    while (auto value = co_await in.recv()) co_yield sum += *value;
}

leat::task<> program() {
    const folder root{"mill", {{"leat", {{"sluice", {}}}}, {"wheel", {}}}};
    for (const std::string& path : paths(root, "")) std::printf("%s\n", path.c_str());

    auto [out, in] = leat::channel<int>(8);
    for (int i = 1; i <= 4; ++i)
        if (auto sent = co_await out.send(i); !sent) co_return;
    out.close();
    auto all = sums(std::move(in));
    while (auto sum = co_await all.next()) std::printf("%d\n", *sum);
}

int main(int argc, char** argv) { return leat::main(argc, argv, program); }
