// report_file: the reports that --report wrote, read back.
#pragma once

#include <string>

#include <leat/flow/report.hpp>

namespace leat::cli {

// Throw usage_error: the file cannot be read, is no JSON, no report, or holds no plan.
[[nodiscard]] report read_report(const std::string& path);
[[nodiscard]] plan_forecast read_plan(const std::string& path);

}  // namespace leat::cli
