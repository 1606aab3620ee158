/* What every plugin is held to: that the host takes it, and that its options are what they say. */
#include "subject.h"

#include <stdio.h>
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

void checks_add_plugin(check_list *list)
{
    checks_add(list, "plugin.load", load, 0, "The host loads it, twice: its ELF headers, its descriptor, its operations.");
    checks_add(list, "plugin.options", options, 0, "Each option has help, and the configuration of --set is one.");
}
