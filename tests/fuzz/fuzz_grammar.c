/* fuzz_grammar: any bytes as a GBNF grammar, a JSON schema, a regular expression or a description of tool calls; the first byte says
 * which. Whatever they are, they are refused with the error that says so, or compiled, and then followed along random allowed
 * bytes: a state where nothing leads on is one
 * where a text may end, states that are near are alike, and what has been forgotten is found again. */
#include "sample/grammar.h"

#include <backplane/engine.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STEPS = 300 };

static void require(bool condition)
{
    if (!condition)
        abort();
}

static uint32_t chance(uint64_t *seed, uint32_t below)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33) % below;
}

/* One byte that leads on, from a random one up; false where none does. */
static bool step(machine *m, uint32_t *state, uint64_t *seed, bool *enough)
{
    uint32_t first = chance(seed, 256);
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t next;
        bp_error why = {0};
        bp_status status = machine_next(m, *state, (unsigned char)(first + i), &next, &why);
        *enough = status == BP_OK;
        if (!*enough) {
            require(status == BP_EGRAMMAR || status == BP_ENOMEM);
            return false;
        }
        if (next != MACHINE_DEAD) {
            *state = next;
            return true;
        }
    }
    return false;
}

static void follow(machine *m, uint64_t seed)
{
    uint32_t state = MACHINE_START, near;
    bool enough = true;
    for (int i = 0; i < STEPS; i++) {
        if (machine_near(m, state, 1 + chance(&seed, 20), &near, NULL) == BP_OK)
            require(machine_may_end(m, near) == machine_may_end(m, state) && machine_must_end(m, near) == machine_must_end(m, state));
        if (machine_must_end(m, state)) {
            require(machine_may_end(m, state));
            return;
        }
        if (chance(&seed, 40) == 0)
            require(machine_collect(m, (uint32_t *[]){&state}, 1, NULL) == BP_OK);
        if (!step(m, &state, &seed, &enough))
            break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t kinds[] = {BP_GRAMMAR_GBNF, BP_GRAMMAR_JSON_SCHEMA, BP_GRAMMAR_REGEX, GRAMMAR_TOOL_CALLS};
    if (size == 0)
        return 0;
    machine *m = NULL;
    bp_error why = {0};
    bp_status status = grammar_compile(kinds[data[0] % 4], (const char *)data + 1, size - 1, &m, &why);
    require((status == BP_OK) == (m != NULL));
    require(status == BP_OK || ((status == BP_EGRAMMAR || status == BP_ENOMEM) && status == why.code && *why.message));
    if (m)
        follow(m, size);
    machine_free(m);
    return 0;
}
