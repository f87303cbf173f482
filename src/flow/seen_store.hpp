// seen_store: keys on disk, in an SQLite database of one file. Used by seen_index alone, which says what the keys mean.
//
// Tables: seen (the keys), unsure (those of which the journal of the run may not know yet, with the source item that they are
// of), about (what the keys are, and which saved filter belongs to them). The file belongs to one run at a time.
//
// Blocks; one thread at a time. All functions throw seen_store::failure, whose text is a sentence for the user.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>

#include <leat/flow/key_digest.hpp>

#include <flow/sqlite.hpp>

namespace leat {

class seen_store {
public:
    class failure : public std::runtime_error {
    public:
        using std::runtime_error::runtime_error;
    };

    enum class begin : unsigned char {
        afresh,  // without the keys that are in it
        go_on,   // an index whose keys are something else than `keys` is refused
    };
    // Opens the index at `path`, or makes it and its folder, and keeps it from other runs until this is destroyed.
    seen_store(const std::string& path, const std::string& keys, begin how);

    [[nodiscard]] bool contains(key_digest key);
    struct entry {
        key_digest key;
        std::string item;  // empty: there is no journal, and nothing to be unsure of
    };
    // All or none of them, in one transaction; those of `sure` are unsure no longer.
    void add(std::span<const entry> entries, std::span<const key_digest> sure);

    // Of the unsure keys those whose item is not done are forgotten; the others are sure from now on.
    void forget_unsure(const std::function<bool(const std::string& item)>& is_done);
    // Gives how many there are.
    std::uint64_t for_each(const std::function<void(key_digest)>& body);

    // The mark of the saved filter that has exactly these keys, if there is one. Taken out: from now on there is none.
    [[nodiscard]] std::optional<std::uint64_t> take_filter_mark();
    void put_filter_mark(std::uint64_t mark);

    [[nodiscard]] const std::string& path() const noexcept { return path_; }

private:
    void prepare(const std::string& keys, begin how);
    template <class Body>
    auto guarded(Body body) -> decltype(body());

    std::string path_;
    std::optional<sqlite::database> db_;
    std::optional<sqlite::statement> find_;
    std::optional<sqlite::statement> add_;
    std::optional<sqlite::statement> add_unsure_;
    std::optional<sqlite::statement> now_sure_;
};

}  // namespace leat
