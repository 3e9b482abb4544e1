// The C interface: checks what comes in, and turns what is thrown into numbers and sentences.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <sstream>

#include "error.h"
#include "image.h"
#include "instructions.h"
#include "mobilevitv2.h"
#include "network.h"

#if defined(_WIN32)
#include <filesystem>
#else
#include <cerrno>
#include <sys/stat.h>
#endif

struct mv2_model {
    mv2::Config config;
    mv2::ImageSettings images;
    int threads;
    std::unique_ptr<mv2::Network> network;
    std::string description;
};

namespace {

using mv2::fail_file;
using mv2::fail_input;

constexpr int most_threads = 64, most_images = 1 << 20;
constexpr size_t longest_config = 64 << 20;

// Runs f; an exception becomes a number and a message.
template <class F>
int guarded(char* message, size_t size, F&& f) {
    int kind = MV2_ERROR_INTERNAL;
    const char* text = "";
    std::string kept;
    try {
        f();
        return 0;
    } catch (const mv2::Error& error) {
        kind = error.kind;
        try {
            kept = error.what();
            text = kept.c_str();
        } catch (...) {
        }
    } catch (const std::bad_alloc&) {
        kind = MV2_ERROR_MEMORY;
        text = "there is not enough memory for this image size, batch or model; try a smaller one.";
    } catch (const std::exception& error) {
        text = "an error inside the engine.";
        try {
            kept = std::string("an error inside the engine: ") + error.what();
            text = kept.c_str();
        } catch (...) {
        }
    } catch (...) {
        text = "an unknown error inside the engine.";
    }
    if (message && size) {
        size_t end = std::strlen(text);
        if (end > size - 1)  // cut in front of a character, not inside
            for (end = size - 1; end && (text[end] & 0xc0) == 0x80;) end--;
        std::memcpy(message, text, end);
        message[end] = 0;
    }
    return kind;
}

template <class T>
T* there(T* pointer, const char* name) {
    if (!pointer) fail_input(std::string(name) + " is a null pointer.");
    return pointer;
}

#if defined(_WIN32)
std::filesystem::path system_path(const std::string& path) { return std::filesystem::u8path(path); }
bool exists(const std::string& path) {
    std::error_code error;
    return std::filesystem::status(system_path(path), error).type() !=
           std::filesystem::file_type::not_found;
}
bool is_file(const std::string& path) {
    std::error_code error;
    return std::filesystem::is_regular_file(system_path(path), error);
}
#else
const std::string& system_path(const std::string& path) { return path; }
bool exists(const std::string& path) {  // so is what may not be read, and reading it says so
    struct stat status{};
    return stat(path.c_str(), &status) == 0 || errno != ENOENT;
}
bool is_file(const std::string& path) {
    struct stat status{};
    return stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}
#endif

std::string read_text(const std::string& path) {
    if (exists(path) && !is_file(path)) fail_file(path + " is no file, or may not be read.");
    std::ifstream file(system_path(path), std::ios::binary | std::ios::ate);
    if (!file)
        fail_file(path +
                  " can't be opened; a folder with config.json and model.safetensors is wanted.");
    const std::streamoff size = file.tellg();
    if (size < 0 || static_cast<size_t>(size) > longest_config)
        fail_file(path + " is no config: it is too large.");
    std::string text(static_cast<size_t>(size), 0);
    file.seekg(0);
    if (!file.read(text.data(), size)) fail_file(path + " can't be read.");
    return text;
}

mv2::Json text_of(const std::string& value) {
    mv2::Json json;
    json.kind = mv2::Json::string;
    json.text = value;
    return json;
}

mv2::Json number_of(double value) {
    mv2::Json json;
    json.kind = mv2::Json::number;
    json.value = value;
    return json;
}

std::string describe(const mv2_model& model, int precision, const mv2::Json& processor) {
    static const char* const tasks[] = {"backbone", "classification", "segmentation", "detection"};
    mv2::Json all, labels;
    all.kind = mv2::Json::object;
    labels.kind = mv2::Json::array;
    for (const std::string& label : model.config.labels) labels.items.push_back(text_of(label));
    all.members["task"] = text_of(tasks[static_cast<int>(model.config.task)]);
    all.members["labels"] = labels;
    all.members["problem_type"] = text_of(model.config.problem_type);
    all.members["precision"] = text_of(mv2::precision_name(precision));
    all.members["instructions"] = text_of(model.network->kernels().name);
    all.members["threads"] = number_of(model.threads);
    all.members["weights"] = number_of(static_cast<double>(model.network->weight_bytes()));
    all.members["channels"] = number_of(model.config.planes);
    all.members["processor"] = processor;
    return mv2::to_json(all);
}

std::unique_ptr<mv2_model> open(const std::string& folder, const mv2_options& options) {
    if (options.threads < 0 || options.threads > most_threads)
        fail_input("threads is " + std::to_string(options.threads) + "; 0 to 64 is wanted.");
    const mv2::Kernels kernels =
        mv2::find_kernels(options.precision, options.instructions ? options.instructions : "");
    auto model = std::make_unique<mv2_model>();
    model->threads = options.threads ? options.threads : std::min(mv2::processors(), most_threads);
    const std::string config = folder + "/config.json", weights = folder + "/model.safetensors",
                      processor = folder + "/preprocessor_config.json";
    const mv2::Json fields = mv2::parse_json(read_text(config), config);
    model->config = mv2::read_config(fields, config);
    mv2::Json settings;
    settings.kind = mv2::Json::object;
    const mv2::Json* noted = fields.find("preprocessor_config");
    if (exists(processor)) settings = mv2::parse_json(read_text(processor), processor);
    else if (noted && noted->kind == mv2::Json::object) settings = *noted;
    model->images = mv2::image_settings(settings, processor.c_str());
    const mv2::SafeTensors file(weights);
    model->network = std::make_unique<mv2::Network>(model->config, file, weights, kernels);
    model->description = describe(*model, options.precision, settings);
    return model;
}

// Checks the callers' outputs; those that are not given are not wanted.
std::vector<float*> checked_outputs(const mv2_model& model, int batch, int height, int width,
                                    float* const* outputs, const size_t* counts, int count) {
    if (batch < 1 || batch > most_images)
        fail_input("the batch has " + std::to_string(batch) + " images; 1 to 1048576 are wanted.");
    const std::vector<mv2::Output> known = model.network->outputs(height, width);
    if (count < 0 || static_cast<size_t>(count) > known.size())
        fail_input(std::to_string(count) + " outputs are given; the model has " +
                   std::to_string(known.size()) + ".");
    if (count) {
        there(outputs, "outputs");
        there(counts, "counts");
    }
    std::vector<float*> places(known.size());
    for (int i = 0; i < count; i++) {
        const size_t wanted = known[i].count() * static_cast<size_t>(batch);
        if (outputs[i] && counts[i] != wanted)
            fail_input("output " + known[i].name + " has room for " + std::to_string(counts[i]) +
                       " floats, and " + std::to_string(wanted) + " are made.");
        places[i] = outputs[i];
    }
    return places;
}

void check_planes(const mv2_model& model) {
    if (model.config.planes != 3)
        fail_input("this model takes " + std::to_string(model.config.planes) +
                   " channels; a photo has 3.");
}

}  // namespace

int mv2_interface(void) { return MV2_INTERFACE; }

const char* mv2_instructions(int precision) {
    static const auto listed = [](int p) {
        std::string names;
        for (const std::string& name : mv2::instructions(p))
            names += (names.empty() ? "" : " ") + name;
        return names;
    };
    try {
        static const std::string all[] = {listed(MV2_FP32), listed(MV2_BF16), listed(MV2_INT8)};
        return precision < MV2_FP32 || precision > MV2_INT8 ? "" : all[precision].c_str();
    } catch (...) {
        return "";
    }
}

int mv2_open(const char* folder, const mv2_options* options, mv2_model** model, char* message,
             size_t message_size) {
    return guarded(message, message_size, [&] {
        *there(model, "model") = nullptr;
        *model = open(there(folder, "folder"), *there(options, "options")).release();
    });
}

void mv2_close(mv2_model* model) { delete model; }

const char* mv2_describe(const mv2_model* model) { return model ? model->description.c_str() : ""; }

int mv2_outputs(const mv2_model* model, int height, int width, mv2_output* outputs, int capacity,
                int* count, char* message, size_t message_size) {
    return guarded(message, message_size, [&] {
        const std::vector<mv2::Output> known =
            there(model, "model")->network->outputs(height, width);
        *there(count, "count") = static_cast<int>(known.size());
        for (int i = 0; i < capacity && i < static_cast<int>(known.size()); i++) {
            mv2_output& to = there(outputs, "outputs")[i];
            std::memset(&to, 0, sizeof to);
            std::strncpy(to.name, known[i].name.c_str(), sizeof to.name - 1);
            to.rank = static_cast<int>(known[i].shape.size());
            for (int d = 0; d < to.rank; d++) to.shape[d] = known[i].shape[d];
            to.count = known[i].count();
        }
    });
}

int mv2_run(const mv2_model* model, const float* pixels, int batch, int height, int width,
            float* const* outputs, const size_t* counts, int count, char* message,
            size_t message_size) {
    return guarded(message, message_size, [&] {
        there(model, "model");
        there(pixels, "pixels");
        const auto places = checked_outputs(*model, batch, height, width, outputs, counts, count);
        model->network->run(pixels, batch, height, width, places.data(), model->threads);
    });
}

int mv2_prepared_size(const mv2_model* model, int height, int width, int* prepared_height,
                      int* prepared_width, char* message, size_t message_size) {
    return guarded(message, message_size, [&] {
        const mv2::Size size = mv2::prepared_size(there(model, "model")->images, height, width);
        *there(prepared_height, "prepared_height") = size.height;
        *there(prepared_width, "prepared_width") = size.width;
    });
}

int mv2_prepare(const mv2_model* model, const uint8_t* photo, int height, int width,
                ptrdiff_t stride, float* pixels, size_t count, char* message, size_t message_size) {
    return guarded(message, message_size, [&] {
        check_planes(*there(model, "model"));
        there(photo, "photo");
        const mv2::Size size = mv2::prepared_size(model->images, height, width);
        const size_t wanted = static_cast<size_t>(3) * size.height * size.width;
        if (count != wanted)
            fail_input("pixels has room for " + std::to_string(count) + " floats, and " +
                       std::to_string(wanted) + " are made.");
        mv2::prepare(model->images, photo, height, width, stride, there(pixels, "pixels"));
    });
}

int mv2_run_photo(const mv2_model* model, const uint8_t* photo, int height, int width,
                  ptrdiff_t stride, float* const* outputs, const size_t* counts, int count,
                  char* message, size_t message_size) {
    return guarded(message, message_size, [&] {
        check_planes(*there(model, "model"));
        there(photo, "photo");
        const mv2::Size size = mv2::prepared_size(model->images, height, width);
        const auto places =
            checked_outputs(*model, 1, size.height, size.width, outputs, counts, count);
        std::vector<float> pixels(static_cast<size_t>(3) * size.height * size.width);
        mv2::prepare(model->images, photo, height, width, stride, pixels.data());
        model->network->run(pixels.data(), 1, size.height, size.width, places.data(),
                            model->threads);
    });
}

int mv2_profile(const mv2_model* model, int height, int width, int rounds, char* json, size_t size,
                char* message, size_t message_size) {
    return guarded(message, message_size, [&] {
        const mv2::Network& network = *there(model, "model")->network;
        if (rounds < 1 || rounds > 10000)
            fail_input("rounds is " + std::to_string(rounds) + "; 1 to 10000 is wanted.");
        mv2::Json all, parts;
        all.kind = mv2::Json::object;
        parts.kind = mv2::Json::array;
        for (const mv2::StageTime& time : network.profile(height, width, model->threads, rounds)) {
            mv2::Json part;
            part.kind = mv2::Json::object;
            part.members["name"] = text_of(time.name);
            part.members["seconds"] = number_of(time.seconds);
            part.members["multiply_adds"] = number_of(time.multiply_adds);
            parts.items.push_back(part);
        }
        double best = 0;
        for (int i = 0; i < 5; i++) {
            network.kernels().enter();
            const auto start = std::chrono::steady_clock::now();
            const double done = network.kernels().spin(200000);
            const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
            network.kernels().leave();
            best = std::max(best, done / seconds.count());
        }
        all.members["peak"] = number_of(best);
        all.members["parts"] = parts;
        const std::string text = mv2::to_json(all);
        if (text.size() >= size)
            fail_input("json has room for " + std::to_string(size) + " bytes, and " +
                       std::to_string(text.size() + 1) + " are wanted.");
        std::memcpy(there(json, "json"), text.c_str(), text.size() + 1);
    });
}
