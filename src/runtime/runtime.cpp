#include <leat/runtime/runtime.hpp>

#include <unistd.h>

#include <leat/base/bug.hpp>

namespace leat {

runtime::runtime() noexcept : process_(::getpid()) {}

bool runtime::in_forked_child() const noexcept { return ::getpid() != process_; }

void runtime::check_can_run() const noexcept {
    if (env::this_thread(env::slot::worker) != nullptr)
        bug("leat::run was called inside a task: await the task instead");
    if (in_forked_child())
        bug("a runtime made before fork() was asked to run a task in the child, where its threads are not: make "
            "another");
}

}  // namespace leat
