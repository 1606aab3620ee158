# Writes files as arrays of bytes: cmake -DOUTPUT=FILE.c -DPREFIX=ui -DFILES=a;b -P embed.cmake. File a/index.html becomes
# ui_index_html and ui_index_html_size.
set(text "/* Made from files by cmake/embed.cmake. */\n#include <stddef.h>\n\n")
foreach(file ${FILES})
  get_filename_component(name ${file} NAME)
  string(MAKE_C_IDENTIFIER ${PREFIX}_${name} name)
  file(READ ${file} bytes HEX)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
  string(APPEND text "extern const unsigned char ${name}[];\nextern const size_t ${name}_size;\n"
    "const unsigned char ${name}[] = {${bytes}};\nconst size_t ${name}_size = sizeof ${name};\n\n")
endforeach()
file(WRITE ${OUTPUT} "${text}")
