/* rank: a score is its number's sigmoid, to the last bits and at both ends. */
#include "engine/rank.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void a_score_is_a_sigmoid(void **state)
{
    (void)state;
    float before = -1;
    for (float x = -80; x <= 80; x += 0.5f) {
        double want = 1 / (1 + exp(-(double)x));
        float got = rank_sigmoid(x);
        assert_true(fabs((double)got - want) <= 1e-7 * want && (got > before || (x > 10 && got == before)));
        before = got;
    }
    assert_true(rank_sigmoid(0) == 0.5f && rank_sigmoid(1e30f) == 1 && rank_sigmoid(-1e30f) > 0 && rank_sigmoid(-1e30f) < 1e-30f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_score_is_a_sigmoid)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
