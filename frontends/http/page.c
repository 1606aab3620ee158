/* The page at /: three files that are part of the plugin. They load nothing from elsewhere and may not. */
#include "http/http.h"

extern const unsigned char ui_index_html[], ui_page_css[], ui_page_js[];
extern const size_t ui_index_html_size, ui_page_css_size, ui_page_js_size;

static void reply_file(exchange *e, const char *type, const unsigned char *bytes, size_t count)
{
    static const char rules[] =
        "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
        "Cache-Control: no-cache\r\n";
    reply_bytes(e, 200, type, rules, (const char *)bytes, count);
}

void route_page(exchange *e)
{
    reply_file(e, "text/html; charset=utf-8", ui_index_html, ui_index_html_size);
}

void route_page_css(exchange *e)
{
    reply_file(e, "text/css; charset=utf-8", ui_page_css, ui_page_css_size);
}

void route_page_js(exchange *e)
{
    reply_file(e, "text/javascript; charset=utf-8", ui_page_js, ui_page_js_size);
}
