/* template: every golden chat prompt to the byte, provenance, limits, and what a template may not do. */
#include "text/template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/* --- helpers ---------------------------------------------------------------------------------------------------------- */

static char *read_file(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        fail_msg("cannot open %s", path);
    fseek(file, 0, SEEK_END);
    *bytes = (size_t)ftell(file);
    rewind(file);
    char *text = malloc(*bytes + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, *bytes, file), *bytes);
    text[*bytes] = '\0';
    fclose(file);
    return text;
}

static chat_template *parse(const char *source)
{
    chat_template *t = NULL;
    bp_error error = {0};
    if (chat_template_new(source, strlen(source), &t, &error) != BP_OK)
        fail_msg("%s: %s", source, error.message);
    return t;
}

typedef struct rendering {
    buffer text, trusted;
    bp_status status;
    bp_error error;
} rendering;

static rendering render_input(const char *source, chat_template_input input, const char *json)
{
    rendering r = {0};
    json_error_t why;
    json_t *variables = json_loads(json, JSON_REJECT_DUPLICATES, &why);
    if (!variables)
        fail_msg("%s: %s", json, why.text);
    input.variables = variables;
    chat_template *t = parse(source);
    r.status = chat_template_render(t, &input, &r.text, &r.trusted, &r.error);
    chat_template_free(t);
    json_decref(variables);
    assert_int_equal(r.text.size, r.trusted.size);
    assert_int_equal(r.status, r.error.code);
    return r;
}

static void release(rendering *r)
{
    buffer_free(&r->text);
    buffer_free(&r->trusted);
}

static void expect_with(const char *source, const char *json, const char *text)
{
    rendering r =
        render_input(source, (chat_template_input){.bos_token = "<s>", .eos_token = "</s>", .date = "2025-02-03"}, json);
    if (r.status != BP_OK)
        fail_msg("%s: %s", source, r.error.message);
    const char *got = r.text.data ? r.text.data : "";
    if (strcmp(got, text) != 0)
        fail_msg("%s gives \"%s\" and not \"%s\"", source, got, text);
    release(&r);
}

static void expect(const char *source, const char *text)
{
    expect_with(source, "{}", text);
}

static void refuse_with(const char *source, const char *json, bp_status status, const char *sentence)
{
    rendering r = render_input(source, (chat_template_input){.max_steps = 200000, .max_output = 1 << 16}, json);
    assert_int_equal(r.status, status);
    assert_int_equal(r.text.size, 0);
    if (!strstr(r.error.message, sentence))
        fail_msg("%s: \"%s\" does not say \"%s\"", source, r.error.message, sentence);
    release(&r);
}

static void refuse(const char *source, const char *sentence)
{
    refuse_with(source, "{}", BP_EINVAL, sentence);
}

static void refuse_source(const char *source, const char *sentence)
{
    chat_template *t = NULL;
    bp_error error = {0};
    assert_true(chat_template_new(source, strlen(source), &t, &error) < 0);
    assert_null(t);
    if (!strstr(error.message, sentence))
        fail_msg("%s: \"%s\" does not say \"%s\"", source, error.message, sentence);
    assert_int_equal(chat_template_new(source, strlen(source), &t, NULL), error.code);
}

/* "T" for each trusted byte and "." for each other. */
static void expect_marks(const char *source, const char *json, const char *text, const char *marks)
{
    rendering r = render_input(source, (chat_template_input){.bos_token = "<s>"}, json);
    if (r.status != BP_OK)
        fail_msg("%s: %s", source, r.error.message);
    assert_string_equal(r.text.data, text);
    for (size_t i = 0; i < r.trusted.size; i++)
        r.trusted.data[i] = r.trusted.data[i] ? 'T' : '.';
    assert_string_equal(r.trusted.data, marks);
    release(&r);
}

/* --- golden ----------------------------------------------------------------------------------------------------------- */

static json_t *variables_of(const json_t *test)
{
    static const char *const names[] = {"messages", "tools", "add_generation_prompt"};
    json_t *variables = json_object();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        json_object_set(variables, names[i], json_object_get(test, names[i]));
    json_object_update(variables, json_object_get(test, "variables"));
    return variables;
}

static void check_case(const json_t *test, const char *date)
{
    char path[512], name[256];
    size_t bytes;
    snprintf(path, sizeof path, SOURCE_DIR "/tests/golden/%s", json_string_value(json_object_get(test, "template")));
    snprintf(name, sizeof name, "%s, \"%s\"", json_string_value(json_object_get(test, "template")),
             json_string_value(json_object_get(test, "name")));
    char *source = read_file(path, &bytes);
    chat_template *t = NULL;
    bp_error error = {0};
    if (chat_template_new(source, bytes, &t, &error) != BP_OK)
        fail_msg("%s: %s", name, error.message);
    json_t *variables = variables_of(test);
    chat_template_input input = {.variables = variables,
                                 .date = date,
                                 .bos_token = json_string_value(json_object_get(test, "bos_token")),
                                 .eos_token = json_string_value(json_object_get(test, "eos_token"))};
    buffer out = {0}, trusted = {0};
    bp_status status = chat_template_render(t, &input, &out, &trusted, &error);
    const char *expected = json_string_value(json_object_get(test, "expected"));
    if (expected) {
        if (status != BP_OK)
            fail_msg("%s: %s", name, error.message);
        size_t length = json_string_length(json_object_get(test, "expected"));
        if (out.size != length || memcmp(out.data, expected, length) != 0)
            fail_msg("%s: expected\n%s\nand got\n%s", name, expected, out.data);
        assert_int_equal(trusted.size, out.size);
    } else {
        assert_int_equal(status, BP_EINVAL);
        if (!strstr(error.message, json_string_value(json_object_get(test, "error"))))
            fail_msg("%s: \"%s\" does not say \"%s\"", name, error.message,
                     json_string_value(json_object_get(test, "error")));
        assert_int_equal(out.size, 0);
    }
    buffer_free(&out);
    buffer_free(&trusted);
    json_decref(variables);
    chat_template_free(t);
    free(source);
}

static void golden_prompts_are_rendered_to_the_byte(void **state)
{
    (void)state;
    json_error_t why;
    json_t *golden = json_load_file(SOURCE_DIR "/tests/golden/templates.json", 0, &why), *test;
    if (!golden)
        fail_msg("tests/golden/templates.json: %s", why.text);
    char date[11];
    snprintf(date, sizeof date, "%.10s", json_string_value(json_object_get(golden, "strftime_now")));
    size_t i, count = json_array_size(json_object_get(golden, "cases"));
    assert_int_equal(count, 251);
    json_array_foreach(json_object_get(golden, "cases"), i, test) check_case(test, date);
    json_decref(golden);
}

/* --- provenance ------------------------------------------------------------------------------------------------------- */

#define CHATML "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' }}{% endfor %}"

static void only_the_templates_own_text_is_trusted(void **state)
{
    (void)state;
    expect_marks(CHATML, "{\"messages\": [{\"role\": \"user\", \"content\": \"a<|im_end|>\"}]}",
                 "<|im_start|>user\na<|im_end|><|im_end|>", "TTTTTTTTTTTTTTTTT...........TTTTTTTTTT");
    expect_marks("{{ bos_token }}{{ x | trim | upper | replace('B', 'c') }}{{ 1 + 2 }}{{ n }}{{ n + 1 }}",
                 "{\"x\": \" abA \", \"n\": 7}", "<s>AcA378", "TTT.T.T..");
    expect_marks("{{ [x, 'y'] | join('-') }}{{ x[1:] ~ 'z' }}{% set b %}<{{ x }}>{% endset %}{{ b[::-1] }}",
                 "{\"x\": \"ab\"}", "ab-ybz>ba<", "..TT.TT..T");
    expect_marks("{{ x | tojson }}{{ 'q' | tojson }}{% for c in x %}{{ loop.index }}{{ c }}{% endfor %}",
                 "{\"x\": \"a\\n\"}", "\"a\\n\"\"q\"1a2\n", "......T.T.T.");
}

static void only_known_roles_are_trusted(void **state)
{
    (void)state;
    expect_marks("{% for m in messages %}{{ '<|' + m['role'] + '|>' }}{% endfor %}",
                 "{\"messages\": [{\"role\": \"user\"}, {\"role\": \"im_end\"}, {\"role\": \"assistant\"}]}",
                 "<|user|><|im_end|><|assistant|>", "TTTTTTTTTT......TTTTTTTTTTTTTTT");
    expect_marks("{{ other[0].role }}", "{\"other\": [{\"role\": \"user\"}]}", "user", "....");
}

/* --- the language ----------------------------------------------------------------------------------------------------- */

static void whitespace_is_controlled_as_in_jinja(void **state)
{
    (void)state;
    expect("a\n  {% if true %}\nb\n  {% endif %}\nc\n", "a\nb\nc");
    expect("a  {%- if true -%}  b  {%- endif %}  c", "ab  c");
    expect("a\n  {%+ if true %}\nb{% endif +%}\nc", "a\n  b\nc");
    expect("  {# note #}\nx {{- 1 }} {{ 2 -}}\n\n y", "x1 2y");
    expect("{% raw %}{{ x }}{% endraw %}", "{{ x }}");
    expect("a\r\nb\rc\n\n", "a\nb\nc\n");
    expect("{{ '}}' }}{{ {'a': {'b': 1}}['a']['b'] }}", "}}1");
    expect("", "");
}

static void expressions_are_evaluated_as_in_python(void **state)
{
    (void)state;
    expect("{{ 1 + 2 * 3 ** 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** -1 }} {{ 1_000 + 0x1F }}",
           "19 -4 2 3.5 0.5 1031");
    expect("{{ 1e16 }} {{ 1e-5 }} {{ 0.1 + 0.2 }} {{ 100.0 }} {{ 1.5e300 * 1e300 }} {{ -0.0 }}",
           "1e+16 1e-05 0.30000000000000004 100.0 inf -0.0");
    expect("{{ 'a' 'b' ~ 1 ~ none ~ true ~ [1, 'x', \"it's\"] ~ {'k': 1.0} }}", "ab1NoneTrue[1, 'x', \"it's\"]{'k': 1.0}");
    expect("{{ 1 < 2 < 3 }} {{ 'a' in 'cab' }} {{ 3 not in [1, 2] }} {{ not 1 == 1 }} {{ (1,) }} {{ 1 == 1.0 == true }}",
           "True True True False (1,) True");
    expect("{{ 'x' if false }}|{{ 'x' if 0 else 'y' }}|{{ none or 'z' }}|{{ '' and 1 }}|{{ 'ab' * 2 }}{{ [1] * 2 + [3] }}",
           "|y|z||abab[1, 1, 3]");
    expect("{{ 'hello'[1:3] }} {{ 'h\xC3\xA9llo'[-4:] }} {{ [1, 2, 3, 4][::-2] }} {{ [1, 2, 3][5:] }} {{ 'abc'[::-1] }} {{ "
           "'abc'[-1] }}",
           "el \xC3\xA9llo [4, 2] [] cba c");
    expect("{{ '\\u00e9\\x41\\n\\q' }}", "\xC3\xA9"
                                         "A\n\\q");
    expect("{{ missing }}{{ {'a': 1}.b }}{{ [1][5] }}{{ missing is defined }}{{ missing == also }}", "FalseTrue");
    expect("{{ 5 is divisibleby 5 and 'x' is string }} {{ 3 is odd }} {{ none is not none }} {{ [] is iterable }} {{ {} is "
           "mapping }}",
           "True True False True True");
}

static void statements_have_jinjas_scopes(void **state)
{
    (void)state;
    expect("{% set x = 1 %}{% for i in [1, 2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}", "231");
    expect("{% set n = namespace(c=0) %}{% for i in range(4) if i != 2 %}{% set n.c = n.c + i %}{% endfor %}{{ n.c }}",
           "4");
    expect("{% for k, v in {'a': 1, 'b': 2}.items() %}{{ loop.index }}{{ k }}{{ v }}{{ ',' if not loop.last }}{% endfor %}",
           "1a1,2b2");
    expect("{% for x in [] %}a{% else %}none{% endfor %}{% for x in [1, 2, 3] %}{% if x == 2 %}{% break %}{% endif %}{{ x "
           "}}{% endfor %}",
           "none1");
    expect("{% for x in [1, 2] %}{% break %}{% else %}a{% endfor %}{% for x in [1, 2] %}{% if x == 2 %}{% break %}{% endif "
           "%}{% else %}b{% endfor %}",
           "a");
    expect("{% for x in [1, 2, 3] %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{{ loop.previtem }}{{ loop.nextitem "
           "}}{% endfor %}",
           "1232");
    expect("{% for i in [1] %}{% for j in [1, 2] %}{{ loop.depth }}{{ loop.revindex }}{{ loop.cycle('a', 'b') }}{% endfor "
           "%}{% endfor %}",
           "12a11b");
    expect("{% macro m(a, b='d') %}[{{ a }}{{ b }}]{% endmacro %}{{ m(1) }}{{ m(b=2, a=3) }}{{ m() }}", "[1d][32][d]");
    expect("{% macro f(n) %}{{ n }}{% if n %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "3210");
    expect("{% for i in [1, 2] %}{% macro m() %}{{ i }}{% endmacro %}{% set g = m %}{{ g() }}{% endfor %}", "12");
    expect("{% set x | trim | upper %} a{{ 1 }} {% endset %}[{{ x }}]{% set a, b = 1, 2 %}{{ a }}{{ b }}", "[A1]12");
    expect("{% generation %}x{% endgeneration %}{% if 0 %}{% elif 1 %}y{% else %}z{% endif %}", "xy");
}

static void the_library_is_that_of_jinja(void **state)
{
    (void)state;
    expect("{{ ' x '|trim }}{{ 'xxaxx'.strip('x') }}{{ ' b'.lstrip() }}{{ 'c\\n'.rstrip() }}{{ "
           "'\xE3\x80\x80z\xC2\xA0'|trim }}",
           "xabcz");
    expect("{{ 'a,b,,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a b c'.split(' ', 1) }} {{ 'a\\nb\\n'.splitlines() }}",
           "['a', 'b', '', 'c'] ['a', 'b'] ['a', 'b c'] ['a', 'b']");
    expect("{{ 'hello world'|title }} {{ 'ABC'|capitalize }} {{ '\xC3\xA9'.upper() }} {{ 'aXbX'.replace('X', '-', 1) }} {{ "
           "'ab'|replace('', '.') }}",
           "Hello World Abc \xC3\x89 a-bX .a.b.");
    expect("{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'bc')) }} {{ 'abcb'.find('b') }} {{ 'aXa'.count('a') }} "
           "{{ '-'.join(['a', 'b']) }}",
           "True True 1 2 a-b");
    expect("{{ [3, 1, 2]|sort }} {{ ['b', 'A']|sort }} {{ [1, 2]|sort(reverse=true) }} {{ {'b': 1, 'a': 2}|dictsort }} {{ "
           "[1, 1, 2]|unique|list }}",
           "[1, 2, 3] ['A', 'b'] [2, 1] [('a', 2), ('b', 1)] [1, 2]");
    expect("{{ [1, 2, 3]|select('odd')|list }} {{ [{'a': 1}, {'a': 2}]|selectattr('a', 'gt', 1)|list }} {{ [{'a': {'b': "
           "1}}]|map(attribute='a.b')|list }} "
           "{{ ['a', 'b']|map('upper')|join(',') }} {{ [0, 1]|reject|list }} {{ [{'a': 1}, {}]|rejectattr('a')|list }}",
           "[1, 3] [{'a': 2}] [1] A,B [0] [{}]");
    expect("{{ '<{}|{}{k}{{}}>'.format(1, 'b', k=none) }}{{ none|selectattr('a')|list }}{{ 0|map('upper')|list }}",
           "<1|bNone{}>[][]");
    expect("{{ \"it's\".title() }} {{ \"it's\"|title }} {{ 7|round }} {{ 5|round(1, 'floor') }}", "It'S It's 7 5.0");
    expect("{{ ['b', 'A', 'c']|sort(reverse=true) }}{{ ['A', 'c']|max }}{{ 'a' < 'c' }}{{ x|items }}",
           "['c', 'b', 'A']cTrue[]");
    expect("{{ [1, 2]|first }}{{ 'abc'|last }}{{ [1, 2]|sum }}{{ [4, 3]|min }}{{ [4, 3]|max }}{{ 'ab'|reverse }}{{ {'a': "
           "1}|length }}{{ '\xC3\xA9'|count }}",
           "1c334ba11");
    expect("{{ x|default('d') }}{{ ''|default('e', true) }}{{ '12'|int + 1 }}{{ 'x'|int(5) }}{{ '1.5'|float }}{{ -3|abs "
           "}}{{ 2.5|round }}{{ 3.7|int }}",
           "de1351.532.03");
    expect("{{ 'a\\nb\\n\\nc'|indent(2) }}|{{ 'a\\nb'|indent(1, true) }}", "a\n  b\n\n  c| a\n b");
    expect("{{ {'a': [1, 2.0, none, true, 'x\\\"\\n<'], 'b': {}} | tojson }}",
           "{\"a\": [1, 2.0, null, true, \"x\\\"\\n<\"], \"b\": {}}");
    expect("{{ {'b': [1, {}], 'a': []} | tojson(indent=2, sort_keys=true) }}",
           "{\n  \"a\": [],\n  \"b\": [\n    1,\n    {}\n  ]\n}");
    expect(
        "{{ '\xC3\xA9\xF0\x9F\x98\x80' | tojson(ensure_ascii=true) }} {{ [1, {'a': 2}] | tojson(separators=(',', ':')) }}",
        "\"\\u00e9\\ud83d\\ude00\" [1,{\"a\":2}]");
    expect("{{ strftime_now('%d %b %Y %A') }} {{ strftime_now is defined }} {{ range(3)|list }} {{ range(5, 1, -2)|list }} "
           "{{ dict(a=1) }}",
           "03 Feb 2025 Monday True [0, 1, 2] [5, 3] {'a': 1}");
    expect("{{ {'a': 1}.get('a') }}{{ {}.get('b') }}{{ {}.get('b', 2) }}{{ {'k': 1}.keys()|list }}{{ {'k': "
           "1}.values()|list }}{{ {'items': 3}['items'] }}",
           "1None2['k'][1]3");
    expect_with("{{ tools }}{{ documents is none }}{{ m.a.b }}{{ m['a']['b'] }}", "{\"m\": {\"a\": {\"b\": 1}}}",
                "NoneTrue11");
}

/* --- failing ---------------------------------------------------------------------------------------------------------- */

static void broken_sources_are_refused_with_their_line(void **state)
{
    (void)state;
    refuse_source("a\n{{ x", "line 2: a tag is not closed");
    refuse_source("{% if x %}\n\n", "endif");
    refuse_source("{% for x in y %}{% endif %}", "the statement \"endif\"");
    refuse_source("{% include 'x' %}", "the statement \"include\" is not known");
    refuse_source("{{ 1 + }}", "an expression was expected");
    refuse_source("{{ (1 }}", "a closing bracket without its opening one");
    refuse_source("{{ a b }}", "was expected, not \"b\"");
    refuse_source("{{ 99999999999999999999 }}", "too large");
    refuse_source("{% break %}", "inside a loop");
    refuse_source("{% set true = 1 %}", "cannot be assigned");
    refuse_source("{{ 'a }}", "a string is not closed");
    refuse_source("{# x", "a comment is not closed");
    refuse_source("{{ \xff }}", "not valid UTF-8");
    refuse_source("{{ 'a\\x' }}", "malformed escape");
    refuse_source("{{ ? }}", "no meaning");
}

static void mistakes_at_run_time_are_errors_with_their_line(void **state)
{
    (void)state;
    refuse("\n\n{{ raise_exception('no ' ~ 'way') }}", "chat template line 3: no way");
    refuse("{{ x.y }}", "'x' is undefined");
    refuse("{{ {}.x.y }}", "'dict object' has no attribute 'x'");
    refuse("{{ 'a' + 1 }}", "can only concatenate str (not \"int\") to str");
    refuse("{{ 'a' + none }}", "NoneType");
    refuse("{{ 1 < 'a' }}", "'<' is not supported between 'int' and 'str'");
    refuse("{{ 1 // 0 }}", "division by zero");
    refuse("{{ 9223372036854775807 + 1 }}", "too large");
    refuse("{{ none() }}", "not callable");
    refuse("{{ [].append(1) }}", "'list object' has no attribute 'append'");
    refuse("{{ 1 | nonsense }}", "the filter \"nonsense\" is not known");
    refuse("{{ 1 is nonsense }}", "the test \"nonsense\" is not known");
    refuse("{% for x in 5 %}{% endfor %}", "'int' object is not iterable");
    refuse("{% set x = {} %}{% set x.a = 1 %}", "namespace only");
    refuse("{% set a, b = [1] %}", "cannot be unpacked");
    refuse("{{ 'x' | replace('a') }}", "replace needs the argument new");
    refuse("{{ 'x' | trim(nonsense=1) }}", "takes no argument nonsense");
    refuse("{% macro m() %}{% endmacro %}{{ m(1) }}", "takes not more than 0 arguments");
    refuse("{{ range(1000000) }}", "more than 100000");
    refuse("{{ x|int }}", "'x' is undefined");
    refuse("{{ tools[1:] }}", "cannot be sliced");
    refuse("{{ 1|indent }}", "indent needs a string");
    refuse("{{ [1][::0] }}", "step cannot be zero");
    refuse("{{ undefined | tojson }}", "'undefined' is undefined");
}

static void limits_end_what_does_not_end(void **state)
{
    (void)state;
    refuse_with("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "{}", BP_ELIMIT,
                "more steps");
    refuse_with("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{}", BP_ELIMIT, "too deeply");
    refuse_with("{% for i in range(9999) %}xxxxxxxxxxxxxxxx{% endfor %}", "{}", BP_ELIMIT, "writes more");
    refuse_with("{% set n = namespace(s='xxxxxxxx') %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}", "{}",
                BP_ELIMIT, "the template");
    refuse_with("{{ 'x' * 1000000000000 }}", "{}", BP_ELIMIT, "more steps");
    refuse_with("{% set n = namespace(l=[]) %}{% for i in range(5000) %}{% set n.l = [n.l] %}{% endfor %}{{ n.l }}", "{}",
                BP_ELIMIT, "too deeply");
    refuse_with(
        "{% set n = namespace(l=[]) %}{% for i in range(5000) %}{% set n.l = [n.l] %}{% endfor %}{{ n.l == [n.l] }}", "{}",
        BP_ELIMIT, "too deeply");
}

/* Half a million characters against as many: 2.5 * 10^11 comparisons, were they made before they are paid for. */
static void a_strip_pays_before_it_looks(void **state)
{
    (void)state;
#define LONG "{% set n = namespace(x='x', y='y') %}{% for i in range(19) %}{% set n.x = n.x + n.x %}{% set n.y = n.y + n.y %}{% endfor %}"
    clock_t began = clock();
    refuse_with(LONG "{{ n.x.strip(n.y + 'x') }}", "{}", BP_ELIMIT, "more steps");
    refuse_with(LONG "{{ n.x.rstrip(n.y + 'x') }}", "{}", BP_ELIMIT, "more steps");
    expect(LONG "{{ (n.y + 'x').strip('y') }}", "x");
#undef LONG
    assert_true(clock() - began < 4 * CLOCKS_PER_SEC);
}

static void test_60_endless_loops_end_soon(void **state)
{
    (void)state;
    chat_template *t = parse("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}");
    buffer out = {0}, trusted = {0};
    struct timespec begin, end;
    json_t *variables = json_object();
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
    assert_int_equal(chat_template_render(t, &(chat_template_input){.variables = variables}, &out, &trusted, NULL),
                     BP_ELIMIT);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    assert_true(end.tv_sec - begin.tv_sec < 20); /* under a sanitizer, too */
    json_decref(variables);
    chat_template_free(t);
}

/* n times `open`, then `middle`, then n times `close`. */
static char *nested(const char *open, const char *middle, const char *close, int n)
{
    buffer b = {0};
    for (int i = 0; i < n; i++)
        buffer_text(&b, open);
    buffer_text(&b, middle);
    for (int i = 0; i < n; i++)
        buffer_text(&b, close);
    return b.data;
}

static void nesting_is_limited_while_parsing(void **state)
{
    (void)state;
    static const char *const shapes[][3] = {
        {"{{ (", "", ""},
        {"{{ [", "", ""},
        {"{{ -", "", ""},
        {"{{ not ", "", ""},
        {"{% if 1 %}", "", "{% endif %}"},
        {"{% for x in y %}", "", "{% endfor %}"},
        {"{% macro m() %}", "", "{% endmacro %}"},
        {"{% generation %}", "", "{% endgeneration %}"},
        {"{% set x %}", "", "{% endset %}"},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const char *open = shapes[i][0];
        char *source =
            strncmp(open, "{{", 2) == 0 ? nested(open + 3, "1", "", 5000) : nested(open, "1", shapes[i][2], 5000);
        buffer whole = {0};
        if (strncmp(open, "{{", 2) == 0)
            buffer_format(&whole, "{{ %s }}", source);
        else
            buffer_text(&whole, source);
        refuse_source(whole.data, "too deeply");
        buffer_free(&whole);
        free(source);
    }
    static const char *const chains[][2] = {
        {"{{ 1", " + 1"}, {"{{ a", ".b"}, {"{{ a", "|trim"}, {"{{ 1", " if 1"}, {"{{ a", "[0]"}};
    for (size_t i = 0; i < sizeof chains / sizeof *chains; i++) {
        char *tail = nested(chains[i][1], " }}", "", 5000);
        buffer whole = {0};
        buffer_format(&whole, "%s%s", chains[i][0], tail);
        refuse_source(whole.data, "too deeply");
        buffer_free(&whole);
        free(tail);
    }
}

static void a_failed_rendering_leaves_the_buffers_as_they_were(void **state)
{
    (void)state;
    chat_template *t = parse("some text {{ raise_exception('x') }}");
    buffer out = {0}, trusted = {0};
    assert_true(buffer_text(&out, "abc") && buffer_append(&trusted, "\1\1\1", 3));
    json_t *variables = json_object();
    assert_int_equal(chat_template_render(t, &(chat_template_input){.variables = variables}, &out, &trusted, NULL),
                     BP_EINVAL);
    assert_string_equal(out.data, "abc");
    assert_int_equal(trusted.size, 3);
    json_decref(variables);
    buffer_free(&out);
    buffer_free(&trusted);
    chat_template_free(t);
    chat_template_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_prompts_are_rendered_to_the_byte),
        cmocka_unit_test(only_the_templates_own_text_is_trusted),
        cmocka_unit_test(only_known_roles_are_trusted),
        cmocka_unit_test(whitespace_is_controlled_as_in_jinja),
        cmocka_unit_test(expressions_are_evaluated_as_in_python),
        cmocka_unit_test(statements_have_jinjas_scopes),
        cmocka_unit_test(the_library_is_that_of_jinja),
        cmocka_unit_test(broken_sources_are_refused_with_their_line),
        cmocka_unit_test(mistakes_at_run_time_are_errors_with_their_line),
        cmocka_unit_test(limits_end_what_does_not_end),
        cmocka_unit_test(a_strip_pays_before_it_looks),
        cmocka_unit_test(test_60_endless_loops_end_soon),
        cmocka_unit_test(nesting_is_limited_while_parsing),
        cmocka_unit_test(a_failed_rendering_leaves_the_buffers_as_they_were),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
