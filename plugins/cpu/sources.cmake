# Sources of the CPU backend with the flags that some need, as CPU_SOURCES (absolute paths): the plugin is built from them,
# and so are the variants that the tests compare it with. Flags of a source hold in the folder that includes this file.
set(CPU_FOLDER ${CMAKE_CURRENT_LIST_DIR})
file(GLOB CPU_SOURCES CONFIGURE_DEPENDS ${CPU_FOLDER}/*.c ${CPU_FOLDER}/kernels/generic*.c)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(CPU_AVX2 ${CPU_FOLDER}/kernels/avx2.c ${CPU_FOLDER}/kernels/avx2_matmul.c)
  set(CPU_AVX512 ${CPU_FOLDER}/kernels/avx512.c ${CPU_FOLDER}/kernels/avx512_matmul.c)
  set_source_files_properties(${CPU_AVX2} PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c;-O3")
  set_source_files_properties(${CPU_AVX512} PROPERTIES COMPILE_OPTIONS
    "-mavx2;-mfma;-mf16c;-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx512vnni;-O3")
  list(APPEND CPU_SOURCES ${CPU_AVX2} ${CPU_AVX512})
endif()
