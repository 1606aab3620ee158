/* The AVX2 kernel set, but for matrix products: the vector kernels over two registers. */
#include "simd_avx2.h"

#include "blocks.h"

#include "vector_math.h"

enum { SCORE_MOST = 4, VALUE_MOST = 3 };
#define EACH_SCORE(X) X(1, 4) X(2, 2) X(3, 1) X(4, 1)
#define EACH_VALUE(X) X(1, 4) X(2, 2) X(3, 2)

#include "vector_attention.h"
#include "vector_quantise.h"
#include "vector_rows.h"
#include "vector_table.h"
