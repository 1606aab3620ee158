/* wide: files that are compiled once more for each wider instruction set, of which the processor's best runs.
 *
 * Such a file is plain C whose loops a compiler vectorises, so that all of its copies compute the same: integers, and
 * floating-point operations each rounded by itself (no copy contracts them). It defines WIDE(name) for each of its functions;
 * backplane_wide() in its folder's CMakeLists.txt compiles the copies, WIDE_TABLE(name) lists them by wide_set. */
#ifndef BACKPLANE_BASE_WIDE_H
#define BACKPLANE_BASE_WIDE_H

typedef enum wide_set { WIDE_BASELINE, WIDE_AVX2, WIDE_AVX512, WIDE_SETS } wide_set;

/* The widest that this processor runs. */
wide_set wide_best(void);

#ifndef WIDE_SUFFIX
#define WIDE_SUFFIX baseline
#endif
#define WIDE_JOIN(name, suffix) name##_##suffix
#define WIDE_JOIN_VALUE(name, suffix) WIDE_JOIN(name, suffix)
#define WIDE(name) WIDE_JOIN_VALUE(name, WIDE_SUFFIX)

#if defined(__x86_64__)
#define WIDE_TABLE(name) {name##_baseline, name##_avx2, name##_avx512}
#else
#define WIDE_TABLE(name) {name##_baseline, name##_baseline, name##_baseline}
#endif

#endif
