#include <cluster/parcel.hpp>

#include <random>

#include <gmock/gmock.h>

#include <leat/flow/record.hpp>

namespace leat::cluster {
namespace {

using testing::HasSubstr;

parcel_item some_item() {
    parcel_item made;
    made.id = 7;
    made.sequence = 3;
    made.value.bytes = std::string("a\0b", 3);
    made.value.key = "in.txt:4";
    made.value.attributes = {{"file", "in.txt"}, {"line", "4"}};
    made.value.sequence = 3;
    return made;
}

std::string some_message() {
    parcel_writer writer(parcel_kind::items);
    for (int i = 0; i < 5; ++i) writer.add(encode_part(some_item()));
    return writer.take();
}

TEST(parcel, items_come_out_as_they_went_in) {
    const auto all = decode_items(some_message());
    ASSERT_TRUE(all.has_value()) << all.error();
    ASSERT_EQ(all->size(), 5U);
    EXPECT_EQ((*all)[4].id, 7U);
    EXPECT_EQ((*all)[4].sequence, 3U);
    EXPECT_EQ((*all)[4].value, some_item().value);
}

TEST(parcel, results_come_out_as_they_went_in) {
    result_item one;
    one.id = 9;
    one.how = item_end::failed;
    one.retried = 2;
    one.outputs.push_back(some_item().value);
    one.failures.push_back({"parse", "exited with 3", 3});
    parcel_writer writer(parcel_kind::results);
    writer.add(encode_part(one));
    const auto all = decode_results(writer.take());
    ASSERT_TRUE(all.has_value()) << all.error();
    ASSERT_EQ(all->size(), 1U);
    EXPECT_EQ(all->front().how, item_end::failed);
    EXPECT_EQ(all->front().outputs, one.outputs);
    EXPECT_EQ(all->front().failures.front().error, "exited with 3");
    EXPECT_EQ(all->front().failures.front().attempts, 3U);
}

TEST(parcel, what_is_none_is_told_in_a_sentence) {
    EXPECT_THAT(decode_items("").error(), HasSubstr("no parcel of items"));
    EXPECT_THAT(decode_items("hello, world").error(), HasSubstr("no parcel of items"));
    EXPECT_THAT(decode_results(some_message()).error(), HasSubstr("no parcel of results"));
    std::string later = some_message();
    later[3] = '2';
    EXPECT_THAT(decode_items(later).error(), HasSubstr("another version of leat"));
    EXPECT_THAT(decode_items(some_message() + "x").error(), HasSubstr("behind its last part"));
}

TEST(parcel, a_message_that_was_cut_off_or_damaged_makes_no_crash) {
    const std::string whole = some_message();
    for (std::size_t size = 0; size < whole.size(); ++size)
        EXPECT_FALSE(decode_items(std::string_view(whole).substr(0, size)).has_value()) << size;
    std::minstd_rand random(1);
    for (int i = 0; i < 20'000; ++i) {
        std::string damaged = whole;
        for (auto changes = 1 + random() % 3; changes > 0; --changes)
            damaged[random() % damaged.size()] = static_cast<char>(random());
        (void)decode_items(damaged);
    }
}

TEST(parcel, a_count_that_is_a_lie_allocates_nothing) {
    std::string message = some_message();
    message[4] = message[5] = message[6] = message[7] = '\xFF';
    EXPECT_THAT(decode_items(message).error(), HasSubstr("claims"));
}

TEST(parcel, a_record_keeps_its_key_and_attributes_and_a_value_its_type) {
    record from("bytes", "key");
    from.set_attribute("file", "x");
    from.sequence = 5;
    payload value(from);
    payload again = record_codec().unpack(record_codec().pack(value, false));
    EXPECT_EQ(again.as<record>().bytes, "bytes");
    EXPECT_EQ(again.as<record>().attribute("file"), "x");
    EXPECT_EQ(again.as<record>().sequence, 5U);
    EXPECT_EQ(value.as<record>().bytes, "bytes");

    payload number(42);
    EXPECT_EQ(codec_of<int>().unpack(codec_of<int>().pack(number, true)).as<int>(), 42);
    wire_value none;
    none.bytes = "no int";
    EXPECT_THROW((void)codec_of<int>().unpack(std::move(none)), permanent_error);
}

}  // namespace
}  // namespace leat::cluster
