// Calls of the kernels for another processor, in its emulator: each comes in by the standard input
// with the memory that it points to, and goes out with what has become of that memory.
//
// A call: the length of the function's name and the name, the size of the structure and its bytes,
// the number of the variant; the number of blocks of memory, and of each its size and its bytes;
// the number of pointers, and of each where in the structure it lies, the block that it points into,
// and where there. Numbers are int64_t. The answer: what the function says, and all blocks again.
#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

void read_all(void* to, std::size_t size) {
    // The end of the input ends the process.
    if (size && std::fread(to, 1, size, stdin) != size) std::exit(0);
}

int64_t read_number() {
    int64_t number;
    read_all(&number, sizeof number);
    return number;
}

std::vector<char> read_bytes() {
    std::vector<char> bytes(read_number());
    read_all(bytes.data(), bytes.size());
    return bytes;
}

}  // namespace

int main(int, char** arguments) {
    void* library = dlopen(arguments[1], RTLD_NOW);
    if (!library) {
        std::fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    for (;;) {
        const auto name = read_bytes();
        auto structure = read_bytes();
        const auto variant = int32_t(read_number());
        std::vector<std::vector<char>> blocks(read_number());
        for (auto& block : blocks) block = read_bytes();
        for (int64_t left = read_number(); left > 0; left--) {
            const int64_t field = read_number(), block = read_number(), at = read_number();
            const char* address = blocks[block].data() + at;
            std::memcpy(structure.data() + field, &address, sizeof address);
        }
        const auto function = reinterpret_cast<int32_t (*)(const void*, int32_t)>(
            dlsym(library, std::string(name.begin(), name.end()).c_str()));
        if (!function) {
            std::fprintf(stderr, "%s\n", dlerror());
            return 1;
        }
        const int64_t said = function(structure.data(), variant);
        std::fwrite(&said, sizeof said, 1, stdout);
        for (const auto& block : blocks) std::fwrite(block.data(), 1, block.size(), stdout);
        std::fflush(stdout);
    }
}
