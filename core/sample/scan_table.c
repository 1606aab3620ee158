#include "sample/scan.h"

const scan *scan_of(wide_set set)
{
    static const scan *const copies[WIDE_SETS] = WIDE_TABLE(&scan);
    return copies[set];
}
