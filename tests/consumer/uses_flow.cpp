// The flow layer as a stranger links it: its account of a run, which needs the packages that only this component brings.
#include <string>

#include <leat/flow/report.hpp>

int main() {
    leat::report done;
    done.in = 3;
    done.out = 2;
    done.skipped = 1;
    return done.adds_up() && done.to_json().find("\"skipped\"") != std::string::npos ? 0 : 1;
}
