// zstd: compresses or decompresses the content of an item.
#include <fmt/format.h>
#include <zstd.h>

#include <flow/kinds/kinds.hpp>
#include <leat/flow/record.hpp>

namespace leat {

namespace {

struct zstd_settings {
    explicit zstd_settings(const option_values& given)
        : decompress(given.text("mode") == "decompress"),
          level(static_cast<int>(given.integer("level"))),
          most(given.size("max")) {}
    bool decompress;
    int level;
    std::uint64_t most;
};

std::size_t checked(std::size_t result) {
    if (ZSTD_isError(result) != 0U) throw permanent_error(fmt::format("zstd: {}", ZSTD_getErrorName(result)));
    return result;
}

struct free_context {
    void operator()(ZSTD_CCtx* context) const noexcept { ZSTD_freeCCtx(context); }
    void operator()(ZSTD_DCtx* context) const noexcept { ZSTD_freeDCtx(context); }
};

class zstd_worker final : public stage_worker {
public:
    explicit zstd_worker(const zstd_settings& settings) : settings_(settings) {}

    task<> process(item& in, emitter& out) override {
        const std::string& given = in.value.as<record>().bytes;
        std::string made = settings_.decompress ? decompressed(given) : compressed(given);
        payload value = out.may_consume() ? std::move(in.value) : in.value.copy();
        value.as<record>().bytes = std::move(made);
        co_await out.emit(std::move(value));
    }

private:
    std::string compressed(const std::string& given) {
        if (!compressor_) compressor_.reset(ZSTD_createCCtx());
        if (!compressor_) throw std::bad_alloc();
        std::string made(ZSTD_compressBound(given.size()), '\0');
        made.resize(checked(ZSTD_compressCCtx(compressor_.get(), made.data(), made.size(), given.data(), given.size(),
                                              settings_.level)));
        made.shrink_to_fit();  // the bound is longer than most items: it would count against the buffers
        return made;
    }

    // One frame or several, one after the other. What the frames say of their length is not believed.
    std::string decompressed(const std::string& given) {
        if (!decompressor_) decompressor_.reset(ZSTD_createDCtx());
        if (!decompressor_) throw std::bad_alloc();
        checked(ZSTD_DCtx_reset(decompressor_.get(), ZSTD_reset_session_only));
        std::string made;
        ZSTD_inBuffer from{given.data(), given.size(), 0};
        std::size_t wanted = 1;  // 0 at the end of a frame
        while (from.pos < from.size || wanted != 0) {
            const std::size_t had = made.size();
            made.resize(had + ZSTD_DStreamOutSize());
            ZSTD_outBuffer to{made.data() + had, made.size() - had, 0};
            wanted = checked(ZSTD_decompressStream(decompressor_.get(), &to, &from));
            made.resize(had + to.pos);
            if (made.size() > settings_.most)
                throw permanent_error(
                    fmt::format("the content is longer than {} bytes, the bound 'max' of the stage", settings_.most));
            if (wanted != 0 && from.pos == from.size && to.pos < to.size)
                throw permanent_error("zstd: the content ends in the middle");
        }
        return made;
    }

    zstd_settings settings_;
    std::unique_ptr<ZSTD_CCtx, free_context> compressor_;
    std::unique_ptr<ZSTD_DCtx, free_context> decompressor_;
};

class zstd_stage final : public stage {
public:
    explicit zstd_stage(const option_values& given) : settings_(given) {}
    task<std::unique_ptr<stage_worker>> open() override { co_return std::make_unique<zstd_worker>(settings_); }

private:
    zstd_settings settings_;
};

}  // namespace

void add_zstd_kind(registry& kinds) {
    component kind;
    kind.name = "zstd";
    kind.summary = "compresses or decompresses the content";
    kind.help =
        "Each item is compressed by itself, as one zstd frame. Written one after the other (write, end = \"\") they "
        "make\n"
        "a file that 'zstd -d' reads.\n";
    kind.options = {
        option("mode", option_type::word, "what is done").one_of({"compress", "decompress"}).defaults("compress"),
        option("level", option_type::integer, "from 1, fast, to 19, small").defaults("3").at_least(1).at_most(19),
        option("max", option_type::size, "an item that is longer than this decompressed fails").defaults("1GiB")};
    kind.make_stage = [](const option_values& given) -> std::shared_ptr<stage> {
        return std::make_shared<zstd_stage>(given);
    };
    kinds.add(std::move(kind));
}

}  // namespace leat
