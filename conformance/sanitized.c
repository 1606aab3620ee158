/* What a build with AddressSanitizer does otherwise, which asks for it by this name: an allocation of petabytes finds no memory, as
 * the C library has it, and does not end the process. */
const char *__asan_default_options(void) __attribute__((visibility("default")));

const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}
