// A work item that writes its number into a list when it runs: for tests of the order in which an executor runs things.
#pragma once

#include <vector>

#include <leat/task/work_item.hpp>

namespace leat_test {

struct note : leat::work_item {
    note(std::vector<int>& where, int what)
        : work_item([](work_item& self) noexcept {
              auto& mine = static_cast<note&>(self);
              mine.list.push_back(mine.number);
          }),
          list(where),
          number(what) {}
    std::vector<int>& list;
    int number;
};

}  // namespace leat_test
