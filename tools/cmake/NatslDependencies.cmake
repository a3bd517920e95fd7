# NatslDependencies.cmake - finds what natsl links: MPI::MPI_C, HDF5::HDF5 (parallel), BLAS::BLAS (OpenBLAS),
# OpenMP::OpenMP_C, PkgConfig::JANSSON, PkgConfig::NETTLE, PkgConfig::PCRE2, PkgConfig::UTF8PROC, and PkgConfig::NATSL_XSMM where NATSL_XSMM_FOUND. Included by natsl's own
# build and, installed beside natslConfig.cmake, by consumers of the static library: it therefore defines targets only where they
# are missing.
# Out: NATSL_LIBS_PRIVATE, the link words a static consumer adds (natsl.pc).

include(CheckCSourceCompiles)
include(CMakePushCheckState)
find_package(PkgConfig REQUIRED)
find_package(MPI REQUIRED COMPONENTS C)
find_package(OpenMP REQUIRED COMPONENTS C)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET GLOBAL jansson>=2.14)
pkg_check_modules(NETTLE REQUIRED IMPORTED_TARGET GLOBAL nettle)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET GLOBAL libpcre2-8>=10.40) # \p{White_Space} and its like
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET GLOBAL libutf8proc>=2.5)

# natsl_try_link(VAR LIBRARIES... SOURCE text): VAR is true when the program compiles and links.
function(natsl_try_link variable)
    cmake_parse_arguments(PARSE_ARGV 1 ARG "" "SOURCE" "LIBRARIES") # ARGN would split the source at its semicolons
    cmake_push_check_state(RESET)
    set(CMAKE_REQUIRED_LIBRARIES ${ARG_LIBRARIES})
    set(CMAKE_REQUIRED_QUIET TRUE)
    check_c_source_compiles("${ARG_SOURCE}" ${variable})
    cmake_pop_check_state()
endfunction()

# natsl_adopt(TARGET FROM): TARGET stands for the imported target FROM.
function(natsl_adopt target from)
    add_library(${target} INTERFACE IMPORTED GLOBAL)
    set_target_properties(${target} PROPERTIES INTERFACE_LINK_LIBRARIES ${from})
endfunction()

# --- HDF5, the parallel one ------------------------------------------------------------------------------------------
# Debian installs serial, Open MPI and MPICH builds side by side; a search by file name or by the h5cc wrapper can find
# the wrong one. So: where the user points (HDF5_ROOT), else the pkg-config module of the MPI in use, else CMake's own
# search. Whatever was found must then link a parallel call.
if(NOT TARGET HDF5::HDF5)
    if(NOT HDF5_ROOT AND NOT DEFINED ENV{HDF5_ROOT} AND NOT DEFINED ENV{HDF5_DIR})
        natsl_try_link(NATSL_MPI_IS_OPENMPI LIBRARIES MPI::MPI_C SOURCE "
            #include <mpi.h>
            #ifndef OPEN_MPI
            #error not Open MPI
            #endif
            int main(void) { return 0; }")
        if(NATSL_MPI_IS_OPENMPI)
            pkg_check_modules(NATSL_HDF5 QUIET IMPORTED_TARGET GLOBAL hdf5-openmpi)
        else()
            pkg_check_modules(NATSL_HDF5 QUIET IMPORTED_TARGET GLOBAL hdf5-mpich)
        endif()
    endif()
    if(NATSL_HDF5_FOUND)
        natsl_adopt(HDF5::HDF5 PkgConfig::NATSL_HDF5)
        set(HDF5_VERSION "${NATSL_HDF5_VERSION}")
    else()
        set(HDF5_PREFER_PARALLEL TRUE)
        find_package(HDF5 COMPONENTS C)
        if(NOT HDF5_FOUND)
            message(FATAL_ERROR "HDF5 was not found. natsl needs its parallel build: on Debian, tools/setup installs "
                                "libhdf5-openmpi-dev; elsewhere load the module or set HDF5_ROOT.")
        endif()
        if(NOT TARGET HDF5::HDF5)
            add_library(HDF5::HDF5 INTERFACE IMPORTED GLOBAL)
            set_target_properties(HDF5::HDF5 PROPERTIES
                INTERFACE_LINK_LIBRARIES "${HDF5_C_LIBRARIES}" INTERFACE_INCLUDE_DIRECTORIES "${HDF5_C_INCLUDE_DIRS}")
        endif()
    endif()
endif()
natsl_try_link(NATSL_HDF5_IS_PARALLEL LIBRARIES HDF5::HDF5 MPI::MPI_C SOURCE "
    #include <hdf5.h>
    #ifndef H5_HAVE_PARALLEL
    #error serial HDF5
    #endif
    int main(void) { return H5Pset_fapl_mpio(H5P_DEFAULT, MPI_COMM_WORLD, MPI_INFO_NULL) < 0; }")
if(NOT NATSL_HDF5_IS_PARALLEL)
    get_target_property(natsl_hdf5_link HDF5::HDF5 INTERFACE_LINK_LIBRARIES)
    unset(NATSL_HDF5_IS_PARALLEL CACHE) # look again after the user changed something
    message(FATAL_ERROR "The HDF5 found (${HDF5_VERSION}: ${natsl_hdf5_link} ${HDF5_C_LIBRARIES}) is not built for this "
                        "MPI (${MPI_C_LIBRARIES}); natsl writes its files by all ranks together. On Debian, tools/setup "
                        "installs libhdf5-openmpi-dev; elsewhere load the parallel module or set HDF5_ROOT.")
endif()

# --- OpenBLAS ----------------------------------------------------------------------------------------------------------
# The openmp flavour first: its threads are the ones natsl computes with, so the two never compete for cores. Debian
# keeps the flavours in directories of their own and lets `alternatives` choose; name the directory to be sure.
if(NOT TARGET BLAS::BLAS)
    set(natsl_pkg_config_path "$ENV{PKG_CONFIG_PATH}")
    set(natsl_flavour_dir "/usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}/openblas-openmp/pkgconfig")
    if(NOT natsl_pkg_config_path AND CMAKE_LIBRARY_ARCHITECTURE AND EXISTS "${natsl_flavour_dir}/openblas.pc")
        set(ENV{PKG_CONFIG_PATH} "${natsl_flavour_dir}")
    endif()
    pkg_search_module(NATSL_OPENBLAS QUIET IMPORTED_TARGET GLOBAL openblas-openmp openblas)
    if(NATSL_OPENBLAS_FOUND)
        pkg_get_variable(natsl_openblas_config "${NATSL_OPENBLAS_MODULE_NAME}" openblas_config)
        natsl_adopt(BLAS::BLAS PkgConfig::NATSL_OPENBLAS)
    else() # installed without a .pc file
        find_library(NATSL_OPENBLAS_LIBRARY NAMES openblaso openblas)
        find_path(NATSL_OPENBLAS_INCLUDE cblas.h PATH_SUFFIXES openblas)
        if(NOT NATSL_OPENBLAS_LIBRARY OR NOT NATSL_OPENBLAS_INCLUDE)
            message(FATAL_ERROR "OpenBLAS was not found. On Debian, tools/setup installs libopenblas-openmp-dev; elsewhere "
                                "load the module or set NATSL_OPENBLAS_LIBRARY and NATSL_OPENBLAS_INCLUDE.")
        endif()
        add_library(BLAS::BLAS INTERFACE IMPORTED GLOBAL)
        set_target_properties(BLAS::BLAS PROPERTIES INTERFACE_LINK_LIBRARIES "${NATSL_OPENBLAS_LIBRARY}"
            INTERFACE_INCLUDE_DIRECTORIES "${NATSL_OPENBLAS_INCLUDE}")
    endif()
    if(natsl_pkg_config_path STREQUAL "")
        unset(ENV{PKG_CONFIG_PATH})
    endif()
endif()
natsl_try_link(NATSL_OPENBLAS_WORKS LIBRARIES BLAS::BLAS SOURCE "
    #include <cblas.h>
    int main(void)
    {
        float one = 1.0f;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, 1, 1, 1, 1.0f, &one, 1, &one, 1, 0.0f, &one, 1);
        openblas_set_num_threads(1);
        return openblas_get_corename() == 0;
    }")
if(NOT NATSL_OPENBLAS_WORKS)
    unset(NATSL_OPENBLAS_WORKS CACHE)
    message(FATAL_ERROR "The BLAS found is not OpenBLAS with its cblas.h (cblas_sgemm, openblas_get_corename).")
endif()

# --- libxsmm: small matrix products -----------------------------------------------------------------------------------
# Optional: without it the same products go to OpenBLAS, which is slower for shapes as small as a chunk's.
option(NATSL_XSMM "Use libxsmm for small matrix products where it is installed" ON)
if(NATSL_XSMM AND NOT TARGET PkgConfig::NATSL_XSMM)
    pkg_check_modules(NATSL_XSMM_PC QUIET libxsmm>=1.16)
    if(NATSL_XSMM_PC_FOUND)
        pkg_check_modules(NATSL_XSMM QUIET IMPORTED_TARGET GLOBAL libxsmm>=1.16)
        # its own hook for large products is never reached (natsl calls generated code only), but the symbol must be there
        natsl_try_link(NATSL_XSMM_WORKS LIBRARIES PkgConfig::NATSL_XSMM BLAS::BLAS SOURCE "
            #include <libxsmm.h>
            int main(void)
            {
                const float one = 1.0f;
                return libxsmm_smmdispatch(64, 64, 64, 0, 0, 0, &one, &one, 0, 0) == 0;
            }")
        if(NOT NATSL_XSMM_WORKS)
            set(NATSL_XSMM_FOUND FALSE)
        endif()
    endif()
endif()
if(NOT NATSL_XSMM_FOUND)
    message(STATUS "natsl: no libxsmm; small matrix products go to OpenBLAS, which is slower "
                   "(on Debian, tools/setup installs libxsmm-dev)")
endif()

# --- what a consumer of libnatsl.a adds to its link line --------------------------------------------------------------
if(NATSL_HDF5_FOUND)
    set(natsl_private ${NATSL_HDF5_LDFLAGS})
else()
    set(natsl_private ${HDF5_C_LIBRARIES})
endif()
if(NATSL_OPENBLAS_FOUND)
    list(APPEND natsl_private ${NATSL_OPENBLAS_LDFLAGS})
else()
    list(APPEND natsl_private ${NATSL_OPENBLAS_LIBRARY})
endif()
if(NATSL_XSMM_FOUND)
    list(APPEND natsl_private ${NATSL_XSMM_LDFLAGS})
endif()
list(APPEND natsl_private ${JANSSON_LDFLAGS} ${NETTLE_LDFLAGS} ${PCRE2_LDFLAGS} ${UTF8PROC_LDFLAGS}
     ${OpenMP_C_FLAGS} -lm)
list(JOIN natsl_private " " NATSL_LIBS_PRIVATE)

get_target_property(natsl_link_hdf5 HDF5::HDF5 INTERFACE_LINK_LIBRARIES)
if(natsl_openblas_config MATCHES "USE_OPENMP=1" OR NATSL_OPENBLAS_LIBDIR MATCHES "openmp")
    set(natsl_flavour "openmp")
else()
    set(natsl_flavour "not openmp")
endif()
message(STATUS "natsl: MPI ${MPI_C_LIBRARIES}")
message(STATUS "natsl: HDF5 ${HDF5_VERSION}, parallel (${natsl_link_hdf5})")
if(NATSL_XSMM_FOUND)
    message(STATUS "natsl: libxsmm ${NATSL_XSMM_VERSION}")
endif()
message(STATUS "natsl: OpenBLAS ${NATSL_OPENBLAS_VERSION}, ${natsl_flavour} threads (${NATSL_OPENBLAS_LIBDIR})")
