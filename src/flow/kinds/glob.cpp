// glob: the files whose paths match a pattern.
#include <atomic>
#include <fmt/format.h>

#include <flow/kinds/glob_walk.hpp>
#include <flow/kinds/kinds.hpp>
#include <leat/flow/record.hpp>
#include <leat/runtime/blocking.hpp>

namespace leat {

namespace {

// Paths looked up ahead, so that their number is known early where there are fewer.
constexpr std::size_t ahead = 65536;

class glob_source final : public source {
public:
    explicit glob_source(const option_values& given)
        : patterns_(given.list("path")), allow_empty_(given.boolean("allow_empty")) {
        for (const std::string& each : patterns_) {
            if (each.empty()) throw option_error("path", "is empty; expected a pattern such as \"docs/**/*.txt\"");
            if (each.back() == '/')
                throw option_error("path", fmt::format("is \"{}\", a directory; expected a pattern of files", each));
            if (each.find('\0') != std::string::npos) throw option_error("path", "holds a NUL byte");
        }
        if (patterns_.empty()) throw option_error("path", "is empty; expected a pattern such as \"docs/**/*.txt\"");
    }

    task<> run(source_output& out) override {
        std::uint64_t sequence = 0;
        for (std::size_t i = 0; i < patterns_.size(); ++i) {
            const bool last = i + 1 == patterns_.size();
            glob_walk walk(patterns_[i]);
            for (bool more = true; more;) {
                std::vector<std::string> found;
                more = co_await blocking(&glob_walk::next, &walk, std::ref(found), ahead);
                // relaxed: a figure for progress
                if (!more && last) total_.store(sequence + found.size(), std::memory_order_relaxed);
                for (std::string& path : found) {
                    record each(path);
                    each.key = std::move(path);
                    each.sequence = sequence++;
                    payload value(std::move(each));
                    co_await out.emit(std::move(value));
                }
            }
        }
        if (sequence == 0 && !allow_empty_)
            throw permanent_error(fmt::format("no file matches '{}'", fmt::join(patterns_, "' or '")));
    }

    [[nodiscard]] std::optional<std::uint64_t> total() const noexcept override {
        const std::uint64_t known = total_.load(std::memory_order_relaxed);  // relaxed: as where it is stored
        return known == unknown ? std::nullopt : std::optional(known);
    }

    [[nodiscard]] bool has_unique_names() const noexcept override { return patterns_.size() == 1; }

private:
    static constexpr std::uint64_t unknown = ~std::uint64_t{0};
    std::vector<std::string> patterns_;
    bool allow_empty_;
    std::atomic<std::uint64_t> total_{unknown};  // unknown, then the number of files
};

}  // namespace

void add_glob_kind(registry& kinds) {
    component kind;
    kind.role = component_role::source;
    kind.name = "glob";
    kind.summary = "the files whose paths match a pattern";
    kind.help =
        "Content and key of each item are the path; 'read' puts the file's content in its place. Paths come in the "
        "order of\n"
        "their names. * and ? and [...] match within a name, ** any number of directories; ** does not enter links to\n"
        "directories. Names with a leading dot are matched by patterns with one.\n";
    kind.options = {option("path", option_type::text_list, "the pattern, or several")
                        .required()
                        .also_called({"pattern", "files", "glob"}),
                    option("allow_empty", option_type::boolean, "no file at all is no error").defaults("false")};
    kind.make_source = [](const option_values& given) -> std::shared_ptr<source> {
        return std::make_shared<glob_source>(given);
    };
    kinds.add(std::move(kind));
}

}  // namespace leat
