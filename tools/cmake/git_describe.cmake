# git_describe.cmake - writes OUT, a header with NATSL_GIT_DESCRIBE for the tree SOURCE; touches it only on change.
# "unknown" outside a git checkout (a release archive), before the first commit, or where git refuses the tree.
set(describe "unknown")
find_program(GIT_PROGRAM git)
if(GIT_PROGRAM AND EXISTS "${SOURCE}/.git")
    execute_process(COMMAND "${GIT_PROGRAM}" -C "${SOURCE}" describe --tags --always --dirty
        OUTPUT_VARIABLE answer RESULT_VARIABLE failed ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
    if(NOT failed AND answer MATCHES "^[A-Za-z0-9._+/-]+$")
        set(describe "${answer}")
    endif()
endif()
set(text "/* natsl_describe.h - made by git_describe.cmake at every build. */\n#define NATSL_GIT_DESCRIBE \"${describe}\"\n")
set(old "")
if(EXISTS "${OUT}")
    file(READ "${OUT}" old)
endif()
if(NOT old STREQUAL text)
    file(WRITE "${OUT}" "${text}")
endif()
