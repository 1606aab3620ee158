/* The AVX2 kernel set, but for matrix products: the vector kernels over two registers. */
#include "simd_avx2.h"

#include "blocks.h"

#include "vector_math.h"

#include "vector_attention.h"
#include "vector_quantise.h"
#include "vector_rows.h"
#include "vector_table.h"
