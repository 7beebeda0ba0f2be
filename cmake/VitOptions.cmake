# Warnings and sanitizers. `vit_options` is linked by every target of ours and by nothing else, so that code generated
# by protoc and headers of other projects are not held to our warnings.
add_library(vit_options INTERFACE)
target_compile_options(
  vit_options
  INTERFACE -Wall
            -Wextra
            -Wpedantic
            -Wshadow
            -Wconversion
            -Wno-sign-conversion
            -Wnon-virtual-dtor
            -Woverloaded-virtual
            $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety>
            # GCC 12 warns of its own std::string (GCC bug 105651).
            $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
            $<$<BOOL:${VIT_WERROR}>:-Werror>)
# Every include is written from the top of the tree: "model/engine.h".
target_include_directories(vit_options INTERFACE ${CMAKE_SOURCE_DIR})

if(VIT_SANITIZE)
  add_compile_options(-fsanitize=${VIT_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${VIT_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC 12 warns of std::regex and boost::optional where a sanitizer keeps it from seeing through them.
    add_compile_options(-Wno-maybe-uninitialized)
  endif()
endif()
