/* The AVX-512 kernel set, but for matrix products: the vector kernels over one register. */
#include "simd_avx512.h"

#include "blocks.h"

#include "vector_math.h"

enum { SCORE_MOST = 12, VALUE_MOST = 6 };
#define EACH_SCORE(X) X(1, 4) X(2, 4) X(3, 4) X(4, 4) X(5, 2) X(6, 2) X(7, 1) X(8, 1) X(9, 1) X(10, 1) X(11, 1) X(12, 1)
#define EACH_VALUE(X) X(1, 4) X(2, 4) X(3, 4) X(4, 4) X(5, 4) X(6, 4)

#include "vector_attention.h"
#include "vector_quantise.h"
#include "vector_rows.h"
#include "vector_table.h"
