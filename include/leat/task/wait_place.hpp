// wait_place: an object that lines wait at, as a reader from outside sees it: what it is, and who holds it. A context that
// waits knows its place, so that a report can follow who waits for whom.
//
// Reading one needs to know that it lives: it does at least as long as somebody waits there. So it is for reports on lines
// that all stand still, and for a line that asks about its own place.
#pragma once

namespace leat {

class context;

class wait_place {
public:
    // What all places of one kind have in common: a constant.
    struct kind {
        const char* name;  // with its article, for reports: "a mutex"
        // Who keeps the others waiting; null for kinds that have no holder. A name to compare with the lines that live:
        // who held the place first may have passed its guard on, and have ended.
        const context* (*holder)(const wait_place&) noexcept = nullptr;
    };

    explicit constexpr wait_place(const kind& what) noexcept : kind_(&what) {}
    wait_place(const wait_place&) = delete;
    wait_place& operator=(const wait_place&) = delete;

    [[nodiscard]] const char* name() const noexcept { return kind_->name; }
    // The line that holds it; null when nobody does, when a plain thread does, or when that is not known. A snapshot.
    [[nodiscard]] const context* holder() const noexcept {
        return kind_->holder == nullptr ? nullptr : kind_->holder(*this);
    }

protected:
    ~wait_place() = default;

private:
    const kind* kind_;
};

}  // namespace leat
