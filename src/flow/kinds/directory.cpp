// directory: a file for each item.
//
// A file is written under a hidden name first. In a run with a journal that name says which output of which source item it is,
// and stays, as a second link, until the item is on record: so an item that is done again after a crash finds what it made
// before, whatever name that was given.
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <mutex>
#include <sys/stat.h>
#include <system_error>
#include <unordered_map>
#include <unordered_set>
#include <xxhash.h>

#include <flow/kinds/kinds.hpp>
#include <flow/kinds/part_of.hpp>
#include <leat/flow/journal.hpp>
#include <leat/io/unique_fd.hpp>
#include <leat/runtime/blocking.hpp>

namespace leat {

namespace {

enum class collision : unsigned char { number, fail, replace };

[[noreturn]] void fail(int why, const std::string& what) { throw std::system_error(why, std::system_category(), what); }

// The last part of a path, which stays inside the directory. Throws permanent_error when there is none.
std::string file_name_of(std::string_view path) {
    const std::string_view name = path.substr(path.find_last_of('/') + 1);
    if (name.empty() || name == "." || name == ".." || name.find('\0') != std::string_view::npos)
        throw permanent_error(fmt::format("\"{}\" gives no file name", path));
    return std::string(name);
}

// "a.txt", 2 → "a-2.txt"
std::string numbered(const std::string& name, unsigned number) {
    const std::size_t dot = name.find_last_of('.');
    const std::size_t stem = dot == 0 || dot == std::string::npos ? name.size() : dot;
    return fmt::format("{}-{}{}", name.substr(0, stem), number, name.substr(stem));
}

class directory_stage final : public stage {
public:
    explicit directory_stage(const option_values& given)
        : folder_(given.text("path")),
          name_(given.text("name_from"), "name_from"),
          suffix_(given.has("suffix") ? given.text("suffix") : std::string()) {
        const std::string& word = given.text("collision");
        collision_ = word == "fail" ? collision::fail : word == "replace" ? collision::replace : collision::number;
        if (suffix_.find('/') != std::string::npos)
            throw option_error("suffix", "holds a '/'; expected the end of a file name");
    }

    void use_journal(sink_journal& kept) override { kept_ = &kept; }
    task<> start(unsigned) override {
        co_await blocking(&make_folder, folder_);
        if (kept_ != nullptr) co_await blocking(&directory_stage::find_left, this);
    }
    task<> close() override {
        if (is_whole_) co_await blocking(&directory_stage::drop_left, this);
    }
    task<std::unique_ptr<stage_worker>> open() override { co_return std::make_unique<worker>(*this); }

private:
    class worker final : public stage_worker {
    public:
        explicit worker(directory_stage& owner) : owner_(owner) {}
        task<> process(item& in, emitter&) override {
            const auto& what = in.value.as<record>();
            std::string name = file_name_of(owner_.name_.get(what, room_)) + owner_.suffix_;
            const std::string_view bytes = what.bytes;
            if (owner_.kept_ == nullptr) {
                co_await blocking(&directory_stage::write, &owner_, std::move(name), bytes);
            } else {
                std::string part = owner_.part_of_item(in.ack, name, bytes);
                co_await blocking(&directory_stage::write_once, &owner_, part, std::move(name), bytes);
                owner_.kept_->when_recorded(in.ack, [part = std::move(part)] { ::unlink(part.c_str()); });
            }
            in.ack.commit();
        }
        task<> finish(emitter& out) override {
            if (!out.is_cut_short()) owner_.is_whole_ = true;
            co_return;
        }

    private:
        directory_stage& owner_;
        std::string room_;
    };

    static void make_folder(const std::string& folder) {
        if (::mkdir(folder.c_str(), 0777) != 0 && errno != EEXIST)
            fail(errno, fmt::format("cannot make the directory '{}'", folder));
        struct stat status{};
        if (::stat(folder.c_str(), &status) != 0) fail(errno, fmt::format("cannot write into '{}'", folder));
        if (!S_ISDIR(status.st_mode)) fail(ENOTDIR, fmt::format("cannot write into '{}'", folder));
        if (::access(folder.c_str(), W_OK | X_OK) != 0) fail(errno, fmt::format("cannot write into '{}'", folder));
    }

    // Blocks. The file is there under its name with all its bytes, or not at all.
    void write(const std::string& name, std::string_view bytes) {
        const std::string part = fmt::format("{}/.leat-{}-{}.part", folder_, ::getpid(), next_part());
        write_part(part, name, bytes);
        give_name(part, name);
    }

    // The same; `part` stays, and when it is there with a second name nothing is left to do.
    void write_once(const std::string& part, const std::string& name, std::string_view bytes) {
        bool was_left = false;
        {
            const std::scoped_lock held(lock_);
            was_left = left_.erase(part) > 0;
        }
        struct stat status{};
        if (was_left && ::lstat(part.c_str(), &status) == 0) {
            if (status.st_nlink > 1) return;
            ::unlink(part.c_str());
        }
        write_part(part, name, bytes);
        give_name(part, name);
    }

    // What is the same item's output in each run: the place among those that are alike does not depend on the order.
    std::string part_of_item(const ack_ref& of, const std::string& name, std::string_view bytes) {
        std::string what = fmt::format("{}\n{}\n", name, XXH3_64bits(bytes.data(), bytes.size()));
        for (const std::string& item : kept_->items_of(of)) what += item + '\n';
        unsigned number = 0;
        {
            const std::scoped_lock held(lock_);
            number = alike_[XXH3_64bits(what.data(), what.size())]++;
        }
        if (number == 0)
            kept_->when_recorded(of, [this, key = XXH3_64bits(what.data(), what.size())] {
                const std::scoped_lock held(lock_);
                alike_.erase(key);
            });
        what += std::to_string(number);
        const XXH128_hash_t hash = XXH3_128bits(what.data(), what.size());
        return fmt::format("{}{:016x}{:016x}.part", part_begin(), hash.high64, hash.low64);
    }
    // Of this journal's parts and no other's.
    [[nodiscard]] std::string part_begin() const {
        const std::string whose = kept_->journal_name();
        return fmt::format("{}/.leat-{:016x}-", folder_, XXH3_64bits(whose.data(), whose.size()));
    }
    void find_left() {
        const std::string begin = part_begin();
        for (const auto& each : std::filesystem::directory_iterator(folder_))
            if (each.path().native().starts_with(begin)) left_.insert(each.path().native());
        if (kept_->mode() == journal_mode::fresh) drop_left();  // no item is to find anything
    }
    void drop_left() {
        for (const std::string& each : left_) ::unlink(each.c_str());
        left_.clear();
    }

    void write_part(const std::string& part, const std::string& name, std::string_view bytes) {
        {
            io::unique_fd fd(::open(part.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
            if (!fd) fail(errno, fmt::format("cannot write into '{}'", folder_));
            for (std::size_t done = 0; done < bytes.size();) {
                const ssize_t wrote = ::write(fd.get(), bytes.data() + done, bytes.size() - done);
                if (wrote < 0 && errno == EINTR) continue;
                if (wrote <= 0)
                    drop(part, wrote == 0 ? EIO : errno, fmt::format("cannot write '{}/{}'", folder_, name));
                done += static_cast<std::size_t>(wrote);
            }
        }
    }

    void give_name(const std::string& part, const std::string& name) {
        const std::string target = folder_ + "/" + name;
        if (collision_ == collision::replace) {
            if (::rename(part.c_str(), target.c_str()) != 0)
                drop(part, errno, fmt::format("cannot write '{}'", target));
            return;
        }
        // A link, unlike a rename, never takes the place of a file that is there.
        for (unsigned number = first_number(name);; ++number) {
            const std::string as = number == 1 ? target : folder_ + "/" + numbered(name, number);
            if (::link(part.c_str(), as.c_str()) == 0) {
                if (kept_ == nullptr) ::unlink(part.c_str());
                taken(name, number);
                return;
            }
            if (errno != EEXIST) drop(part, errno, fmt::format("cannot write '{}'", as));
            if (collision_ == collision::fail) {
                ::unlink(part.c_str());
                throw permanent_error(fmt::format("'{}' exists already", as));
            }
        }
    }

    [[noreturn]] static void drop(const std::string& part, int why, const std::string& what) {
        ::unlink(part.c_str());
        fail(why, what);
    }

    std::uint64_t next_part() {
        const std::scoped_lock held(lock_);
        return parts_++;
    }
    // The first number that may be free for `name`: 1 is the name itself.
    unsigned first_number(const std::string& name) {
        if (collision_ == collision::fail) return 1;
        const std::scoped_lock held(lock_);
        const auto found = numbers_.find(name);
        return found == numbers_.end() ? 1 : found->second + 1;
    }
    // Remembered from the first collision on: many items of one name would look for a free number for ever.
    void taken(const std::string& name, unsigned number) {
        if (number == 1) return;
        const std::scoped_lock held(lock_);
        unsigned& last = numbers_[name];
        last = std::max(last, number);
    }

    std::string folder_;
    part_of name_;
    std::string suffix_;
    collision collision_ = collision::number;
    sink_journal* kept_ = nullptr;       // null: there is no journal
    std::atomic<bool> is_whole_{false};  // all items have come
    std::mutex lock_;
    std::unordered_set<std::string> left_;  // under lock_: parts of earlier runs, not found by their items yet
    std::unordered_map<std::uint64_t, unsigned> alike_;  // under lock_: how many outputs of an item are alike
    std::uint64_t parts_ = 0;                            // under lock_
    std::unordered_map<std::string, unsigned> numbers_;  // under lock_: the highest number given to a name
};

}  // namespace

void add_directory_kind(registry& kinds) {
    component kind;
    kind.role = component_role::sink;
    kind.name = "directory";
    kind.summary = "a file for each item";
    kind.help =
        "The directory is made when it is not there. A file is there with all its bytes or not at all. Whatever the "
        "name\n"
        "comes from, only what follows its last / is used.\n";
    kind.options = {
        option("path", option_type::text, "the directory").required().at_least(1).also_called({"directory", "folder"}),
        option("name_from", option_type::text, std::string("what the file is called after: ") + part_of::words)
            .defaults("key")
            .also_called({"filename", "file_name"}),
        option("suffix", option_type::text, "put behind the name, such as \".zst\"").also_called({"extension"}),
        option("collision", option_type::word,
               "when there is a file of that name: 'number' makes it NAME-2, 'fail' fails the item, 'replace' replaces "
               "the file")
            .one_of({"number", "fail", "replace"})
            .defaults("number")
            .also_called({"exists", "overwrite"})};
    kind.make_stage = [](const option_values& given) -> std::shared_ptr<stage> {
        return std::make_shared<directory_stage>(given);
    };
    kinds.add(std::move(kind));
}

}  // namespace leat
