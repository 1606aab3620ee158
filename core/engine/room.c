/* room: which models leave memory for one that is to be loaded (models.h: M3, M4).
 *
 *   R1  Loads have their room in the order they came. One that fits into what is free goes before those that wait for more, but
 *       these are passed PASSES times at most.
 *   R2  Nothing leaves in vain: as long as those that may leave do not make room enough together, all of them stay; and of
 *       them only those leave whose room is needed. */
#include "base/error.h"
#include "base/log.h"
#include "engine/residency_parts.h"

#include <stdio.h>

/* A load that nobody waits for keeps its place so long: who waits in pieces comes back. */
#define LINGER_NS UINT64_C(2000000000)

enum { PASSES = 4 };

/* --- who leaves ------------------------------------------------------------------------------------------------------------- */

/* It holds memory and will do so whatever happens. */
static bool stays(const model_entry *m)
{
    return m->bytes > 0 && (m->kept_back || (m->config.pinned && !m->retired));
}

/* Those that were replaced go first, then the ones that have been without a request for longer. */
static bool leaves_before(const model_entry *m, const model_entry *other)
{
    return m->retired != other->retired ? m->retired : m->idle_at < other->idle_at;
}

/* The first to leave of those that may and are not chosen yet. */
static model_entry *first_to_leave(const bp_engine *engine)
{
    model_entry *found = NULL;
    for (model_entry *m = engine->entries; m; m = m->next)
        if (!m->chosen && residency_may_leave(m) && (!found || leaves_before(m, found)))
            found = m;
    return found;
}

/* One of those that leave so that `missing` bytes more are free; NULL where all that may leave together do not hold as much. */
static model_entry *victim_for(bp_engine *engine, uint64_t missing)
{
    uint64_t sum = 0;
    for (model_entry *m = engine->entries; m; m = m->next)
        m->chosen = false;
    for (model_entry *m; sum < missing && (m = first_to_leave(engine)); sum += m->bytes)
        m->chosen = true;
    if (sum < missing)
        return NULL;
    model_entry *victim = NULL;
    for (model_entry *m = engine->entries; m; m = m->next) {
        if (!m->chosen)
            continue;
        if (m->bytes <= sum - missing)
            sum -= m->bytes; /* the others are enough */
        else
            victim = m;
    }
    return victim;
}

model_entry *room_excess(const bp_engine *engine)
{
    if (!engine->budget || engine->used <= engine->budget)
        return NULL;
    for (model_entry *m = engine->entries; m; m = m->next)
        m->chosen = false;
    return first_to_leave(engine);
}

/* Closes models that have been here the longest until those that are closed or idle hold `missing` bytes. When the next one may be
 * closed. */
static uint64_t close_some(bp_engine *engine, uint64_t missing, uint64_t now)
{
    uint64_t coming = 0; /* room that will be there */
    for (const model_entry *m = engine->entries; m; m = m->next)
        coming += m->closed || m->leaving || residency_may_leave(m) ? m->bytes : 0;
    while (coming < missing) {
        model_entry *oldest = NULL;
        for (model_entry *m = engine->entries; m; m = m->next)
            if (m->state == BP_MODEL_READY && !m->closed && !stays(m) && !residency_may_leave(m) &&
                (!oldest || m->ready_at < oldest->ready_at))
                oldest = m;
        if (!oldest)
            break;
        if (oldest->ready_at + STAY_NS > now)
            return oldest->ready_at + STAY_NS;
        oldest->closed = true;
        coming += oldest->bytes;
    }
    return now + STAY_NS;
}

/* --- whose turn it is ------------------------------------------------------------------------------------------------------- */

static void enter(bp_engine *engine, room_claim *claim)
{
    room_claim **end = &engine->claims;
    while (*end)
        end = &(*end)->next;
    *end = claim;
}

/* Counts for those before it, if it has had its room. What was closed for nobody takes requests again. */
static void withdraw(bp_engine *engine, const room_claim *claim, bool served)
{
    room_claim **place = &engine->claims;
    for (; *place != claim; place = &(*place)->next)
        (*place)->passed += served;
    *place = claim->next;
    for (model_entry *m = engine->entries; !engine->claims && m; m = m->next)
        m->closed = false;
    pthread_cond_broadcast(&engine->changed);
}

static bool may_pass(const bp_engine *engine, const room_claim *claim)
{
    for (const room_claim *before = engine->claims; before != claim; before = before->next)
        if (before->passed >= PASSES)
            return false;
    return true;
}

/* --- waiting ---------------------------------------------------------------------------------------------------------------- */

/* What comes with the model: what it held before, or what its file lets expect. Weights that a twin has are there already. */
static uint64_t expected_bytes(const model_entry *m, const loaded *l)
{
    bool twin = residency_has_twin(m);
    bp_model_memory expected;
    if (m->held_before && !twin)
        return m->held_before;
    loaded_expect(l, twin, &expected);
    return loaded_sum(&expected);
}

/* The names of those that hold memory: all of them, or only those that stay. */
static void name_holders(const bp_engine *engine, bool staying, char *out, size_t capacity)
{
    size_t used = 0;
    *out = '\0';
    for (const model_entry *m = engine->entries; m; m = m->next) {
        if (m->bytes == 0 || (staying && !stays(m)))
            continue;
        int wrote = snprintf(out + used, capacity - used, "%s%s", used ? ", " : "", m->config.name);
        used += wrote > 0 ? (size_t)wrote : 0;
        if (used >= capacity)
            return;
    }
}

/* Whether there could ever be as much. */
static bp_status check_possible(const bp_engine *engine, uint64_t need, bp_error *error)
{
    uint64_t staying = 0;
    char names[200];
    if (need > engine->budget)
        return error_set(error, BP_ELIMIT, "it needs %llu MiB and memory_budget is %llu MiB; raise it, or lower context or kv_memory",
                         loaded_mebibytes(need), loaded_mebibytes(engine->budget));
    for (const model_entry *m = engine->entries; m; m = m->next)
        staying += stays(m) ? m->bytes : 0;
    if (staying <= engine->budget - need)
        return BP_OK;
    name_holders(engine, true, names, sizeof names);
    return error_set(error, BP_ELIMIT,
                     "it needs %llu MiB, and of the %llu MiB of memory_budget models that stay hold %llu MiB (%s): %llu MiB are "
                     "missing; raise it, or pin fewer models",
                     loaded_mebibytes(need), loaded_mebibytes(engine->budget), loaded_mebibytes(staying), names,
                     loaded_mebibytes(staying - (engine->budget - need)));
}

bp_status room_refuse(const model_entry *m, bp_error *error)
{
    const room_claim *claim = m->engine->claims;
    while (claim && claim->model != m)
        claim = claim->next;
    if (!claim)
        return error_set(error, BP_EBUSY, "model \"%s\" takes too long to load; try again later", m->config.name);
    char names[200];
    name_holders(m->engine, false, names, sizeof names);
    return error_set(error, BP_EBUSY, "model \"%s\" needs %llu MiB more of memory_budget, and the models that hold it were in use for too "
                     "long (%s); try again later", m->config.name, loaded_mebibytes(claim->missing), names);
}

static bool is_over(const model_entry *m, bool explicit, uint64_t begin, uint64_t now)
{
    return explicit ? now > begin + PATIENCE_NS : m->waiters == 0 && now > m->wanted_at + LINGER_NS;
}

/* Who is first has others leave, or closes them; who is not takes what is free. Whether there is room now, or when to look again. */
static bool make_room(bp_engine *engine, const room_claim *claim, uint64_t now, uint64_t *until)
{
    bool first = engine->claims == claim;
    *until = now + STAY_NS;
    if (claim->missing == 0)
        return first || may_pass(engine, claim);
    if (!first)
        return false;
    model_entry *victim = victim_for(engine, claim->missing);
    if (victim) {
        residency_leave(victim);
        *until = 0;
    } else {
        *until = close_some(engine, claim->missing, now);
    }
    return false;
}

static bp_status wait_for_room(model_entry *m, const loaded *l, bool explicit, room_claim *claim, uint64_t *need, bp_error *error)
{
    bp_engine *engine = m->engine;
    for (uint64_t begin = clock_now();;) {
        *need = expected_bytes(m, l);
        if (!engine->budget)
            return BP_OK;
        bp_status status = check_possible(engine, *need, error);
        if (status != BP_OK)
            return status;
        uint64_t now = clock_now(), until, room = engine->budget - *need;
        claim->missing = engine->used > room ? engine->used - room : 0;
        if (make_room(engine, claim, now, &until))
            return BP_OK;
        if (engine->stopping)
            return error_set(error, BP_ECANCELLED, "the server is shutting down");
        if (is_over(m, explicit, begin, now))
            return room_refuse(m, error);
        if (until > now)
            residency_wait(engine, until);
    }
}

bp_status room_take(model_entry *m, const loaded *l, bool explicit, bp_error *error)
{
    bp_engine *engine = m->engine;
    room_claim claim = {.model = m};
    uint64_t need = 0;
    enter(engine, &claim);
    bp_status status = wait_for_room(m, l, explicit, &claim, &need, error);
    if (status == BP_OK) {
        engine->used += need;
        m->bytes += need;
    }
    withdraw(engine, &claim, status == BP_OK);
    return status;
}
