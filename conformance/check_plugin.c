/* What every plugin is held to: that the host takes it, and that its options are what they say. */
#include "subject.h"

#include "base/mapping.h"

#include <link.h>
#include <string.h>

static void load(subject *u, uint32_t which)
{
    (void)which;
    subject_load(u);
    if (!u->plugin->summary[0])
        failed("the descriptor has no summary; it is what `backplane plugins` prints");
    subject_unload(u);
    subject_load(u); /* the second time is the first: nothing of the plugin stays */
    subject_unload(u);
}

static void options(subject *u, uint32_t which)
{
    (void)which;
    subject_load(u);
    for (const bp_option *o = u->plugin->options; o && o->name; o++)
        if (!o->help || !o->help[0])
            failed("the option %s has no help; it is what `backplane plugins %s` prints", o->name, u->plugin->name);
    subject_config(u);
    subject_unload(u);
}

/* --- symbols ------------------------------------------------------------------------------------------------------------ */

/* Part `index` of `count` of `size` bytes each, from `offset` on; NULL where the file has not so much. */
static const void *part_of(const mapping *file, uint64_t offset, uint64_t index, uint64_t size, void *copy)
{
    uint64_t bytes = mapping_size(file);
    if (offset > bytes || size == 0 || index >= (bytes - offset) / size)
        return NULL;
    return memcpy(copy, mapping_data(file) + offset + index * size, size); /* which is aligned */
}

/* What linkers define in every object. */
static bool is_linkers(const char *name)
{
    static const char *const names[] = {"_init", "_fini", "_edata", "_end", "__bss_start"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

/* The names of a table of dynamic symbols, which lie in `strings`. */
static void look_at_symbols(const mapping *file, const ElfW(Shdr) *table, const ElfW(Shdr) *strings)
{
    ElfW(Sym) symbol;
    for (uint64_t i = 0; i < table->sh_size / sizeof symbol && part_of(file, table->sh_offset, i, sizeof symbol, &symbol); i++) {
        uint64_t at = strings->sh_offset + symbol.st_name, size = mapping_size(file);
        const char *name = (const char *)mapping_data(file) + at;
        if (symbol.st_shndx == SHN_UNDEF || ELF64_ST_BIND(symbol.st_info) == STB_LOCAL || symbol.st_name >= strings->sh_size ||
            at >= size || !memchr(name, '\0', size - at) || is_linkers(name))
            continue;
        if (strcmp(name, BP_PLUGIN_ENTRY_SYMBOL) != 0)
            failed("it exports %.200s beside %s; compile it with -fvisibility=hidden, and link C++ with a version script", name,
                   BP_PLUGIN_ENTRY_SYMBOL);
    }
}

static void symbols(subject *u, uint32_t which)
{
    (void)which;
    bp_error error = {0};
    mapping *file;
    ElfW(Ehdr) header;
    ElfW(Shdr) table, strings;
    subject_load(u); /* the host has found the file whole, and of this machine */
    if (mapping_open(u->path, BP_MAPPING_READ, &file, &error) != BP_OK)
        failed("%s", error.message);
    bool found = false;
    for (uint64_t i = 0; part_of(file, 0, 0, sizeof header, &header) && i < header.e_shnum; i++)
        if (part_of(file, header.e_shoff, i, sizeof table, &table) && table.sh_type == SHT_DYNSYM &&
            part_of(file, header.e_shoff, table.sh_link, sizeof strings, &strings)) {
            look_at_symbols(file, &table, &strings);
            found = true;
        }
    mapping_close(file);
    subject_unload(u);
    if (!found)
        not_offered("the file has no table of sections, which is where its symbols are found");
}

void checks_add_plugin(check_list *list)
{
    checks_add(list, "plugin.load", load, 0, "The host loads it, twice: its ELF headers, its descriptor, its operations.");
    checks_add(list, "plugin.symbols", symbols, 0, "It exports bp_plugin_entry and nothing else, which could clash with another plugin's.");
    checks_add(list, "plugin.options", options, 0, "Each option has help, and the configuration of --set is one.");
}
