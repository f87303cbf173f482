// route, partition: send each item one of several ways.
#include <flow/kinds/kinds.hpp>
#include <flow/kinds/part_of.hpp>
#include <flow/kinds/regular_expression.hpp>
#include <re2/re2.h>
#include <xxhash.h>

namespace leat {

namespace {

// Says by its part which way an item goes; shared by all workers.
class way_finder {
public:
    virtual ~way_finder() = default;
    [[nodiscard]] virtual std::uint32_t way_of(std::string_view part) const = 0;
    [[nodiscard]] virtual std::vector<std::string> names() const = 0;
};

class ways_stage final : public stage {
public:
    ways_stage(const option_values& given, std::unique_ptr<const way_finder> finder)
        : on_(given.text("on"), "on"), finder_(std::move(finder)), names_(finder_->names()) {}
    task<std::unique_ptr<stage_worker>> open() override { co_return std::make_unique<worker>(*this); }
    [[nodiscard]] bool is_direct() const noexcept override { return true; }
    [[nodiscard]] unsigned ports() const noexcept override { return static_cast<unsigned>(names_.size()); }
    [[nodiscard]] std::vector<std::string> port_names() const override { return names_; }

private:
    class worker final : public stage_worker {
    public:
        explicit worker(const ways_stage& of) : of_(of) {}
        made transform(item& in, bool) override {
            in.port = of_.finder_->way_of(of_.on_.get(in.value.as<record>(), room_));
            return made::one;
        }

    private:
        const ways_stage& of_;
        std::string room_;
    };
    part_of on_;
    std::unique_ptr<const way_finder> finder_;
    std::vector<std::string> names_;
};

class by_pattern final : public way_finder {
public:
    explicit by_pattern(const option_values& given) : pattern_(compile(given, "pattern")) {}
    [[nodiscard]] std::uint32_t way_of(std::string_view part) const override {
        return RE2::PartialMatch(re2::StringPiece(part.data(), part.size()), *pattern_) ? 0 : 1;
    }
    [[nodiscard]] std::vector<std::string> names() const override { return {"match", "rest"}; }

private:
    std::unique_ptr<const RE2> pattern_;
};

class by_hash final : public way_finder {
public:
    explicit by_hash(const option_values& given) : parts_(static_cast<std::uint32_t>(given.integer("parts"))) {}
    [[nodiscard]] std::uint32_t way_of(std::string_view part) const override {
        return static_cast<std::uint32_t>(XXH3_64bits(part.data(), part.size()) % parts_);
    }
    [[nodiscard]] std::vector<std::string> names() const override {
        std::vector<std::string> all;
        all.reserve(parts_);
        for (std::uint32_t i = 0; i < parts_; ++i) all.push_back(std::to_string(i));
        return all;
    }

private:
    std::uint32_t parts_;
};

template <class Finder>
std::shared_ptr<stage> make_ways(const option_values& given) {
    return std::make_shared<ways_stage>(given, std::make_unique<Finder>(given));
}

option on_option() {
    return option("on", option_type::text, std::string("what is looked at: ") + part_of::words).defaults("content");
}

}  // namespace

void add_route_kinds(registry& kinds) {
    component route;
    route.name = "route";
    route.summary = "sends what matches a regular expression one way, the rest another";
    route.help =
        "The ways are taken by their names: from = [\"NAME.match\"] and from = [\"NAME.rest\"]. Both must lead\n"
        "somewhere: the sink 'null' is a place for what nobody wants. The syntax is that of RE2.\n";
    route.options = {option("pattern", option_type::text,
                            "the regular expression; it may match anywhere, ^ and $ hold it to the ends")
                         .required()
                         .also_called({"regex", "match", "expression"}),
                     on_option(), encoding_option()};
    route.make_stage = &make_ways<by_pattern>;
    kinds.add(std::move(route));

    component partition;
    partition.name = "partition";
    partition.summary = "sends equal items the same of several ways";
    partition.help = "By a hash of what is looked at. The ways are called 'NAME.0', 'NAME.1' and so on.\n";
    partition.options = {option("parts", option_type::integer, "how many ways there are")
                             .required()
                             .at_least(1)
                             .at_most(256)
                             .also_called({"ways", "count"}),
                         on_option()};
    partition.make_stage = &make_ways<by_hash>;
    kinds.add(std::move(partition));
}

}  // namespace leat
