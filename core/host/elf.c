#include "host/elf.h"

#include "base/checked.h"
#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct object {
    const char *path;
    int file;
    size_t size;
    ElfW(Ehdr) header;
} object;

/* The header of the program that this code is part of, which the linker places: what "this machine" means. */
extern const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden")));

static const char *machine_name(unsigned machine)
{
    switch (machine) {
    case EM_X86_64: return "x86-64";
    case EM_AARCH64: return "AArch64";
    case EM_386: return "32-bit x86";
    case EM_ARM: return "32-bit ARM";
    case EM_RISCV: return "RISC-V";
    case EM_PPC64: return "PowerPC";
    case EM_S390: return "S/390";
    default: return "another machine";
    }
}

static bool read_at(const object *o, void *out, size_t bytes, size_t offset)
{
    return pread(o->file, out, bytes, (off_t)offset) == (ssize_t)bytes;
}

static bool lies_inside(const object *o, uint64_t offset, uint64_t bytes)
{
    uint64_t end;
    return checked_add_u64(offset, bytes, &end) && end <= o->size;
}

static bp_status fail_truncated(const object *o, bp_error *error)
{
    return error_set(error, BP_EINVAL, "%s is truncated: its headers describe more than the %zu bytes that it has; copy or build it again",
                     o->path, o->size);
}

static bp_status check_header(object *o, bp_error *error)
{
    ElfW(Ehdr) *h = &o->header;
    size_t have = o->size < sizeof *h ? o->size : sizeof *h;
    if (!read_at(o, h, have, 0))
        return error_set(error, BP_EIO, "%s cannot be read: %s", o->path, strerror(errno));
    if (have < SELFMAG || memcmp(h->e_ident, ELFMAG, SELFMAG) != 0)
        return error_set(error, BP_EINVAL, "%s is not a shared object (it has no ELF header)", o->path);
    if (have < sizeof *h)
        return fail_truncated(o, error);
    if (h->e_ident[EI_CLASS] != __ehdr_start.e_ident[EI_CLASS] || h->e_ident[EI_DATA] != __ehdr_start.e_ident[EI_DATA] ||
        h->e_machine != __ehdr_start.e_machine)
        return error_set(error, BP_EUNSUPPORTED, "%s has the wrong architecture: it was built for %s and this is %s; build it here",
                         o->path, machine_name(h->e_machine), machine_name(__ehdr_start.e_machine));
    if (h->e_type != ET_DYN)
        return error_set(error, BP_EINVAL, "%s is an ELF file but not a shared object; build it with -shared", o->path);
    return BP_OK;
}

static bp_status check_segments(const object *o, bp_error *error)
{
    const ElfW(Ehdr) *h = &o->header;
    if (h->e_phnum == 0 || h->e_phentsize != sizeof(ElfW(Phdr)))
        return error_set(error, BP_EINVAL, "%s is not a shared object that can be loaded: it has no program headers", o->path);
    if (!lies_inside(o, h->e_phoff, (uint64_t)h->e_phnum * sizeof(ElfW(Phdr))))
        return fail_truncated(o, error);
    for (size_t i = 0; i < h->e_phnum; i++) {
        ElfW(Phdr) segment;
        if (!read_at(o, &segment, sizeof segment, h->e_phoff + i * sizeof segment) ||
            !lies_inside(o, segment.p_offset, segment.p_filesz))
            return fail_truncated(o, error);
    }
    return BP_OK;
}

/* The section table ends most files, so it is what a cut takes first. A file may have none. */
static bp_status check_sections(const object *o, bp_error *error)
{
    const ElfW(Ehdr) *h = &o->header;
    if (h->e_shoff == 0 || h->e_shentsize != sizeof(ElfW(Shdr)))
        return BP_OK;
    if (!lies_inside(o, h->e_shoff, (uint64_t)h->e_shnum * sizeof(ElfW(Shdr))))
        return fail_truncated(o, error);
    for (size_t i = 0; i < h->e_shnum; i++) {
        ElfW(Shdr) section;
        if (!read_at(o, &section, sizeof section, h->e_shoff + i * sizeof section) ||
            (section.sh_type != SHT_NOBITS && !lies_inside(o, section.sh_offset, section.sh_size)))
            return fail_truncated(o, error);
    }
    return BP_OK;
}

bp_status elf_check(const char *path, bp_error *error)
{
    /* O_NONBLOCK: opening a pipe that nobody writes must not wait. */
    object o = {.path = path, .file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    if (o.file < 0)
        return error_set(error, errno == ENOENT ? BP_ENOTFOUND : BP_EIO, "%s cannot be opened: %s", path, strerror(errno));
    struct stat status;
    bp_status result;
    if (fstat(o.file, &status) != 0 || !S_ISREG(status.st_mode)) {
        result = error_set(error, BP_EINVAL, "%s is not a regular file", path);
    } else {
        o.size = (size_t)status.st_size;
        result = check_header(&o, error);
        if (result == BP_OK)
            result = check_segments(&o, error);
        if (result == BP_OK)
            result = check_sections(&o, error);
    }
    close(o.file);
    return result;
}
