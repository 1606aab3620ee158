/* stream: a bounded ring between one writer and one reader, who need no order between them. */
#include "engine/stream.h"

#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void open_stream(stream *s, uint32_t events, uint32_t tops)
{
    bp_error error = {0};
    if (stream_init(s, events, tops, &error) != BP_OK)
        fail_msg("%s", error.message);
}

static void publish(stream *s, int32_t token, const char *text)
{
    stream_slot *slot = stream_stage(s);
    assert_non_null(slot);
    slot->chosen.token = token;
    assert_true(stream_publish(s, text, strlen(text)));
}

static void expect(stream *s, int32_t token, const char *text)
{
    bp_event event;
    bp_error error = {0};
    assert_int_equal(stream_next(s, 0, &event, &error), BP_OK);
    assert_int_equal(event.kind, BP_EVENT_TOKEN);
    assert_int_equal(event.size, sizeof event);
    assert_int_equal(event.chosen.token, token);
    assert_int_equal(event.text_bytes, strlen(text));
    assert_memory_equal(event.text, text, strlen(text));
}

static void expect_nothing(stream *s)
{
    bp_event event;
    bp_error error = {0};
    assert_int_equal(stream_next(s, 0, &event, &error), BP_ETIMEOUT);
}

static void events_come_in_order_once_published(void **state)
{
    (void)state;
    stream s;
    open_stream(&s, 3, 0);
    expect_nothing(&s);
    publish(&s, 1, "one");
    assert_non_null(stream_stage(&s));
    assert_int_equal(stream_staged(&s), 1);
    expect(&s, 1, "one");
    expect_nothing(&s); /* what is staged is not seen */
    stream_oldest(&s)->chosen.token = 2;
    assert_true(stream_publish(&s, "two", 3));
    assert_null(stream_oldest(&s));
    expect(&s, 2, "two");
    assert_non_null(stream_stage(&s));
    stream_unstage(&s); /* what is forgotten never was */
    publish(&s, 3, "");
    expect(&s, 3, "");
    stream_clear(&s);
}

/* The reader's event is its own until the next call: the ring does not take that slot back. */
static void a_given_slot_stays_the_readers(void **state)
{
    (void)state;
    stream s;
    bp_event event;
    open_stream(&s, 2, 0);
    publish(&s, 1, "first");
    assert_int_equal(stream_next(&s, 0, &event, NULL), BP_OK);
    publish(&s, 2, "second");
    assert_null(stream_stage(&s));
    assert_memory_equal(event.text, "first", 5);
    expect(&s, 2, "second");
    publish(&s, 3, "third"); /* there is room now */
    expect(&s, 3, "third");
    stream_clear(&s);
}

static void a_full_ring_can_still_be_ended(void **state)
{
    (void)state;
    stream s;
    bp_event event;
    bp_error error = {0};
    open_stream(&s, 2, 0);
    publish(&s, 1, "a");
    publish(&s, 2, "b");
    assert_null(stream_stage(&s));
    bp_event last = {.size = sizeof last, .kind = BP_EVENT_DONE, .finish = BP_FINISH_LENGTH};
    stream_end(&s, &last, "end", 3);
    last.finish = BP_FINISH_STOP;
    stream_end(&s, &last, NULL, 0); /* too late */
    expect(&s, 1, "a");
    expect(&s, 2, "b");
    assert_int_equal(stream_next(&s, UINT64_MAX, &event, &error), BP_OK);
    assert_int_equal(event.kind, BP_EVENT_DONE);
    assert_int_equal(event.finish, BP_FINISH_LENGTH);
    assert_int_equal(event.text_bytes, 3);
    assert_memory_equal(event.text, "end", 3);
    assert_int_equal(stream_next(&s, UINT64_MAX, &event, &error), BP_EINVAL);
    stream_clear(&s);
}

static void long_text_and_logprobs_fit(void **state)
{
    (void)state;
    stream s;
    bp_event event;
    char text[4 * STREAM_INLINE_TEXT + 1];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    open_stream(&s, 2, 3);
    for (int32_t round = 0; round < 5; round++) {
        stream_slot *slot = stream_stage(&s);
        slot->chosen.token = round;
        slot->top_count = 3;
        for (int32_t i = 0; i < 3; i++)
            slot->top[i] = (bp_token_logprob){.token = 10 * round + i};
        size_t bytes = round % 2 ? sizeof text - 1 : 4;
        assert_true(stream_publish(&s, text, bytes));
        assert_int_equal(stream_next(&s, 0, &event, NULL), BP_OK);
        assert_int_equal(event.text_bytes, bytes);
        assert_memory_equal(event.text, text, bytes);
        assert_int_equal(event.top_count, 3);
        assert_int_equal(event.top[2].token, 10 * round + 2);
    }
    stream_clear(&s);
}

static void waiting_ends_on_time(void **state)
{
    (void)state;
    stream s;
    bp_event event;
    bp_error error = {0};
    open_stream(&s, 2, 0);
    uint64_t before = clock_now();
    assert_int_equal(stream_next(&s, 20000000, &event, &error), BP_ETIMEOUT);
    uint64_t waited = clock_now() - before;
    assert_in_range(waited, 20000000, 5000000000);
    publish(&s, 1, "x");
    assert_int_equal(stream_next(&s, UINT64_MAX - 1, &event, &error), BP_OK); /* the sum with now does not wrap */
    stream_clear(&s);
}

enum { RELAYED = 20000 };

static void *write_many(void *user)
{
    stream *s = user;
    char text[64];
    for (int32_t i = 0; i < RELAYED; i++) {
        stream_slot *slot;
        while (!(slot = stream_stage(s)))
            sched_yield();
        slot->chosen.token = i;
        int bytes = snprintf(text, sizeof text, "%d%*s", i, i % 61 == 0 ? 50 : 0, "");
        if (!stream_publish(s, text, (size_t)bytes))
            break;
    }
    stream_end(s, &(bp_event){.kind = BP_EVENT_DONE, .finish = BP_FINISH_STOP}, NULL, 0);
    return NULL;
}

static void writer_and_reader_need_no_order(void **state)
{
    (void)state;
    stream s;
    pthread_t writer;
    bp_event event;
    open_stream(&s, 8, 0);
    assert_int_equal(pthread_create(&writer, NULL, write_many, &s), 0);
    int32_t expected = 0;
    for (;;) {
        assert_int_equal(stream_next(&s, UINT64_MAX, &event, NULL), BP_OK);
        if (event.kind == BP_EVENT_DONE)
            break;
        char text[64];
        int bytes = snprintf(text, sizeof text, "%d%*s", expected, expected % 61 == 0 ? 50 : 0, "");
        assert_int_equal(event.chosen.token, expected++);
        assert_int_equal(event.text_bytes, bytes);
        assert_memory_equal(event.text, text, (size_t)bytes);
    }
    assert_int_equal(expected, RELAYED);
    pthread_join(writer, NULL);
    stream_clear(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_come_in_order_once_published),
        cmocka_unit_test(a_given_slot_stays_the_readers),
        cmocka_unit_test(a_full_ring_can_still_be_ended),
        cmocka_unit_test(long_text_and_logprobs_fit),
        cmocka_unit_test(waiting_ends_on_time),
        cmocka_unit_test(writer_and_reader_need_no_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
