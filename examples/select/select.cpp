// A worker that serves whatever comes first: a request, room for the answer that it holds, or a pause that is too long.
#include <leat/leat.hpp>

#include <cstdio>

using namespace std::chrono_literals;

leat::task<> work(leat::receiver<int> requests, leat::sender<int> answers) {
    int answer = 0;
    bool has_answer = false;
    for (bool open = true; open || has_answer;) {
        auto won = co_await leat::select(leat::on_recv(requests).only_if(open && !has_answer),
                                         leat::on_send(answers, answer).only_if(has_answer), leat::after(1s));
        if (won.cancelled() || won.index() == 2) co_return;
        if (won.index() == 0) {
            const auto& request = won.get<0>();
            open = has_answer = request.has_value();  // else: no more requests
            if (request) answer = *request * *request;
        } else {
            has_answer = false;
            if (!won.get<1>()) co_return;  // nobody wants answers any more; `answer` is where it was
        }
    }
}

leat::task<> ask(leat::sender<int> requests) {
    for (int i = 1; i <= 100; ++i)
        if (auto sent = co_await requests.send(i); !sent) co_return;
}

leat::task<> program() {
    auto [requests_out, requests_in] = leat::channel<int>(0);
    auto [answers_out, answers_in] = leat::channel<int>(4);
    leat::scope all;
    all.spawn(ask, std::move(requests_out));
    all.spawn(work, requests_in, answers_out);
    all.spawn(work, std::move(requests_in), std::move(answers_out));
    long sum = 0;
    while (auto item = co_await answers_in.recv()) sum += *item;
    std::printf("sum %ld\n", sum);
    co_await all.join();
}

int main(int argc, char** argv) { return leat::main(argc, argv, program); }
