// What the compiler must refuse. run.sh beside it compiles this once for each line "#if CASE == n  // words that must come".
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include <leat/flow/process_stage.hpp>
#include <leat/process/codec.hpp>
#include <leat/process/process_pool.hpp>

namespace refused {

enum class big { first = 1000 };
struct with_reference {
    int& value;
};
struct with_pointer {
    int count;
    const char* text;
};
union either {
    int number;
    float real;
};

#if CASE == 0  // nothing
[[maybe_unused]] const auto crosses = leat::encode(std::vector<int>{1, 2});
#elif CASE == 1   // a pointer cannot cross to another process
const auto text = leat::encode(static_cast<const char*>("text"));
#elif CASE == 2   // a pointer cannot cross to another process
const auto text = leat::encode(std::vector<with_pointer>());
#elif CASE == 3   // a smart pointer cannot cross to another process
const auto value = leat::decode<std::unique_ptr<int>>("");
#elif CASE == 4   // a view cannot cross to another process
const auto value = leat::decode<std::string_view>("");
#elif CASE == 5   // a view cannot cross to another process
const auto value = leat::encode(std::span<const int>());
#elif CASE == 6   // a reference cannot cross to another process
static_assert(leat::must_cross_processes<int&>);
#elif CASE == 7   // a reference cannot cross to another process
static_assert(leat::must_cross_processes<std::vector<std::reference_wrapper<int>>>);
#elif CASE == 8   // a C array cannot cross to another process
const auto value = leat::encode("text");
#elif CASE == 9   // a union cannot cross to another process
const auto value = leat::encode(either());
#elif CASE == 10  // a long double cannot cross to another process
const auto value = leat::encode(1.0L);
#elif CASE == 11  // this enumeration has no enumerators from -128 to 255
const auto value = leat::encode(big::first);
#elif CASE == 12  // this aggregate has a member that is a reference
static_assert(leat::must_cross_processes<with_reference>);
#elif CASE == 13  // this type cannot cross to another process
static_assert(leat::must_cross_processes<std::function<void()>>);
#elif CASE == 14  // this type cannot cross to another process
static_assert(leat::must_cross_processes<void>);
#elif CASE == 15  // what runs in another process is a named function
leat::task<int> call(leat::process_pool& pool) {
    return pool.apply<[](int x) { return x; }>(1);
}
#elif CASE == 16  // a pointer cannot cross to another process
std::size_t length(const char* text);
leat::task<std::size_t> call(leat::process_pool& pool) { return pool.apply<length>("text"); }
#elif CASE == 17  // a view cannot cross to another process
std::string_view first_word(const std::string& text);
leat::task<std::string_view> call(leat::process_pool& pool) { return pool.apply<first_word>("a text"); }
#elif CASE == 18  // a reference to what can be changed cannot cross
void store(int what, int& there);
leat::task<void> call(leat::process_pool& pool) { return pool.apply<store>(1, 2); }
#elif CASE == 19  // these are not the function's arguments
int sum(int a, int b);
leat::task<int> call(leat::process_pool& pool) { return pool.apply<sum>(1); }
#elif CASE == 20  // map is for functions of one item
int product(int a, int b);
auto call(leat::process_pool& pool) { return pool.map<product>(std::vector<int>{1}); }
#elif CASE == 21  // what runs in another process is a named function
auto stage() {
    return leat::map<[](int x) { return x; }>("same");
}
#elif CASE == 22  // a pointer cannot cross to another process
int* address(int of);
auto flow() { return leat::from(std::vector<int>{1}) | leat::map<address>("address").on(leat::processes(2)); }
#elif CASE == 23  // the function does not take the items of the stage before it
int length_of(const std::vector<int>& all);
auto flow() { return leat::from(std::vector<int>{1}) | leat::map<length_of>("length").on(leat::processes(2)); }
#endif

}  // namespace refused
