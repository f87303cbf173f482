// output_closed: nobody reads what a sink writes any more (`leat run … | head`). The command ends with 141 for it.
#pragma once

#include <leat/flow/policy.hpp>

namespace leat {

class output_closed : public permanent_error {
public:
    using permanent_error::permanent_error;
};

}  // namespace leat
