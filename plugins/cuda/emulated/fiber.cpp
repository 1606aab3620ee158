/* The switch saves what a called function must keep (System V's ABI on x86-64) on the stack it leaves; elsewhere
 * ucontext does. AddressSanitizer is told of each. */
#include "fiber.h"

#include <cstdint>
#include <cstdlib>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#define FIBER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBER_ASAN 1
#endif
#endif
#if defined(FIBER_ASAN)
extern "C" void __sanitizer_start_switch_fiber(void **fake_stack, const void *bottom, size_t size);
extern "C" void __sanitizer_finish_switch_fiber(void *fake_stack, const void **bottom, size_t *size);
extern "C" void __asan_unpoison_memory_region(const volatile void *address, size_t size);
#endif

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

enum { STACK_BYTES = 128 * 1024 };

struct fiber {
    void *stack; /* its mapping; NULL of a thread's own */
    const void *bottom;
    size_t bytes;
    void *fake_stack;
    void (*body)(void *context);
    void *context;
#if defined(__x86_64__)
    void *sp;
#else
    ucontext_t registers;
#endif
};

/* The one that was left last, for the sanitizer's sake. */
static thread_local fiber *left;

static void arrived(fiber *here)
{
#if defined(FIBER_ASAN)
    const void *bottom;
    size_t bytes;
    __sanitizer_finish_switch_fiber(here->fake_stack, &bottom, &bytes);
    if (left && !left->stack) {
        left->bottom = bottom;
        left->bytes = bytes;
    }
#else
    (void)here;
#endif
}

static thread_local fiber *starting;

static void enter()
{
    fiber *f = starting;
    arrived(f);
    f->body(f->context);
    abort(); /* a body never returns */
}

#if defined(__x86_64__)
extern "C" void emulated_switch_stack(void **save, void *load);
asm(".text\n"
    ".type emulated_switch_stack, @function\n"
    ".globl emulated_switch_stack\n"
    ".hidden emulated_switch_stack\n"
    "emulated_switch_stack:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n"
    "  movq %rsi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
    "  ret\n"
    ".size emulated_switch_stack, .-emulated_switch_stack\n"
    ".section .note.GNU-stack,\"\",@progbits\n"
    ".text\n");

static void prepare(fiber *f)
{
    /* Below the top: six registers, the address that `ret` takes, and a place that keeps the callee's stack aligned. */
    uintptr_t top = (reinterpret_cast<uintptr_t>(f->stack) + STACK_BYTES) & ~static_cast<uintptr_t>(15);
    uintptr_t *at = reinterpret_cast<uintptr_t *>(top) - 8;
    for (int i = 0; i < 8; i++)
        at[i] = 0;
    at[6] = reinterpret_cast<uintptr_t>(enter);
    f->sp = at;
}

static void go(fiber *from, fiber *to)
{
    emulated_switch_stack(&from->sp, to->sp);
}
#else
static void prepare(fiber *f)
{
    getcontext(&f->registers);
    f->registers.uc_stack.ss_sp = f->stack;
    f->registers.uc_stack.ss_size = STACK_BYTES;
    f->registers.uc_link = nullptr;
    makecontext(&f->registers, enter, 0);
}

static void go(fiber *from, fiber *to)
{
    swapcontext(&from->registers, &to->registers);
}
#endif

fiber *fiber_new(void (*body)(void *context), void *context)
{
    fiber *f = static_cast<fiber *>(calloc(1, sizeof *f));
    void *stack = mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!f || stack == MAP_FAILED) {
        free(f);
        return nullptr;
    }
#if defined(FIBER_ASAN)
    __asan_unpoison_memory_region(stack, STACK_BYTES); /* another fiber's stack may have been here, left in mid-flight */
#endif
    f->stack = stack;
    f->bottom = stack;
    f->bytes = STACK_BYTES;
    f->body = body;
    f->context = context;
    prepare(f);
    return f;
}

void fiber_free(fiber *f)
{
    if (!f)
        return;
    munmap(f->stack, STACK_BYTES);
    free(f);
}

fiber *fiber_of_thread()
{
    return static_cast<fiber *>(calloc(1, sizeof(fiber)));
}

void fiber_of_thread_free(fiber *f)
{
    free(f);
}

void fiber_switch(fiber *from, fiber *to)
{
    left = from;
    starting = to;
#if defined(FIBER_ASAN)
    __sanitizer_start_switch_fiber(&from->fake_stack, to->bottom, to->bytes);
#endif
    go(from, to);
    arrived(from);
}
