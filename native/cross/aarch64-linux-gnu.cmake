# For 64-bit ARM on another Linux. Debian: apt-get install g++-aarch64-linux-gnu qemu-user-static
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
# ctest runs the tests under this. -cpu max has bf16 and dot products; MV2_QEMU_CPU=neoverse-n1 has
# only the latter, MV2_QEMU_CPU=cortex-a57 neither.
if(DEFINED ENV{MV2_QEMU_CPU})
    set(qemu_cpu $ENV{MV2_QEMU_CPU})
else()
    set(qemu_cpu max)
endif()
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64-static -cpu ${qemu_cpu} -L /usr/aarch64-linux-gnu)
