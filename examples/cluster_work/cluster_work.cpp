// Functions of this program, called on a cluster: on one machine here, with two workers that are tasks, over an engine in
// memory. On several, `cluster_work --engine nats://…` on one, and `cluster_work worker --engine nats://…` on the others.
#include <leat/cluster/cluster_client.hpp>
#include <leat/cluster/cluster_graph.hpp>
#include <leat/cluster/cluster_worker.hpp>
#include <leat/cluster/job_worker.hpp>
#include <leat/cluster/memory_broker.hpp>
#include <leat/cluster/nats_broker.hpp>
#include <leat/flow/graph.hpp>
#include <leat/leat.hpp>

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

using leat::cluster::cluster_client;

// What runs on workers: named functions, whose arguments and values cross.
bool is_prime(int number) {
    for (int by = 2; by * by <= number; ++by)
        if (number % by == 0) return false;
    return number > 1;
}
std::string chapter(const std::string& name) {
    std::string text;
    while (text.size() < 1'000'000) text += "the " + name + " of the mill and the leat and the wheel\n";
    return text;
}
std::size_t lines_of(const std::string& text) {
    std::size_t lines = 0;
    for (const char each : text) lines += each == '\n' ? 1U : 0U;
    return lines;
}
std::size_t sum(std::size_t a, std::size_t b) { return a + b; }
int divided(int a, int by) {
    if (by == 0) throw std::domain_error("nothing can be divided by nothing");
    return a / by;
}

leat::task<> work_on(cluster_client& cluster) {
    const int five = co_await cluster.submit<divided>(10, 2);
    std::printf("10 / 2 = %d\n", five);

    std::vector<int> numbers;
    for (int i = 0; i < 10'000; ++i) numbers.push_back(i);
    const std::vector<bool> primes = co_await cluster.map<is_prime>(numbers);
    int count = 0;
    for (const bool each : primes) count += each ? 1 : 0;
    std::printf("%d primes below 10000\n", count);

    try {
        (void)co_await cluster.submit<divided>(10, 0);
    } catch (const leat::remote_error& error) {
        std::printf("%s\n", error.what());
    }

    // A megabyte each, which goes from worker to worker, and never comes here.
    leat::graph work;
    auto story = work.add("story", leat::cluster::remote<chapter>(cluster, std::string("story")));
    auto notes = work.add("notes", leat::cluster::remote<chapter>(cluster, std::string("notes")));
    auto story_lines = work.add("count the story", leat::cluster::remote<lines_of>(cluster), story);
    auto notes_lines = work.add("count the notes", leat::cluster::remote<lines_of>(cluster), notes);
    auto all = work.add("add", leat::cluster::remote<sum>(cluster), story_lines, notes_lines);
    const leat::graph_report told = co_await work.run(leat::graph_options(100));
    const std::size_t lines = co_await all.get().get();
    std::printf("%s: %zu lines, and %llu bytes of them came here\n", told.ok() ? "done" : "failed", lines,
                static_cast<unsigned long long>(cluster.blobs().counts().bytes_read));
}

leat::task<> serve(leat::cluster::memory_engine* engine, leat::event* drain) {
    const auto link = engine->connect();
    (void)co_await leat::cluster::serve_jobs(*link, leat::cluster::job_worker_options(), drain);
}

leat::task<> here() {
    leat::cluster::memory_engine engine;
    leat::event drain;
    leat::scope workers;
    for (int i = 0; i < 2; ++i) workers.spawn(serve, &engine, &drain);
    const auto link = engine.connect();
    const leat::cluster::client_options options;
    co_await leat::cluster::with_cluster_client(*link, options, work_on);
    drain.set();
    co_await workers.join();
}

leat::task<> there(std::string url) {
    auto link = co_await leat::cluster::connect(leat::cluster::nats_options(std::move(url)));
    if (!link) throw std::runtime_error(link.error().text);
    const leat::cluster::client_options options;
    auto working = leat::cluster::with_cluster_client(**link, options, work_on);
    leat::outcome<void> end = co_await std::move(working).as_outcome();
    co_await leat::shield((*link)->close());
    std::move(end).get();
}

int main(int argc, char** argv) {
    if (const auto code = leat::cluster::worker_main(argc, argv)) return *code;
    const auto program = [](int count, char** given) {
        const bool is_given = count == 3 && std::string_view(given[1]) == "--engine";
        return is_given ? there(given[2]) : here();
    };
    return leat::main(argc, argv, program);
}
